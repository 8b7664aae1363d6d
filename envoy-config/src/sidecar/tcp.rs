//! TCP: Envoys that proxy bytes, not requests, in front of a server or in front of an application.
//!
//! What differs from HTTP is when the proxy connects to the other side. A protocol in which the server
//! speaks first (SMTP, MySQL, SSH) has bytes on their way before the client is known, unless the proxy waits.
//! So the listener with our filter leaves a mark for it ([`TCP_HOLD_KEY`]): the connection is held until its
//! handshake has ended and the filter has decided, and only then is the application connected to. The
//! handshake goes on meanwhile because the proxy is told to take early data (`max_early_data_bytes`). That
//! setting, and the mark for the end of the handshake ([`TLS_HANDSHAKE_KEY`]), exist since Envoy 1.37; before
//! it the filter would not even see the client's whole certificate, so it is refused there.

mod client;
mod filters;
mod server;

pub use client::{TcpClient, TcpUpstream};
pub(crate) use filters::NetworkFilter;
pub use filters::{TCP_HOLD_KEY, TLS_HANDSHAKE_KEY};
pub use server::TcpServer;

/// Which side of a protocol sends the first bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SpeaksFirst {
    /// The client, as in HTTP, PostgreSQL or Redis. The application is connected to when there are bytes
    /// for it.
    #[default]
    Client,
    /// The server, as in SMTP, MySQL or SSH. The application is connected to as soon as the client is known.
    Server,
}

/// Bytes that Envoy may hold of a connection in each direction before it stops reading. Bytes held for a
/// decision are within this bound.
const BUFFER_LIMIT_BYTES: u32 = 128 * 1024;

/// Bytes of the client that Envoy takes before it is connected to the application.
const MAX_EARLY_DATA_BYTES: u32 = 16 * 1024;
