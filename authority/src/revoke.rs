//! The signed deny list: what is revoked or suspended, re-signed all the time so that its absence
//! is noticed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use identity::UnixTime;
use identity::deny_list::{self, Payload, PayloadEntry, SCHEMA_VERSION};
use identity::x509::{BadDigest, Sha256Digest};
use tokio::sync::watch;

pub use self::key::{ListKeyError, ListSigner};
use crate::clock::Clock;
use crate::inventory::{
    CertificateState, ChangeError, DeniedCertificate, Inventory, InventoryError, ListHead,
    Selector, StateAction, StateChange,
};
use crate::report::chain;

mod key;

/// A list as it was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedList {
    /// JWS compact serialization.
    pub jws: String,
    /// Its number.
    pub head: ListHead,
    /// When it was signed.
    pub issued: UnixTime,
    denied: HashSet<Sha256Digest>,
}

impl SignedList {
    /// Whether the certificate with this digest is on the list.
    #[must_use]
    pub fn denies(&self, sha256: &Sha256Digest) -> bool {
        self.denied.contains(sha256)
    }
}

/// Why a list could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The record failed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The key gave no signature.
    #[error("the deny list's key gave no signature")]
    Key(#[source] ListKeyError),
    /// A digest on record is none.
    #[error("the record holds a bad digest")]
    BadDigest(#[source] BadDigest),
    /// A certificate in good standing was to be listed.
    #[error("a certificate in good standing was to be listed")]
    NotDenied,
    /// A date outside the calendar.
    #[error("the clock is outside the calendar")]
    BadClock,
    /// The change was refused.
    #[error(transparent)]
    Refused(#[from] ChangeError),
}

/// Signs deny lists and hands them to whoever watches.
#[derive(Debug)]
pub struct Publisher {
    signer: ListSigner,
    inventory: Inventory,
    clock: Arc<dyn Clock>,
    life_seconds: i64,
    published: watch::Sender<Arc<SignedList>>,
}

impl Publisher {
    /// Opens an epoch and signs its first list. Lists live for `life_seconds`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn start(
        signer: ListSigner,
        inventory: Inventory,
        clock: Arc<dyn Clock>,
        life_seconds: i64,
    ) -> Result<Self, PublishError> {
        let now = clock.now();
        inventory.open_epoch(now).await?;
        let (head, denied) = inventory.next_list(now).await?;
        let first = sign(&signer, head, &denied, now, life_seconds)?;
        let (published, _) = watch::channel(Arc::new(first));
        Ok(Self {
            signer,
            inventory,
            clock,
            life_seconds,
            published,
        })
    }

    /// The list as it stands, and each one to come.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<SignedList>> {
        self.published.subscribe()
    }

    /// The public keys that may sign lists, PEM `PUBLIC KEY`.
    #[must_use]
    pub fn public_keys(&self) -> Vec<String> {
        vec![self.signer.public_key_pem().to_owned()]
    }

    /// Changes certificates and publishes the list that says so; both are done when this returns.
    ///
    /// # Errors
    /// [`PublishError::Refused`] if the change is not possible, the others if something failed. If
    /// signing failed, the change is durable and the next list carries it.
    pub async fn change(
        &self,
        selector: Selector,
        action: StateAction,
        reason: String,
        operator: String,
    ) -> Result<StateChange, PublishError> {
        let now = self.clock.now();
        let change = self
            .inventory
            .change_state(selector, action, reason, operator, now)
            .await??;
        for certificate in &change.changed {
            tracing::warn!(
                spiffe_id = %certificate.spiffe_id, serial = certificate.serial,
                state = certificate.state.as_str(), reason = certificate.reason, "state changed"
            );
        }
        self.publish(change.head, &change.denied)?;
        Ok(change)
    }

    /// Signs the list anew.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn refresh(&self) -> Result<(), PublishError> {
        let (head, denied) = self.inventory.next_list(self.clock.now()).await?;
        self.publish(head, &denied)
    }

    /// Signs the list anew every `period`, for ever.
    pub async fn run(&self, period: Duration) {
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once, and the first list is already out.
        tick.tick().await;
        loop {
            tick.tick().await;
            if let Err(error) = self.refresh().await {
                tracing::error!(
                    error = chain(&error),
                    "the deny list was not signed; it will go stale"
                );
            }
        }
    }

    fn publish(&self, head: ListHead, denied: &[DeniedCertificate]) -> Result<(), PublishError> {
        let list = sign(
            &self.signer,
            head,
            denied,
            self.clock.now(),
            self.life_seconds,
        )?;
        // Two changes may be signed in either order. A later number includes what an earlier one
        // says, so only forward steps are published.
        self.published.send_if_modified(|current| {
            let forward = list.head > current.head;
            if forward {
                *current = Arc::new(list);
            }
            forward
        });
        Ok(())
    }
}

fn sign(
    signer: &ListSigner,
    head: ListHead,
    denied: &[DeniedCertificate],
    now: UnixTime,
    life_seconds: i64,
) -> Result<SignedList, PublishError> {
    let entries = denied.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let payload = Payload {
        schema_version: SCHEMA_VERSION,
        epoch: head.epoch,
        sequence: head.sequence,
        issued: now,
        expires: now.plus_secs(life_seconds).ok_or(PublishError::BadClock)?,
        entries,
    };
    let input = deny_list::signing_input(&payload, signer.kid());
    let signature = signer.sign(&input).map_err(PublishError::Key)?;
    Ok(SignedList {
        jws: deny_list::assemble(&input, &signature),
        head,
        issued: now,
        denied: payload.entries.iter().map(|entry| entry.sha256).collect(),
    })
}

fn entry(denied: &DeniedCertificate) -> Result<PayloadEntry, PublishError> {
    Ok(PayloadEntry {
        sha256: denied.sha256.parse().map_err(PublishError::BadDigest)?,
        state: match denied.state {
            CertificateState::Revoked => deny_list::State::Revoked,
            CertificateState::Suspended => deny_list::State::Suspended,
            CertificateState::Good => return Err(PublishError::NotDenied),
        },
        since: denied.since,
    })
}
