//! Reading the CA folder, with every check that must hold before anything is signed.

use std::path::Path;
use std::sync::Arc;

use identity::UnixTime;
use identity::x509::{SignatureAlgorithm, VerifySignature as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ca::certificate::CaCertificate;
use crate::ca::key::{CaKey, CaKeyError, FileKey};
use crate::ca::{CaError, names};
use crate::crypto::AwsLcVerifier;

/// A root and the intermediate that signs leaves, checked against each other.
#[derive(Clone, Debug)]
pub struct CertificateAuthority {
    /// The trust anchor.
    pub root: CaCertificate,
    /// The issuer of leaves.
    pub intermediate: CaCertificate,
    /// The intermediate's key.
    pub key: Arc<dyn CaKey>,
}

/// Reads the CA in the folder `dir` as [`init`](crate::ca::init()) writes it.
///
/// Checked: both are CA certificates and within their validity at `now`, the intermediate is
/// signed by the root, each key belongs to its certificate. The root's key may be absent.
///
/// # Errors
/// [`CaError`], naming the file at fault.
pub fn load(dir: &Path, now: UnixTime) -> Result<CertificateAuthority, CaError> {
    let root_path = dir.join(names::ROOT_CERTIFICATE);
    let root = CaCertificate::read(&root_path)?;
    check_time(&root_path, &root, now)?;
    let root_key_path = dir.join(names::ROOT_KEY);
    let has_root_key = root_key_path.try_exists().map_err(|source| CaError::Io {
        action: "look for",
        path: root_key_path.clone(),
        source,
    })?;
    if has_root_key {
        read_key(&root_key_path, &root_path, &root)?;
    }

    let intermediate_path = dir.join(names::INTERMEDIATE_CERTIFICATE);
    let intermediate = CaCertificate::read(&intermediate_path)?;
    check_time(&intermediate_path, &intermediate, now)?;
    if !is_signed_by(&intermediate, &root) {
        return Err(CaError::NotSignedByRoot {
            intermediate: intermediate_path,
            root: root_path,
        });
    }
    let key_path = dir.join(names::INTERMEDIATE_KEY);
    let key = read_key(&key_path, &intermediate_path, &intermediate)?;
    Ok(CertificateAuthority {
        root,
        intermediate,
        key: Arc::new(key),
    })
}

fn check_time(path: &Path, certificate: &CaCertificate, now: UnixTime) -> Result<(), CaError> {
    if now < certificate.not_before() {
        return Err(CaError::NotYetValid {
            path: path.to_owned(),
            not_before: certificate.not_before(),
            now,
        });
    }
    if now > certificate.not_after() {
        return Err(CaError::Expired {
            path: path.to_owned(),
            not_after: certificate.not_after(),
            now,
        });
    }
    Ok(())
}

fn read_key(
    path: &Path,
    certificate_path: &Path,
    certificate: &CaCertificate,
) -> Result<FileKey, CaError> {
    let key = FileKey::read(path).map_err(|error| match error {
        CaKeyError::Read(source) => CaError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        },
        source => CaError::BadKey {
            path: path.to_owned(),
            source,
        },
    })?;
    if key.public_key() != certificate.public_key() {
        return Err(CaError::KeyMismatch {
            key: path.to_owned(),
            certificate: certificate_path.to_owned(),
        });
    }
    Ok(key)
}

/// Whether the names chain and the signature verifies.
fn is_signed_by(certificate: &CaCertificate, issuer: &CaCertificate) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate.der()) else {
        return false;
    };
    if parsed.issuer().as_raw() != issuer.subject_der() {
        return false;
    }
    let Some(algorithm) = signature_algorithm(&parsed) else {
        return false;
    };
    AwsLcVerifier
        .verify(
            algorithm,
            issuer.spki_der(),
            parsed.tbs_certificate.as_ref(),
            &parsed.signature_value.data,
        )
        .is_ok()
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> Option<SignatureAlgorithm> {
    crate::issue::csr::signature_algorithm(&certificate.signature_algorithm)
}
