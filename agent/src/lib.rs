//! Beside Envoy: keys and CSRs, SDS on a Unix socket, renewal, and the deny list relay.
