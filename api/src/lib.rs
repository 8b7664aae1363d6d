//! gRPC services: Istio's certificate service and Countersign's agent and admin services.
//!
//! Everything here is generated from `proto/` at build time: messages, and for each service a
//! client (`<service>_client`) and a server (`<service>_server`). Wire types only: whoever receives
//! one parses it into a domain type before acting on it.

pub mod descriptors;

/// Istio's certificate service, `istio.v1.auth`.
#[allow(missing_docs, reason = "generated; the protos carry the documentation")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
pub mod istio {
    tonic::include_proto!("istio.v1.auth");

    /// Key of [`IstioCertificateRequest::metadata`]: the SPIFFE ID an agent asks for on behalf of a
    /// workload.
    pub const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

    /// Key of [`IstioCertificateRequest::metadata`]: name of a Kubernetes signer.
    pub const CERT_SIGNER: &str = "CertSigner";

    /// Scheme of the `authorization` header that carries a join token: `Join <token>`.
    pub const JOIN_SCHEME: &str = "Join";
}

/// What node agents read from the authority, `countersign.agent.v1`.
#[allow(missing_docs, reason = "generated; the protos carry the documentation")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
pub mod agent {
    tonic::include_proto!("countersign.agent.v1");
}

/// Administration of the authority over its Unix socket, `countersign.admin.v1`.
#[allow(missing_docs, reason = "generated; the protos carry the documentation")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
pub mod admin {
    tonic::include_proto!("countersign.admin.v1");
}

/// The issuance rules of the authority, over its Unix socket, `countersign.issuance.v1`.
#[allow(missing_docs, reason = "generated; the protos carry the documentation")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
pub mod issuance {
    tonic::include_proto!("countersign.issuance.v1");
}

/// The record, to be searched and proven, `countersign.record.v1`.
#[allow(missing_docs, reason = "generated; the protos carry the documentation")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
pub mod record {
    tonic::include_proto!("countersign.record.v1");
}
