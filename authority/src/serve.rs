//! What the authority serves: gRPC over TLS for agents and workloads, gRPC over a Unix socket for
//! the operator.

pub(crate) mod access;
pub(crate) mod admin;
pub(crate) mod admin_listener;
pub(crate) mod admin_socket;
pub(crate) mod agents;
pub(crate) mod attendance;
pub(crate) mod certificates;
pub(crate) mod convert;
pub(crate) mod front;
pub(crate) mod issuance;
pub(crate) mod listener;
pub(crate) mod metadata;
pub(crate) mod overload;
pub(crate) mod own_certificate;
pub(crate) mod peer;
pub(crate) mod record;
pub(crate) mod reflection;
pub(crate) mod status;
pub(crate) mod strangers;
pub(crate) mod tls;
pub(crate) mod watch;
