//! The control group of a process, and the systemd unit that it belongs to.
//!
//! A process chooses neither: it is put there by whoever started it, and only who may write to
//! another group (its systemd, a container runtime, root) can move it.

use std::fs::File;
use std::io::{self, Read as _};

/// Longest text of `/proc/PID/cgroup` that is read, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// The control group of process `pid` as this agent sees it; `None` if it cannot be seen from the
/// agent's own cgroup namespace.
pub(crate) fn of(pid: i32) -> Option<String> {
    read(pid).ok().as_deref().and_then(parse)
}

fn read(pid: i32) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(format!("/proc/{pid}/cgroup"))?;
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The path in the one hierarchy that systemd keeps: version 2 (`0::`), or where there is none, the
/// one named `systemd` (cgroups(7), "/proc/pid/cgroup").
fn parse(text: &str) -> Option<String> {
    let of = |wanted: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            (format!("{id}:{controllers}") == wanted || controllers == wanted).then_some(path)
        })
    };
    let path = of("0:").or_else(|| of("name=systemd"))?;
    // A path above the namespace's root says nothing that could be relied on, and of a group that
    // was removed meanwhile the kernel says so behind its name.
    let is_told = path.starts_with('/')
        && !path.split('/').any(|part| part == "..")
        && !path.ends_with(" (deleted)");
    is_told.then(|| path.to_owned())
}

/// The systemd unit, as the system's systemd knows it: the first part of the path that is no slice.
/// What lies below it is the unit's own business: a user's `web.service` is in that user's
/// `user@1000.service`, and not the system's.
pub(crate) fn unit(path: &str) -> Option<&str> {
    let first = path
        .split('/')
        .find(|part| !part.is_empty() && !part.ends_with(".slice"))?;
    let is_unit = first.ends_with(".service") || first.ends_with(".scope");
    is_unit.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_systems_and_not_one_somebody_calls_so() {
        for (path, found) in [
            ("/system.slice/web.service", Some("web.service")),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                Some("getty@tty1.service"),
            ),
            ("/system.slice/web.service/worker", Some("web.service")),
            (
                "/system.slice/other.service/web.service",
                Some("other.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                Some("user@1000.service"),
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("session-3.scope"),
            ),
            ("/init.scope", Some("init.scope")),
            ("/docker/0123abcd", None),
            ("/system.slice", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(unit(path), found, "{path}");
        }
    }

    #[test]
    fn one_hierarchy_counts_and_what_is_outside_the_namespace_does_not() {
        let hybrid =
            "9:name=systemd:/system.slice/a.service\n4:memory:/other\n0::/system.slice/b.service\n";
        assert_eq!(parse(hybrid).as_deref(), Some("/system.slice/b.service"));
        let first = "9:name=systemd:/system.slice/a.service\n4:memory:/other\n";
        assert_eq!(parse(first).as_deref(), Some("/system.slice/a.service"));
        assert_eq!(parse("0::/a:b\n").as_deref(), Some("/a:b"));
        for text in [
            "",
            "0::",
            "0::/../web.service\n",
            "0::/a (deleted)\n",
            "4:memory:/x\n",
            "x",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_very_process_is_in_the_group_the_kernel_says() {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(of(pid), parse(&own));
        assert_eq!(of(i32::MAX), None);
    }
}
