//! Requests held until their upstream connection says who the server is.
//!
//! A held request is looked at again after 1 ms, then ever more rarely up to 50 ms, and not beyond
//! its deadline. There is a most number of held requests; the one above it is denied.

use std::collections::BTreeMap;

/// First pause before a held request is looked at again, milliseconds.
const FIRST_PAUSE: u64 = 1;
/// Longest such pause, milliseconds.
const LONGEST_PAUSE: u64 = 50;

/// The held requests of one root context, by context number.
#[derive(Debug, Default)]
pub struct HeldRequests {
    by_context: BTreeMap<u32, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    next: u64,
    pause: u64,
    deadline: u64,
}

/// Too many requests are held already.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{max} requests are held already")]
pub struct HoldLimitReached {
    /// The limit.
    pub max: u32,
}

impl HeldRequests {
    /// Holds a request from `now` for at most `limit` milliseconds.
    ///
    /// # Errors
    /// [`HoldLimitReached`] where `max` requests are held.
    pub fn hold(
        &mut self,
        context: u32,
        now: u64,
        limit: u64,
        max: u32,
    ) -> Result<(), HoldLimitReached> {
        if usize::try_from(max).is_ok_and(|max| self.by_context.len() >= max) {
            return Err(HoldLimitReached { max });
        }
        let held = Held {
            next: now.saturating_add(FIRST_PAUSE),
            pause: FIRST_PAUSE,
            deadline: now.saturating_add(limit),
        };
        self.by_context.insert(context, held);
        Ok(())
    }

    /// Forgets a request: decided, or gone.
    pub fn forget(&mut self, context: u32) -> bool {
        self.by_context.remove(&context).is_some()
    }

    /// Requests to look at now, each with whether its deadline has passed, and when to look at it
    /// again if it stays held.
    pub fn due(&mut self, now: u64) -> Vec<(u32, bool)> {
        let mut due = Vec::new();
        for (&context, held) in &mut self.by_context {
            if held.next <= now {
                due.push((context, held.deadline <= now));
                held.pause = held.pause.saturating_mul(2).min(LONGEST_PAUSE);
                held.next = now
                    .saturating_add(held.pause)
                    .min(held.deadline.max(now.saturating_add(1)));
            }
        }
        due
    }

    /// When the next of them is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.by_context.values().map(|held| held.next).min()
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_context.len()
    }

    /// True where none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_context.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_to_the_longest_pause_and_ends_at_the_deadline() {
        let mut held = HeldRequests::default();
        held.hold(7, 0, 200, 10).unwrap();
        let mut looked = Vec::new();
        let mut last = 0;
        while let Some(now) = held.next_due() {
            looked.push(now - last);
            last = now;
            let due = held.due(now);
            assert_eq!(due.len(), 1);
            if due[0].1 {
                held.forget(7);
            }
        }
        assert_eq!(looked, [1, 2, 4, 8, 16, 32, 50, 50, 37]);
        assert_eq!(last, 200);
    }

    #[test]
    fn refuses_beyond_the_most_number() {
        let mut held = HeldRequests::default();
        held.hold(1, 0, 100, 2).unwrap();
        held.hold(2, 0, 100, 2).unwrap();
        assert_eq!(held.hold(3, 0, 100, 2), Err(HoldLimitReached { max: 2 }));
        assert!(held.forget(1));
        assert_eq!(held.hold(3, 0, 100, 2), Ok(()));
        assert!(!held.forget(1));
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut held = HeldRequests::default();
        assert_eq!(held.next_due(), None);
        held.hold(1, 10, 100, 2).unwrap();
        assert_eq!(held.due(10), []);
        assert_eq!(held.due(11), [(1, false)]);
        assert_eq!(held.due(11), []);
    }
}
