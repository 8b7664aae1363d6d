//! The filters' decision logs, followed as Envoy writes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What the filter writes in front of a decision's JSON.
const MARK: &str = "countersign-decision ";

/// One decision of a filter.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    /// Seconds since the Unix epoch.
    pub(crate) time: f64,
    /// `inbound` or `outbound`.
    pub(crate) direction: String,
    /// `allow` or `deny`.
    pub(crate) verdict: String,
    /// Stable name of the reason.
    pub(crate) reason: String,
    /// The reason as a sentence.
    pub(crate) detail: String,
    /// Istio's policy id, if a rule decided.
    pub(crate) policy: Option<String>,
    /// The other end's SPIFFE ID.
    pub(crate) peer: Option<String>,
    /// SHA-256 of the other end's certificate.
    pub(crate) peer_sha256: Option<String>,
    /// Envoy's number of the downstream connection.
    pub(crate) connection: Option<u64>,
    /// HTTP method.
    pub(crate) method: Option<String>,
    /// Path without query.
    pub(crate) path: Option<String>,
}

impl Decision {
    /// Reads a line of Envoy's log; `None` for every line that is not a decision.
    fn of_line(line: &str) -> Option<Self> {
        let (_, text) = line.split_once(MARK)?;
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Self>();
        values.next()?.ok()
    }
}

/// A log that is read as it grows.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
}

impl Follower {
    /// Follows the log at `path` from its beginning; it may not exist yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            rest: Vec::new(),
        }
    }

    /// The decisions written since the last call, oldest first.
    pub(crate) fn next(&mut self) -> io::Result<Vec<Decision>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut fresh = Vec::new();
        file.read_to_end(&mut fresh)?;
        self.read += u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        self.rest.append(&mut fresh);
        // A line that is still being written waits for its end.
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(String::from_utf8_lossy(&whole)
            .lines()
            .filter_map(Decision::of_line)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LINE: &str = r#"[2026-11-21 06:00:00.000][12][warning][wasm] wasm log countersign: countersign-decision {"time":1.5,"direction":"inbound","verdict":"deny","reason":"no_allow_matched","detail":"no ALLOW rule matched","policy":null,"peer":"spiffe://cluster.local/ns/default/sa/sleep","peerSha256":"ab","local":null,"connection":7,"requestId":null,"method":"GET","path":"/x","listSequence":3}"#;

    #[test]
    fn a_line_half_written_is_read_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("envoy.log");
        let mut follower = Follower::new(&path);
        assert!(follower.next().unwrap().is_empty(), "no file yet");

        let mut file = File::create(&path).unwrap();
        let (first, second) = LINE.split_at(150);
        write!(file, "starting\n{first}").unwrap();
        assert!(follower.next().unwrap().is_empty(), "half a line");
        writeln!(file, "{second}").unwrap();

        let decisions = follower.next().unwrap();
        assert_eq!(decisions.len(), 1);
        assert_eq!(decisions[0].reason, "no_allow_matched");
        assert_eq!(decisions[0].connection, Some(7));
        assert!(follower.next().unwrap().is_empty(), "read twice");
    }
}
