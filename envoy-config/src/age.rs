//! How old a connection may become.

use std::time::Duration;

/// The most a TLS connection may age before it is drained, drain time included.
///
/// A certificate is checked when a connection is opened, so an open one keeps an old certificate in use.
/// With leaves renewed at half-life, a bound of a quarter of a leaf's life means that no pooled connection
/// outlives the certificate it was opened with. Requests under way are never cut: a stream that is still
/// open when the bound is reached keeps its connection until it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionAge {
    limit: Duration,
}

impl ConnectionAge {
    /// The shortest bound accepted; below it connections would be set up more often than used.
    pub const MIN: Duration = Duration::from_secs(2);
    /// How far the age of a connection to a server is spread, in percent, where Envoy can (1.39).
    pub(crate) const JITTER_PERCENT: u32 = 20;

    /// A quarter of the life of the certificates in use.
    #[must_use]
    pub fn quarter_of_leaf_life(life: Duration) -> Self {
        Self { limit: life / 4 }
    }

    /// A bound chosen by hand.
    #[must_use]
    pub const fn at_most(limit: Duration) -> Self {
        Self { limit }
    }

    /// The bound.
    #[must_use]
    pub const fn limit(self) -> Duration {
        self.limit
    }

    /// Time between the two GOAWAY frames of a drain: streams that cross with the first are still served.
    pub(crate) fn drain(self) -> Duration {
        (self.limit / 5).min(Duration::from_secs(5))
    }

    /// `max_connection_duration` for the server side: with the longest jitter and the drain, the limit.
    pub(crate) fn server(self, jittered: bool) -> Duration {
        let before_drain = self.limit.saturating_sub(self.drain());
        if jittered {
            before_drain * 100 / (100 + Self::JITTER_PERCENT)
        } else {
            before_drain
        }
    }

    /// How long a TCP connection may live, which Envoy jitters: with the longest jitter, the limit. It has no
    /// drain.
    pub(crate) fn connection(self) -> Duration {
        self.limit * 100 / (100 + Self::JITTER_PERCENT)
    }

    /// `max_connection_duration` for the client side, which Envoy cannot jitter. Shorter than the server's, so
    /// that the side that knows of its next request is the one that retires the connection.
    pub(crate) fn client(self) -> Duration {
        self.limit * 3 / 5
    }
}

impl Default for ConnectionAge {
    /// A quarter of an hour, for leaves of an hour or more.
    fn default() -> Self {
        Self::at_most(Duration::from_secs(15 * 60))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ConnectionAge;

    #[test]
    fn longest_server_age_is_within_the_limit() {
        for seconds in [8, 60, 3600, 86_400] {
            let age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(seconds));
            let longest =
                age.server(true) * (100 + ConnectionAge::JITTER_PERCENT) / 100 + age.drain();
            assert!(
                longest <= age.limit(),
                "{longest:?} for a leaf of {seconds} s"
            );
            assert!(age.server(false) + age.drain() <= age.limit());
            let longest = age.connection() * (100 + ConnectionAge::JITTER_PERCENT) / 100;
            assert!(longest <= age.limit());
        }
    }

    #[test]
    fn client_retires_connections_first() {
        for seconds in [8, 60, 3600, 86_400] {
            let age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(seconds));
            assert!(age.client() < age.server(true), "leaf of {seconds} s");
        }
    }
}
