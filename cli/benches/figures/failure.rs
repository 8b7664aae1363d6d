//! Why there are no figures.

use std::error::Error;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A part could not be set up or broke.
    #[error("{part}")]
    Part {
        part: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What was measured did not do what it should, so its figures would mean nothing.
    #[error("{case}: {wanted} expected, {found} found")]
    Unexpected {
        case: String,
        wanted: &'static str,
        found: String,
    },
}

impl Failure {
    /// For `map_err`: what was being done when it failed.
    pub(crate) fn part<E>(part: &'static str) -> impl Fn(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| Self::Part {
            part,
            source: source.into(),
        }
    }

    /// The error and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        identity::chain(self)
    }
}
