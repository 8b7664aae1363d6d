//! When each connection is looked at again.
//!
//! A connection whose peer is not known yet is looked at after 1 ms, then ever more rarely up to
//! 250 ms, and not beyond its deadline; so the look comes at most about as long after the end of a
//! handshake as the handshake took. An open connection is looked at when its certificate ends, when
//! the deny list may have become stale, and whenever policies or deny list change.

use std::collections::{BTreeSet, HashMap};

/// First pause before a waiting connection is looked at again, milliseconds.
const FIRST_PAUSE: u64 = 1;
/// Longest such pause, milliseconds.
const LONGEST_PAUSE: u64 = 250;
/// Pause before an open connection is looked at again that did not say when, milliseconds.
const RECHECK_PAUSE: u64 = 500;
/// Most connections looked at in one tick; the others follow in the next, a millisecond later.
pub const MAX_LOOKS: usize = 512;
/// Most connections of one root context; one more is denied, because it could not be closed later.
pub const MAX_CONNECTIONS: usize = 65_536;

/// The connections of one root context, by context number.
#[derive(Debug, Default)]
pub struct Table {
    by_context: HashMap<u32, Entry>,
    by_due: BTreeSet<(u64, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Option<u64>,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    pause: u64,
    deadline: u64,
}

/// A connection to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Due {
    /// Its context.
    pub context: u32,
    /// Whether its time is up; of no meaning for an open connection.
    pub last: bool,
}

/// Too many connections are open or waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{max} connections are open or waiting already")]
pub struct ConnectionLimitReached {
    /// The limit.
    pub max: usize,
}

impl Table {
    /// Looks at a connection again and again from `now` on, for at most `limit` milliseconds. One
    /// that waits already goes on waiting as it did.
    ///
    /// # Errors
    /// [`ConnectionLimitReached`].
    pub fn wait(
        &mut self,
        context: u32,
        now: u64,
        limit: u64,
    ) -> Result<(), ConnectionLimitReached> {
        if self.is_waiting(context) {
            return Ok(());
        }
        let waiting = Waiting {
            pause: FIRST_PAUSE,
            deadline: now.saturating_add(limit),
        };
        let due = Some(now.saturating_add(FIRST_PAUSE));
        let waiting = Some(waiting);
        self.put(context, Entry { due, waiting })
    }

    /// Looks at an open connection again at `due`, or only when something changes.
    ///
    /// # Errors
    /// [`ConnectionLimitReached`].
    pub fn open(&mut self, context: u32, due: Option<u64>) -> Result<(), ConnectionLimitReached> {
        let waiting = None;
        self.put(context, Entry { due, waiting })
    }

    fn put(&mut self, context: u32, entry: Entry) -> Result<(), ConnectionLimitReached> {
        let known = self.by_context.contains_key(&context);
        if !known && self.by_context.len() >= MAX_CONNECTIONS {
            return Err(ConnectionLimitReached {
                max: MAX_CONNECTIONS,
            });
        }
        self.forget(context);
        if let Some(due) = entry.due {
            self.by_due.insert((due, context));
        }
        self.by_context.insert(context, entry);
        Ok(())
    }

    /// Forgets a connection: closed, or gone.
    pub fn forget(&mut self, context: u32) {
        if let Some(entry) = self.by_context.remove(&context)
            && let Some(due) = entry.due
        {
            self.by_due.remove(&(due, context));
        }
    }

    /// The open connections are all to be looked at from `now` on.
    pub fn recheck(&mut self, now: u64) {
        for (&context, entry) in &mut self.by_context {
            if entry.waiting.is_some() {
                continue;
            }
            if let Some(due) = entry.due {
                self.by_due.remove(&(due, context));
            }
            entry.due = Some(now);
            self.by_due.insert((now, context));
        }
    }

    /// Up to [`MAX_LOOKS`] connections to look at now, those due longest first. Each is due again
    /// later, unless it is forgotten or says when.
    pub fn take_due(&mut self, now: u64) -> Vec<Due> {
        let due: Vec<_> = self
            .by_due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(MAX_LOOKS)
            .copied()
            .collect();
        due.into_iter()
            .filter_map(|(due, context)| {
                self.by_due.remove(&(due, context));
                self.again(context, now)
            })
            .collect()
    }

    fn again(&mut self, context: u32, now: u64) -> Option<Due> {
        let entry = self.by_context.get_mut(&context)?;
        let mut last = false;
        let next = match &mut entry.waiting {
            Some(waiting) => {
                last = waiting.deadline <= now;
                waiting.pause = waiting.pause.saturating_mul(2).min(LONGEST_PAUSE);
                now.saturating_add(waiting.pause)
                    .min(waiting.deadline.max(now.saturating_add(1)))
            }
            None => now.saturating_add(RECHECK_PAUSE),
        };
        entry.due = Some(next);
        self.by_due.insert((next, context));
        Some(Due { context, last })
    }

    /// When the next of them is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_context.len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_context.is_empty()
    }

    fn is_waiting(&self, context: u32) -> bool {
        self.by_context
            .get(&context)
            .is_some_and(|entry| entry.waiting.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(table: &mut Table, now: u64) -> Vec<(u32, bool)> {
        let due = table.take_due(now).into_iter();
        due.map(|due| (due.context, due.last)).collect()
    }

    #[test]
    fn a_waiting_connection_is_looked_at_ever_more_rarely_until_its_deadline() {
        let mut table = Table::default();
        table.wait(7, 0, 1000).unwrap();
        let (mut pauses, mut last) = (Vec::new(), 0);
        while let Some(now) = table.next_due() {
            pauses.push(now - last);
            last = now;
            let seen = looks(&mut table, now);
            assert_eq!(seen.len(), 1);
            if seen[0].1 {
                table.forget(7);
            }
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 250, 250, 245]);
        assert_eq!(last, 1000);
    }

    #[test]
    fn waiting_twice_does_not_begin_anew() {
        let mut table = Table::default();
        table.wait(7, 0, 100).unwrap();
        assert_eq!(looks(&mut table, 100), [(7, true)]);
        table.wait(7, 100, 100).unwrap();
        assert_eq!(looks(&mut table, 101), [(7, true)]);
    }

    #[test]
    fn an_open_connection_is_looked_at_when_it_said_and_when_something_changes() {
        let mut table = Table::default();
        table.open(1, Some(50)).unwrap();
        table.open(2, None).unwrap();
        table.wait(3, 0, 100).unwrap();
        assert_eq!(looks(&mut table, 49), [(3, false)]);
        table.recheck(49);
        assert_eq!(looks(&mut table, 49), [(1, false), (2, false)]);
        table.open(1, None).unwrap();
        table.forget(2);
        table.forget(3);
        assert_eq!(table.next_due(), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_tick_has_bounded_work_and_the_rest_comes_next() {
        let mut table = Table::default();
        for context in 0..1000 {
            table.open(context, Some(5)).unwrap();
        }
        let first = looks(&mut table, 5);
        assert_eq!(first.len(), MAX_LOOKS);
        assert_eq!(table.next_due(), Some(5));
        let second = looks(&mut table, 5);
        assert_eq!(first.len() + second.len(), 1000);
        assert_eq!(table.next_due(), Some(505));
    }

    #[test]
    fn never_more_than_its_limit() {
        let mut table = Table::default();
        for context in 0..u32::try_from(MAX_CONNECTIONS).unwrap() {
            table.open(context, None).unwrap();
        }
        let full = ConnectionLimitReached {
            max: MAX_CONNECTIONS,
        };
        assert_eq!(table.wait(u32::MAX, 0, 1), Err(full));
        assert_eq!(table.open(u32::MAX, None), Err(full));
        assert_eq!(table.open(3, Some(1)), Ok(()));
        table.forget(3);
        assert_eq!(table.wait(u32::MAX, 0, 1), Ok(()));
    }
}
