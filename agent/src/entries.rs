//! Registration entries of this agent: which identity a local process may have.

use std::collections::{BTreeMap, BTreeSet};

use identity::{SpiffeId, TrustDomain};

use crate::selector::{ProcessFacts, Selector, SelectorError};

/// The entries as the authority last sent them, parsed.
///
/// An entry that cannot be understood is left out as a whole and kept under [`Entries::refused`],
/// so that no process gets an identity on half of its selectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    accepted: Vec<Entry>,
    refused: Vec<RefusedEntry>,
}

impl Entries {
    /// Parses a full replacement from the authority of `trust_domain`.
    pub fn parse(snapshot: &api::agent::EntriesSnapshot, trust_domain: &TrustDomain) -> Self {
        let mut entries = Self::default();
        for entry in &snapshot.entries {
            match Entry::parse(entry, trust_domain) {
                Ok(parsed) => entries.accepted.push(parsed),
                Err(reason) => entries.refused.push(RefusedEntry {
                    id: entry.id.clone(),
                    reason,
                }),
            }
        }
        entries
    }

    /// The entries that count.
    pub fn accepted(&self) -> &[Entry] {
        &self.accepted
    }

    /// The entries that were left out, and why.
    pub fn refused(&self) -> &[RefusedEntry] {
        &self.refused
    }

    /// Every identity of the entries with the lifetime to ask for, in seconds; zero leaves it to
    /// the authority. Where entries of one identity differ, the shortest counts.
    pub fn identities(&self) -> BTreeMap<SpiffeId, i64> {
        let mut identities = BTreeMap::new();
        for entry in &self.accepted {
            identities
                .entry(entry.spiffe_id.clone())
                .and_modify(|ttl| *ttl = shorter(*ttl, entry.ttl_seconds))
                .or_insert(entry.ttl_seconds);
        }
        identities
    }

    /// The identities a process may have: those with an entry all of whose selectors hold.
    pub fn permitted(&self, process: &ProcessFacts) -> BTreeSet<SpiffeId> {
        self.accepted
            .iter()
            .filter(|entry| entry.selectors.iter().all(|one| one.holds(process)))
            .map(|entry| entry.spiffe_id.clone())
            .collect()
    }

    /// Whether any entry looks at the digest of the executable.
    pub fn need_digest(&self) -> bool {
        self.accepted
            .iter()
            .flat_map(|entry| &entry.selectors)
            .any(|selector| matches!(selector, Selector::Sha256(_)))
    }
}

/// One registration entry. It has at least one selector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    id: String,
    spiffe_id: SpiffeId,
    selectors: Vec<Selector>,
    ttl_seconds: i64,
}

impl Entry {
    fn parse(wire: &api::agent::Entry, trust_domain: &TrustDomain) -> Result<Self, EntryError> {
        let spiffe_id = SpiffeId::new(&wire.spiffe_id).map_err(|source| EntryError::SpiffeId {
            found: wire.spiffe_id.clone(),
            source,
        })?;
        if !spiffe_id.is_member_of(trust_domain) {
            return Err(EntryError::ForeignTrustDomain {
                found: spiffe_id,
                ours: trust_domain.clone(),
            });
        }
        let selectors = wire
            .selectors
            .iter()
            .map(|selector| selector.parse())
            .collect::<Result<Vec<Selector>, _>>()?;
        if selectors.is_empty() {
            return Err(EntryError::NoSelectors);
        }
        Ok(Self {
            id: wire.id.clone(),
            spiffe_id,
            selectors,
            ttl_seconds: wire.ttl_seconds.max(0),
        })
    }

    /// The authority's id of the entry.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identity it gives.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedEntry {
    /// The authority's id of the entry.
    pub id: String,
    /// Why it does not count.
    pub reason: EntryError,
}

/// Why an entry does not count.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Its identity is no SPIFFE ID.
    #[error("{found:?} is not a SPIFFE ID")]
    SpiffeId {
        /// What it has instead.
        found: String,
        /// What is wrong with it.
        #[source]
        source: identity::SpiffeIdError,
    },
    /// Its identity is of another trust domain than the agent's.
    #[error("{found} is not of the trust domain {ours}")]
    ForeignTrustDomain {
        /// Its identity.
        found: SpiffeId,
        /// The agent's trust domain.
        ours: TrustDomain,
    },
    /// It has no selectors and so would fit every process.
    #[error("no selectors, so it would fit every process")]
    NoSelectors,
    /// A selector is not understood.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// The shorter of two lifetimes of which zero is "not said".
fn shorter(one: i64, other: i64) -> i64 {
    match (one, other) {
        (0, ttl) | (ttl, 0) => ttl,
        _ => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(id: &str, workload: &str, selectors: &[&str], ttl_seconds: i64) -> api::agent::Entry {
        api::agent::Entry {
            id: id.to_owned(),
            spiffe_id: format!("spiffe://cluster.local/ns/default/sa/{workload}"),
            selectors: selectors.iter().map(|&text| text.to_owned()).collect(),
            ttl_seconds,
        }
    }

    fn entries(wire: Vec<api::agent::Entry>) -> Entries {
        let trust_domain = TrustDomain::new("cluster.local").unwrap();
        Entries::parse(
            &api::agent::EntriesSnapshot { entries: wire },
            &trust_domain,
        )
    }

    fn process(uid: u32) -> ProcessFacts {
        ProcessFacts {
            uid,
            gid: 5,
            path: None,
            sha256: None,
            cgroup: None,
        }
    }

    fn names(ids: &BTreeSet<SpiffeId>) -> Vec<&str> {
        ids.iter()
            .map(|id| id.path().rsplit('/').next().unwrap())
            .collect()
    }

    #[test]
    fn permits_an_identity_only_when_every_selector_holds() {
        let entries = entries(vec![
            wire("1", "httpbin", &["unix:uid:7", "unix:gid:5"], 0),
            wire("2", "sleep", &["unix:uid:7", "unix:gid:6"], 0),
        ]);
        assert_eq!(names(&entries.permitted(&process(7))), ["httpbin"]);
        assert!(entries.permitted(&process(8)).is_empty());
    }

    #[test]
    fn an_entry_of_several_for_one_identity_suffices_and_counts_once() {
        let entries = entries(vec![
            wire("1", "httpbin", &["unix:uid:7"], 60),
            wire("2", "httpbin", &["unix:gid:5"], 0),
        ]);
        assert_eq!(entries.permitted(&process(7)).len(), 1);
        assert_eq!(names(&entries.permitted(&process(8))), ["httpbin"]);
        assert_eq!(entries.identities().into_values().collect::<Vec<_>>(), [60]);
    }

    #[test]
    fn refuses_an_entry_without_selectors() {
        let entries = entries(vec![wire("1", "httpbin", &[], 0)]);
        assert!(entries.permitted(&process(0)).is_empty());
        assert!(entries.identities().is_empty());
        assert_eq!(
            entries.refused(),
            [RefusedEntry {
                id: "1".to_owned(),
                reason: EntryError::NoSelectors
            }]
        );
    }

    #[test]
    fn refuses_an_identity_of_another_trust_domain() {
        let mut foreign = wire("1", "httpbin", &["unix:uid:7"], 0);
        foreign.spiffe_id = "spiffe://example.org/ns/default/sa/httpbin".to_owned();
        let entries = entries(vec![foreign]);
        assert!(entries.permitted(&process(7)).is_empty());
        assert!(matches!(
            entries.refused(),
            [RefusedEntry {
                reason: EntryError::ForeignTrustDomain { .. },
                ..
            }]
        ));
    }

    #[test]
    fn one_bad_selector_refuses_the_whole_entry_and_no_other() {
        let entries = entries(vec![
            wire("1", "httpbin", &["unix:uid:7", "unix:nose:long"], 0),
            wire("2", "sleep", &["unix:uid:7"], 0),
        ]);
        assert_eq!(names(&entries.permitted(&process(7))), ["sleep"]);
        assert!(matches!(
            entries.refused(),
            [RefusedEntry {
                reason: EntryError::Selector(SelectorError::Unknown { .. }),
                ..
            }]
        ));
    }

    #[test]
    fn asks_for_a_digest_only_when_an_entry_needs_it() {
        let with = format!("unix:sha256:{}", "00".repeat(32));
        assert!(entries(vec![wire("1", "a", &["unix:uid:1", &with], 0)]).need_digest());
        assert!(!entries(vec![wire("1", "a", &["unix:uid:1"], 0)]).need_digest());
    }
}
