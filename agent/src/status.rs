//! What `GET /v1/status` answers. Times are seconds since the Unix epoch.

use identity::{SpiffeId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    schedule::UnixMillis,
    world::{Snapshot, Upkeep},
};

/// State of an agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// The agent's clock.
    pub now: i64,
    /// Whether it has its own certificate and its entries.
    pub ready: bool,
    /// The agent's own certificate. `None` before it has joined.
    pub agent: Option<IdentityStatus>,
    /// The workloads' certificates, in the order of their SPIFFE IDs.
    pub identities: Vec<IdentityStatus>,
    /// Entries that are not understood and give nobody an identity.
    pub refused_entries: Vec<RefusedEntryStatus>,
    /// The trust bundle. `None` until the authority has sent it.
    pub trust_bundle: Option<TrustBundleStatus>,
    /// The deny list. `None` until one has been verified.
    pub deny_list: Option<DenyListStatus>,
    /// Why the last deny list was not taken.
    pub deny_list_error: Option<String>,
    /// The policy bundles that were verified, in the order of their names.
    pub policy_bundles: Vec<PolicyBundleStatus>,
    /// Why the last policy bundle was not taken.
    pub policy_bundle_error: Option<String>,
    /// The last secrets an Envoy did not take. `None` if none ever did that.
    pub rejection: Option<RejectionStatus>,
}

/// State of one identity's certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdentityStatus {
    /// The identity.
    pub spiffe_id: String,
    /// Serial number of the present certificate, lower-case hex. `None` before the first.
    pub serial: Option<String>,
    /// Last second of its validity.
    pub not_after: Option<i64>,
    /// Whether that has passed: the certificate could not be renewed in time.
    pub expired: bool,
    /// When the next one is to be asked for.
    pub renew_at: Option<i64>,
    /// Certificates obtained after the first.
    pub renewals: u64,
    /// Why the last attempt to get one failed. `None` after a success.
    pub last_error: Option<String>,
}

/// An entry that does not count.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusedEntryStatus {
    /// The authority's id of the entry.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The trust bundle.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrustBundleStatus {
    /// Name of the trust domain.
    pub trust_domain: String,
    /// How many root certificates it holds.
    pub roots: usize,
}

/// The deny list.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DenyListStatus {
    /// Its epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub sequence: u64,
    /// When it stops being fresh.
    pub expires: i64,
    /// Whether that has come: filters do not rely on it any more.
    pub stale: bool,
}

/// A policy bundle.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PolicyBundleStatus {
    /// Its name.
    pub name: String,
    /// Its epoch.
    pub epoch: u64,
    /// Counts what was published under the name.
    pub sequence: u64,
    /// SHA-256 of the policies.
    pub sha256: String,
}

/// Secrets an Envoy did not take; it keeps those it had.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RejectionStatus {
    /// When.
    pub at: i64,
    /// Number of Envoy's process.
    pub pid: i32,
    /// The secrets asked for.
    pub names: Vec<String>,
    /// Envoy's words.
    pub message: String,
}

impl Status {
    /// The state at `now`.
    pub(crate) fn of(snapshot: &Snapshot, now: UnixMillis) -> Self {
        let own = &snapshot.own;
        let own_id = own.svid.as_ref().map(|svid| svid.id().clone());
        let refused = snapshot
            .entries
            .iter()
            .flat_map(|entries| entries.refused());
        Self {
            now: now.as_secs(),
            ready: own.svid.is_some() && snapshot.entries.is_some(),
            agent: own_id.map(|id| IdentityStatus::of(&id, own, now)),
            identities: snapshot
                .workloads
                .iter()
                .map(|(id, upkeep)| IdentityStatus::of(id, upkeep, now))
                .collect(),
            refused_entries: refused
                .map(|entry| RefusedEntryStatus {
                    id: entry.id.clone(),
                    reason: entry.reason.to_string(),
                })
                .collect(),
            trust_bundle: snapshot.roots.as_ref().map(|roots| TrustBundleStatus {
                trust_domain: roots.trust_domain.clone(),
                roots: roots.count,
            }),
            deny_list: snapshot.deny_list.as_ref().map(|list| DenyListStatus {
                epoch: list.list().epoch(),
                sequence: list.list().sequence(),
                expires: list.list().expires().as_secs(),
                stale: list.list().is_stale(UnixTime::from_secs(now.as_secs())),
            }),
            deny_list_error: snapshot.deny_list_error.as_deref().map(str::to_owned),
            policy_bundles: snapshot
                .policy_bundles
                .values()
                .map(|bundle| bundle.head())
                .map(|head| PolicyBundleStatus {
                    name: head.name.to_string(),
                    epoch: head.epoch,
                    sequence: head.sequence,
                    sha256: head.sha256.to_string(),
                })
                .collect(),
            policy_bundle_error: snapshot.policy_bundle_error.as_deref().map(str::to_owned),
            rejection: snapshot.rejection.as_deref().map(|one| RejectionStatus {
                at: one.at.as_secs(),
                pid: one.pid,
                names: one.names.clone(),
                message: one.message.clone(),
            }),
        }
    }
}

impl IdentityStatus {
    fn of(id: &SpiffeId, upkeep: &Upkeep, now: UnixMillis) -> Self {
        let svid = upkeep.svid.as_ref();
        Self {
            spiffe_id: id.to_string(),
            serial: svid.map(|svid| svid.serial().to_owned()),
            not_after: svid.map(|svid| svid.not_after().as_secs()),
            expired: svid.is_some_and(|svid| svid.has_expired(now)),
            renew_at: upkeep.renew_at.map(UnixMillis::as_secs),
            renewals: upkeep.renewals,
            last_error: upkeep.last_error.as_deref().map(str::to_owned),
        }
    }
}
