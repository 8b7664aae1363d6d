//! One line of JSON for a decision.

use serde::Serialize;

use crate::host::{Header, Host, LogLevel};

/// What every line starts with.
pub const PREFIX: &str = "countersign-decision ";
/// Longest text taken from a request for the log, bytes.
const MAX_TEXT: usize = 1024;

/// What the log says about a request: method, path without its query, request number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestFacts {
    /// `:method`.
    pub method: String,
    /// `:path` up to its query, which may hold secrets.
    pub path: String,
    /// `x-request-id`.
    pub request_id: Option<String>,
}

impl RequestFacts {
    /// Takes them from the request's headers.
    #[must_use]
    pub fn of(headers: &[Header]) -> Self {
        let first = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted.as_bytes());
            found.map(|(_, value)| value.as_slice())
        };
        let path = first(":path").unwrap_or_default();
        let path = path
            .split(|&byte| byte == b'?' || byte == b'#')
            .next()
            .unwrap_or_default();
        Self {
            method: shorten(first(":method").unwrap_or_default()),
            path: shorten(path),
            request_id: first("x-request-id").map(shorten),
        }
    }
}

fn shorten(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)).into_owned()
}

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    /// Seconds since the epoch; `null` where the proxy did not say.
    pub time: Option<f64>,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The reason's stable name.
    pub reason: &'a str,
    /// The reason in a sentence.
    pub detail: &'a str,
    /// Rule that decided, as Istio names it.
    pub policy: Option<&'a str>,
    /// SPIFFE ID of the other end.
    pub peer: Option<String>,
    /// Its certificate.
    pub peer_sha256: Option<String>,
    /// SPIFFE ID of this end.
    pub local: Option<String>,
    /// Number of the downstream connection.
    pub connection: Option<u64>,
    /// `x-request-id`.
    pub request_id: Option<&'a str>,
    /// `:method`.
    pub method: &'a str,
    /// `:path` without its query.
    pub path: &'a str,
    /// Sequence of the deny list in hand.
    pub list_sequence: Option<u64>,
}

impl Line<'_> {
    /// Writes it: denials as warnings.
    pub fn write<H: Host>(&self, host: &H) {
        let level = if self.verdict == "deny" {
            LogLevel::Warn
        } else {
            LogLevel::Info
        };
        // Texts and numbers always serialize; a time that is no number does not occur.
        if let Ok(json) = serde_json::to_string(self) {
            host.log(level, &format!("{PREFIX}{json}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &[u8]) -> Header {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn leaves_the_query_out_and_bounds_what_it_takes() {
        let long = vec![b'a'; 5000];
        let facts = RequestFacts::of(&[
            header(":method", &long),
            header(":path", b"/a?token=secret#x"),
            header("x-request-id", b"id-1"),
            header("x-request-id", b"id-2"),
        ]);
        assert_eq!(facts.path, "/a");
        assert_eq!(facts.method.len(), MAX_TEXT);
        assert_eq!(facts.request_id.as_deref(), Some("id-1"));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let facts = RequestFacts::of(&[header(":path", b"/\xff\"\n")]);
        assert_eq!(facts.path, "/\u{fffd}\"\n");
    }
}
