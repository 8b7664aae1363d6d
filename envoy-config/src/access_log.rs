//! Access logs: JSON lines in a file.

use std::path::Path;

use serde::Serialize;

use crate::typed::{Extension, Typed, path_text};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileAccessLog {
    path: String,
    log_format: LogFormat,
}

#[derive(Clone, Debug, Serialize)]
struct LogFormat {
    json_format: Box<Line>,
}

/// One line for a request or a TCP connection. Names are the JSON keys; `null` where there is nothing to say.
#[derive(Clone, Debug, Serialize)]
struct Line {
    time: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    request: Option<RequestPart>,
    flags: &'static str,
    details: &'static str,
    #[serde(rename = "durationMs")]
    duration: &'static str,
    #[serde(rename = "bytesReceived")]
    bytes_received: &'static str,
    #[serde(rename = "bytesSent")]
    bytes_sent: &'static str,
    connection: &'static str,
    #[serde(flatten)]
    peer: Peer,
    cluster: &'static str,
    upstream: &'static str,
    #[serde(rename = "upstreamFailure")]
    upstream_failure: &'static str,
}

/// What only a request has. The path is without its query, which may hold secrets.
#[derive(Clone, Debug, Serialize)]
struct RequestPart {
    #[serde(rename = "requestId")]
    request_id: &'static str,
    method: &'static str,
    path: &'static str,
    authority: &'static str,
    protocol: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Peer {
    /// A server's line: the client's certificate.
    Downstream {
        peer: &'static str,
        #[serde(rename = "peerSerial")]
        serial: &'static str,
        #[serde(rename = "peerSha256")]
        sha256: &'static str,
        local: &'static str,
    },
    /// A client's line: the server's certificate.
    Upstream {
        peer: &'static str,
        local: &'static str,
    },
}

/// Which side writes the log, and so whose certificate is the peer's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Server,
    Client,
}

/// Lines for requests.
pub(crate) fn file(path: &Path, side: Side) -> Extension<FileAccessLog> {
    let request = RequestPart {
        request_id: "%REQ(X-REQUEST-ID)%",
        method: "%REQ(:METHOD)%",
        path: "%PATH(NQ)%",
        authority: "%REQ(:AUTHORITY)%",
        protocol: "%PROTOCOL%",
        status: "%RESPONSE_CODE%",
    };
    log(
        path,
        Line::new(Some(request), "%RESPONSE_CODE_DETAILS%", side),
    )
}

/// Lines for TCP connections.
pub(crate) fn connections(path: &Path, side: Side) -> Extension<FileAccessLog> {
    log(
        path,
        Line::new(None, "%CONNECTION_TERMINATION_DETAILS%", side),
    )
}

impl Line {
    const fn new(request: Option<RequestPart>, details: &'static str, side: Side) -> Self {
        Self {
            time: "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
            request,
            flags: "%RESPONSE_FLAGS%",
            details,
            duration: "%DURATION%",
            bytes_received: "%BYTES_RECEIVED%",
            bytes_sent: "%BYTES_SENT%",
            connection: "%CONNECTION_ID%",
            peer: Peer::of(side),
            cluster: "%UPSTREAM_CLUSTER%",
            upstream: "%UPSTREAM_HOST%",
            upstream_failure: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        }
    }
}

impl Peer {
    const fn of(side: Side) -> Self {
        match side {
            Side::Server => Self::Downstream {
                peer: "%DOWNSTREAM_PEER_URI_SAN%",
                serial: "%DOWNSTREAM_PEER_SERIAL%",
                sha256: "%DOWNSTREAM_PEER_FINGERPRINT_256%",
                local: "%DOWNSTREAM_LOCAL_URI_SAN%",
            },
            Side::Client => Self::Upstream {
                peer: "%UPSTREAM_PEER_URI_SAN%",
                local: "%UPSTREAM_LOCAL_URI_SAN%",
            },
        }
    }
}

fn log(path: &Path, line: Line) -> Extension<FileAccessLog> {
    Extension {
        name: "envoy.access_loggers.file",
        typed_config: Typed::new(
            "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            FileAccessLog {
                path: path_text(path),
                log_format: LogFormat {
                    json_format: Box::new(line),
                },
            },
        ),
    }
}
