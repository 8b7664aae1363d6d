//! The one timer of a root context.
//!
//! The proxy gives a root context a single tick with a period. Whatever has to happen later is a due
//! time here, and the period is always set to the earliest one, so that a request that is let go
//! never stops the deny list from being polled.

/// A clock that never runs backwards, in milliseconds since it was made.
///
/// It follows the proxy's wall clock. A step back counts as no time passed; a step forward makes
/// everything due at once, and what is due is denied or polled, never allowed.
#[derive(Debug, Default)]
pub struct Clock {
    elapsed: u64,
    wall: Option<u64>,
}

impl Clock {
    /// Reads the clock; `wall` is nanoseconds since the epoch, where the proxy could say.
    pub fn read(&mut self, wall: Option<u64>) -> u64 {
        let Some(wall) = wall.map(|nanoseconds| nanoseconds / 1_000_000) else {
            return self.elapsed;
        };
        let passed = self.wall.map_or(0, |last| wall.saturating_sub(last));
        self.wall = Some(wall);
        self.elapsed = self.elapsed.saturating_add(passed);
        self.elapsed
    }

    /// Reads the clock in a tick of `period` milliseconds, which has passed whatever the proxy's
    /// clock says or does not say.
    pub fn read_in_tick(&mut self, wall: Option<u64>, period: u32) -> u64 {
        let before = self.elapsed;
        let now = self.read(wall);
        if now == before {
            self.elapsed = now.saturating_add(u64::from(period));
        }
        self.elapsed
    }
}

/// Period that reaches the earliest of `due` in one tick; 0, no tick, where nothing is due.
#[must_use]
pub fn period(now: u64, due: impl IntoIterator<Item = Option<u64>>) -> u32 {
    due.into_iter().flatten().min().map_or(0, |due| {
        u32::try_from(due.saturating_sub(now).max(1)).unwrap_or(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn follows_the_wall_clock_forwards_only() {
        let mut clock = Clock::default();
        assert_eq!(clock.read(Some(1_000 * MS)), 0);
        assert_eq!(clock.read(Some(1_250 * MS)), 250);
        assert_eq!(clock.read(Some(900 * MS)), 250);
        assert_eq!(clock.read(Some(910 * MS)), 260);
        assert_eq!(clock.read(None), 260);
    }

    #[test]
    fn a_tick_counts_without_a_wall_clock() {
        let mut clock = Clock::default();
        assert_eq!(clock.read_in_tick(None, 50), 50);
        assert_eq!(clock.read_in_tick(None, 50), 100);
        clock.read(Some(10 * MS));
        assert_eq!(clock.read_in_tick(Some(40 * MS), 50), 130);
    }

    #[test]
    fn the_period_is_the_earliest_due_time_and_never_zero_while_something_is_due() {
        assert_eq!(period(100, [None, None]), 0);
        assert_eq!(period(100, [Some(600), Some(101)]), 1);
        assert_eq!(period(100, [Some(600), None]), 500);
        assert_eq!(period(100, [Some(90), None]), 1);
        assert_eq!(period(0, [Some(u64::MAX)]), u32::MAX);
    }
}
