//! From the certificates of some files to one chain that everything can be checked on.

use identity::UnixTime;

use crate::ca::CaCertificate;
use crate::ca::crl::{self, CrlError};
use crate::ca::import::ImportError;
use crate::ca::key::{CaKey as _, FileKey};
use crate::ca::load::is_signed_by;
use crate::ca::make::Unsigned;
use crate::ca::path::{self, Candidate};

/// The one root of a bundle; the same one twice is one.
pub(super) fn one_root(
    mut roots: Vec<CaCertificate>,
    file: &'static str,
) -> Result<CaCertificate, ImportError> {
    roots.dedup();
    let found = roots.len();
    match <[CaCertificate; 1]>::try_from(roots) {
        Ok([root]) if is_signed_by(&root, &root) => Ok(root),
        Ok([root]) => Err(ImportError::NotSelfSigned {
            file,
            subject: root.subject().to_owned(),
        }),
        Err(_several) => Err(ImportError::SeveralRoots { file, found }),
    }
}

/// [`build_chain`] of what an upstream answered.
pub(crate) fn chain_to_root(
    own: CaCertificate,
    pool: Vec<CaCertificate>,
    root: CaCertificate,
) -> Result<Vec<CaCertificate>, ImportError> {
    build_chain(own, pool, "the answer", root)
}

/// From `own` through `pool` to `root`; every certificate of the pool must have its place.
pub(super) fn build_chain(
    own: CaCertificate,
    mut pool: Vec<CaCertificate>,
    pool_file: &'static str,
    root: CaCertificate,
) -> Result<Vec<CaCertificate>, ImportError> {
    pool.retain(|certificate| *certificate != own && *certificate != root);
    if own == root {
        return match pool.first() {
            None => Ok(vec![root]),
            Some(stray) => Err(ImportError::Stray {
                file: pool_file,
                subject: stray.subject().to_owned(),
            }),
        };
    }
    let mut chain = vec![own];
    while let Some(last) = chain.last() {
        if is_signed_by(last, &root) {
            break;
        }
        let issuer = pool
            .iter()
            .position(|candidate| is_signed_by(last, candidate));
        let Some(issuer) = issuer else {
            return Err(ImportError::BrokenChain {
                subject: last.subject().to_owned(),
            });
        };
        // Each is used once, so the loop ends.
        chain.push(pool.swap_remove(issuer));
    }
    if let Some(stray) = pool.first() {
        return Err(ImportError::Stray {
            file: pool_file,
            subject: stray.subject().to_owned(),
        });
    }
    chain.push(root);
    Ok(chain)
}

pub(super) fn check_chain(chain: &[CaCertificate], now: UnixTime) -> Result<(), ImportError> {
    for certificate in chain {
        if now < certificate.not_before() || now > certificate.not_after() {
            return Err(ImportError::NotValidNow {
                subject: certificate.subject().to_owned(),
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
                now,
            });
        }
    }
    let chain: Vec<&CaCertificate> = chain.iter().collect();
    let mut candidate = Candidate {
        uris: Vec::new(),
        dns: Vec::new(),
        ips: Vec::new(),
        ca: None,
        not_before: now,
        not_after: now,
    };
    if chain.len() == 1 {
        // Below a root comes an intermediate.
        candidate.ca = Some(path::CaCandidate {
            path_length: Some(0),
        });
    }
    path::check(&chain, &candidate, now).map_err(ImportError::Path)
}

/// Whether `key` is that of `chain[at]`, and its subject can be repeated as issuer.
pub(super) fn check_owner(
    key: &FileKey,
    key_file: &'static str,
    chain: &[CaCertificate],
    at: usize,
    certificate_file: &'static str,
) -> Result<(), ImportError> {
    let owner = chain
        .get(at)
        .filter(|owner| owner.public_key() == key.public_key());
    let Some(owner) = owner else {
        return Err(ImportError::KeyMismatch {
            key: key_file,
            certificate: certificate_file,
        });
    };
    let rehearsal = Unsigned::empty_crl(owner, key, 1, owner.not_before(), owner.not_after())
        .map(|unsigned| crl::issuer_of(&unsigned.signed(&[0])));
    match rehearsal {
        Ok(Some(issuer)) if issuer == owner.subject_der() => Ok(()),
        // A root without cRLSign cannot rehearse a list; certificates are checked as they are made.
        Err(_) if !owner.signs_crls() => Ok(()),
        _ => Err(ImportError::UnusableSubject {
            subject: owner.subject().to_owned(),
        }),
    }
}

pub(super) fn check_crl(
    bytes: &[u8],
    chain: &[CaCertificate],
    now: UnixTime,
) -> Result<String, ImportError> {
    let failed = |source| ImportError::Crl {
        file: crl::FILE,
        source,
    };
    let text = std::str::from_utf8(bytes).map_err(|_not_text| failed(CrlError::Malformed))?;
    let chain: Vec<&CaCertificate> = chain.iter().collect();
    crl::check(text, &chain, now).map_err(failed)?;
    Ok(text.to_owned())
}
