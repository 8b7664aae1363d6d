//! What leaves tell, and their one form in bytes.
//!
//! A leaf is a JSON object in the canonical form of RFC 8785: no blanks, members in the order of
//! their names, numbers only whole. `v` is the version of this schema, `at` the time in seconds
//! since the Unix epoch, `kind` one of [`Event`]'s, and the other members are that kind's. A member
//! without a value is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::audit::canonical::{RowsDigest, canonical};
use crate::audit::merkle::{self, Hash};
use crate::inventory::Location;

/// Version of the schema of leaves.
pub const VERSION: u32 = 1;

/// One leaf.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Leaf {
    /// Version of the schema.
    pub v: u32,
    /// When.
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. Digests and serial numbers are lower-case hex.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The log began; always the first leaf. It commits to what was on record before.
    Start(Start),
    /// A certificate was issued.
    Certificate(Box<Certificate>),
    /// A certificate was suspended, resumed or revoked.
    StateChange(StateChange),
    /// Requests were turned down.
    Refusals(Refusals),
    /// A registration entry was created.
    EntryCreated(Entry),
    /// A registration entry was deleted.
    EntryDeleted {
        /// Its id.
        id: String,
        /// Who deleted it.
        operator: String,
    },
    /// A join token was made.
    TokenCreated(Token),
    /// A certificate of the authority itself came into use.
    Issuer(Issuer),
    /// Policies were published.
    PolicyBundle(PolicyBundle),
    /// A record older than one that was signed for was accepted: what came after it is lost.
    RecordAccepted(RecordAccepted),
    /// Something else that an operator or the authority did.
    Action(Action),
}

/// The beginning of the log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Start {
    /// SHA-256 of the log's public key, SubjectPublicKeyInfo DER.
    pub log: String,
    /// The trust domain.
    pub trust_domain: String,
    /// Certificates from before, in the order of their ids.
    pub certificates: Rows,
    /// State changes from before, in the order of their ids.
    pub state_changes: Rows,
    /// Publications of policies from before, in the order of their ids.
    pub bundle_changes: Rows,
    /// Join tokens spent before, in the order of their hashes.
    pub spent_tokens: Rows,
}

/// A number of rows and a digest over them: SHA-256 over their leaf forms, one a line.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// The digest.
    pub sha256: String,
}

/// A certificate, without what may change of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Certificate {
    /// Number of its row.
    pub row: i64,
    /// Serial number.
    pub serial: String,
    /// SHA-256 of the DER.
    pub sha256: String,
    /// The identity.
    pub spiffe_id: String,
    /// SHA-256 of the issuer's certificate.
    pub issuer_sha256: String,
    /// Kind of the key.
    pub key_type: String,
    /// Length of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<i64>,
    /// The signature's algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub spki_sha256: String,
    /// First second of validity.
    pub not_before: i64,
    /// Last second of validity.
    pub not_after: i64,
    /// When it was signed.
    pub issued_at: i64,
    /// Who asked.
    pub caller: String,
    /// How the caller proved it.
    pub proof: String,
    /// The registration entry it lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_id: Option<String>,
    /// Hash of the join token spent for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where it is used.
    #[serde(default, skip_serializing_if = "Location::is_empty")]
    pub location: Location,
    /// What else is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When the proof was made that it goes back to, over however many renewals.
    pub proven_at: i64,
    /// Of which kind that was.
    pub proven_by: String,
    /// SHA-256 of what was shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence_sha256: String,
    /// What it proved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<String>,
    /// The issuance rule that allowed it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

/// A change of a certificate's state.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StateChange {
    /// Number of its row.
    pub row: i64,
    /// The certificate's serial number.
    pub serial: String,
    /// `suspend`, `resume` or `revoke`.
    pub action: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who changed it.
    pub operator: String,
}

/// Refusals that were recorded together; those that may be attacks apart from others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusals {
    /// Whether they may be attacks.
    pub alarm: bool,
    /// How many rules failed how often.
    pub codes: BTreeMap<String, u64>,
    /// How many, and their digest: SHA-256 over the rows, each as canonical JSON and a line.
    pub rows: Rows,
}

/// A registration entry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// The agent.
    pub parent_id: String,
    /// The workload.
    pub spiffe_id: String,
    /// What a workload must show.
    pub selectors: Vec<String>,
    /// Longest lifetime in seconds.
    pub ttl_seconds: i64,
    /// When it was created.
    pub created_at: i64,
    /// Who created it; empty for one from before the log.
    pub operator: String,
}

/// A join token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Token {
    /// SHA-256 of the token.
    pub hash: String,
    /// The identity it is good for.
    pub spiffe_id: String,
    /// When it was made.
    pub created_at: i64,
    /// Last second in which it can be spent.
    pub expires_at: i64,
    /// Who made it; empty for one from before the log.
    pub operator: String,
}

/// A certificate of the authority itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Issuer {
    /// SHA-256 of the DER.
    pub sha256: String,
    /// Subject, RFC 4514 text.
    pub subject: String,
    /// Serial number.
    pub serial: String,
    /// First second of validity.
    pub not_before: i64,
    /// Last second of validity.
    pub not_after: i64,
    /// When it was first seen.
    pub first_seen: i64,
    /// SHA-256 of the PEM text.
    pub pem_sha256: String,
}

/// Policies that were published.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PolicyBundle {
    /// Number of the publication's row.
    pub row: i64,
    /// The bundle's name.
    pub name: String,
    /// Its number.
    pub sequence: i64,
    /// SHA-256 of the policies.
    pub sha256: String,
    /// Their length.
    pub size: i64,
    /// Who published them.
    pub operator: String,
}

/// The last position known before an older record was accepted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordAccepted {
    /// Size of the log then.
    pub lost_size: u64,
    /// Its root then.
    pub lost_root: String,
    /// Epoch of the deny list then.
    pub lost_epoch: u64,
    /// Sequence of the deny list then.
    pub lost_sequence: u64,
    /// The new epoch.
    pub epoch: u64,
}

/// Something that has no row of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Action {
    /// What, snake case: `deny_list_key_rotated`, `issuance_policy_loaded`, `operator_connected` …
    pub action: String,
    /// Who: `uid:<number>`, a SPIFFE ID or `authority`.
    pub operator: String,
    /// Facts, few and short; see [`Action::new`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl Action {
    /// An action with its facts. More than [`MAX_DETAILS`] and bytes beyond [`MAX_DETAIL_BYTES`] of
    /// one are left out: the log keeps what it is given for ever.
    #[must_use]
    pub fn new<'a>(
        action: &str,
        operator: &str,
        details: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Self {
        let cut = |mut text: String| {
            text.truncate(text.floor_char_boundary(MAX_DETAIL_BYTES));
            text
        };
        Self {
            action: cut(action.to_owned()),
            operator: cut(operator.to_owned()),
            details: details
                .into_iter()
                .take(MAX_DETAILS)
                .map(|(name, value)| (cut(name.to_owned()), cut(value)))
                .collect(),
        }
    }
}

/// Most facts of an [`Action`].
pub const MAX_DETAILS: usize = 16;
/// Longest fact of an [`Action`], in bytes.
pub const MAX_DETAIL_BYTES: usize = 1024;

/// Why bytes are no leaf.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// Not JSON, or not of the schema.
    #[error("it is not a leaf of a known kind")]
    Schema(#[source] serde_json::Error),
    /// A version that this program does not know.
    #[error("it has version {found}, this program knows {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Not in the canonical form: a member too many, another order, blanks.
    #[error("it is not in the canonical form")]
    NotCanonical,
}

impl Leaf {
    /// A leaf of the present version.
    #[must_use]
    pub const fn new(at: i64, event: Event) -> Self {
        Self {
            v: VERSION,
            at,
            event,
        }
    }

    /// The leaf in its one form.
    ///
    /// # Errors
    /// None that this type can cause; those of the serializer.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_value(self).map(|value| canonical(&value))
    }

    /// Reads a leaf that is in its one form.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn parse(text: &str) -> Result<Self, LeafError> {
        let leaf: Self = serde_json::from_str(text).map_err(LeafError::Schema)?;
        if leaf.v != VERSION {
            return Err(LeafError::Version { found: leaf.v });
        }
        if leaf.to_text().map_err(LeafError::Schema)? != text {
            return Err(LeafError::NotCanonical);
        }
        Ok(leaf)
    }
}

impl Event {
    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Certificate(_) => "certificate",
            Self::StateChange(_) => "state_change",
            Self::Refusals(_) => "refusals",
            Self::EntryCreated(_) => "entry_created",
            Self::EntryDeleted { .. } => "entry_deleted",
            Self::TokenCreated(_) => "token_created",
            Self::Issuer(_) => "issuer",
            Self::PolicyBundle(_) => "policy_bundle",
            Self::RecordAccepted(_) => "record_accepted",
            Self::Action(_) => "action",
        }
    }
}

/// The leaf's hash, of its text.
#[must_use]
pub fn hash(text: &str) -> Hash {
    merkle::leaf_hash(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_has_one_form() {
        let action = Action::new(
            "x",
            "uid:0",
            [("b", "2".to_owned()), ("a", "\u{1}\"é".to_owned())],
        );
        let leaf = Leaf::new(7, Event::Action(action));
        let text = leaf.to_text().unwrap();
        assert_eq!(
            text,
            r#"{"action":"x","at":7,"details":{"a":"\u0001\"é","b":"2"},"kind":"action","operator":"uid:0","v":1}"#
        );
        assert_eq!(Leaf::parse(&text).unwrap(), leaf);
        for other in [
            text.replace(":7", ": 7"),
            text.replace("\"v\":1", "\"v\":1,\"z\":1"),
            text.replace("{\"action\":\"x\",\"at\":7,", "{\"at\":7,\"action\":\"x\","),
        ] {
            assert!(
                matches!(Leaf::parse(&other), Err(LeafError::NotCanonical)),
                "{other}"
            );
        }
        assert!(matches!(
            Leaf::parse(&text.replace("\"v\":1", "\"v\":2")),
            Err(LeafError::Version { found: 2 })
        ));
        assert!(matches!(Leaf::parse("{"), Err(LeafError::Schema(_))));
        assert!(matches!(
            Leaf::parse(&text.replace("\"action\",\"op", "\"unheard\",\"op")),
            Err(LeafError::Schema(_))
        ));
    }

    #[test]
    fn what_an_action_tells_is_bounded() {
        let long = "é".repeat(MAX_DETAIL_BYTES);
        let names: Vec<String> = (0..100).map(|i| format!("{i}")).collect();
        let details = names.iter().map(|name| (name.as_str(), long.clone()));
        let action = Action::new("x", &long, details);
        assert_eq!(action.details.len(), MAX_DETAILS);
        assert!(
            action
                .details
                .values()
                .all(|value| value.len() <= MAX_DETAIL_BYTES)
        );
        assert!(action.operator.len() <= MAX_DETAIL_BYTES);
    }
}
