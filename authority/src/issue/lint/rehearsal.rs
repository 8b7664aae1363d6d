//! Signatures that are none.

use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{KeyPair, SigningKey as _};

use crate::ca::KeyAlgorithm;

/// A signature in the form of `algorithm`, by a key made for it and thrown away.
///
/// It is made once a process and kept. A fresh one for each certificate would say no more: lints look
/// at the form, and the signature must verify nowhere. It covers other bytes than any certificate, so
/// that it does not, even if the throw-away key were known.
pub(in crate::issue) fn rehearsal_signature(
    algorithm: KeyAlgorithm,
) -> Result<Arc<[u8]>, rcgen::Error> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, signature)) = known.iter().find(|(known, _)| *known == algorithm) {
        return Ok(Arc::clone(signature));
    }
    drop(known);
    let key = KeyPair::generate_for(algorithm.rcgen())?;
    let signature: Arc<[u8]> = key.sign(b"a rehearsal, and no certificate")?.into();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    // Of two that race, both have a good one; the list stays as short as there are algorithms.
    if known.iter().all(|(known, _)| *known != algorithm) {
        known.push((algorithm, Arc::clone(&signature)));
    }
    Ok(signature)
}

/// The signatures made so far. Not one of them is a secret.
static KNOWN: RwLock<Vec<(KeyAlgorithm, Arc<[u8]>)>> = RwLock::new(Vec::new());
