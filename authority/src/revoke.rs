//! The signed deny list: what is revoked or suspended, re-signed all the time so that its absence
//! is noticed.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use identity::deny_list::{
    self, DenyList, DenyListError, Entries, EntriesError, Entry, Head, History,
};
use identity::x509::{BadDigest, Sha256Digest};
use identity::{UnixTime, chain, pem};
use tokio::sync::{Mutex, watch};

pub use self::key::{ListKeyError, ListKeys, ListSigner};
use crate::inventory::{
    CertificateState, ChangeError, DeniedCertificate, InventoryError, ListHead, Selector,
    StateAction, StateChange,
};
use crate::issue::{Caller, Issuance, IssueError, Wish};

mod key;

/// A list as it was signed.
#[derive(Clone, Debug)]
pub struct SignedList {
    /// Its number.
    pub head: ListHead,
    /// The list, and what changed in those before it.
    pub history: History,
}

impl SignedList {
    /// Whether the certificate with this digest is on the list.
    #[must_use]
    pub fn denies(&self, sha256: &Sha256Digest) -> bool {
        self.history.list().state(sha256).is_some()
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
    /// The entries are none that a list can have.
    #[error("the deny list's entries are refused")]
    BadEntries(#[source] EntriesError),
    /// Head and entries do not fit.
    #[error("the deny list's head is refused")]
    BadHead(#[source] DenyListError),
    /// There is no certificate for the deny list's key.
    #[error("the certificate of the deny list's key was not issued")]
    Certificate(#[source] IssueError),
    /// The certificate does not parse.
    #[error("the certificate of the deny list's key does not parse")]
    BadCertificate(#[source] pem::PemError),
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
    issuance: Issuance,
    signing: RwLock<Signing>,
    /// Held by whoever changes what lists are signed with.
    preparing: Mutex<()>,
    life_seconds: i64,
    published: watch::Sender<Arc<SignedList>>,
}

/// What lists are signed with.
#[derive(Debug)]
struct Signing {
    keys: ListKeys,
    certificate: ListCertificate,
    /// Another one whenever key or certificate are.
    generation: u64,
}

/// The certificate of the key that signs.
#[derive(Clone, Debug)]
struct ListCertificate {
    der: Vec<u8>,
    renew_at: UnixTime,
}

impl Publisher {
    /// Opens an epoch and signs its first list. Lists live for `life_seconds`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn start(
        keys: ListKeys,
        issuance: Issuance,
        life_seconds: i64,
    ) -> Result<Self, PublishError> {
        let now = issuance.now();
        let certificate = certify(&issuance, keys.active()).await?;
        let signing = Signing {
            keys,
            certificate,
            generation: 1,
        };
        issuance.inventory().open_epoch(now).await?;
        let (head, denied) = issuance.inventory().next_list(now).await?;
        let entries = Arc::new(entries(&denied)?);
        let (jws, list) = signing.sign_list(head, entries, now, life_seconds)?;
        let history = History::new(jws, list);
        let (published, _) = watch::channel(Arc::new(SignedList { head, history }));
        Ok(Self {
            issuance,
            signing: RwLock::new(signing),
            preparing: Mutex::default(),
            life_seconds,
            published,
        })
    }

    /// The list as it stands, and each one to come.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<SignedList>> {
        self.published.subscribe()
    }

    /// The public keys that may sign lists, PEM `PUBLIC KEY`: the one that does, the one that will
    /// after a rotation, and the one that did before, until its last list has expired.
    #[must_use]
    pub fn public_keys(&self) -> Vec<String> {
        let now = self.issuance.now();
        self.signing(|signing| signing.keys.public_pems(now))
    }

    /// Takes the prepared key into use, with a certificate of its own, prepares another and signs
    /// the list anew.
    ///
    /// # Errors
    /// [`PublishError`]; if the certificate was not issued, nothing has changed.
    pub async fn rotate_key(&self) -> Result<(), PublishError> {
        let one_at_a_time = self.preparing.lock().await;
        let csr = self.signing(|signing| signing.keys.next().csr_pem().to_owned());
        let certificate = certify_csr(&self.issuance, &csr).await?;
        self.change_signing(|signing| {
            let now = self.issuance.now().as_secs();
            let until = UnixTime::from_secs(now.saturating_add(self.life_seconds));
            signing.keys.rotate(until)?;
            signing.certificate = certificate;
            Ok(())
        })
        .map_err(PublishError::Key)?;
        drop(one_at_a_time);
        tracing::warn!("the deny list's next key is in use");
        self.refresh().await
    }

    /// Renews the certificate of the key that signs, if it is time.
    async fn renew_certificate(&self) -> Result<(), PublishError> {
        let _one_at_a_time = self.preparing.lock().await;
        let now = self.issuance.now();
        let due = self.signing(|signing| {
            (now >= signing.certificate.renew_at)
                .then(|| signing.keys.active().csr_pem().to_owned())
        });
        if let Some(csr) = due {
            let certificate = certify_csr(&self.issuance, &csr).await?;
            self.change_signing(|signing| signing.certificate = certificate);
        }
        Ok(())
    }

    fn signing<T>(&self, read: impl FnOnce(&Signing) -> T) -> T {
        read(&self.signing.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_signing<T>(&self, change: impl FnOnce(&mut Signing) -> T) -> T {
        let mut signing = self.signing.write().unwrap_or_else(PoisonError::into_inner);
        signing.generation = signing.generation.wrapping_add(1);
        change(&mut signing)
    }

    /// A number that is another one whenever there is another key or certificate to sign with.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.signing(|signing| signing.generation)
    }

    /// Signs what `input` makes of the key's id and its certificate: the JWS.
    ///
    /// # Errors
    /// [`PublishError::Key`].
    pub fn sign(
        &self,
        input: impl FnOnce(&str, &[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, PublishError> {
        self.signing(|signing| signing.sign(input))
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
        let now = self.issuance.now();
        let change = self
            .issuance
            .inventory()
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
        // With the one there is lists can be signed still; who pins keys does not look at it.
        if let Err(error) = self.renew_certificate().await {
            tracing::error!(
                error = chain(&error),
                "the certificate of the deny list's key was not renewed"
            );
        }
        let inventory = self.issuance.inventory();
        let (head, denied) = inventory.next_list(self.issuance.now()).await?;
        self.publish(head, &denied)
    }

    /// Signs the list anew every `period`, for ever, and does `also` each time.
    pub async fn run(&self, period: Duration, also: impl Fn()) {
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
            also();
        }
    }

    fn publish(&self, head: ListHead, denied: &[DeniedCertificate]) -> Result<(), PublishError> {
        let mut entries = Arc::new(entries(denied)?);
        let before = Arc::clone(self.published.borrow().history.list().entries());
        if before.digest() == entries.digest() {
            entries = before;
        }
        let now = self.issuance.now();
        let (jws, list) =
            self.signing(|signing| signing.sign_list(head, entries, now, self.life_seconds))?;
        // Two changes may be signed in either order. A later number includes what an earlier one
        // says, so only forward steps are published.
        self.published.send_if_modified(|current| {
            let forward = head > current.head;
            if forward {
                let history = current.history.followed_by(jws, list);
                *current = Arc::new(SignedList { head, history });
            }
            forward
        });
        Ok(())
    }
}

impl Signing {
    /// The signed head of a list, and the list.
    fn sign_list(
        &self,
        number: ListHead,
        entries: Arc<Entries>,
        now: UnixTime,
        life_seconds: i64,
    ) -> Result<(Vec<u8>, DenyList), PublishError> {
        let head = Head::of(&entries, (number.epoch, number.sequence), now, life_seconds)
            .ok_or(PublishError::BadClock)?;
        let jws =
            self.sign(|kid, certificate| deny_list::signing_input(&head, kid, Some(certificate)))?;
        let list = DenyList::new(head, entries).map_err(PublishError::BadHead)?;
        Ok((jws, list))
    }

    fn sign(&self, input: impl FnOnce(&str, &[u8]) -> Vec<u8>) -> Result<Vec<u8>, PublishError> {
        let signer = self.keys.active();
        let input = input(signer.kid(), &self.certificate.der);
        let signature = signer.sign(&input).map_err(PublishError::Key)?;
        Ok(deny_list::assemble(&input, &signature))
    }
}

async fn certify(issuance: &Issuance, key: &ListSigner) -> Result<ListCertificate, PublishError> {
    certify_csr(issuance, key.csr_pem()).await
}

/// Issues a certificate for a key of the deny list, to be renewed at half of its life.
async fn certify_csr(issuance: &Issuance, csr: &str) -> Result<ListCertificate, PublishError> {
    let now = issuance.now();
    let wish = Wish {
        spiffe_id: None,
        ttl_seconds: CERTIFICATE_SECONDS.min(issuance.policy().max_ttl_seconds()),
        ..Wish::default()
    };
    let issued = issuance
        .issue(&Caller::ListSigner, csr, &wish)
        .await
        .map_err(PublishError::Certificate)?;
    // A chain without a leaf, which there is none, would be refused as not PEM.
    let leaf = issued.chain.first().map(String::as_str).unwrap_or_default();
    let der =
        pem::single(leaf, pem::CERTIFICATE, leaf.len()).map_err(PublishError::BadCertificate)?;
    let half = issued.not_after.secs_since(now) / 2;
    Ok(ListCertificate {
        der,
        renew_at: now.plus_secs(half).ok_or(PublishError::BadClock)?,
    })
}

fn entries(denied: &[DeniedCertificate]) -> Result<Entries, PublishError> {
    let entries = denied.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    Entries::new(entries).map_err(PublishError::BadEntries)
}

fn entry(denied: &DeniedCertificate) -> Result<Entry, PublishError> {
    Ok(Entry {
        sha256: denied.sha256.parse().map_err(PublishError::BadDigest)?,
        state: match denied.state {
            CertificateState::Revoked => deny_list::State::Revoked,
            CertificateState::Suspended => deny_list::State::Suspended,
            CertificateState::Good => return Err(PublishError::NotDenied),
        },
        since: denied.since,
    })
}

/// Life of the certificate of the deny list's key.
const CERTIFICATE_SECONDS: i64 = 24 * 3600;
