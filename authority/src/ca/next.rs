//! The intermediate to come: its key and request on disk until somebody has signed, and the step by
//! which it takes the place of the one in use. Every step can be broken off and is taken up again.
//!
//! `next.key` and `next.csr` are made once and stay until they are answered, so that a request that
//! somebody carries to an offline root is the one whose answer is understood a week later.
//! `next.pem` is a checked answer that is announced and does not sign yet. Exchanging
//! `intermediate.pem`, one rename, exchanges certificate and key, for the key's file is named after
//! the certificate's key id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::{TrustDomain, UnixTime, pem};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::ca::init::{BACKDATE_SECONDS, NewKey, io_error};
use crate::ca::key::{CaKey, Custody};
use crate::ca::load::{is_signed_by, key_path, open_key};
use crate::ca::make::{CaProfile, Unsigned, organization, spki};
use crate::ca::path::{NameConstraint, UriHost};
use crate::ca::{
    CaCertificate, CaError, CertificateAuthority, PassphraseSource, files, names, path,
};
use crate::upstream::{SignedIntermediate, SigningRequest};

/// Label of a request (RFC 7468 §7).
pub(crate) const CSR_LABEL: &str = "CERTIFICATE REQUEST";

/// Files of the intermediate to come.
pub(crate) mod file {
    /// Its key.
    pub(crate) const KEY: &str = "next.key";
    /// Its request.
    pub(crate) const REQUEST: &str = "next.csr";
    /// Its certificate and those above it, not in use yet.
    pub(crate) const CERTIFICATE: &str = "next.pem";
}

/// What an intermediate that follows another one is to say.
#[derive(Clone, Debug)]
pub(crate) struct NextOptions {
    /// Validity, seconds; no longer than that of the CAs above.
    pub(crate) seconds: i64,
    /// The time now.
    pub(crate) now: UnixTime,
}

/// The profile of the intermediate that follows the one in use: next generation's name, same path
/// length and name constraints.
///
/// # Errors
/// [`CaError::BadDate`].
pub(crate) fn profile(
    current: &CertificateAuthority,
    trust_domain: &TrustDomain,
    options: &NextOptions,
) -> Result<CaProfile, CaError> {
    let now = options.now;
    let after = |seconds| now.plus_secs(seconds).ok_or(CaError::BadDate { time: now });
    let chain = current.chain();
    let above = path::validity(chain.get(1..).unwrap_or_default());
    let (not_before, not_after) = (after(-BACKDATE_SECONDS)?, after(options.seconds)?);
    let permitted = current.intermediate.limits().permitted.iter();
    let hosts = permitted.filter_map(|constraint| match constraint {
        NameConstraint::Uri(host) => host.parse::<UriHost>().ok(),
        _ => None,
    });
    Ok(CaProfile {
        trust_domain: trust_domain.clone(),
        organization: subject_part(&current.intermediate, Part::Organization)
            .unwrap_or_else(|| organization(trust_domain)),
        common_name: next_name(&current.intermediate),
        path_length: current
            .intermediate
            .limits()
            .path_length
            .and_then(|length| u8::try_from(length).ok())
            .unwrap_or(0),
        not_before: above.map_or(not_before, |above| not_before.max(above.not_before)),
        not_after: above.map_or(not_after, |above| not_after.min(above.not_after)),
        uri_hosts: hosts.collect(),
    })
}

enum Part {
    Organization,
    CommonName,
}

fn subject_part(certificate: &CaCertificate, part: Part) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    let subject = parsed.subject();
    let value = match part {
        Part::Organization => subject.iter_organization().next(),
        Part::CommonName => subject.iter_common_name().next(),
    };
    let text = value?.as_str().ok()?.to_owned();
    let fits =
        !text.is_empty() && text.chars().count() <= 64 && !text.chars().any(char::is_control);
    fits.then_some(text)
}

/// `… G1` becomes `… G2`; a name without a number gets `G2`.
fn next_name(certificate: &CaCertificate) -> String {
    let name = subject_part(certificate, Part::CommonName)
        .unwrap_or_else(|| "Countersign Intermediate CA".to_owned());
    let numbered = name
        .rsplit_once(" G")
        .and_then(|(stem, number)| Some((stem, number.parse::<u32>().ok()?)));
    let (stem, number) = numbered.unwrap_or((&name, 1));
    // Room for the number within 64 characters.
    let stem: String = stem.chars().take(50).collect();
    format!("{stem} G{}", number.saturating_add(1))
}

/// The request for the intermediate to come, made if there is none, with its key.
///
/// # Errors
/// [`CaError`].
pub(crate) async fn request(
    folder: &Path,
    current: &CertificateAuthority,
    profile: CaProfile,
    passphrase: &PassphraseSource,
    now: UnixTime,
) -> Result<SigningRequest, CaError> {
    let key_file = folder.join(file::KEY);
    let request_file = folder.join(file::REQUEST);
    let there = key_file
        .try_exists()
        .map_err(io_error("look for", &key_file))?;
    if !there {
        make_key(&key_file, current, &profile, passphrase)?;
    }
    let key = open_key(&key_file, passphrase)?;
    let csr_pem = match fs::read_to_string(&request_file) {
        Ok(text) if is_for(&text, key.as_ref()) => text,
        Ok(_) => write_request(&request_file, &profile, key.as_ref()).await?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_request(&request_file, &profile, key.as_ref()).await?
        }
        Err(error) => return Err(io_error("read", &request_file)(error)),
    };
    Ok(SigningRequest {
        csr_pem,
        spki_der: spki(key.as_ref()),
        profile,
        root: current.root.clone(),
        now,
    })
}

/// A key of the kind, and in the custody, of the one in use.
fn make_key(
    path: &Path,
    current: &CertificateAuthority,
    profile: &CaProfile,
    passphrase: &PassphraseSource,
) -> Result<(), CaError> {
    let token = match current.key.custody() {
        Custody::Pkcs11 { .. } => {
            let folder = path.parent().unwrap_or_else(|| Path::new("."));
            let text = fs::read_to_string(key_path(folder, &current.intermediate)?)
                .map_err(io_error("read the key beside", path))?;
            let uri: crate::ca::Pkcs11Uri = text
                .parse()
                .map_err(|error| CaError::NewKey(crate::ca::Pkcs11Error::Uri(error).into()))?;
            let id = crate::crypto::random_bytes::<4>()?;
            let label = format!("{} {}", profile.common_name, hex::encode(id));
            Some(uri.with_object(label))
        }
        _ => None,
    };
    let passphrase = passphrase
        .get()
        .map_err(|error| CaError::NewKey(error.into()))?;
    let key = NewKey::make(current.key.algorithm(), token.as_ref(), passphrase.as_ref())?;
    let temporary = files::unfinished(path)?;
    files::write_private(&temporary, key.text.as_bytes()).map_err(io_error("write", path))?;
    fs::rename(&temporary, path).map_err(io_error("create", path))?;
    files::sync_parent(path).map_err(io_error("sync the folder of", path))
}

async fn write_request(
    path: &Path,
    profile: &CaProfile,
    key: &dyn CaKey,
) -> Result<String, CaError> {
    let der = Unsigned::request(profile, key)?.sign(key).await?;
    let text = pem::encode(&der, CSR_LABEL);
    files::replace_public(path, text.as_bytes()).map_err(io_error("write", path))?;
    Ok(text)
}

fn is_for(csr_pem: &str, key: &dyn CaKey) -> bool {
    use x509_parser::prelude::X509CertificationRequest;
    let Ok(der) = pem::single(csr_pem, CSR_LABEL, csr_pem.len()) else {
        return false;
    };
    X509CertificationRequest::from_der(&der).is_ok_and(|(_, request)| {
        let info = request.certification_request_info;
        *info.subject_pki.subject_public_key.data == *key.public_key()
    })
}

/// Puts a checked answer beside the one in use; it does not sign yet.
///
/// # Errors
/// [`CaError::Io`].
pub(crate) fn store(folder: &Path, signed: &SignedIntermediate) -> Result<(), CaError> {
    let path = folder.join(file::CERTIFICATE);
    let text: String = std::iter::once(&signed.certificate)
        .chain(&signed.upper)
        .map(CaCertificate::pem)
        .collect();
    files::replace_public(&path, text.as_bytes()).map_err(io_error("write", &path))
}

/// The answer that waits for its time, and the root's other facts as in `current`.
///
/// # Errors
/// [`CaError`] if it is there and no good.
pub(crate) fn stored(
    folder: &Path,
    current: &CertificateAuthority,
    passphrase: &PassphraseSource,
) -> Result<Option<CertificateAuthority>, CaError> {
    let path = folder.join(file::CERTIFICATE);
    if !path.try_exists().map_err(io_error("look for", &path))? {
        return Ok(None);
    }
    let certificates = CaCertificate::read_all(&path)?;
    let above = certificates
        .iter()
        .skip(1)
        .chain(std::iter::once(&current.root));
    if !certificates
        .iter()
        .zip(above)
        .all(|(ca, above)| is_signed_by(ca, above))
    {
        return Err(CaError::NotSignedByRoot {
            intermediate: path,
            root: folder.join(names::ROOT_CERTIFICATE),
        });
    }
    let mut certificates = certificates.into_iter();
    let intermediate = certificates.next().ok_or_else(|| CaError::BadCertificate {
        path: path.clone(),
        problem: "there is no certificate in it",
    })?;
    // Broken off after the key got its name, before the certificate got its own.
    let named = folder.join(names::generation_key(&intermediate));
    let key_file = if named.exists() {
        named
    } else {
        folder.join(file::KEY)
    };
    let key: Arc<dyn CaKey> = open_key(&key_file, passphrase)?;
    if key.public_key() != intermediate.public_key() {
        return Err(CaError::KeyMismatch {
            key: key_file,
            certificate: path,
        });
    }
    Ok(Some(CertificateAuthority {
        root: current.root.clone(),
        intermediate,
        upper: certificates.collect(),
        key,
        root_custody: current.root_custody.clone(),
    }))
}

/// Takes the stored answer into use: the old certificate is kept as `retired-<key id>.pem`, its key
/// where it is, for revocation lists of what it signed.
///
/// # Errors
/// [`CaError::Io`]; done again it goes on where it stopped.
pub(crate) fn activate(
    folder: &Path,
    current: &CaCertificate,
    next: &CaCertificate,
) -> Result<(), CaError> {
    let pending = folder.join(file::KEY);
    let named = folder.join(names::generation_key(next));
    if !named.try_exists().map_err(io_error("look for", &named))? {
        fs::rename(&pending, &named).map_err(io_error("rename", &pending))?;
        files::sync_parent(&named).map_err(io_error("sync the folder of", &named))?;
    }
    let retired = folder.join(format!("retired-{}.pem", hex::encode(current.key_id())));
    files::replace_public(&retired, current.pem().as_bytes())
        .map_err(io_error("write", &retired))?;
    let from = folder.join(file::CERTIFICATE);
    let to = folder.join(names::INTERMEDIATE_CERTIFICATE);
    fs::rename(&from, &to).map_err(io_error("replace", &to))?;
    files::sync_parent(&to).map_err(io_error("sync the folder of", &to))?;
    remove(&folder.join(file::REQUEST))
}

/// Gives up an answer that is no good.
///
/// # Errors
/// [`CaError::Io`].
pub(crate) fn discard(folder: &Path) -> Result<(), CaError> {
    remove(&folder.join(file::CERTIFICATE))
}

fn remove(path: &Path) -> Result<(), CaError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// What the files say that a running authority goes by, as one digest; another one whenever any of
/// them is another one. Links are followed: a mounted secret is one behind two of them.
///
/// # Errors
/// [`CaError::Io`] of a file that is there and cannot be read.
pub(crate) fn fingerprint(folder: &Path) -> Result<Zeroizing<String>, CaError> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(io_error("read", folder))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| is_watched(path))
        .collect();
    names.sort();
    let mut all = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for path in names {
        let bytes = match fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        all.update(path.as_os_str().as_encoded_bytes());
        all.update(&bytes.len().to_be_bytes());
        all.update(&bytes);
    }
    Ok(Zeroizing::new(hex::encode(all.finish())))
}

fn is_watched(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let is_key = name.starts_with("intermediate-") && name.ends_with(".key");
    is_key
        || [
            names::ROOT_CERTIFICATE,
            names::INTERMEDIATE_CERTIFICATE,
            names::INTERMEDIATE_KEY,
            file::CERTIFICATE,
        ]
        .contains(&name)
}

#[cfg(test)]
mod tests;
