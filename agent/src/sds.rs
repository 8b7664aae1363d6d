//! Envoy's secret discovery service, state of the world, on the Unix socket.
//!
//! Names served: `default` (the certificate of the one identity the connecting process may have),
//! `ROOTCA` (the trust bundle as validation context) and SPIFFE IDs. Secrets are inline.

pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod subscription;
