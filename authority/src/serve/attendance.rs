//! Which agents are there, and how far they are with the deny list.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use identity::{SpiffeId, UnixTime};

/// Agents with a stream of the deny list open; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attendance(Arc<Mutex<Present>>);

#[derive(Debug, Default)]
struct Present {
    streams: HashMap<u64, Stream>,
    numbers: u64,
}

#[derive(Debug)]
struct Stream {
    agent: SpiffeId,
    /// Epoch and sequence of the list it took last, if any.
    taken: Option<(u64, u64)>,
    /// Since when it has not taken the list in force.
    behind_since: UnixTime,
}

/// One stream; dropped with it.
#[derive(Debug)]
pub(crate) struct Attendee {
    attendance: Attendance,
    number: u64,
}

impl Attendance {
    /// An agent opens a stream.
    pub(crate) fn arrive(&self, agent: SpiffeId, now: UnixTime) -> Attendee {
        let mut present = self.lock();
        present.numbers = present.numbers.wrapping_add(1);
        let number = present.numbers;
        let stream = Stream {
            agent,
            taken: None,
            behind_since: now,
        };
        present.streams.insert(number, stream);
        drop(present);
        Attendee {
            attendance: self.clone(),
            number,
        }
    }

    /// The agents that are there.
    pub(crate) fn agents(&self) -> BTreeSet<SpiffeId> {
        let present = self.lock();
        present.streams.values().map(|s| s.agent.clone()).collect()
    }

    /// Those that have not taken the list at `current` for `seconds`. That a stream's next message
    /// is asked for means that the connection took the one before: an agent that hangs is seen when
    /// the connection's window is full.
    pub(crate) fn behind(
        &self,
        current: (u64, u64),
        now: UnixTime,
        seconds: i64,
    ) -> BTreeSet<SpiffeId> {
        let present = self.lock();
        let late = |stream: &&Stream| {
            stream.taken != Some(current) && now.secs_since(stream.behind_since) > seconds
        };
        let late = present.streams.values().filter(late);
        late.map(|stream| stream.agent.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attendee {
    /// The stream takes the list at `position`.
    pub(crate) fn takes(&self, position: (u64, u64), now: UnixTime) {
        if let Some(stream) = self.attendance.lock().streams.get_mut(&self.number) {
            stream.taken = Some(position);
            stream.behind_since = now;
        }
    }
}

impl Drop for Attendee {
    fn drop(&mut self) {
        self.attendance.lock().streams.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_and_who_is_behind() {
        let at = UnixTime::from_secs;
        let attendance = Attendance::default();
        let id =
            |name: &str| SpiffeId::new(format!("spiffe://td/countersign/agent/{name}")).unwrap();
        let one = attendance.arrive(id("one"), at(0));
        let two = attendance.arrive(id("two"), at(0));
        one.takes((1, 1), at(0));
        two.takes((1, 1), at(0));
        assert_eq!(attendance.behind((1, 1), at(99), 30), BTreeSet::new());
        one.takes((1, 2), at(10));
        assert_eq!(attendance.behind((1, 2), at(30), 30), BTreeSet::new());
        assert_eq!(attendance.behind((1, 2), at(31), 30), [id("two")].into());
        drop(two);
        assert_eq!(attendance.behind((1, 2), at(31), 30), BTreeSet::new());
        assert_eq!(attendance.agents(), [id("one")].into());
    }
}
