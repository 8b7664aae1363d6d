//! Reading the CA folder, with every check that must hold before anything is signed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::UnixTime;
use identity::x509::{SignatureAlgorithm, VerifySignature as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::ca::certificate::CaCertificate;
use crate::ca::key::{CaKey, CaKeyError, Custody, FileKey, is_encrypted};
use crate::ca::pkcs11::{Pkcs11Error, Pkcs11Key, Pkcs11Uri, Pkcs11UriError};
use crate::ca::secret::{Passphrase, PassphraseSource};
use crate::ca::{CaError, names};
use crate::crypto::AwsLcVerifier;

/// A root and the intermediate that signs leaves, checked against each other.
#[derive(Clone, Debug)]
pub struct CertificateAuthority {
    /// The trust anchor.
    pub root: CaCertificate,
    /// The issuer of leaves.
    pub intermediate: CaCertificate,
    /// CAs between the intermediate and the root, the one that signed the intermediate first; mostly
    /// none.
    pub upper: Vec<CaCertificate>,
    /// The intermediate's key.
    pub key: Arc<dyn CaKey>,
    /// Where the root's key is.
    pub root_custody: Custody,
}

impl CertificateAuthority {
    /// All CAs, the one that signs leaves first, the root last.
    #[must_use]
    pub fn chain(&self) -> Vec<&CaCertificate> {
        std::iter::once(&self.intermediate)
            .chain(&self.upper)
            .chain(std::iter::once(&self.root))
            .collect()
    }
}

/// Reads the CA in the folder `dir` as [`init`](crate::ca::init()) writes it.
///
/// Checked: both are CA certificates and within their validity at `now`, the intermediate is
/// signed by the root, each key belongs to its certificate. The root's key may be absent.
///
/// # Errors
/// [`CaError`], naming the file at fault.
pub fn load(dir: &Path, now: UnixTime) -> Result<CertificateAuthority, CaError> {
    load_with(dir, now, &PassphraseSource::None)
}

/// [`load`] with keys that may be encrypted or in a token.
///
/// The root's key is opened only if it is a plain file: an encrypted one is needed to sign
/// intermediates alone, and may have a passphrase of its own.
///
/// # Errors
/// [`CaError`], naming the file at fault.
pub fn load_with(
    dir: &Path,
    now: UnixTime,
    passphrase: &PassphraseSource,
) -> Result<CertificateAuthority, CaError> {
    let root_path = dir.join(names::ROOT_CERTIFICATE);
    let root = CaCertificate::read(&root_path)?;
    check_time(&root_path, &root, now)?;
    let root_custody = root_custody(dir, &root)?;

    let intermediate_path = dir.join(names::INTERMEDIATE_CERTIFICATE);
    let mut certificates = CaCertificate::read_all(&intermediate_path)?.into_iter();
    let intermediate = certificates.next().ok_or_else(|| CaError::BadCertificate {
        path: intermediate_path.clone(),
        problem: "there is no certificate in it",
    })?;
    let upper: Vec<_> = certificates.collect();
    for certificate in std::iter::once(&intermediate).chain(&upper) {
        check_time(&intermediate_path, certificate, now)?;
    }
    let above = upper.iter().chain(std::iter::once(&root));
    for (certificate, issuer) in std::iter::once(&intermediate).chain(&upper).zip(above) {
        if !is_signed_by(certificate, issuer) {
            return Err(CaError::NotSignedByRoot {
                intermediate: intermediate_path,
                root: root_path,
            });
        }
    }
    let key_path = key_path(dir, &intermediate)?;
    let key = open_key(&key_path, passphrase)?;
    check_key(&key_path, key.as_ref(), &intermediate_path, &intermediate)?;
    Ok(CertificateAuthority {
        root,
        intermediate,
        upper,
        key,
        root_custody,
    })
}

/// The file of an intermediate's key: `intermediate-<key id>.key`, which a later generation has, or
/// `intermediate.key`. So that exchanging the certificate, one rename, exchanges both.
pub(crate) fn key_path(dir: &Path, certificate: &CaCertificate) -> Result<PathBuf, CaError> {
    let own = dir.join(names::generation_key(certificate));
    let there = own.try_exists().map_err(|source| CaError::Io {
        action: "look for",
        path: own.clone(),
        source,
    })?;
    Ok(if there {
        own
    } else {
        dir.join(names::INTERMEDIATE_KEY)
    })
}

fn root_custody(dir: &Path, root: &CaCertificate) -> Result<Custody, CaError> {
    let path = dir.join(names::ROOT_KEY);
    let text = match read_secret(&path) {
        Ok(text) => text,
        Err(CaError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Custody::Elsewhere);
        }
        Err(error) => return Err(error),
    };
    if let Some(uri) = token_uri(&path, &text)? {
        return Ok(Custody::Pkcs11 {
            token: uri.token().to_owned(),
            object: uri.object().to_owned(),
        });
    }
    if is_encrypted(&text) {
        return Ok(Custody::EncryptedFile);
    }
    let key = open_text(&path, &text, None)?;
    check_key(
        &path,
        key.as_ref(),
        &dir.join(names::ROOT_CERTIFICATE),
        root,
    )?;
    Ok(key.custody())
}

/// Opens the key that `path` holds or names.
///
/// # Errors
/// [`CaError::Io`] and [`CaError::BadKey`].
pub fn open_key(path: &Path, passphrase: &PassphraseSource) -> Result<Arc<dyn CaKey>, CaError> {
    let text = read_secret(path)?;
    let passphrase = if is_encrypted(&text) {
        passphrase
            .get()
            .map_err(|error| bad_key(path, error.into()))?
    } else {
        None
    };
    open_text(path, &text, passphrase.as_ref())
}

fn open_text(
    path: &Path,
    text: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Arc<dyn CaKey>, CaError> {
    if let Some(uri) = token_uri(path, text)? {
        let key = Pkcs11Key::open(&uri).map_err(|error| bad_key(path, error.into()))?;
        return Ok(Arc::new(key));
    }
    let key = FileKey::open(text, passphrase).map_err(|error| bad_key(path, error))?;
    Ok(Arc::new(key))
}

/// The URI in a key file that holds no key but names one in a token.
fn token_uri(path: &Path, text: &[u8]) -> Result<Option<Pkcs11Uri>, CaError> {
    if !Pkcs11Uri::is_meant(text) {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).map_err(|_not_text| bad_key(path, CaKeyError::NotPem))?;
    let uri = text
        .parse()
        .map_err(|error: Pkcs11UriError| bad_key(path, Pkcs11Error::from(error).into()))?;
    Ok(Some(uri))
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, CaError> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| CaError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })
}

fn bad_key(path: &Path, source: CaKeyError) -> CaError {
    CaError::BadKey {
        path: path.to_owned(),
        source,
    }
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

/// Whether the key is the certificate's.
fn check_key(
    path: &Path,
    key: &dyn CaKey,
    certificate_path: &Path,
    certificate: &CaCertificate,
) -> Result<(), CaError> {
    if key.public_key() == certificate.public_key() {
        return Ok(());
    }
    Err(CaError::KeyMismatch {
        key: path.to_owned(),
        certificate: certificate_path.to_owned(),
    })
}

/// Whether the names chain and the signature verifies.
pub(crate) fn is_signed_by(certificate: &CaCertificate, issuer: &CaCertificate) -> bool {
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
