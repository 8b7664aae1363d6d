//! Which of the proxy's threads fetches the deny list for all of them.
//!
//! A shared value names the holder and until when; whoever finds none that is of now takes it, by
//! compare-and-swap. Any plug-in of the same VM id can write there: whoever keeps others from fetching
//! by it does so until their lists grow old
//! ([`Poller::is_starving`](crate::deny_list::poller::Poller::is_starving)).

use std::cell::Cell;

use crate::host::{Host, HostError, Status};

/// Longest text of a lease: a number of 16 digits, a colon, one of 20.
const MAX_TEXT: usize = 37;

/// One thread's part in the lease. Times are milliseconds of the proxy's wall clock, which its threads
/// have in common.
#[derive(Debug, Default)]
pub struct Lease {
    /// Tells holders apart in what is written. Two may happen to have the same.
    name: Cell<u64>,
    /// Version of the shared value that this thread wrote: what makes the lease its own.
    version: Cell<Option<u32>>,
}

impl Lease {
    /// Begins under another name, without the lease.
    pub fn begin(&self, name: u64) {
        self.name.set(name);
        self.version.set(None);
    }

    /// Takes the lease, or renews it, for `life` milliseconds. False where another holder has it.
    ///
    /// Of two that find no lease at all at the same moment both may get it: then both fetch, once.
    pub fn hold<H: Host>(&self, host: &H, key: &str, now: u64, life: u64) -> bool {
        // What cannot be found out is no reason not to fetch.
        let Ok(found) = host.shared_data(key) else {
            return true;
        };
        let (text, version) = found.unwrap_or_default();
        let until = read(&text).map(|(_, until)| until);
        // One of the far future is none: a clock was set back, or somebody writes what he likes.
        let is_of_now =
            until.is_some_and(|until| now < until && until - now <= life.saturating_mul(2));
        if is_of_now && self.version.get() != Some(version) {
            return false;
        }
        let text = format!("{:x}:{}", self.name.get(), now.saturating_add(life));
        match host.set_shared_data(key, text.as_bytes(), version) {
            Ok(()) => {}
            Err(HostError::Refused {
                status: Status::CasMismatch,
                ..
            }) => return false,
            Err(_) => return true,
        }
        match host.shared_data(key) {
            Ok(Some((written, version))) if written == text.as_bytes() => {
                self.version.set(Some(version));
                true
            }
            Ok(_) => false,
            Err(_) => true,
        }
    }

    /// The same by the proxy's clock; true where that cannot be read.
    pub fn hold_now<H: Host>(&self, host: &H, key: &str, life: u64) -> bool {
        let Ok(wall) = host.now_nanoseconds() else {
            return true;
        };
        self.hold(host, key, wall / 1_000_000, life)
    }

    /// Gives the lease up, if it is this thread's.
    pub fn release<H: Host>(&self, host: &H, key: &str) {
        let Ok(Some((_, version))) = host.shared_data(key) else {
            return;
        };
        if self.version.take() == Some(version) {
            // It ends by itself where this does not work.
            host.set_shared_data(key, b"", version).ok();
        }
    }
}

fn read(text: &[u8]) -> Option<(u64, u64)> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (holder, until) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some((u64::from_str_radix(holder, 16).ok()?, until.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    fn two() -> (FakeHost, Lease, Lease) {
        let (one, other) = (Lease::default(), Lease::default());
        // Even under the same name only one of them is the holder.
        one.begin(7);
        other.begin(7);
        (FakeHost::new(), one, other)
    }

    #[test]
    fn one_holds_it_until_it_ends_or_is_given_up() {
        let (host, one, other) = two();
        assert!(one.hold(&host, "k", 1_000, 500));
        assert!(!other.hold(&host, "k", 1_001, 500));
        assert!(one.hold(&host, "k", 1_400, 500));
        assert!(!other.hold(&host, "k", 1_899, 500));
        assert!(other.hold(&host, "k", 1_900, 500));
        assert!(!one.hold(&host, "k", 1_901, 500));
        one.release(&host, "k");
        assert!(!one.hold(&host, "k", 1_902, 500));
        other.release(&host, "k");
        assert!(one.hold(&host, "k", 1_903, 500));
    }

    #[test]
    fn what_is_no_lease_of_now_is_taken() {
        for text in ["", ":", "x:1", "7:", "7:1500x", "7:999", "7:99999", "+7:-1"] {
            let (host, one, _) = two();
            host.set_shared("k", text.as_bytes());
            assert!(one.hold(&host, "k", 1_000, 500), "{text:?}");
        }
        let (host, one, _) = two();
        host.set_shared("k", &[0xff; 100]);
        assert!(one.hold(&host, "k", 1_000, 500));
        host.set_shared("k", b"7:1999");
        assert!(!one.hold(&host, "k", 1_000, 500));
    }

    #[test]
    fn a_lost_race_is_lost_and_a_host_that_fails_is_no_reason_to_wait() {
        let (host, one, _) = two();
        host.set_shared("k", b"");
        host.race_shared("k", b"9:1500");
        assert!(!one.hold(&host, "k", 1_000, 500));
        for call in ["proxy_get_shared_data", "proxy_set_shared_data"] {
            let (host, one, _) = two();
            host.fail(call, Status::InternalFailure);
            assert!(one.hold(&host, "k", 1_000, 500), "{call}");
            one.release(&host, "k");
        }
    }
}
