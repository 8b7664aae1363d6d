//! What the agent knows at this moment: one snapshot that the watchers write and SDS and HTTP read.

use std::{collections::BTreeMap, sync::Arc};

use identity::{SpiffeId, deny_list::ListKey, policy_bundle::BundleName};
use tokio::sync::watch;

use crate::{
    deny_list::HeldList, entries::Entries, policy_bundle::HeldBundle, schedule::UnixMillis,
    svid::Svid,
};

/// Everything that can change while the agent runs. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// The agent's own certificate.
    pub(crate) own: Upkeep,
    /// Its registration entries; `None` until the authority has sent them.
    pub(crate) entries: Option<Arc<Entries>>,
    /// The workloads' certificates: one item for each identity of the entries.
    pub(crate) workloads: BTreeMap<SpiffeId, Upkeep>,
    /// The trust bundle; `None` until the authority has sent it.
    pub(crate) roots: Option<Arc<Roots>>,
    /// The deny list; `None` until a list has been verified.
    pub(crate) deny_list: Option<Arc<HeldList>>,
    /// Why the last deny list was not taken.
    pub(crate) deny_list_error: Option<Arc<str>>,
    /// The policy bundles that were verified.
    pub(crate) policy_bundles: Arc<BTreeMap<BundleName, Arc<HeldBundle>>>,
    /// Why the last policy bundle was not taken.
    pub(crate) policy_bundle_error: Option<Arc<str>>,
    /// The last secrets an Envoy did not take.
    pub(crate) rejection: Option<Arc<Rejection>>,
}

/// Secrets an Envoy did not take (a NACK).
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    /// When.
    pub(crate) at: UnixMillis,
    /// Envoy's process.
    pub(crate) pid: i32,
    /// What it had asked for.
    pub(crate) names: Vec<String>,
    /// Its words.
    pub(crate) message: String,
}

/// State of one identity's certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upkeep {
    /// The present certificate. It stays when it cannot be renewed, even past its expiry.
    pub(crate) svid: Option<Arc<Svid>>,
    /// When to ask for the next one.
    pub(crate) renew_at: Option<UnixMillis>,
    /// Certificates obtained after the first.
    pub(crate) renewals: u64,
    /// Why the last attempt to get one failed; `None` after a success.
    pub(crate) last_error: Option<Arc<str>>,
}

impl Upkeep {
    /// Takes a new certificate.
    pub(crate) fn renewed(&mut self, svid: Arc<Svid>, renew_at: UnixMillis) {
        if self.svid.is_some() {
            self.renewals = self.renewals.saturating_add(1);
        }
        self.svid = Some(svid);
        self.renew_at = Some(renew_at);
        self.last_error = None;
    }
}

/// The trust bundle as SDS serves it.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Name of the trust domain.
    pub(crate) trust_domain: String,
    /// Root certificates, PEM.
    pub(crate) root_pem: String,
    /// How many certificates that is.
    pub(crate) count: usize,
    /// Keys that may sign deny lists.
    pub(crate) list_keys: Vec<ListKey>,
}

/// The snapshot and everybody's way to wait for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct World(watch::Sender<Snapshot>);

impl World {
    /// The present.
    pub(crate) fn now(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    /// Follows changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Snapshot> {
        self.0.subscribe()
    }

    /// Makes a change and tells the followers.
    pub(crate) fn change(&self, edit: impl FnOnce(&mut Snapshot)) {
        self.0.send_modify(edit);
    }
}
