//! Free TCP ports on loopback.
//!
//! A port is looked for by binding it and letting it go, so another process can take it before it is used.
//! Two things make that rare: ports come from below the range that the system gives to outgoing connections,
//! and no port is given twice by one process. What remains is for [`retry`].

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Ports given out: above the well-known services, below Linux's usual range for outgoing connections.
const FIRST: u16 = 10_240;
const LAST: u16 = 32_000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// No port could be bound.
#[derive(Debug, thiserror::Error)]
#[error("no free TCP port on 127.0.0.1 between {FIRST} and {LAST}")]
pub struct NoFreePort;

/// A port of 127.0.0.1 that nothing listens on, and that was not given out before by this process.
///
/// # Errors
/// When every port of the range is taken.
pub fn free() -> Result<u16, NoFreePort> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let span = u64::from(LAST - FIRST) + 1;
    // A start that differs between processes: tests of several crates run side by side.
    let start = RandomState::new().hash_one(std::process::id()) % span;
    let port = (0..span)
        .filter_map(|step| u16::try_from((start + step) % span).ok())
        .map(|offset| FIRST + offset)
        .find(|port| {
            !given.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
        })
        .ok_or(NoFreePort)?;
    given.insert(port);
    Ok(port)
}

/// `N` distinct ports, see [`free`].
///
/// # Errors
/// When every port of the range is taken.
pub fn free_array<const N: usize>() -> Result<[u16; N], NoFreePort> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free()?;
    }
    Ok(ports)
}

/// Runs `start` again, at most `attempts` times in all, while it fails because somebody was faster to a port.
///
/// # Errors
/// The first error that is no lost race, or the last one.
pub async fn retry<T, E>(
    attempts: u32,
    lost_race: impl Fn(&E) -> bool,
    mut start: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut left = attempts;
    loop {
        left = left.saturating_sub(1);
        match start().await {
            Err(error) if left > 0 && lost_race(&error) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;

    use super::{free, free_array, retry};

    #[test]
    fn ports_are_distinct_and_free() {
        let ports = free_array::<20>().unwrap();
        let distinct: std::collections::BTreeSet<_> = ports.into_iter().collect();
        assert_eq!(distinct.len(), 20);
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }

    #[test]
    fn a_taken_port_is_not_given() {
        let taken: Vec<_> = (0..50)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let taken: Vec<_> = taken
            .iter()
            .map(|held| held.local_addr().unwrap().port())
            .collect();
        for _ in 0..50 {
            assert!(!taken.contains(&free().unwrap()));
        }
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_and_nothing_else() {
        let runs = Cell::new(0);
        let outcome: Result<(), &str> = retry(
            3,
            |error| *error == "in use",
            async || {
                runs.set(runs.get() + 1);
                Err(if runs.get() == 1 { "in use" } else { "other" })
            },
        )
        .await;
        assert_eq!((outcome, runs.get()), (Err("other"), 2));
    }

    #[tokio::test]
    async fn races_are_given_up_after_the_attempts() {
        let runs = Cell::new(0);
        let outcome: Result<(), ()> = retry(
            3,
            |()| true,
            async || {
                runs.set(runs.get() + 1);
                Err(())
            },
        )
        .await;
        assert_eq!((outcome, runs.get()), (Err(()), 3));
    }
}
