//! Getting certificates and keeping them fresh: the agent's own and one for each workload.

mod supervisor;

use std::{sync::Arc, time::Duration};

use identity::{SpiffeId, chain, x509::SvidProfile};
use tokio::sync::{Semaphore, watch};
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::{
    clock,
    data_dir::{DataDir, DataDirError},
    key::{KeyAlgorithm, KeyError, PrivateKey},
    link::{CallError, Link, LinkError, Request, create_certificate},
    schedule::Backoff,
    svid::{ChainError, Svid},
    world::{Snapshot, Upkeep, World},
};

pub(crate) use supervisor::supervise;

/// What renewing takes.
#[derive(Debug)]
pub(crate) struct Office {
    world: World,
    link: Link,
    data_dir: DataDir,
    algorithm: KeyAlgorithm,
    profile: SvidProfile,
    /// The channel that shows the agent's present certificate.
    channel: watch::Sender<Channel>,
    /// Keeps a start with many workloads from asking for all at once.
    turns: Semaphore,
}

/// Whose certificate.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// The agent's own.
    Own(SpiffeId),
    /// A workload's, with the lifetime to ask for in seconds (zero: the authority's default).
    Workload(SpiffeId, i64),
}

impl Office {
    /// Opens for business with the agent's own certificate.
    pub(crate) fn open(
        world: World,
        link: Link,
        data_dir: DataDir,
        (algorithm, profile): (KeyAlgorithm, SvidProfile),
        own: Svid,
    ) -> Result<Arc<Self>, LinkError> {
        let office = Self {
            channel: watch::Sender::new(link.authenticated(&own)?),
            world,
            link,
            data_dir,
            algorithm,
            profile,
            turns: Semaphore::new(AT_ONCE),
        };
        office.publish(&Subject::Own(own.id().clone()), own);
        Ok(Arc::new(office))
    }

    /// The channels that show the agent's present certificate, as they come.
    pub(crate) fn channels(&self) -> watch::Receiver<Channel> {
        self.channel.subscribe()
    }

    /// Renews one certificate whenever it is due. Never returns; the old one stays in service until
    /// there is a new one.
    pub(crate) async fn maintain(&self, subject: Subject) {
        let mut backoff = Backoff::default();
        loop {
            if let Some(due) = subject
                .upkeep(&self.world.now())
                .and_then(|one| one.renew_at)
            {
                clock::sleep_until(due).await;
            }
            match self.renew(&subject).await {
                Ok(svid) => {
                    backoff.reset();
                    self.publish(&subject, svid);
                    // Half of next to nothing is at once, and at once again.
                    tokio::time::sleep(SHORTEST_PAUSE).await;
                }
                Err(error) => {
                    let pause = backoff.next(clock::jitter());
                    let error = chain(&error);
                    warn!(spiffe_id = %subject.id(), %error, retry_in = ?pause, "no new certificate");
                    self.edit(&subject, |one| one.last_error = Some(error.into()));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Asks once, with a new key.
    async fn renew(&self, subject: &Subject) -> Result<Svid, RenewError> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.ok();
        let channel = self.channel.borrow().clone();
        let key = new_key(self.algorithm).await?;
        let (workload, ttl_seconds) = match subject {
            Subject::Own(_) => (None, 0),
            Subject::Workload(id, ttl) => (Some(id), *ttl),
        };
        let request = Request {
            csr_pem: key.csr(Some(subject.id()))?,
            ttl_seconds,
            workload,
            token: None,
        };
        let chain = create_certificate(channel, request).await?;
        let svid = Svid::from_answer(key, &chain, self.profile)?
            .expect(Some(subject.id()), clock::now())?;
        if let Subject::Own(_) = subject {
            // Kept before it is used: after a crash the agent must be able to show it.
            self.data_dir.store(&svid)?;
            self.channel.send_replace(self.link.authenticated(&svid)?);
        }
        Ok(svid)
    }

    fn publish(&self, subject: &Subject, svid: Svid) {
        let now = clock::now();
        if now < svid.not_before() {
            // It is used all the same: the peers' clocks decide, and ours is the odd one out.
            warn!(
                spiffe_id = %subject.id(),
                not_before = svid.not_before().as_secs(),
                now = now.as_secs(),
                "the certificate is not valid yet: this machine's clock is behind the authority's"
            );
        }
        let renew_at = svid.lifetime(now).renew_at(clock::jitter());
        info!(
            spiffe_id = %subject.id(),
            serial = %svid.serial(),
            not_after = svid.not_after().as_secs(),
            renew_at = renew_at.as_secs(),
            "certificate obtained"
        );
        let svid = Arc::new(svid);
        self.edit(subject, |one| one.renewed(svid, renew_at));
    }

    fn edit(&self, subject: &Subject, edit: impl FnOnce(&mut Upkeep)) {
        self.world.change(|world| match subject {
            Subject::Own(_) => edit(&mut world.own),
            Subject::Workload(id, _) => {
                // Gone from the entries in the meantime: nothing to keep.
                if let Some(one) = world.workloads.get_mut(id) {
                    edit(one);
                }
            }
        });
    }
}

impl Subject {
    /// The identity.
    const fn id(&self) -> &SpiffeId {
        match self {
            Self::Own(id) | Self::Workload(id, _) => id,
        }
    }

    fn upkeep<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Upkeep> {
        match self {
            Self::Own(_) => Some(&snapshot.own),
            Self::Workload(id, _) => snapshot.workloads.get(id),
        }
    }
}

/// Makes a key without holding up anything else.
pub(crate) async fn new_key(algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
    match algorithm {
        // Quicker than handing it over.
        KeyAlgorithm::EcdsaP256 => PrivateKey::generate(algorithm),
        KeyAlgorithm::Rsa2048 => {
            tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm))
                .await
                .map_err(|_stopped| KeyError::Interrupted)?
        }
    }
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RenewError {
    /// The authority did not give one.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No key or request.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What the authority gave is not used.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It cannot be kept.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// It cannot be shown.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Between two certificates of one identity, however soon the first is over.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// Requests in flight at most.
const AT_ONCE: usize = 8;
