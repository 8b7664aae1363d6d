//! What the authority streams to the agent: entries, the trust bundle and the deny list.
//!
//! Every stream is taken up again for ever, and anew on each new channel, so that it runs under the
//! agent's present certificate.

use std::{future::Future, sync::Arc, time::Duration};

use api::agent::{
    BundleSnapshot, DenyListSnapshot, EntriesSnapshot, WatchBundleRequest, WatchDenyListRequest,
    WatchEntriesRequest, agent_service_client::AgentServiceClient,
};
use identity::{
    TrustDomain,
    deny_list::{ListKey, ListKeyError, MAX_JWS_BYTES},
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
    schedule::Backoff,
    socket::chain,
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
        },
    )
    .await;
}

/// Follows the deny list. Never returns.
///
/// A list is passed on once it verifies with the keys of the trust bundle; one that comes before
/// the keys waits for them.
pub(crate) async fn deny_list(channels: watch::Receiver<Channel>, world: World) {
    let (sender, mut latest) = watch::channel(None::<DenyListSnapshot>);
    let open = |mut client: AgentServiceClient<Channel>| async move {
        client.watch_deny_list(WatchDenyListRequest {}).await
    };
    let watched = ("deny list", DENY_LIST_BACKOFF);
    let receive = follow(watched, channels, open, |snapshot| {
        sender.send_replace(Some(snapshot));
    });
    let check = async {
        let mut bundles = world.follow();
        let mut keys_used: Option<Arc<Roots>> = None;
        loop {
            let fresh = tokio::select! {
                changed = latest.changed() => changed.is_ok(),
                changed = bundles.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
            };
            let roots = bundles.borrow_and_update().roots.clone();
            let new_keys = match (&roots, &keys_used) {
                (Some(now), Some(used)) => !Arc::ptr_eq(now, used),
                (now, used) => now.is_some() != used.is_some(),
            };
            let list = latest.borrow_and_update().clone();
            if let (Some(roots), Some(list), true) = (roots, list, fresh || new_keys) {
                take(&world, &list, &roots.list_keys);
                keys_used = Some(roots);
            }
        }
    };
    tokio::join!(receive, check);
}

fn take(world: &World, list: &DenyListSnapshot, keys: &[ListKey]) {
    let now = identity::UnixTime::from_secs(clock::now().as_secs());
    let held = world.now().deny_list;
    match HeldList::accept(list, keys, held.as_deref(), now) {
        Ok(list) => {
            debug!(
                epoch = list.epoch,
                sequence = list.sequence,
                "deny list received"
            );
            world.change(|world| {
                world.deny_list = Some(Arc::new(list));
                world.deny_list_error = None;
            });
        }
        Err(error) => {
            let text = chain(&error);
            warn!(error = text, "deny list refused");
            world.change(|world| world.deny_list_error = Some(text.into()));
        }
    }
}

/// The longest deny list there may be, and what comes with it. The library's limit of 4 MB would cut
/// off whoever is told of some thirty thousand revocations.
const MAX_MESSAGE_BYTES: usize = MAX_JWS_BYTES + 64 * 1024;

/// How long a revocation may take is how long this stream may be away.
const DENY_LIST_BACKOFF: Backoff = Backoff::up_to(Duration::from_secs(1));

/// Opens a stream and applies its messages; again whenever it ends, with back-off, and at once
/// whenever there is a new channel.
async fn follow<M, Opening>(
    (what, mut backoff): (&'static str, Backoff),
    mut channels: watch::Receiver<Channel>,
    open: impl Fn(AgentServiceClient<Channel>) -> Opening,
    mut apply: impl FnMut(M),
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
                backoff.reset();
                apply(message);
            }
            Err(Status::new(
                Code::Unavailable,
                "the authority ended the stream",
            ))
        };
        let ended: Result<(), Status> = tokio::select! {
            ended = attempt => ended,
            changed = channels.changed() => match changed {
                Ok(()) => continue,
                Err(_closed) => return,
            },
        };
        let Err(status) = ended else { continue };
        let pause = backoff.next(clock::jitter());
        let error = CallError::from(status);
        warn!(what, error = %chain(&error), retry_in = ?pause, "stream from the authority lost");
        tokio::time::sleep(pause).await;
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
