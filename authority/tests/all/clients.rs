//! Clients that behave as Istio's do, towards any server of `CreateCertificate`: istio-agent and
//! ztunnel. What they do is written down from their sources (August 2026), none of it is theirs.
//!
//! They keep the rules that decide whether a mesh lives through an outage: which codes are tried
//! again and after what pause, what a chain must look like, when a certificate is renewed. Each
//! counts what happened to it.

#[path = "clients/istio_agent.rs"]
pub(crate) mod istio_agent;
#[path = "clients/keys.rs"]
pub(crate) mod keys;
#[path = "clients/wire.rs"]
pub(crate) mod wire;
#[path = "clients/ztunnel.rs"]
pub(crate) mod ztunnel;
