//! Why a plug-in configuration is refused.

use std::{error::Error, fmt};

use identity::{
    SpiffeIdError, bundle::BundleError, chain, deny_list::ListKeyError, policy_bundle::BadName,
};

use crate::{
    error::{CompileError, Problem},
    json::ShapeError,
};

/// One problem of a configuration; displays as `path: problem: its cause`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    /// Where, e.g. `policies[2].spec.rules[0].from[0].source.ipBlocks[1]`; empty for the document as a whole.
    pub path: String,
    /// What is wrong there.
    pub problem: ConfigProblem,
}

impl ConfigError {
    pub(super) fn new(path: impl Into<String>, problem: ConfigProblem) -> Self {
        Self {
            path: path.into(),
            problem,
        }
    }

    /// A problem of the resource at `place` of `policies`.
    pub(super) fn of_resource(place: usize, error: CompileError) -> Self {
        let problem = ConfigProblem::Policy {
            kind: error.kind,
            policy: error.policy,
            problem: error.problem,
        };
        Self::new(error.path, problem).within(&format!("policies[{place}]"))
    }

    /// The same, found inside of `outer`.
    pub(super) fn within(self, outer: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        Self {
            path: format!("{outer}{separator}{}", self.path),
            problem: self.problem,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&chain(&self.problem))
    }
}

// The causes are part of the message, so there is no source to print again.
impl Error for ConfigError {}

impl From<ShapeError> for ConfigError {
    fn from(error: ShapeError) -> Self {
        Self {
            path: error.path,
            problem: ConfigProblem::Shape {
                detail: error.problem,
            },
        }
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// Not JSON, or not of the schema.
    #[error("{detail}")]
    Shape {
        /// The parser's words.
        detail: String,
    },
    /// A schema version this build does not read.
    #[error("schema version {found} is not {expected}")]
    Version {
        /// The version found.
        found: u32,
        /// The version this build reads.
        expected: u32,
    },
    /// A resource does not compile.
    #[error("{kind} {policy}: {problem}")]
    Policy {
        /// The resource's kind.
        kind: &'static str,
        /// The resource as `namespace/name`.
        policy: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The trust bundle is refused.
    #[error("trust bundle is refused")]
    Trust(#[source] BundleError),
    /// A key of the deny list's signer is refused.
    #[error("key is refused")]
    ListKey(#[source] ListKeyError),
    /// Not the name of a policy bundle.
    #[error(transparent)]
    BundleName(BadName),
    /// Not a SPIFFE ID or trust domain.
    #[error("{value:?} is not a {expected}")]
    Identity {
        /// The value found.
        value: String,
        /// `SPIFFE ID` or `trust domain`.
        expected: &'static str,
        /// What is wrong with it.
        #[source]
        source: SpiffeIdError,
    },
    /// A SPIFFE ID or trust domain that is not in its canonical form, so it would never equal one of a certificate.
    #[error("{value:?} is written {canonical:?}")]
    NotCanonical {
        /// The value found.
        value: String,
        /// How it is written.
        canonical: String,
    },
    /// Above a named limit.
    #[error("has {found} {unit}, the limit is {limit}")]
    TooMany {
        /// The number found.
        found: usize,
        /// What was counted.
        unit: &'static str,
        /// The number allowed.
        limit: usize,
    },
    /// A number outside its range.
    #[error("{found} is not within {min} to {max}")]
    OutOfRange {
        /// The number found.
        found: u32,
        /// The least allowed.
        min: u32,
        /// The most allowed.
        max: u32,
    },
    /// A text or list that must have something in it.
    #[error("is empty: {expected}")]
    Empty {
        /// What is expected there.
        expected: &'static str,
    },
    /// A part that does not go with another: that belongs to the other direction or protocol, or that this one needs.
    #[error("{expected}")]
    Direction {
        /// What is expected there.
        expected: &'static str,
    },
}
