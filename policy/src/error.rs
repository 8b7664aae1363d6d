//! Why a policy does not compile.

use std::net::AddrParseError;

/// One problem of one resource. Compiling reports all problems of all resources.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} {policy}: {path}: {problem}")]
pub struct CompileError {
    /// The resource's kind, e.g. `AuthorizationPolicy`.
    pub kind: &'static str,
    /// The resource as `namespace/name`, as far as it has them, else `#3` (its place in the list, from 0).
    pub policy: String,
    /// The resource's place in the list of its kind given to the compiler, from 0.
    pub index: usize,
    /// Where in the resource, e.g. `spec.rules[0].from[1].source.ipBlocks[2]`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A part of Istio's schema that the engine does not evaluate yet.
    #[error("{what} is not supported yet")]
    NotSupportedYet {
        /// The part, by its name in Istio's documentation.
        what: String,
    },
    /// A field that must be there is not.
    #[error("is missing: {expected}")]
    Missing {
        /// What is expected there.
        expected: &'static str,
    },
    /// A list without elements, which Istio would take as "no condition".
    #[error("is empty: leave the field out or give it a value")]
    Empty,
    /// A policy that can never match.
    #[error("{action} without rules never matches; an empty rule `{{}}` matches every request")]
    Meaningless {
        /// The policy's action.
        action: &'static str,
    },
    /// More elements or bytes than the named limit.
    #[error("has {found} {unit}, the limit is {limit}")]
    TooMany {
        /// The number found.
        found: usize,
        /// What was counted.
        unit: &'static str,
        /// The number allowed.
        limit: usize,
    },
    /// A value outside the field's grammar.
    #[error("{value:?} is not {expected}")]
    Invalid {
        /// The value found.
        value: String,
        /// What is expected there.
        expected: &'static str,
    },
    /// A value that is not an address.
    #[error("{value:?} is not an IP address or CIDR range")]
    BadAddress {
        /// The value found.
        value: String,
        /// Why the address part does not parse; `None` if the prefix length is at fault.
        #[source]
        source: Option<AddrParseError>,
    },
    /// A condition key Istio does not know, or no longer knows.
    #[error("{key:?} is not a known attribute")]
    UnknownKey {
        /// The key found.
        key: String,
    },
    /// Two fields that exclude each other.
    #[error("cannot be combined with {other}")]
    Conflict {
        /// The other field.
        other: &'static str,
    },
    /// Two policies of the same namespace and name.
    #[error("occurs twice in the list")]
    Duplicate,
}
