//! ztunnel: one client a node, for all identities on it.
//!
//! * It asks for each identity by `ImpersonatedIdentity`, at most eight at a time, and takes only a
//!   certificate of that very identity, one certificate an element.
//! * A failure of any kind is tried again after 1 s, 2 s, 4 s … 150 s, each ± 20 %, per identity. A
//!   certificate that is still valid stays in use meanwhile, and the next attempt is at its end at
//!   the latest.
//! * It renews at exactly half of the life: all that were had together come together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::UnixTime;
use identity::pem;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::keys::{self, WorkloadKey};
use super::wire::{self, Answer, Ask, CallError, Credential, Target};

/// What every fetch needs.
#[derive(Debug)]
pub(crate) struct Ztunnel {
    target: Target,
    credential: Credential,
    ttl_seconds: i64,
    fetches: Semaphore,
    channel: Mutex<Option<Channel>>,
    held: Mutex<BTreeMap<String, Held>>,
    now: fn() -> UnixTime,
}

/// What it has of one identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// The certificate in use.
    pub(crate) answer: Option<Answer>,
    /// Certificates had.
    pub(crate) certificates: u32,
    /// Fetches that failed.
    pub(crate) failures: u32,
    /// Moments at which there was no valid certificate, looked at before each fetch but the first.
    pub(crate) gaps: u32,
}

impl Ztunnel {
    /// A ztunnel that has nothing yet.
    pub(crate) fn new(
        target: Target,
        credential: Credential,
        ttl_seconds: i64,
        now: fn() -> UnixTime,
    ) -> Arc<Self> {
        Arc::new(Self {
            target,
            credential,
            ttl_seconds,
            fetches: Semaphore::new(CONCURRENT),
            channel: Mutex::default(),
            held: Mutex::default(),
            now,
        })
    }

    /// Keeps certificates of `ids` until the next step would come later than `lasts` from now, then
    /// says what it has.
    pub(crate) async fn run(
        self: &Arc<Self>,
        ids: &[String],
        lasts: Duration,
    ) -> BTreeMap<String, Held> {
        let mut keeping = JoinSet::new();
        for (number, id) in (1_u64..).zip(ids) {
            let (ztunnel, id) = (Arc::clone(self), id.clone());
            keeping.spawn(async move { ztunnel.keep(&id, lasts, number).await });
        }
        keeping.join_all().await;
        self.held.lock().await.clone()
    }

    async fn keep(&self, id: &str, lasts: Duration, seed: u64) {
        let begun = Instant::now();
        let mut back_off = FIRST_PAUSE;
        let mut jitter = seed;
        while begun.elapsed() < lasts {
            let fetched = self.fetch(id).await;
            let mut all = self.held.lock().await;
            let held = all.entry(id.to_owned()).or_default();
            let pause = match fetched {
                Ok(answer) => {
                    back_off = FIRST_PAUSE;
                    let refresh = answer.validity.not_before;
                    let refresh = refresh.plus_secs(wire::half_life(answer.validity));
                    let pause = wire::until(refresh.unwrap_or_else(self.now), (self.now)());
                    held.certificates += 1;
                    held.answer = Some(answer);
                    pause
                }
                Err(_whatever) => {
                    held.failures += 1;
                    jitter = jitter
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let percent = 80 + u32::try_from(jitter >> 33).unwrap_or(0) % 41;
                    let pause = back_off * percent / 100;
                    back_off = (back_off * 2).min(LAST_PAUSE);
                    let valid = held.answer.as_ref().map(|answer| answer.validity.not_after);
                    match valid.filter(|end| *end > (self.now)()) {
                        Some(end) => pause.min(wire::until(end, (self.now)())),
                        None => pause,
                    }
                }
            };
            drop(all);
            if pause >= lasts.saturating_sub(begun.elapsed()) {
                return;
            }
            // A second has no fractions in a certificate: never spin on one.
            tokio::time::sleep(pause.max(Duration::from_millis(50))).await;
            self.look(id).await;
        }
    }

    /// Counts a gap, if there is one now.
    async fn look(&self, id: &str) {
        let now = (self.now)();
        if let Some(held) = self.held.lock().await.get_mut(id)
            && let Some(answer) = &held.answer
            && answer.validity.not_after < now
        {
            held.gaps += 1;
        }
    }

    async fn fetch(&self, id: &str) -> Result<Answer, CallError> {
        let _one_of_eight = self.fetches.acquire().await;
        let ask = Ask {
            csr_pem: keys::request(id, WorkloadKey::EcdsaP256)?.csr_pem,
            ttl_seconds: self.ttl_seconds,
            impersonate: Some(id.to_owned()),
            cluster_id: "Kubernetes".to_owned(),
        };
        let channel = self.channel().await?;
        let answer = match wire::call(channel, &self.credential, &ask).await {
            Ok(answer) => answer,
            Err(error) => {
                if let CallError::Status(status) = &error
                    && std::error::Error::source(status.as_ref()).is_some()
                {
                    // The connection broke.
                    *self.channel.lock().await = None;
                }
                return Err(error);
            }
        };
        check_elements(&answer.chain)?;
        if answer.id != id {
            return Err(CallError::OtherIdentity { found: answer.id });
        }
        Ok(answer)
    }

    async fn channel(&self) -> Result<Channel, CallError> {
        let mut held = self.channel.lock().await;
        if let Some(channel) = &*held {
            return Ok(channel.clone());
        }
        let channel = wire::connect(&self.target, &self.credential).await?;
        *held = Some(channel.clone());
        Ok(channel)
    }
}

/// ztunnel reads one certificate of each element but the last, which is the roots.
fn check_elements(chain: &[String]) -> Result<(), CallError> {
    let Some((_roots, sent)) = chain.split_last() else {
        return Err(CallError::ShortChain { len: 0 });
    };
    for element in sent {
        let one = pem::single(element, pem::CERTIFICATE, 1 << 16);
        if one.is_err() || !element.ends_with('\n') {
            return Err(CallError::BadElement);
        }
    }
    Ok(())
}

const CONCURRENT: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(150);
