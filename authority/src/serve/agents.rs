//! What node agents read: their entries, the deny list, the trust bundle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::agent::agent_service_server::AgentService;
use api::agent::{
    BundleSnapshot, DenyListUpdate, EntriesSnapshot, Entry, PolicyBundleUpdate, WatchBundleRequest,
    WatchDenyListRequest, WatchEntriesRequest, WatchPolicyBundlesRequest,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use identity::SpiffeId;
use identity::deny_list::{Changes, History, Update};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::bundles::SignedBundles;
use crate::clock::Clock;
use crate::inventory::{CertificateRecord, Inventory};
use crate::issue::{Caller, Issuance, ProofFault, Refusal};
use crate::limits::Lane;
use crate::revoke::{Publisher, SignedList};
use crate::serve::attendance::Attendance;
use crate::serve::front::Front;
use crate::serve::overload;
use crate::serve::watch::{self as watching, Render, Session};
use crate::serve::{peer, status};

/// Serves the agents' streams.
#[derive(Clone, Debug)]
pub(crate) struct AgentApi {
    /// Attests callers and reads the record.
    pub(crate) issuance: Issuance,
    /// Counts changes of entries.
    pub(crate) entries: watch::Receiver<u64>,
    /// The deny list as it stands.
    pub(crate) lists: watch::Receiver<Arc<SignedList>>,
    /// The policy bundles as they stand.
    pub(crate) policy_bundles: watch::Receiver<Arc<SignedBundles>>,
    /// The trust bundle as it stands.
    pub(crate) bundle: watch::Sender<Arc<BundleSnapshot>>,
    /// Tells when the authority stops.
    pub(crate) stopping: CancellationToken,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// Who is there.
    pub(crate) attendance: Attendance,
    /// The doors that proofs are examined behind.
    pub(crate) front: Front,
}

impl AgentApi {
    /// The caller's certificate. A join token opens no stream: it is for one certificate.
    async fn agent<T: Sync>(&self, request: &Request<T>) -> Result<CertificateRecord, Status> {
        // Whoever opens streams by the thousand waits in the line of his address, like everybody.
        let address = request.remote_addr().map(|address| address.ip());
        let entered = self.front.proving.enter(Lane::at(address), None).await;
        let _permit = entered.map_err(overload::status)?;
        match peer::caller(request, &self.issuance).await? {
            Caller::Certificate(certificate) => Ok(certificate),
            other => {
                let refusal = Refusal::Proof(ProofFault::Missing);
                self.issuance
                    .record_refusal(&other.to_string(), None, &refusal)
                    .await
                    .map_err(|error| status::of_inventory(&error))?;
                Err(status::of_refusal(&refusal))
            }
        }
    }

    fn session(&self, agent: &CertificateRecord) -> Result<Session, Status> {
        let sha256 = agent.sha256.parse().map_err(|error| {
            tracing::error!(%error, serial = agent.serial, "the record holds a bad digest");
            Status::internal("the record failed")
        })?;
        Ok(Session {
            sha256,
            not_after: agent.not_after,
            lists: self.lists.clone(),
            stopping: self.stopping.clone(),
            clock: Arc::clone(&self.clock),
        })
    }
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    type WatchEntriesStream = BoxStream<'static, Result<EntriesSnapshot, Status>>;
    type WatchDenyListStream = BoxStream<'static, Result<DenyListUpdate, Status>>;
    type WatchPolicyBundlesStream = BoxStream<'static, Result<PolicyBundleUpdate, Status>>;
    type WatchBundleStream = BoxStream<'static, Result<BundleSnapshot, Status>>;

    async fn watch_entries(
        &self,
        request: Request<WatchEntriesRequest>,
    ) -> Result<Response<Self::WatchEntriesStream>, Status> {
        let agent = self.agent(&request).await?;
        let session = self.session(&agent)?;
        let inventory = self.issuance.inventory().clone();
        let parent = agent.spiffe_id;
        let render: Render<u64, EntriesSnapshot> =
            Box::new(move |_generation| Box::pin(entries_of(inventory.clone(), parent.clone())));
        Ok(Response::new(watching::stream(
            self.entries.clone(),
            render,
            session,
        )))
    }

    async fn watch_deny_list(
        &self,
        request: Request<WatchDenyListRequest>,
    ) -> Result<Response<Self::WatchDenyListStream>, Status> {
        let agent = self.agent(&request).await?;
        let session = self.session(&agent)?;
        let WatchDenyListRequest { epoch, sequence } = request.into_inner();
        let held = Mutex::new((epoch, sequence));
        let clock = Arc::clone(&self.clock);
        let attendee = self.attendance.arrive(agent.spiffe_id, clock.now());
        let render: Render<Arc<SignedList>, DenyListUpdate> = Box::new(move |list| {
            attendee.takes(list.history.list().position(), clock.now());
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let update = update(&list.history, *held);
            *held = list.history.list().position();
            Box::pin(async move { Ok(DenyListUpdate { update }) })
        });
        Ok(Response::new(watching::stream(
            self.lists.clone(),
            render,
            session,
        )))
    }

    async fn watch_policy_bundles(
        &self,
        request: Request<WatchPolicyBundlesRequest>,
    ) -> Result<Response<Self::WatchPolicyBundlesStream>, Status> {
        let agent = self.agent(&request).await?;
        let session = self.session(&agent)?;
        let held = request.into_inner().held.into_iter();
        let held = held.map(|held| (held.name, (held.epoch, held.sequence, held.issued)));
        let held = Mutex::new(held.collect());
        let render: Render<Arc<SignedBundles>, Vec<PolicyBundleUpdate>> = Box::new(move |all| {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let updates = bundle_updates(&all, &mut held);
            Box::pin(async move { Ok(updates) })
        });
        // One message a bundle: all of them together may be longer than a message.
        let all = watching::stream(self.policy_bundles.clone(), render, session);
        let updates = all.flat_map(|updates| {
            let messages: Vec<_> = match updates {
                Ok(updates) => updates.into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            stream::iter(messages)
        });
        Ok(Response::new(updates.boxed()))
    }

    async fn watch_bundle(
        &self,
        request: Request<WatchBundleRequest>,
    ) -> Result<Response<Self::WatchBundleStream>, Status> {
        let agent = self.agent(&request).await?;
        let session = self.session(&agent)?;
        let render: Render<Arc<BundleSnapshot>, BundleSnapshot> =
            Box::new(|bundle| Box::pin(async move { Ok((*bundle).clone()) }));
        Ok(Response::new(watching::stream(
            self.bundle.subscribe(),
            render,
            session,
        )))
    }
}

/// By name: epoch, sequence, and when it was signed.
type HeldBundles = BTreeMap<String, (u64, u64, i64)>;

/// The bundles that a caller does not hold yet; it does then.
fn bundle_updates(all: &SignedBundles, held: &mut HeldBundles) -> Vec<PolicyBundleUpdate> {
    let mut updates = Vec::new();
    for (name, bundle) in all {
        let head = &bundle.head;
        let version = (head.epoch, head.sequence, head.issued.as_secs());
        if held.insert(name.to_string(), version) != Some(version) {
            let bundle = bundle.bytes.clone();
            updates.push(PolicyBundleUpdate { bundle });
        }
    }
    updates
}

/// Tells agents which keys may sign lists now, where these are not the ones they were told of.
pub(crate) fn announce_list_keys(
    bundle: &watch::Sender<Arc<BundleSnapshot>>,
    publisher: &Publisher,
) {
    bundle.send_if_modified(|bundle| {
        // Asked for in here, so that of two who announce the later one has the last word.
        let keys = publisher.public_keys();
        let changed = bundle.deny_list_key_pems != keys;
        if changed {
            Arc::make_mut(bundle).deny_list_key_pems = keys;
        }
        changed
    });
}

/// Tells agents which CAs sign leaves now, will, or have signed what has not expired.
pub(crate) fn announce_issuers(bundle: &watch::Sender<Arc<BundleSnapshot>>, pems: Vec<String>) {
    bundle.send_if_modified(|bundle| {
        let changed = bundle.issuer_pems != pems;
        if changed {
            Arc::make_mut(bundle).issuer_pems = pems;
        }
        changed
    });
}

/// The list for a caller that holds the one at `held`. Who holds this one already is told so by a
/// change of nothing, for every stream begins with a message.
fn update(history: &History, held: (u64, u64)) -> Vec<u8> {
    history
        .since(Some(held))
        .unwrap_or_else(|| Update::delta(history.head(), held, &Changes::default()))
}

async fn entries_of(inventory: Inventory, parent: SpiffeId) -> Result<EntriesSnapshot, Status> {
    let entries = inventory
        .entries(Some(&parent), None)
        .await
        .map_err(|error| status::of_inventory(&error))?;
    let entries = entries
        .into_iter()
        .map(|entry| Entry {
            id: entry.id,
            spiffe_id: entry.spiffe_id.to_string(),
            selectors: entry.selectors,
            ttl_seconds: entry.ttl_seconds,
        })
        .collect();
    Ok(EntriesSnapshot { entries })
}
