//! Named limits, so that compiling and deciding are bounded work.

/// Policies in one set: what fits a plug-in configuration many times over.
pub const MAX_POLICIES: usize = 10_000;
/// Rules in a policy (Istio's own limit).
pub const MAX_RULES: usize = 512;
/// Sources in a rule's `from` (Istio's own limit).
pub const MAX_SOURCES: usize = 512;
/// Operations in a rule's `to`; Istio has none, this is its limit for `from`.
pub const MAX_OPERATIONS: usize = 512;
/// Conditions in a rule's `when`; Istio has none, this is its limit for `from`.
pub const MAX_CONDITIONS: usize = 512;
/// Values in one list.
pub const MAX_VALUES: usize = 4_096;
/// Bytes of one value: a SPIFFE ID may have 2,048 (SPIFFE-ID §2.3), a path and a header value more.
pub const MAX_VALUE_BYTES: usize = 8_192;
/// Values of `serviceAccounts` (Istio's own limit).
pub const MAX_SERVICE_ACCOUNTS: usize = 16;
/// Bytes of one service account with its namespace (Istio's own limit).
pub const MAX_SERVICE_ACCOUNT_BYTES: usize = 320;
/// Steps of a claim's path, `request.auth.claims[a][b]…`.
pub const MAX_CLAIM_STEPS: usize = 16;
/// Elements of `targetRefs` (Istio's own limit).
pub const MAX_TARGET_REFS: usize = 16;
/// Bytes of a policy's name (a Kubernetes object name).
pub const MAX_NAME_BYTES: usize = 253;
/// Bytes of a policy's namespace (a DNS label).
pub const MAX_NAMESPACE_BYTES: usize = 63;
