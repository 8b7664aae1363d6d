//! Istio authorization policies compiled into an indexed set that decides and explains; pure, for native and wasm32.
//!
//! The way through: [`Resource`]s (as Istio writes them) → [`PolicySet::compile_resources`] for one
//! workload's [`Scope`] → [`PolicySet::decide`] on a [`Request`] → [`Decision`] with its reason.
//! [`config`] is the one schema of the filter's plug-in configuration.
//!
//! Invariants: a policy compiles whole or not at all, an unknown field is an error with its path, and a
//! peer whose identity is in doubt is denied before any rule is looked at. Nothing here reads a clock, a file or the environment.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod authentication;
mod authorization_policy;
mod claims;
mod compile;
pub mod config;
#[cfg(feature = "yaml")]
pub mod corpus;
mod decision;
mod engine;
mod error;
mod explain;
pub mod json;
pub mod lint;
mod matcher;
mod order;
pub mod path;
mod peer;
pub mod peer_authentication;
mod report;
mod request;
pub mod request_authentication;
mod resources;
mod rule;
mod scope;
#[cfg(feature = "yaml")]
pub mod yaml;

pub use authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationPolicySpec, Condition, ExtensionProvider, From,
    Metadata, Operation, Rule, Source, TargetReference, To, WorkloadSelector,
};
pub use claims::{Claims, DynamicMetadata, NoMetadata};
pub use compile::limits;
pub use decision::{AllowReason, Decision, DenyReason, DryRun, NotEvaluable, PolicyRule, Shadow};
pub use engine::{Needs, PolicySet};
pub use error::{CompileError, Problem};
pub use explain::{Explanation, FailedCondition, Outcome, REDACTED, RuleExplanation};
pub use peer::{Peer, PeerFault, Workload};
pub use peer_authentication::{MtlsMode, MtlsModes, PeerAuthentication};
pub use request::{Headers, NoHeaders, Request};
pub use request_authentication::RequestAuthentication;
pub use resources::{Resource, Resources};
pub use scope::{Protocol, Scope, Target, WorkloadKind, WorkloadScope};
