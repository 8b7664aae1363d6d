//! What the authority streams to the agent: entries, the trust bundle, the deny list and policy bundles.
//!
//! Every stream is taken up again for ever, and anew on each new channel, so that it runs under the
//! agent's present certificate.

use std::{future::Future, sync::Arc, time::Duration};

use api::agent::{
    BundleSnapshot, DenyListUpdate, EntriesSnapshot, HeldPolicyBundle, PolicyBundleUpdate,
    WatchBundleRequest, WatchDenyListRequest, WatchEntriesRequest, WatchPolicyBundlesRequest,
    agent_service_client::AgentServiceClient,
};
use identity::{
    TrustDomain, chain,
    deny_list::{ListKey, ListKeyError, MAX_UPDATE_BYTES},
    policy_bundle::MAX_BUNDLE_BYTES,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::sync::watch;
use tonic::{Code, Response, Status, Streaming, transport::Channel};
use tracing::{debug, info, warn};

use crate::{
    clock,
    deny_list::HeldList,
    entries::Entries,
    link::CallError,
    policy_bundle::HeldBundle,
    schedule::Backoff,
    world::{Roots, World},
};

/// Follows the registration entries. Never returns.
pub(crate) async fn entries(
    channels: watch::Receiver<Channel>,
    world: World,
    trust_domain: TrustDomain,
) {
    let open = |mut client: AgentServiceClient<Channel>| async move {
        client.watch_entries(WatchEntriesRequest {}).await
    };
    follow(
        ("entries", Backoff::default()),
        channels,
        open,
        |snapshot: EntriesSnapshot| {
            let entries = Entries::parse(&snapshot, &trust_domain);
            for refused in entries.refused() {
                warn!(entry = refused.id, reason = %chain(&refused.reason), "entry refused");
            }
            info!(accepted = entries.accepted().len(), "entries received");
            world.change(|world| world.entries = Some(Arc::new(entries)));
            Ok(())
        },
    )
    .await;
}

/// Follows the trust bundle. Never returns.
pub(crate) async fn bundle(
    channels: watch::Receiver<Channel>,
    world: World,
    trust_domain: TrustDomain,
) {
    let open = |mut client: AgentServiceClient<Channel>| async move {
        client.watch_bundle(WatchBundleRequest {}).await
    };
    follow(
        ("bundle", Backoff::default()),
        channels,
        open,
        |snapshot: BundleSnapshot| {
            match Roots::parse(snapshot, &trust_domain) {
                Ok(roots) => {
                    info!(
                        roots = roots.count,
                        trust_domain = roots.trust_domain,
                        "trust bundle received"
                    );
                    world.change(|world| world.roots = Some(Arc::new(roots)));
                }
                // The bundle held before stays: peers go on as before.
                Err(error) => warn!(error = %chain(&error), "trust bundle refused"),
            }
            Ok(())
        },
    )
    .await;
}

/// Follows the deny list. Never returns.
///
/// A list is passed on once it verifies with the keys of the trust bundle. What changed is told since
/// the list held, so after a refusal the stream is opened anew, from the list that is held then: once
/// the keys are known, or the authority has made good.
pub(crate) async fn deny_list(channels: watch::Receiver<Channel>, world: World) {
    if !has_keys(&world).await {
        return;
    }
    let open = |mut client: AgentServiceClient<Channel>| {
        // (0, 0), which no list has, asks for all entries.
        let held = world.now().deny_list;
        let (epoch, sequence) = held.map(|held| held.list().position()).unwrap_or_default();
        async move {
            let request = WatchDenyListRequest { epoch, sequence };
            client.watch_deny_list(request).await
        }
    };
    let watched = ("deny list", DENY_LIST_BACKOFF);
    follow(watched, channels, open, |update| take(&world, update)).await;
}

/// Follows the policy bundles. Never returns.
///
/// As with the deny list, one that does not verify is refused, and the stream is opened anew.
pub(crate) async fn policy_bundles(channels: watch::Receiver<Channel>, world: World) {
    if !has_keys(&world).await {
        return;
    }
    let open = |mut client: AgentServiceClient<Channel>| {
        let held = world.now().policy_bundles;
        let held = held.values().map(|bundle| bundle.head());
        let held = held.map(|head| HeldPolicyBundle {
            name: head.name.to_string(),
            epoch: head.epoch,
            sequence: head.sequence,
            issued: head.issued.as_secs(),
        });
        let held = held.collect();
        async move {
            let request = WatchPolicyBundlesRequest { held };
            client.watch_policy_bundles(request).await
        }
    };
    let watched = ("policy bundles", DENY_LIST_BACKOFF);
    follow(watched, channels, open, |update| {
        take_bundle(&world, update)
    })
    .await;
}

/// Waits until the trust bundle is there, which says whose signatures count; false where it never will be.
async fn has_keys(world: &World) -> bool {
    let mut bundles = world.follow();
    let known = bundles.wait_for(|snapshot| snapshot.roots.is_some());
    known.await.is_ok()
}

/// Takes a policy bundle; what it was refused for ends the stream.
fn take_bundle(
    world: &World,
    PolicyBundleUpdate { bundle }: PolicyBundleUpdate,
) -> Result<(), Refused> {
    let now = identity::UnixTime::from_secs(clock::now().as_secs());
    let snapshot = world.now();
    let keys = snapshot.roots.as_ref().map(|roots| &*roots.list_keys);
    match HeldBundle::accept(
        bundle,
        keys.unwrap_or_default(),
        &snapshot.policy_bundles,
        now,
    ) {
        Ok(held) => {
            let head = held.head();
            info!(bundle = %head.name, sequence = head.sequence, "policy bundle received");
            let name = head.name.clone();
            world.change(|world| {
                Arc::make_mut(&mut world.policy_bundles).insert(name, Arc::new(held));
                world.policy_bundle_error = None;
            });
            Ok(())
        }
        Err(error) => {
            let why: Arc<str> = format!("a policy bundle is refused: {}", chain(&error)).into();
            world.change(|world| world.policy_bundle_error = Some(Arc::clone(&why)));
            Err(Refused { why })
        }
    }
}

/// Takes an update; what it was refused for ends the stream.
fn take(world: &World, DenyListUpdate { update }: DenyListUpdate) -> Result<(), Refused> {
    let now = identity::UnixTime::from_secs(clock::now().as_secs());
    let snapshot = world.now();
    // Without keys every list is refused.
    let keys = snapshot.roots.as_ref().map(|roots| &*roots.list_keys);
    let held = snapshot.deny_list.as_deref();
    match HeldList::accept(update, keys.unwrap_or_default(), held, now) {
        Ok(held) => {
            let (epoch, sequence) = held.list().position();
            debug!(epoch, sequence, "deny list received");
            world.change(|world| {
                world.deny_list = Some(Arc::new(held));
                world.deny_list_error = None;
            });
            Ok(())
        }
        Err(error) => {
            let why: Arc<str> = format!("the deny list does not verify: {}", chain(&error)).into();
            world.change(|world| world.deny_list_error = Some(Arc::clone(&why)));
            Err(Refused { why })
        }
    }
}

/// The longest policy bundle there may be, which is longer than the longest deny list, and what comes with it. The
/// library's own limit of 4 MiB is below that.
const MAX_MESSAGE_BYTES: usize = MAX_BUNDLE_BYTES + 64 * 1024;
const _: () = assert!(MAX_MESSAGE_BYTES > MAX_UPDATE_BYTES);

/// How long a revocation may take is how long this stream may be away.
const DENY_LIST_BACKOFF: Backoff = Backoff::up_to(Duration::from_secs(1));

/// Opens a stream and applies its messages; again whenever it ends or a message cannot be applied,
/// with back-off, and at once whenever there is a new channel.
async fn follow<M, Opening>(
    (what, mut backoff): (&'static str, Backoff),
    mut channels: watch::Receiver<Channel>,
    open: impl Fn(AgentServiceClient<Channel>) -> Opening,
    mut apply: impl FnMut(M) -> Result<(), Refused>,
) where
    Opening: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    loop {
        let channel = channels.borrow_and_update().clone();
        let attempt = async {
            let client =
                AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
            let mut stream = open(client).await?.into_inner();
            while let Some(message) = stream.message().await? {
                apply(message)?;
                backoff.reset();
            }
            let status = Status::new(Code::Unavailable, "the authority ended the stream");
            Err(Ended::from(status))
        };
        let ended: Result<(), Ended> = tokio::select! {
            ended = attempt => ended,
            changed = channels.changed() => match changed {
                Ok(()) => continue,
                Err(_closed) => return,
            },
        };
        let Err(ended) = ended else { continue };
        let pause = backoff.next(clock::jitter());
        warn!(what, error = %chain(&ended), retry_in = ?pause, "stream from the authority ended");
        tokio::time::sleep(pause).await;
    }
}

/// What a message was refused for.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Refused {
    why: Arc<str>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Lost(#[from] CallError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Lost(status.into())
    }
}

impl Roots {
    /// Parses a bundle and makes sure that Envoy can load its roots: an empty or damaged one would
    /// cut off everybody who takes it.
    fn parse(wire: BundleSnapshot, trust_domain: &TrustDomain) -> Result<Self, BundleError> {
        if wire.trust_domain != trust_domain.as_str() {
            return Err(BundleError::ForeignTrustDomain {
                found: wire.trust_domain,
                ours: trust_domain.clone(),
            });
        }
        let mut anchors = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(wire.root_pem.as_bytes()) {
            let certificate = certificate.map_err(|source| BundleError::Pem { source })?;
            anchors
                .add(certificate)
                .map_err(|source| BundleError::Anchor { source })?;
        }
        if anchors.is_empty() {
            return Err(BundleError::NoRoot);
        }
        let list_keys = wire
            .deny_list_key_pems
            .iter()
            .map(|pem| ListKey::from_pem(pem))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| BundleError::ListKey { source })?;
        Ok(Self {
            trust_domain: wire.trust_domain,
            root_pem: wire.root_pem,
            count: anchors.len(),
            list_keys,
        })
    }
}

/// Why a trust bundle is not taken.
#[derive(Debug, thiserror::Error)]
enum BundleError {
    #[error("it is of the trust domain {found:?}, not of {ours}")]
    ForeignTrustDomain { found: String, ours: TrustDomain },
    #[error("a root certificate cannot be a trust anchor")]
    Anchor {
        #[source]
        source: rustls::Error,
    },
    #[error("the root certificates are not PEM")]
    Pem {
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("there is no root certificate in it")]
    NoRoot,
    #[error("a public key for deny lists cannot be read")]
    ListKey {
        #[source]
        source: ListKeyError,
    },
}
