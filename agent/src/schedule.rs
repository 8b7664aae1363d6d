//! When to renew and when to try again: pure, with time and randomness as arguments.

use std::time::Duration;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// `millis` milliseconds after the epoch.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// The same instant as seconds since the epoch; zero for a time before it.
    pub fn from_secs(secs: i64) -> Self {
        Self(u64::try_from(secs).unwrap_or(0).saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn as_secs(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }

    /// How long until `later`; zero when it has passed.
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// One random draw: a fraction in `[0, 1)` as a multiple of 2⁻³².
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Jitter(u32);

impl Jitter {
    /// The fraction `bits` / 2³².
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// That fraction of `whole`, rounded down.
    fn of_millis(self, whole: u64) -> u64 {
        let scaled = (u128::from(whole) * u128::from(self.0)) >> 32;
        u64::try_from(scaled).unwrap_or(whole)
    }
}

/// How long a certificate serves its holder: from when it was obtained until `notAfter`.
///
/// It starts at the time it was obtained, not at `notBefore`: authorities date certificates back
/// (Istio by two minutes), and half of a *short* life counted from there would already be over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetime {
    obtained: UnixMillis,
    not_after: UnixMillis,
}

impl Lifetime {
    /// The most by which a renewal is moved forward: this part of the half-life.
    pub const JITTER_DIVISOR: u64 = 10;

    /// A certificate obtained at `obtained` that is valid until `not_after`.
    pub const fn new(obtained: UnixMillis, not_after: UnixMillis) -> Self {
        Self {
            obtained,
            not_after,
        }
    }

    /// When to ask for the next certificate: at half-life, earlier by up to a tenth of it, so that
    /// workloads that started together do not renew together.
    ///
    /// Never before `obtained`; before `not_after` for every life that has not ended yet.
    pub fn renew_at(&self, jitter: Jitter) -> UnixMillis {
        let half = self.not_after.0.saturating_sub(self.obtained.0) / 2;
        let earlier = jitter.of_millis(half / Self::JITTER_DIVISOR);
        UnixMillis(self.obtained.0 + half - earlier)
    }
}

/// The delays between attempts that keep failing: doubling from 100 ms to a longest one, each
/// shortened by a random part of up to a half. It never gives up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Default for Backoff {
    /// Up to [`Backoff::LONGEST`].
    fn default() -> Self {
        Self::up_to(Self::LONGEST)
    }
}

impl Backoff {
    /// Delay after the first failure, before jitter.
    pub const FIRST: Duration = Duration::from_millis(100);
    /// Longest delay unless said otherwise.
    pub const LONGEST: Duration = Duration::from_secs(5);

    /// Delays of at most `longest`.
    pub const fn up_to(longest: Duration) -> Self {
        Self {
            failures: 0,
            longest,
        }
    }

    /// Failures counted since the last success.
    pub const fn failures(self) -> u32 {
        self.failures
    }

    /// Counts one more failure and tells how long to wait for it.
    pub fn next(&mut self, jitter: Jitter) -> Duration {
        let doubled = Self::FIRST
            .checked_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .map_or(self.longest, |delay| delay.min(self.longest));
        self.failures = self.failures.saturating_add(1);
        let whole = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(whole - jitter.of_millis(whole / 2))
    }

    /// Starts over after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn renews_in_the_last_tenth_before_half_life_and_never_after_expiry(
            obtained in 0_u64..=4_102_444_800_000,
            life in 1_u64..=10 * 365 * 86_400_000,
            bits: u32,
        ) {
            let lifetime = Lifetime::new(UnixMillis(obtained), UnixMillis(obtained + life));
            let at = lifetime.renew_at(Jitter::from_bits(bits)).as_millis();
            prop_assert!(at >= obtained);
            prop_assert!(at < obtained + life);
            prop_assert!(at <= obtained + life / 2);
            prop_assert!(at >= obtained + life / 2 - life / 20);
        }

        #[test]
        fn a_certificate_that_is_over_is_renewed_at_once(
            obtained: u32, past in 0_u64..1_000_000, bits: u32,
        ) {
            let obtained = u64::from(obtained) + past;
            let lifetime = Lifetime::new(UnixMillis(obtained), UnixMillis(obtained - past));
            prop_assert_eq!(lifetime.renew_at(Jitter::from_bits(bits)), UnixMillis(obtained));
        }

        #[test]
        fn backs_off_between_half_and_the_whole_of_the_doubled_delay(failures in 0_u32..100, bits: u32) {
            let mut backoff = Backoff { failures, ..Backoff::default() };
            let whole = 100_u64.saturating_mul(1 << failures.min(20)).min(5000);
            let delay = u64::try_from(backoff.next(Jitter::from_bits(bits)).as_millis()).unwrap();
            prop_assert!(delay <= whole);
            prop_assert!(delay >= whole / 2);
            prop_assert_eq!(backoff.failures(), failures + 1);
        }
    }

    #[test]
    fn two_draws_spread_renewals() {
        let lifetime = Lifetime::new(UnixMillis(0), UnixMillis(60_000));
        assert_eq!(lifetime.renew_at(Jitter::from_bits(0)), UnixMillis(30_000));
        assert_eq!(
            lifetime.renew_at(Jitter::from_bits(1 << 31)),
            UnixMillis(28_500)
        );
    }

    #[test]
    fn never_waits_longer_than_told() {
        let mut backoff = Backoff::up_to(Duration::from_millis(350));
        let delays = [(); 4].map(|()| backoff.next(Jitter::from_bits(0)).as_millis());
        assert_eq!(delays, [100, 200, 350, 350]);
    }

    #[test]
    fn starts_over_after_a_success() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.next(Jitter::from_bits(0));
        }
        assert_eq!(backoff.next(Jitter::from_bits(0)), Backoff::LONGEST);
        backoff.reset();
        assert_eq!(backoff.next(Jitter::from_bits(0)), Backoff::FIRST);
    }
}
