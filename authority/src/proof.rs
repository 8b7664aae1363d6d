//! Proofs: from what a request presents to who is calling.
//!
//! Each kind of proof is a module, and any of them can be switched on together. A token that is
//! presented decides alone: a bad one is never made up for by a certificate, nor by another module.

pub use self::jwt::{LEEWAY_SECONDS, MAX_TOKEN_BYTES, TokenFault};
pub use self::keys::{KeySetError, MAX_KEY_SET_BYTES, MAX_KEYS};
pub use self::settings::{
    ApiServerConfig, Audiences, ClusterConfig, ClusterName, CsrNames, ForeignCaConfig, HttpsUrl,
    Issuer, JoinTokens, KeysConfig, NodeAccount, OidcConfig, ProofsConfig, Renewal,
    TokenReviewConfig, ValueError,
};
pub use self::template::{ExpandError, Template, TemplateError};

mod jwt;
mod keys;
pub(crate) mod kubernetes;
mod settings;
mod strict_json;
mod template;
