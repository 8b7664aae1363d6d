//! The rules of an authority that was given none.

use crate::issuance::rule::Policy;

/// The built-in rules, as a file of rules would say them.
pub const BUILTIN_TEXT: &str = include_str!("builtin.yaml");
/// The name they have where a file's name is shown.
pub const BUILTIN_FILE: &str = "builtin";

impl Policy {
    /// The built-in rules: what the operator asks for, what a join token was made for, renewals, the
    /// registration entries of agents, and the identity that any other proof gives.
    #[must_use]
    pub fn builtin() -> Self {
        // Without rules nothing is issued; that they compile is tested.
        Self::compile_builtin().unwrap_or_default()
    }
}
