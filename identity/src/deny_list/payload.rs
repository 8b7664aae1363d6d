//! The signed content of a deny list.

use serde::{Deserialize, Serialize};

use crate::UnixTime;
use crate::deny_list::list::State;
use crate::x509::Sha256Digest;

/// What a deny list says, as its JWS carries it in JSON. Unknown fields are errors.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payload {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Counts the authority's databases from 1: a restored backup opens a new epoch.
    pub epoch: u64,
    /// Counts the signings of an epoch.
    pub sequence: u64,
    /// When it was signed, in seconds since the epoch of Unix.
    pub issued: UnixTime,
    /// When it is stale, in seconds; at most
    /// [`MAX_LIFE_SECONDS`](crate::deny_list::MAX_LIFE_SECONDS) after `issued`.
    pub expires: UnixTime,
    /// The certificates, each at most once, in any order; at most
    /// [`MAX_ENTRIES`](crate::deny_list::MAX_ENTRIES).
    #[serde(deserialize_with = "bounded::deserialize")]
    pub entries: Vec<PayloadEntry>,
}

/// One certificate of a deny list.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PayloadEntry {
    /// SHA-256 of the certificate's DER.
    pub sha256: Sha256Digest,
    /// Why it is denied.
    pub state: State,
    /// Since when, in seconds.
    pub since: UnixTime,
}

impl Payload {
    /// The payload as JSON, without blanks. As serde would write it, but this cannot fail.
    pub(crate) fn to_json(&self) -> String {
        let entries: Vec<String> = self
            .entries
            .iter()
            .copied()
            .map(PayloadEntry::to_json)
            .collect();
        format!(
            r#"{{"schemaVersion":{},"epoch":{},"sequence":{},"issued":{},"expires":{},"entries":[{}]}}"#,
            self.schema_version,
            self.epoch,
            self.sequence,
            self.issued.as_secs(),
            self.expires.as_secs(),
            entries.join(",")
        )
    }
}

impl PayloadEntry {
    fn to_json(self) -> String {
        format!(
            r#"{{"sha256":"{}","state":"{}","since":{}}}"#,
            self.sha256,
            self.state.as_str(),
            self.since.as_secs()
        )
    }
}

/// The only version there is.
pub const SCHEMA_VERSION: u32 = 1;

/// Most bytes of JSON that an entry takes: names and punctuation, 64 digits, the longer state, a
/// time of 20 digits, a comma.
pub const ENTRY_BYTES: usize = 10 + 64 + 11 + 11 + 9 + 20 + 2;

/// Reads a list without taking more memory than its limit allows.
mod bounded {
    use std::fmt;

    use serde::de::{self, Deserializer, SeqAccess, Visitor};

    use super::PayloadEntry;
    use crate::deny_list::MAX_ENTRIES;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<PayloadEntry>, D::Error> {
        deserializer.deserialize_seq(Entries)
    }

    /// By how many entries the list grows.
    const STEP: usize = 4096;

    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<PayloadEntry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_ENTRIES} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = items.next_element()? {
                // One more than the limit is kept, for its own error.
                if entries.len() > MAX_ENTRIES {
                    return Err(de::Error::invalid_length(entries.len(), &self));
                }
                // In steps, for doubling would take twice the list's memory at the worst moment.
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(STEP);
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }
}
