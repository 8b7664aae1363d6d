//! Istio authorization policies compiled into an indexed set that decides and explains; pure, for native and wasm32.
//!
//! The way through: [`AuthorizationPolicy`] (as Istio writes it) → [`PolicySet::compile`] for one
//! workload's [`Scope`] → [`PolicySet::decide`] on a [`Request`] → [`Decision`] with its reason.
//! [`config`] is the one schema of the filter's plug-in configuration.
//!
//! Invariants: a policy compiles whole or not at all, an unknown field is an error with its path, a part
//! of Istio's schema that is not evaluated yet is refused by name, and a peer whose identity is in doubt
//! is denied before any rule is looked at. Nothing here reads a clock, a file or the environment.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod authorization_policy;
mod compile;
pub mod config;
#[cfg(feature = "yaml")]
pub mod corpus;
mod decision;
mod engine;
mod error;
mod explain;
pub mod json;
mod matcher;
pub mod path;
mod peer;
mod request;
mod rule;
mod scope;
#[cfg(feature = "yaml")]
pub mod yaml;

pub use authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationPolicySpec, Condition, From, Metadata, Operation,
    Rule, Source, To, WorkloadSelector,
};
pub use compile::limits;
pub use decision::{AllowReason, Decision, DenyReason, NotEvaluable, PolicyRule};
pub use engine::{Needs, PolicySet};
pub use error::{CompileError, Problem};
pub use explain::{Explanation, FailedCondition, Outcome, RuleExplanation};
pub use peer::{Peer, PeerFault};
pub use request::{Headers, NoHeaders, Request};
pub use scope::{Scope, WorkloadScope};
