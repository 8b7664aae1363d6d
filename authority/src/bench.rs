//! The issuing path without a network, for benchmarks.

use std::path::Path;
use std::sync::Arc;

use identity::{SpiffeId, TrustDomain};

use crate::app::{Parts, ServeError};
use crate::inventory::Inventory;
use crate::issue::{Caller, Issuance, IssueError, Wish};
use crate::settings::Settings;

/// An authority without listeners: it verifies, authorizes, lints, signs and records durably.
#[derive(Clone, Debug)]
pub struct InProcess {
    issuance: Issuance,
    // Held for the data folder's lock.
    parts: Arc<Parts>,
}

impl InProcess {
    /// Opens, and where needed creates, an authority in `data_dir`.
    ///
    /// # Errors
    /// [`ServeError`], as when it were served.
    pub async fn open(data_dir: &Path, trust_domain: TrustDomain) -> Result<Self, ServeError> {
        Self::with_settings(&Settings::new(trust_domain, data_dir)).await
    }

    /// Opens, and where needed creates, an authority as `settings` say.
    ///
    /// # Errors
    /// [`ServeError`], as when it were served.
    pub async fn with_settings(settings: &Settings) -> Result<Self, ServeError> {
        let parts = Parts::open(settings).await?;
        Ok(Self {
            issuance: parts.issuance.clone(),
            parts: Arc::new(parts),
        })
    }

    /// The record.
    #[must_use]
    pub const fn inventory(&self) -> &Inventory {
        self.issuance.inventory()
    }

    /// Waits until the record is closed. Clones that are left keep it open, and this waits for them.
    pub async fn close(self) {
        self.issuance.inventory().close_readers().await;
        drop(self.issuance);
        if let Ok(parts) = Arc::try_unwrap(self.parts) {
            drop(parts.issuance);
            parts.writer.await.ok();
        }
    }

    /// Issues a certificate for `spiffe_id` on the operator's word; returns the chain, PEM.
    ///
    /// # Errors
    /// [`IssueError`].
    pub async fn issue(
        &self,
        csr_pem: &str,
        spiffe_id: SpiffeId,
    ) -> Result<Vec<String>, IssueError> {
        let wish = Wish {
            spiffe_id: Some(spiffe_id),
            ttl_seconds: 0,
            ..Wish::default()
        };
        let issued = self
            .issuance
            .issue(
                &Caller::Operator {
                    uid: None,
                    id: None,
                },
                csr_pem,
                &wish,
            )
            .await?;
        Ok(issued.chain)
    }
}
