//! Faults: a hostcall that answers something else than it should.

use super::status::Status;

/// What a faulty hostcall does.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Answers this status and does nothing.
    Status(Status),
    /// Does its work, and hands over these bytes in place of its own.
    Bytes(Vec<u8>),
    /// Answers `Ok`, does nothing and leaves the out-parameters as they were.
    Silence,
}

/// One fault to inject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    hostcall: String,
    about: Option<String>,
    only: Option<u32>,
    effect: Effect,
    seen: u32,
    hits: u32,
}

impl Fault {
    /// Every call of `hostcall` (`proxy_get_property`) has this effect.
    #[must_use]
    pub fn every(hostcall: &str, effect: Effect) -> Self {
        Self {
            hostcall: hostcall.to_owned(),
            about: None,
            only: None,
            effect,
            seen: 0,
            hits: 0,
        }
    }

    /// Every call of `hostcall` answers this status.
    #[must_use]
    pub fn status(hostcall: &str, status: Status) -> Self {
        Self::every(hostcall, Effect::Status(status))
    }

    /// Only calls about this: a property's path with dots (`connection.mtls`), a shared-data key,
    /// a foreign function's name, a cluster, a header map's number.
    #[must_use]
    pub fn about(mut self, about: &str) -> Self {
        self.about = Some(about.to_owned());
        self
    }

    /// Only the `n`-th call that matches otherwise, counted from 1.
    #[must_use]
    pub fn only(mut self, n: u32) -> Self {
        self.only = Some(n);
        self
    }

    /// How often it had its effect.
    #[must_use]
    pub fn hits(&self) -> u32 {
        self.hits
    }

    pub(super) fn strike(&mut self, hostcall: &str, about: &str) -> Option<Effect> {
        if self.hostcall != hostcall || self.about.as_deref().is_some_and(|want| want != about) {
            return None;
        }
        self.seen = self.seen.saturating_add(1);
        if self.only.is_some_and(|only| only != self.seen) {
            return None;
        }
        self.hits = self.hits.saturating_add(1);
        Some(self.effect.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_only_the_call_it_names() {
        let failed = Some(Effect::Status(Status::Empty));
        let mut fault = Fault::status("proxy_get_property", Status::Empty)
            .about("a.b")
            .only(2);
        assert_eq!(fault.strike("proxy_get_property", "a.c"), None);
        assert_eq!(fault.strike("proxy_set_property", "a.b"), None);
        assert_eq!(fault.strike("proxy_get_property", "a.b"), None);
        assert_eq!(fault.strike("proxy_get_property", "a.b"), failed);
        assert_eq!(fault.strike("proxy_get_property", "a.b"), None);
        assert_eq!(fault.hits(), 1);
    }
}
