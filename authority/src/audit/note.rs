//! Signed tree heads, in the form of C2SP's tlog-checkpoint: a signed note, which tools of
//! transparency logs read and verify.
//!
//! ```text
//! example.org/countersign/audit/5f0c…          origin: which log
//! 1024                                         size
//! qA3…=                                        root, base64
//! time 1800000000                              when, seconds since the Unix epoch
//! deny-list 1800000000 17                      epoch and sequence of the last deny list numbered
//!
//! — example.org/countersign/audit/5f0c… mk2…=  key id and Ed25519 signature, base64
//! ```

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::UnixTime;

use crate::audit::key::{LogKey, LogPublicKey};
use crate::audit::merkle::{Hash, sha256};

/// What a signed tree head says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TreeHead {
    /// Which log.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed.
    pub at: UnixTime,
    /// Epoch of the last deny list that was numbered.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
}

/// Why a text is no signed head.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not of the form.
    #[error("the signed tree head is malformed: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// It names another log.
    #[error("the signed tree head is of the log {found}, not of {expected}")]
    OtherLog {
        /// The log named.
        found: String,
        /// The log looked at.
        expected: String,
    },
    /// The signature does not verify.
    #[error("the signature of the tree head of size {size} does not verify")]
    BadSignature {
        /// The size it states.
        size: u64,
    },
}

impl TreeHead {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\ntime {}\ndeny-list {} {}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.0),
            self.at.as_secs(),
            self.epoch,
            self.sequence
        )
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &LogKey) -> String {
        let text = self.text();
        let mut signature = key_id(&self.origin, key.public()).to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        format!("{text}\n— {} {}\n", self.origin, STANDARD.encode(signature))
    }

    /// Reads a signed note of the log `origin` and verifies it.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(note: &str, origin: &str, key: &LogPublicKey) -> Result<Self, NoteError> {
        let malformed = |problem| NoteError::Malformed { problem };
        if note.len() > MAX_NOTE_BYTES {
            return Err(malformed("it is too long"));
        }
        let (text, signature) = note
            .split_once("\n\n")
            .ok_or_else(|| malformed("there is no signature"))?;
        let text = format!("{text}\n");
        let head = Self::parse(&text)?;
        if head.origin != origin {
            return Err(NoteError::OtherLog {
                found: head.origin,
                expected: origin.to_owned(),
            });
        }
        let encoded = signature
            .strip_prefix("— ")
            .and_then(|rest| rest.strip_prefix(origin))
            .and_then(|rest| rest.strip_prefix(' '))
            .and_then(|rest| rest.strip_suffix('\n'))
            .ok_or_else(|| malformed("its signature is not the log's"))?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_bad| malformed("its signature is not base64"))?;
        let signed = bytes.strip_prefix(&key_id(origin, key));
        signed
            .and_then(|signature| {
                UnparsedPublicKey::new(&ED25519, key.raw())
                    .verify(text.as_bytes(), signature)
                    .ok()
            })
            .ok_or(NoteError::BadSignature { size: head.size })?;
        Ok(head)
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = |problem| NoteError::Malformed { problem };
        let mut lines = text.lines();
        let mut next = |problem| lines.next().ok_or(NoteError::Malformed { problem });
        let origin = next("there is no origin")?;
        let size = next("there is no size")?;
        let root = next("there is no root")?;
        let time = next("there is no time")?;
        let list = next("there is no deny list")?;
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| Hash::try_from(bytes.as_slice()).ok())
            .ok_or_else(|| malformed("its root is no hash"))?;
        let (epoch, sequence) = list
            .strip_prefix("deny-list ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(|| malformed("its deny list has no number"))?;
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|_bad| malformed("one of its numbers is none"))
        };
        let at = time
            .strip_prefix("time ")
            .and_then(|rest| rest.parse().ok())
            .ok_or_else(|| malformed("its time is none"))?;
        let head = Self {
            origin: origin.to_owned(),
            size: number(size)?,
            root,
            at: UnixTime::from_secs(at),
            epoch: number(epoch)?,
            sequence: number(sequence)?,
        };
        // Leading zeros, signs and lines that follow are not what we write.
        if head.text() == text {
            Ok(head)
        } else {
            Err(malformed("it is not in the canonical form"))
        }
    }
}

/// The name of a log: of whom, and which of theirs, by the beginning of its key's digest.
#[must_use]
pub fn origin(trust_domain: &str, key: &LogPublicKey) -> String {
    let id: String = key.id().chars().take(16).collect();
    format!("{trust_domain}/countersign/audit/{id}")
}

/// The key as tools for signed notes take it: `<name>+<key id>+<base64>`.
#[must_use]
pub fn verifier_key(origin: &str, key: &LogPublicKey) -> String {
    let mut bytes = vec![ALGORITHM];
    bytes.extend_from_slice(key.raw());
    format!(
        "{origin}+{}+{}",
        hex::encode(key_id(origin, key)),
        STANDARD.encode(bytes)
    )
}

/// `SHA-256(name || "\n" || algorithm || key)`, the first four octets.
fn key_id(origin: &str, key: &LogPublicKey) -> [u8; 4] {
    let mut bytes = origin.as_bytes().to_vec();
    bytes.extend_from_slice(&[b'\n', ALGORITHM]);
    bytes.extend_from_slice(key.raw());
    let [a, b, c, d, ..] = sha256(&bytes).0;
    [a, b, c, d]
}

/// Ed25519 in signed notes.
const ALGORITHM: u8 = 1;
/// Longer than any of ours.
const MAX_NOTE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_opens_as_it_was_signed_and_not_with_any_byte_changed() {
        let dir = tempfile::TempDir::new().unwrap();
        let key = LogKey::open(&dir.path().join("audit.key")).unwrap();
        let origin = origin("example.org", key.public());
        let head = TreeHead {
            origin: origin.clone(),
            size: 300,
            root: sha256(b"root"),
            at: UnixTime::from_secs(1_800_000_000),
            epoch: 7,
            sequence: 9,
        };
        let note = head.sign(&key);
        assert_eq!(TreeHead::open(&note, &origin, key.public()).unwrap(), head);
        for position in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[position] ^= 1;
            let Ok(flipped) = String::from_utf8(bytes) else {
                continue;
            };
            TreeHead::open(&flipped, &origin, key.public()).expect_err(&flipped);
        }
        for (from, to) in [("\n300\n", "\n0300\n"), ("\n300\n", "\n+300\n")] {
            let other = note.replace(from, to);
            TreeHead::open(&other, &origin, key.public()).expect_err(&other);
        }
        let second = LogKey::open(&dir.path().join("other.key")).unwrap();
        assert_eq!(
            TreeHead::open(&note, &origin, second.public()),
            Err(NoteError::BadSignature { size: 300 })
        );
        assert!(verifier_key(&origin, key.public()).starts_with("example.org/countersign/audit/"));
    }
}
