//! Which Envoy a bootstrap is for, and what it can do.

use std::fmt;
use std::str::FromStr;

/// An Envoy release line: major and minor number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EnvoyVersion {
    major: u16,
    minor: u16,
}

impl EnvoyVersion {
    /// The oldest release line the project is tested on.
    pub const OLDEST: Self = Self::new(1, 36);
    /// The release line bootstraps are written for unless told otherwise.
    pub const CURRENT: Self = Self::new(1, 40);

    /// The release line `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Whether `max_connection_duration` and `drain_timeout` can be jittered (since 1.39).
    #[must_use]
    pub fn has_connection_jitter(self) -> bool {
        self >= Self::new(1, 39)
    }

    /// Whether a TCP proxy can put off its connection to the other side, and take bytes meanwhile; and whether
    /// filter state can be written when a TLS handshake has ended (since 1.37).
    #[must_use]
    pub fn has_upstream_connect_mode(self) -> bool {
        self >= Self::new(1, 37)
    }

    /// Whether filters can read `connection.peer_certificate` (since 1.39).
    #[must_use]
    pub fn has_peer_certificate_attribute(self) -> bool {
        self >= Self::new(1, 39)
    }
}

impl Default for EnvoyVersion {
    fn default() -> Self {
        Self::CURRENT
    }
}

impl fmt::Display for EnvoyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Text that is no Envoy version.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not an Envoy version such as 1.40 or 1.40.0")]
pub struct VersionError {
    /// What was read.
    pub text: String,
}

impl FromStr for EnvoyVersion {
    type Err = VersionError;

    /// Reads `1.40` or `1.40.0` (the patch number, and a suffix of it such as `-dev`, are not kept).
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let refused = || VersionError {
            text: text.to_owned(),
        };
        let mut parts = text.splitn(3, '.');
        let mut number = || {
            parts
                .next()
                .and_then(|part| part.parse().ok())
                .ok_or_else(refused)
        };
        Ok(Self::new(number()?, number()?))
    }
}

#[cfg(test)]
mod tests {
    use super::{EnvoyVersion, VersionError};

    #[test]
    fn reads_versions_with_and_without_patch() {
        assert_eq!("1.40.0".parse(), Ok(EnvoyVersion::CURRENT));
        assert_eq!("1.36".parse(), Ok(EnvoyVersion::OLDEST));
        assert_eq!("1.41.0-dev".parse(), Ok(EnvoyVersion::new(1, 41)));
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", "1", "one.two", "1.x", "v1.40"] {
            let refused = VersionError {
                text: text.to_owned(),
            };
            assert_eq!(text.parse::<EnvoyVersion>(), Err(refused));
        }
    }

    #[test]
    fn features_begin_with_1_39() {
        assert!(!EnvoyVersion::new(1, 38).has_connection_jitter());
        assert!(EnvoyVersion::new(1, 39).has_connection_jitter());
        assert!(!EnvoyVersion::new(1, 38).has_peer_certificate_attribute());
        assert!(EnvoyVersion::new(1, 39).has_peer_certificate_attribute());
    }

    #[test]
    fn connections_can_be_put_off_since_1_37() {
        assert!(!EnvoyVersion::new(1, 36).has_upstream_connect_mode());
        assert!(EnvoyVersion::new(1, 37).has_upstream_connect_mode());
    }
}
