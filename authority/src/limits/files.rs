//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the system lets us, and returns how many connections that leaves room
/// for. Shells give a process 1,024 files by default, far below what they let it have.
pub(crate) fn room_for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST).min(MOST);
    let current = limit.current.unwrap_or(MOST);
    let mut have = current;
    if current < wanted {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => have = wanted,
            Err(error) => tracing::warn!(%error, current, wanted, "the limit of open files stays"),
        }
    }
    let have = usize::try_from(have).unwrap_or(usize::MAX);
    have.saturating_sub(RESERVE).max(64)
}

/// More are not asked for: each costs memory in the kernel.
const MOST: u64 = 1 << 20;
/// The record, its journal, listeners, sockets of the administration, logs.
const RESERVE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_and_asking_twice_changes_nothing() {
        let room = room_for_connections();
        assert!(room >= 64);
        assert_eq!(room, room_for_connections());
    }
}
