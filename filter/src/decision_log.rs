//! One line of JSON for a decision.
//!
//! A line has no value of a header but those that the configuration names, no query, and at most
//! [`MAX_LINE`] bytes, whatever the request looks like.

use std::collections::BTreeMap;

use policy::PolicyRule;
use serde::Serialize;

use crate::headers::HeaderBlock;
use crate::host::{Host, LogLevel};
use crate::root::Root;
use crate::settings::Plugin;
use crate::shadow::{self, Watched};

/// What every line starts with.
pub const PREFIX: &str = "countersign-decision ";
/// Longest line, bytes of JSON. In a longer one texts are cut, and what can be left out is.
pub const MAX_LINE: usize = 8 * 1024;
/// Longest text taken from a request for the log, bytes.
const MAX_TEXT: usize = 1024;
/// Longest text in a line that would be too long otherwise, bytes: a byte is at most six of JSON.
const MAX_SHORT_TEXT: usize = 64;
/// Most values of one header.
const MAX_VALUES: usize = 8;

/// What the log says about a request: method, path without its query, request number, headers by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestFacts {
    /// `:method`.
    pub method: String,
    /// `:path` up to its query, which may hold secrets.
    pub path: String,
    /// `x-request-id`.
    pub request_id: Option<String>,
    /// The values of those headers that the configuration names and the request has.
    pub headers: BTreeMap<String, Vec<String>>,
}

impl RequestFacts {
    /// Takes them from the request's headers, besides those with a name in `named` (lower case).
    #[must_use]
    pub fn of(block: &HeaderBlock, named: &[String]) -> Self {
        let path = block.path().unwrap_or_default();
        let path = path
            .split(|&byte| byte == b'?' || byte == b'#')
            .next()
            .unwrap_or_default();
        let mut headers = BTreeMap::new();
        for name in named {
            let values = block.values(name).take(MAX_VALUES).map(shorten);
            let values: Vec<_> = values.collect();
            if !values.is_empty() {
                headers.insert(name.clone(), values);
            }
        }
        Self {
            method: shorten(block.method().unwrap_or_default()),
            path: shorten(path),
            request_id: block.values("x-request-id").next().map(shorten),
            headers,
        }
    }

    /// True where nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn shorten(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes)).into_owned()
}

/// Counts a decision. True where a line is to be written of it: of a denial, of what policies on dry-run would
/// have decided otherwise, and of others as the configuration says.
pub fn count<H: Host>(
    root: &Root<H>,
    plugin: Option<&Plugin>,
    (allowed, reason): (bool, &'static str),
    watched: Option<&Watched>,
) -> bool {
    root.metrics().count_decision(allowed, reason);
    let changes = watched.is_some_and(|watched| watched.count(root.metrics(), allowed));
    match plugin {
        _ if !allowed || changes => true,
        Some(plugin) => root.logs_allowed(plugin.decision_log.allowed),
        None => false,
    }
}

/// A reason with what the proxy answered, where it did not answer well.
#[must_use]
pub fn with_note(text: String, note: Option<&str>) -> String {
    match note {
        Some(note) => format!("{text}: {note}"),
        None => text,
    }
}

/// A line of the log.
#[derive(Clone, Debug)]
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
    /// Where no ALLOW rule matches: the first condition of the first few that fails.
    pub failed: Option<&'a str>,
    /// SPIFFE ID of the other end.
    pub peer: Option<String>,
    /// Its certificate.
    pub peer_sha256: Option<String>,
    /// SPIFFE ID of the proxy that forwarded the peer's certificate.
    pub via: Option<String>,
    /// SPIFFE ID of this end.
    pub local: Option<String>,
    /// Number of the downstream connection.
    pub connection: Option<u64>,
    /// The request.
    pub facts: &'a RequestFacts,
    /// Whether the request was open, allowed before.
    pub open: bool,
    /// Sequence of the deny list in hand.
    pub list_sequence: Option<u64>,
    /// What policies say that change no verdict.
    pub shadow: Option<&'a Watched>,
    /// Whether it is allowed.
    pub allowed: bool,
}

/// A line as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    time: Option<f64>,
    direction: &'static str,
    verdict: &'static str,
    reason: &'a str,
    detail: &'a str,
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a str>,
    peer: Option<&'a str>,
    peer_sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a str>,
    local: Option<&'a str>,
    connection: Option<u64>,
    request_id: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<&'a BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "is_false")]
    open: bool,
    list_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<WrittenShadow<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenShadow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<WrittenDryRun<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDryRun<'a> {
    deny: Option<&'a str>,
    allow: Option<&'a str>,
    verdict: &'static str,
    reason: &'static str,
    would_change: bool,
}

impl Line<'_> {
    /// Writes it: denials as warnings.
    pub fn write<H: Host>(&self, host: &H) {
        let level = if self.allowed {
            LogLevel::Info
        } else {
            LogLevel::Warn
        };
        if let Some(json) = self.json() {
            host.log(level, &format!("{PREFIX}{json}"));
        }
    }

    /// The JSON, at most [`MAX_LINE`] bytes.
    fn json(&self) -> Option<String> {
        // Texts and numbers always serialize; a time that is no number does not occur.
        let whole = serde_json::to_string(&self.written(MAX_TEXT)).ok()?;
        if whole.len() <= MAX_LINE {
            return Some(whole);
        }
        serde_json::to_string(&self.written(MAX_SHORT_TEXT)).ok()
    }

    fn written(&self, max: usize) -> Written<'_> {
        let text = |text| cut(text, max);
        let all = max == MAX_TEXT;
        // A SPIFFE ID has no byte that JSON would write longer; policies' names have a limit, too.
        Written {
            time: self.time,
            direction: self.direction,
            verdict: self.verdict,
            reason: self.reason,
            detail: text(self.detail),
            policy: self.policy.map(text),
            failed: self.failed.filter(|_| all),
            peer: self.peer.as_deref(),
            peer_sha256: self.peer_sha256.as_deref(),
            via: self.via.as_deref().map(text),
            local: self.local.as_deref().map(text),
            connection: self.connection,
            request_id: self.facts.request_id.as_deref().map(text),
            method: text(&self.facts.method),
            path: text(&self.facts.path),
            headers: Some(&self.facts.headers).filter(|headers| all && !headers.is_empty()),
            open: self.open,
            list_sequence: self.list_sequence,
            shadow: self
                .shadow
                .filter(|_| all)
                .and_then(|shadow| WrittenShadow::of(shadow, self.allowed)),
            cut: !all,
        }
    }
}

impl<'a> WrittenShadow<'a> {
    fn of(watched: &'a Watched, allowed: bool) -> Option<Self> {
        let shadow = match watched {
            Watched::Said(shadow) => shadow,
            Watched::Unreadable { attribute } => {
                return Some(Self {
                    unreadable: Some(attribute),
                    audit: None,
                    dry_run: None,
                });
            }
        };
        let audit = shadow.audit.as_ref().map(PolicyRule::id);
        let dry_run = shadow.dry_run.as_ref().map(|dry_run| WrittenDryRun {
            deny: dry_run.deny.as_ref().map(PolicyRule::id),
            allow: dry_run.allow.as_ref().map(PolicyRule::id),
            verdict: if dry_run.combined.is_allowed() {
                "allow"
            } else {
                "deny"
            },
            reason: dry_run.combined.code(),
            would_change: shadow::would_change(dry_run, allowed),
        });
        (audit.is_some() || dry_run.is_some()).then_some(Self {
            unreadable: None,
            audit,
            dry_run,
        })
    }
}

fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max).rev().find(|&at| text.is_char_boundary(at));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::encode;

    fn block(pairs: &[(&[u8], &[u8])]) -> HeaderBlock {
        HeaderBlock::parse(encode(pairs)).expect("a map")
    }

    fn line(facts: &RequestFacts) -> Line<'_> {
        Line {
            time: Some(1.5),
            direction: "inbound",
            verdict: "deny",
            reason: "no_allow_matched",
            detail: "no ALLOW rule matches",
            policy: None,
            failed: Some("default/p: spec.rules[0].from[0].source.principals"),
            peer: Some(format!("spiffe://{}/{}", "d".repeat(255), "p".repeat(1700))),
            peer_sha256: None,
            via: None,
            local: None,
            connection: None,
            facts,
            open: false,
            list_sequence: None,
            shadow: None,
            allowed: false,
        }
    }

    #[test]
    fn leaves_the_query_out_and_bounds_what_it_takes() {
        let long = vec![b'a'; 5000];
        let block = block(&[
            (b":method", &long),
            (b":path", b"/a?token=secret#x"),
            (b"x-request-id", b"id-1"),
            (b"x-request-id", b"id-2"),
            (b"authorization", b"secret"),
        ]);
        let facts = RequestFacts::of(&block, &[]);
        assert_eq!(facts.path, "/a");
        assert_eq!(facts.method.len(), MAX_TEXT);
        assert_eq!(facts.request_id.as_deref(), Some("id-1"));
        assert!(!line(&facts).json().unwrap().contains("secret"));
    }

    #[test]
    fn takes_the_headers_that_are_named_and_no_other() {
        let block = block(&[(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]);
        let facts = RequestFacts::of(&block, &["x-a".to_owned(), "x-c".to_owned()]);
        let values = vec!["1".to_owned(), "3".to_owned()];
        assert_eq!(facts.headers, BTreeMap::from([("x-a".to_owned(), values)]));
        let json: serde_json::Value = serde_json::from_str(&line(&facts).json().unwrap()).unwrap();
        assert_eq!(json["headers"], serde_json::json!({"x-a": ["1", "3"]}));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let facts = RequestFacts::of(&block(&[(b":path", b"/\xff\"\n")]), &[]);
        assert_eq!(facts.path, "/\u{fffd}\"\n");
    }

    #[test]
    fn a_line_is_bounded_whatever_the_request_is() {
        let bad = [0x1_u8; 4000];
        let many: Vec<(&[u8], &[u8])> = (0..100).map(|_| (&b"x-a"[..], &bad[..])).collect();
        let mut pairs = vec![
            (&b":path"[..], &bad[..]),
            (b":method", &bad),
            (b"x-request-id", &bad),
        ];
        pairs.extend(many);
        let facts = RequestFacts::of(&block(&pairs), &["x-a".to_owned()]);
        let json = line(&facts).json().unwrap();
        assert!(json.len() <= MAX_LINE, "{}", json.len());
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["cut"], true);
        assert_eq!(json["reason"], "no_allow_matched");
    }
}
