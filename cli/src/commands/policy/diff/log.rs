//! Decision logs of the filter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use identity::SpiffeId;
use policy::{Needs, Peer, Request};
use serde::Deserialize;
use wasm_tests::runner::Problem;

use super::super::sources::{self, is_stdin};
use super::Label;
use crate::failure::Failure;

/// What a decision begins with in Envoy's log.
const PREFIX: &str = "countersign-decision ";
/// Longest line, in bytes; the filter writes at most 8 KiB, and Envoy puts its own words before them.
const MAX_LINE: u64 = 1 << 20;
/// Most problems that are told of.
const MAX_PROBLEMS: usize = 20;

/// One decision, as far as it can be replayed. What later filters may add is passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Logged {
    direction: String,
    verdict: String,
    reason: String,
    peer: Option<String>,
    method: String,
    path: String,
    headers: BTreeMap<String, Vec<String>>,
    /// The same request again, because policies or the deny list had changed.
    open: bool,
    /// Texts that were too long are not whole.
    cut: bool,
    #[serde(skip)]
    id: Option<SpiffeId>,
    #[serde(skip)]
    pairs: Vec<(String, String)>,
}

/// Reads a log, line by line, and gives each decision in it to `to`.
///
/// # Errors
/// It cannot be read, has a line that is too long, a decision that is no JSON of a decision, or none at all.
pub(super) fn each(file: &Path, to: impl FnMut(Logged)) -> Result<(), Failure> {
    if is_stdin(file) {
        return read("stdin", io::stdin().lock(), to);
    }
    let opened = File::open(file).map_err(|error| Failure::file("read", file, error))?;
    read(&file.display().to_string(), BufReader::new(opened), to)
}

fn read(name: &str, mut from: impl BufRead, mut to: impl FnMut(Logged)) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let (mut number, mut decisions) = (0_u64, 0_u64);
    let problem = |line, problem: String| Problem {
        line: Some(line),
        ..Problem::of_file(name, problem)
    };
    loop {
        number += 1;
        let mut bytes = Vec::new();
        let length = from
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| Failure::file("read", name, error))?;
        if length == 0 {
            break;
        }
        if bytes.last() != Some(&b'\n') && u64::try_from(length).is_ok_and(|n| n == MAX_LINE) {
            let long = problem(number, format!("is longer than {MAX_LINE} bytes"));
            return Err(sources::failed(&[long]));
        }
        // Envoy's own lines may hold anything.
        let line = String::from_utf8_lossy(&bytes);
        match decision(line.trim()) {
            None => {}
            Some(Ok(logged)) => {
                decisions += 1;
                to(logged);
            }
            Some(Err(error)) if problems.len() < MAX_PROBLEMS => {
                problems.push(problem(number, error));
            }
            Some(Err(_)) => break,
        }
    }
    if decisions == 0 && problems.is_empty() {
        problems.push(Problem::of_file(name, "holds no decision of the filter"));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(sources::failed(&problems))
    }
}

/// The decision of a line; none in a line of something else.
fn decision(line: &str) -> Option<Result<Logged, String>> {
    let json = match line.split_once(PREFIX) {
        Some((_, json)) => json,
        None if line.starts_with('{') => line,
        None => return None,
    };
    // Envoy may put words of its own behind a Wasm log line.
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<Logged>();
    let logged = values.next().unwrap_or_else(|| serde_json::from_str(""));
    Some(
        logged
            .map_err(|error| error.to_string())
            .and_then(Logged::checked),
    )
}

impl Logged {
    fn checked(mut self) -> Result<Self, String> {
        if !matches!(self.verdict.as_str(), "allow" | "deny") {
            return Err(format!("verdict {:?} is not allow or deny", self.verdict));
        }
        if let Some(peer) = &self.peer {
            let id = SpiffeId::new(peer)
                .map_err(|error| format!("peer {peer:?} is not a SPIFFE ID: {error}"))?;
            self.id = Some(id);
        }
        let pairs = std::mem::take(&mut self.headers);
        self.pairs = pairs
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
            .collect();
        Ok(self)
    }

    /// Whether policies decided it: a refused certificate is refused whatever they say, and outbound requests are
    /// about the server's identity.
    pub(super) fn is_about_policies(&self) -> bool {
        const REASONS: [&str; 6] = [
            "matched_allow",
            "matched_deny",
            "no_allow_matched",
            "no_policy",
            "mtls_required",
            "path_not_normalized",
        ];
        let inbound = self.direction.is_empty() || self.direction == "inbound";
        inbound && !self.open && !self.cut && REASONS.contains(&self.reason.as_str())
    }

    pub(super) fn was_allowed(&self) -> bool {
        self.verdict == "allow"
    }

    pub(super) fn peer(&self) -> Peer {
        let id = self.id.clone();
        id.map_or(Peer::Plaintext, |id| Peer::Workload(id.into()))
    }

    pub(super) fn request<'l>(&'l self, peer: &'l Peer) -> Request<'l> {
        let text = |text: &'l String| (!text.is_empty()).then_some(text.as_bytes());
        Request {
            method: text(&self.method),
            path: text(&self.path),
            headers: &self.pairs,
            ..Request::new(peer)
        }
    }

    pub(super) fn label(&self) -> Label {
        Label {
            peer: self.peer.clone().unwrap_or_else(|| "plaintext".to_owned()),
            method: self.method.clone(),
            path: self.path.clone(),
            case: String::new(),
        }
    }
}

/// What policies look at and a log does not say. Headers are there as far as `decisionLog.headers` names them.
pub(super) fn not_logged(needs: &[Needs]) -> Vec<&'static str> {
    type Needed = fn(&Needs) -> bool;
    let looked_at: [(&'static str, Needed); 9] = [
        ("source.ip", |needs| needs.source_ip),
        ("remote.ip", |needs| needs.remote_ip),
        ("destination.ip", |needs| needs.destination_ip),
        ("destination.port", |needs| needs.destination_port),
        ("connection.sni", |needs| needs.sni),
        ("request.host", |needs| needs.host),
        ("request.auth.claims", |needs| needs.claims),
        ("experimental.envoy.filters", |needs| needs.metadata),
        ("source.certificate", |needs| needs.certificate),
    ];
    looked_at
        .into_iter()
        .filter(|(_, needed)| needs.iter().any(needed))
        .map(|(name, _)| name)
        .chain(
            needs
                .iter()
                .any(|needs| needs.headers)
                .then_some("request.headers (but for those the configuration names)"),
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"direction":"inbound","verdict":"deny","reason":"no_allow_matched","peer":"spiffe://cluster.local/ns/a/sa/b","method":"GET","path":"/x","headers":{"x-role":["a","b"]}}"#;

    fn all(text: &str) -> Result<Vec<Logged>, Failure> {
        let mut found = Vec::new();
        read("a.log", text.as_bytes(), |logged| found.push(logged)).map(|()| found)
    }

    #[test]
    fn finds_decisions_in_envoys_log_and_in_plain_json() {
        let envoy = format!(
            "[2026-11-05 12:00:00.000][7][warning][wasm] wasm log countersign: {PREFIX}{LINE}"
        );
        let found = all(&format!("starting\n{envoy}\n\n{LINE}\n")).unwrap();
        assert_eq!(found.len(), 2);
        for logged in found {
            assert!(logged.is_about_policies() && !logged.was_allowed());
            assert_eq!(logged.pairs.len(), 2);
            let peer = logged.peer();
            assert_eq!(logged.request(&peer).path, Some(b"/x".as_slice()));
        }
    }

    #[test]
    fn a_broken_decision_is_an_error_with_its_line() {
        let said = all(&format!("{LINE}\n{PREFIX}{{\"verdict\"\n"))
            .unwrap_err()
            .to_string();
        assert!(said.starts_with("a.log:2: "), "{said}");
        let other = LINE.replace("\"deny\"", "\"maybe\"");
        let said = all(&other).unwrap_err().to_string();
        assert!(said.contains("maybe"), "{said}");
        let other = LINE.replace("spiffe://", "http://");
        let said = all(&other).unwrap_err().to_string();
        assert!(said.contains("is not a SPIFFE ID"), "{said}");
    }

    #[test]
    fn a_log_without_decisions_and_one_without_line_ends_are_errors() {
        assert!(
            all("nothing here\n")
                .unwrap_err()
                .to_string()
                .contains("holds no decision")
        );
        let long = "x".repeat(usize::try_from(MAX_LINE).unwrap() + 1);
        assert!(all(&long).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn refused_certificates_and_outbound_requests_are_not_about_policies() {
        for line in [
            LINE.replace("no_allow_matched", "revoked"),
            LINE.replace("inbound", "outbound"),
            LINE.replace("\"path\"", "\"open\":true,\"path\""),
            LINE.replace("\"path\"", "\"cut\":true,\"path\""),
        ] {
            assert!(!all(&line).unwrap()[0].is_about_policies(), "{line}");
        }
    }
}
