//! Issuance policy as data: who may have which certificate, decided from facts alone.
//!
//! A file of rules ([`schema::PolicyFile`]) is compiled into a [`Policy`], whole or not at all, and
//! [`Policy::decide`] turns the [`Facts`] of one request into what is [`Allowed`], or a [`Denial`]
//! that names the rule. A deny rule that matches wins over every allow rule; of the allow rules the
//! first that matches decides; where none does, nothing is issued.
//!
//! Nothing here reads a file, a clock or a random source: all of these are arguments. What is never
//! left to rules (one identity a join token, registration entries of agents, reserved identities,
//! suspensions) is checked by [`IssuancePolicy`](crate::issue::IssuancePolicy) besides.

pub use self::builtin::{BUILTIN_FILE, BUILTIN_TEXT};
pub use self::cases::{Case, CaseFile, CaseReport, Expect, run_cases};
pub use self::compile::{MAX_FILE_BYTES, MAX_RULES};
pub use self::decide::{Allowed, Limits};
pub use self::denial::{Denial, VariableFault};
pub use self::diff::{Change, ChangeKind, Replay, compare};
pub use self::explain::{RuleTrace, Unmet};
pub use self::facts::Facts;
pub use self::lint::{Finding, LintCode, lint};
pub use self::problem::Problem;
pub use self::rule::{Effect, Policy, Profile, Rule};

mod at;
mod builtin;
mod cases;
mod compile;
mod condition;
mod decide;
mod denial;
mod diff;
pub(crate) mod dns;
mod explain;
mod facts;
mod glob;
mod lint;
mod problem;
mod rule;
pub mod schema;
mod source;
mod template;
mod window;

#[cfg(test)]
mod tests;
