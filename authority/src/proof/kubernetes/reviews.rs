//! Reviews of tokens by the API server, each token's once and then remembered.
//!
//! A good review is remembered until the token expires, but no longer than configured: so long a
//! token goes on being good after its pod was deleted. A bad one is remembered for a moment. One
//! token is never under review twice at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use futures::FutureExt as _;
use futures::future::Shared;
use identity::UnixTime;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, oneshot};
use zeroize::Zeroizing;

use crate::issue::attest::AttestError;
use crate::proof::Unavailable;
use crate::proof::jwt::TokenFault;
use crate::proof::kubernetes::account::Account;
use crate::proof::kubernetes::api_server::ApiServer;

/// How long a bad review is remembered, in seconds.
pub(crate) const BAD_SECONDS: i64 = 5;
/// Reviews that are remembered, good and bad ones counted apart.
pub(crate) const MOST_REMEMBERED: usize = 65_536;
/// Reviews one API server is asked for at the same time.
pub(crate) const MOST_AT_ONCE: usize = 64;
/// Tokens that wait for their review; callers beyond are told to come again.
pub(crate) const MOST_WAITING: usize = 8_192;

/// What a review came to.
type Outcome = Result<Account, TokenFault>;
type Reply = Result<Outcome, Arc<Unavailable>>;
/// SHA-256 of a token.
type Hash = [u8; 32];

/// The reviews of one cluster's tokens.
#[derive(Clone, Debug)]
pub(crate) struct Reviews(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    api: ApiServer,
    audiences: Vec<String>,
    cache_for: i64,
    patience: Duration,
    known: Mutex<Known>,
    slots: Semaphore,
}

#[derive(Debug, Default)]
struct Known {
    good: Remembered,
    bad: Remembered,
    under_way: HashMap<Hash, Shared<oneshot::Receiver<Reply>>>,
}

impl Reviews {
    pub(crate) fn new(
        api: ApiServer,
        audiences: &[String],
        cache_for: i64,
        patience: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            api,
            audiences: audiences.to_vec(),
            cache_for,
            patience,
            known: Mutex::default(),
            slots: Semaphore::new(MOST_AT_ONCE),
        }))
    }

    /// Whose `token` is, by the API server's word. `expires` is when the token says it does.
    ///
    /// # Errors
    /// [`AttestError`]: it is not accepted, or nobody can tell.
    pub(crate) async fn review(
        &self,
        token: &str,
        expires: UnixTime,
        now: UnixTime,
    ) -> Result<Account, AttestError> {
        let hash = hash(token);
        let reply = {
            let mut known = self.0.lock();
            if let Some(outcome) = known.outcome(&hash, now) {
                return Ok(outcome?);
            }
            match known.under_way.get(&hash) {
                Some(reply) => reply.clone(),
                None if known.under_way.len() >= MOST_WAITING => {
                    return Err(Unavailable::Busy {
                        cluster: self.0.api.cluster().to_owned(),
                    }
                    .into());
                }
                None => {
                    let (sender, receiver) = oneshot::channel();
                    let reply = receiver.shared();
                    known.under_way.insert(hash, reply.clone());
                    // A task of its own: it ends whether or not its first caller waits for it.
                    let task = Arc::clone(&self.0);
                    let token = Zeroizing::new(token.to_owned());
                    tokio::spawn(async move {
                        let reply = task.ask(&token).await;
                        task.remember(hash, &reply, expires, now);
                        // Nobody may be waiting any more.
                        drop(sender.send(reply));
                    });
                    reply
                }
            }
        };
        match reply.await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(unavailable)) => Err(Unavailable::Shared(unavailable).into()),
            // The task is gone without a word; the next caller starts another.
            Err(_cancelled) => {
                self.0.lock().under_way.remove(&hash);
                Err(Unavailable::Busy {
                    cluster: self.0.api.cluster().to_owned(),
                }
                .into())
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, token: &str) -> Reply {
        let asked = async {
            // Never closed.
            let _slot = self.slots.acquire().await;
            self.api.review(token, &self.audiences).await
        };
        match tokio::time::timeout(self.patience, asked).await {
            Ok(Ok(status)) => Ok(outcome(&status, &self.audiences)),
            Ok(Err(unavailable)) => Err(Arc::new(unavailable)),
            Err(_elapsed) => Err(Arc::new(Unavailable::Busy {
                cluster: self.api.cluster().to_owned(),
            })),
        }
    }

    fn remember(&self, hash: Hash, reply: &Reply, expires: UnixTime, now: UnixTime) {
        let mut known = self.lock();
        known.under_way.remove(&hash);
        let until = |seconds| now.plus_secs(seconds).unwrap_or(now);
        match reply {
            Ok(good @ Ok(_)) => {
                let until = until(self.cache_for).min(expires);
                known.good.insert(hash, good.clone(), until);
            }
            Ok(bad) => known.bad.insert(hash, bad.clone(), until(BAD_SECONDS)),
            Err(_) => {}
        }
    }
}

impl Known {
    fn outcome(&self, hash: &Hash, now: UnixTime) -> Option<Outcome> {
        let good = self.good.get(hash, now);
        good.or_else(|| self.bad.get(hash, now)).cloned()
    }
}

/// Two generations: when the newer is full it becomes the older, and what was there goes. So the
/// memory is bounded, and what is asked for often is looked up again at most once a generation.
#[derive(Debug, Default)]
struct Remembered {
    newer: HashMap<Hash, (Outcome, UnixTime)>,
    older: HashMap<Hash, (Outcome, UnixTime)>,
}

impl Remembered {
    fn get(&self, hash: &Hash, now: UnixTime) -> Option<&Outcome> {
        let found = self.newer.get(hash).or_else(|| self.older.get(hash));
        found.and_then(|(outcome, until)| (now < *until).then_some(outcome))
    }

    fn insert(&mut self, hash: Hash, outcome: Outcome, until: UnixTime) {
        if self.newer.len() >= MOST_REMEMBERED / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, (outcome, until));
    }
}

/// What the `status` of a review says.
fn outcome(status: &Map<String, Value>, audiences: &[String]) -> Outcome {
    if status.get("authenticated") != Some(&Value::Bool(true)) {
        return Err(TokenFault::NotReviewed);
    }
    // "A client of the TokenReview API that sets the spec.audiences field should validate that a
    // compatible audience identifier is returned": without one the server did not look.
    let ours = |found: &Value| {
        audiences
            .iter()
            .any(|ours| Some(ours.as_str()) == found.as_str())
    };
    let found = status.get("audiences").and_then(Value::as_array);
    if !found.is_some_and(|list| list.iter().any(ours)) {
        return Err(TokenFault::Audience);
    }
    let user = status.get("user").and_then(Value::as_object);
    Account::of_review(user.ok_or(TokenFault::NotReviewed)?)
}

fn hash(token: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests;
