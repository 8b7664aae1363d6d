//! Signed policy bundles: what operators publish, for the filters that name it.
//!
//! What the policies say is not known here: the operator's command has checked them, and each filter compiles them
//! or keeps those it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::policy_bundle::{self, Bundle, BundleName, Head, MAX_BODY_BYTES};
use identity::{UnixTime, chain};
use tokio::sync::{Mutex, watch};

use crate::inventory::{BundleError, BundleRecord, InventoryError, NewBundle};
use crate::issue::Issuance;
use crate::revoke::{PublishError, Publisher};

/// A bundle as it was signed last.
#[derive(Debug)]
pub struct SignedBundle {
    /// The signed part.
    pub head: Head,
    /// The bundle as it travels.
    pub bytes: Vec<u8>,
    /// When it was published.
    pub published_at: UnixTime,
    /// Who published it.
    pub operator: String,
}

impl SignedBundle {
    /// The policies.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        // One of our own making is never cut otherwise.
        Bundle::parse(&self.bytes).map_or(&[], |bundle| bundle.body)
    }

    fn record(&self) -> BundleRecord {
        BundleRecord {
            name: self.head.name.clone(),
            sequence: self.head.sequence,
            sha256: self.head.sha256,
            published_at: self.published_at,
            operator: self.operator.clone(),
            body: self.body().to_vec(),
        }
    }
}

/// All bundles by their names.
pub type SignedBundles = BTreeMap<BundleName, Arc<SignedBundle>>;

/// Why a bundle is not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishBundleError {
    /// More policies than a bundle may have.
    #[error("the policies are {bytes} bytes, limit is {MAX_BODY_BYTES}")]
    TooLarge {
        /// How long they are.
        bytes: usize,
    },
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] BundleError),
    /// The record failed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// It is on record, but could not be signed.
    #[error("the policy bundle could not be signed")]
    Sign(#[source] PublishError),
}

/// Signs policy bundles and hands them to whoever watches.
#[derive(Debug)]
pub struct Bundles {
    issuance: Issuance,
    publisher: Arc<Publisher>,
    published: watch::Sender<Arc<SignedBundles>>,
    /// What all of them are signed with, see [`Publisher::generation`]; held by whoever signs.
    signed_with: Mutex<u64>,
}

impl Bundles {
    /// Signs what is on record, in the epoch of the deny list.
    ///
    /// # Errors
    /// [`PublishBundleError`].
    pub async fn start(
        issuance: Issuance,
        publisher: Arc<Publisher>,
    ) -> Result<Self, PublishBundleError> {
        let bundles = Self {
            issuance,
            publisher,
            published: watch::channel(Arc::default()).0,
            signed_with: Mutex::default(),
        };
        let mut signed_with = bundles.signed_with.lock().await;
        let generation = bundles.publisher.generation();
        let mut signed = SignedBundles::new();
        for record in bundles.issuance.inventory().bundles().await? {
            let name = record.name.clone();
            signed.insert(name, Arc::new(bundles.sign(record, None)?));
        }
        bundles.published.send_replace(Arc::new(signed));
        *signed_with = generation;
        drop(signed_with);
        Ok(bundles)
    }

    /// The bundles as they stand, and each change of them.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<SignedBundles>> {
        self.published.subscribe()
    }

    /// Puts policies on record and publishes them signed; both are done when this returns. Whether anything has
    /// changed, too.
    ///
    /// # Errors
    /// [`PublishBundleError`]. After [`PublishBundleError::Sign`] they are on record, and signed at the next start.
    pub async fn publish(
        &self,
        new: NewBundle,
    ) -> Result<(Arc<SignedBundle>, bool), PublishBundleError> {
        if new.body.len() > MAX_BODY_BYTES {
            let bytes = new.body.len();
            return Err(PublishBundleError::TooLarge { bytes });
        }
        let _one_at_a_time = self.signed_with.lock().await;
        let now = self.issuance.now();
        let inventory = self.issuance.inventory();
        let (record, changed) = inventory.publish_bundle(new, now).await??;
        let name = record.name.clone();
        let published = self.published.borrow().get(&name).cloned();
        let same = published.filter(|signed| signed.head.sequence == record.sequence);
        if let Some(same) = same {
            return Ok((same, changed));
        }
        let signed = Arc::new(self.sign(record, None)?);
        tracing::warn!(
            bundle = %name, sequence = signed.head.sequence, sha256 = %signed.head.sha256,
            operator = signed.operator, "policies published"
        );
        self.published.send_modify(|all| {
            Arc::make_mut(all).insert(name, Arc::clone(&signed));
        });
        Ok((signed, changed))
    }

    /// Signs all bundles anew whenever there is another key or certificate to sign with, for ever. Whoever has no
    /// bundle yet could not verify one whose signer's certificate has run out.
    pub async fn run(&self) {
        let mut lists = self.publisher.watch();
        while lists.changed().await.is_ok() {
            if let Err(error) = self.sign_anew().await {
                tracing::error!(
                    error = chain(&error),
                    "the policy bundles were not signed anew"
                );
            }
        }
    }

    async fn sign_anew(&self) -> Result<(), PublishBundleError> {
        let mut signed_with = self.signed_with.lock().await;
        let generation = self.publisher.generation();
        if *signed_with == generation {
            return Ok(());
        }
        let before = Arc::clone(&self.published.borrow());
        let mut signed = SignedBundles::new();
        for (name, bundle) in before.iter() {
            let again = self.sign(bundle.record(), Some(bundle.head.issued))?;
            signed.insert(name.clone(), Arc::new(again));
        }
        self.published.send_replace(Arc::new(signed));
        *signed_with = generation;
        Ok(())
    }

    /// Signs a bundle, later than it was signed before: agents tell by that whether they have to have it anew.
    fn sign(
        &self,
        record: BundleRecord,
        before: Option<UnixTime>,
    ) -> Result<SignedBundle, PublishBundleError> {
        let epoch = self.publisher.watch().borrow().head.epoch;
        let later = before.and_then(|before| before.plus_secs(1));
        let now = later.into_iter().fold(self.issuance.now(), UnixTime::max);
        let bytes = record.body.len();
        let position = (epoch, record.sequence);
        let head = Head::of(record.name.clone(), position, now, &record.body)
            .ok_or(PublishBundleError::TooLarge { bytes })?;
        let jws = self
            .publisher
            .sign(|kid, certificate| policy_bundle::signing_input(&head, kid, Some(certificate)))
            .map_err(PublishBundleError::Sign)?;
        let bytes = Bundle {
            head: &jws,
            body: &record.body,
        }
        .to_bytes();
        Ok(SignedBundle {
            head,
            bytes,
            published_at: record.published_at,
            operator: record.operator,
        })
    }
}
