//! The issuer in use, which can be exchanged while requests go on.

use std::sync::{Arc, PoisonError, RwLock};

use crate::issue::Issuer;

/// The issuer in use, and those before it, whose chains answers may still need.
#[derive(Clone, Debug)]
pub struct IssuerSlot(Arc<RwLock<Issuers>>);

#[derive(Debug)]
struct Issuers {
    current: Arc<Issuer>,
    /// Newest first.
    before: Vec<Arc<Issuer>>,
}

impl IssuerSlot {
    /// A slot that holds `issuer`.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        Self(Arc::new(RwLock::new(Issuers {
            current: Arc::new(issuer),
            before: Vec::new(),
        })))
    }

    /// The issuer in use. Whoever has begun with it ends with it.
    #[must_use]
    pub fn current(&self) -> Arc<Issuer> {
        let issuers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&issuers.current)
    }

    /// The issuer whose certificate has this SHA-256, if it was in use since the start.
    #[must_use]
    pub fn by_sha256(&self, sha256: &str) -> Option<Arc<Issuer>> {
        let issuers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&issuers.current)
            .chain(&issuers.before)
            .find(|issuer| issuer.certificate().sha256() == sha256)
            .map(Arc::clone)
    }

    /// The issuers before the one in use, newest first.
    #[must_use]
    pub fn before(&self) -> Vec<Arc<Issuer>> {
        let issuers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        issuers.before.clone()
    }

    /// Takes `issuer` into use from now on.
    pub fn replace(&self, issuer: Issuer) {
        let mut issuers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut issuers.current, Arc::new(issuer));
        issuers.before.insert(0, old);
        issuers.before.truncate(MAX_BEFORE);
    }
}

/// Issuers remembered beside the one in use.
const MAX_BEFORE: usize = 8;
