//! The ceremony of an offline root: a request goes to the machine that has the root's key, a
//! certificate and a signed transcript come back.
//!
//! 1. [`start`] makes the intermediate's key, which stays, and its request.
//! 2. [`Plan::new`] on the offline machine says what would be signed; [`Plan::sign`] signs it, and
//!    the transcript with the same key, under a prefix that no certificate begins with.
//! 3. [`finish`] checks certificate, transcript, root and key against each other and puts the
//!    certificate in its place.
//!
//! From the request the offline machine takes the key and its proof of possession alone; what the
//! certificate says is said on the offline machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use identity::{TrustDomain, UnixTime, pem};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};
use zeroize::Zeroizing;

pub use self::plan::{Plan, PlanOptions, Signed};
pub use self::transcript::{Statement, Transcript, TranscriptError};
use crate::ca::crl::{self, CrlError};
use crate::ca::init::{self, Created, NewKey, io_error};
use crate::ca::key::CaKey;
use crate::ca::load::open_key;
use crate::ca::make::{CaProfile, Unsigned, organization, spki};
use crate::ca::next::{self, CSR_LABEL};
use crate::ca::{
    CaCertificate, CaError, CertificateAuthority, KeyAlgorithm, PassphraseSource, Pkcs11Uri, files,
    load_with, names,
};
use crate::issue::{CsrError, VerifiedCsr};
use crate::upstream::{SigningRequest, UpstreamError, answer};

mod plan;
mod transcript;

/// Folder beside the CA's in which a first intermediate waits for its certificate.
pub const PENDING_DIR: &str = "ca-pending";

/// Why a step of a ceremony is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// The CA's part failed.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A file cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no request that waits.
    #[error("no ceremony was started in {}", folder.display())]
    NotStarted {
        /// The folder.
        folder: PathBuf,
    },
    /// The request is no good.
    #[error("the request is refused")]
    Request(#[source] CsrError),
    /// The request asks for another trust domain.
    #[error("the request is for {found:?}, expected {expected:?}")]
    OtherTrustDomain {
        /// The URI in it, empty if there is none.
        found: String,
        /// The one said on this machine.
        expected: String,
    },
    /// The root is none, or not the one with the key.
    #[error("{problem}")]
    Root {
        /// What is wrong.
        problem: &'static str,
    },
    /// The certificate does not fit.
    #[error("the certificate is refused")]
    Certificate(#[source] UpstreamError),
    /// The root's revocation list is no good.
    #[error("the root's revocation list is refused")]
    Crl(#[source] CrlError),
    /// The transcript does not fit.
    #[error("the transcript is refused")]
    Transcript(#[from] TranscriptError),
}

/// What [`start`] is told.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Kind of the key, if there is no CA yet to take it from.
    pub key_algorithm: KeyAlgorithm,
    /// First words of the common name, if there is no CA yet.
    pub name: String,
    /// Token to make a first key in.
    pub token: Option<Pkcs11Uri>,
    /// Opens and encrypts keys.
    pub passphrase: PassphraseSource,
    /// The time now.
    pub now: UnixTime,
}

/// The CA in `folder`, also after its intermediate's end: that is when a new one is needed most.
fn load_even_expired(
    folder: &Path,
    now: UnixTime,
    passphrase: &PassphraseSource,
) -> Result<CertificateAuthority, CaError> {
    match load_with(folder, now, passphrase) {
        Err(CaError::Expired { not_after, .. }) => load_with(folder, not_after, passphrase),
        other => other,
    }
}

/// Makes the key of the intermediate to come in the data folder `data`, and gives its request, PEM. If
/// one waits already, that is given again.
///
/// # Errors
/// [`CeremonyError`].
pub async fn start(data: &Path, options: &StartOptions) -> Result<String, CeremonyError> {
    let folder = data.join(crate::settings::names::CA_DIR);
    if folder.exists() {
        let current = load_even_expired(&folder, options.now, &options.passphrase)?;
        let wanted = next::NextOptions {
            seconds: init::INTERMEDIATE_SECONDS,
            now: options.now,
        };
        let profile = next::profile(&current, &options.trust_domain, &wanted)?;
        let passphrase = &options.passphrase;
        let request = next::request(&folder, &current, profile, passphrase, options.now).await?;
        return Ok(request.csr_pem);
    }
    let pending = data.join(PENDING_DIR);
    let request_path = pending.join(next::file::REQUEST);
    if pending.exists() {
        return read(&request_path);
    }
    let passphrase = options
        .passphrase
        .get()
        .map_err(|error| CaError::NewKey(error.into()))?;
    let key = NewKey::make(
        options.key_algorithm,
        options.token.as_ref(),
        passphrase.as_ref(),
    )?;
    let profile = CaProfile {
        trust_domain: options.trust_domain.clone(),
        organization: organization(&options.trust_domain),
        common_name: format!("{} Intermediate CA G1", options.name),
        path_length: 0,
        not_before: options.now,
        not_after: options.now,
        uri_hosts: Vec::new(),
    };
    let der = Unsigned::request(&profile, key.key())?
        .sign(key.key())
        .await?;
    let csr = pem::encode(&der, CSR_LABEL);
    let contents = [
        (next::file::KEY, key.text.as_str()),
        (next::file::REQUEST, &csr),
    ];
    match init::publish_files(&pending, &contents)? {
        Created::Made => Ok(csr),
        // Somebody was quicker.
        Created::AlreadyThere => read(&request_path),
    }
}

/// What comes back from the offline machine.
#[derive(Clone, Copy, Debug)]
pub struct Returned<'a> {
    /// The intermediate's certificate, and those above it, PEM.
    pub certificate: &'a str,
    /// The root's certificate, PEM.
    pub root: &'a str,
    /// The transcript, as it was written.
    pub transcript: &'a str,
    /// The root's revocation list, PEM, if it made one.
    pub crl: Option<&'a str>,
}

/// Where a certificate went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finished {
    /// It is the first: there is a CA now.
    Made,
    /// It is in use, or will be at the next start.
    Replaced,
    /// A running authority takes it into use.
    HandedOver,
}

/// Checks what came back against the key that waits in `data`, and puts it in its place: of a running
/// authority (`is_running`) where that finds it, otherwise at once.
///
/// # Errors
/// [`CeremonyError`]; then nothing was changed.
pub fn finish(
    data: &Path,
    returned: Returned<'_>,
    trust_domain: &TrustDomain,
    passphrase: &PassphraseSource,
    is_running: bool,
    now: UnixTime,
) -> Result<Finished, CeremonyError> {
    let folder = data.join(crate::settings::names::CA_DIR);
    let root = one_certificate(returned.root)?;
    let transcript = Transcript::parse(returned.transcript)?;
    let current = folder
        .exists()
        .then(|| load_even_expired(&folder, now, passphrase))
        .transpose()?;
    if current.as_ref().is_some_and(|current| current.root != root) {
        return Err(CeremonyError::Root {
            problem: "the root is another one than that of the CA in use",
        });
    }
    let waiting = if current.is_some() {
        folder.clone()
    } else {
        data.join(PENDING_DIR)
    };
    let key_path = waiting.join(next::file::KEY);
    if !key_path.exists() {
        return Err(CeremonyError::NotStarted { folder: waiting });
    }
    let key = open_key(&key_path, passphrase)?;
    let request = request(key.as_ref(), &waiting, trust_domain, root.clone(), now)?;
    let signed =
        answer::parse(returned.certificate, &request).map_err(CeremonyError::Certificate)?;
    let statement = transcript.verify(&root)?;
    statement.check(&signed.certificate, &root, &request.csr_pem)?;
    if let Some(crl) = returned.crl {
        crl::check(crl, &[&signed.certificate, &root], now).map_err(CeremonyError::Crl)?;
    }
    let Some(current) = current else {
        let certificate: String = std::iter::once(&signed.certificate)
            .chain(&signed.upper)
            .map(CaCertificate::pem)
            .collect();
        let key_text = fs::read_to_string(&key_path)
            .map(Zeroizing::new)
            .map_err(io_error("read", &key_path))?;
        let mut contents = vec![
            (names::ROOT_CERTIFICATE, root.pem()),
            (names::INTERMEDIATE_KEY, key_text.as_str()),
            (names::INTERMEDIATE_CERTIFICATE, certificate.as_str()),
        ];
        contents.extend(returned.crl.map(|crl| (crl::FILE, crl)));
        init::publish_files(&folder, &contents)?;
        // The CA has the key now; what stays here is never read again.
        fs::remove_dir_all(&waiting).ok();
        return Ok(Finished::Made);
    };
    if let Some(crl) = returned.crl {
        let path = folder.join(crl::FILE);
        files::replace_public(&path, crl.as_bytes()).map_err(io_error("write", &path))?;
    }
    next::store(&folder, &signed)?;
    if is_running {
        return Ok(Finished::HandedOver);
    }
    next::activate(&folder, &current.intermediate, &signed.certificate)?;
    Ok(Finished::Replaced)
}

fn request(
    key: &dyn CaKey,
    waiting: &Path,
    trust_domain: &TrustDomain,
    root: CaCertificate,
    now: UnixTime,
) -> Result<SigningRequest, CeremonyError> {
    Ok(SigningRequest {
        csr_pem: read(&waiting.join(next::file::REQUEST))?,
        spki_der: spki(key),
        profile: CaProfile {
            trust_domain: trust_domain.clone(),
            organization: organization(trust_domain),
            // What the certificate says was decided on the offline machine.
            common_name: "Countersign Intermediate CA".to_owned(),
            path_length: 0,
            not_before: now,
            not_after: now,
            uri_hosts: Vec::new(),
        },
        root,
        now,
    })
}

/// The one certificate of a PEM text.
fn one_certificate(text: &str) -> Result<CaCertificate, CeremonyError> {
    let found =
        CaCertificate::all_from_pem(text).map_err(|problem| CeremonyError::Root { problem })?;
    match <[CaCertificate; 1]>::try_from(found) {
        Ok([root]) => Ok(root),
        Err(_several) => Err(CeremonyError::Root {
            problem: "the root's file holds more than one certificate",
        }),
    }
}

/// A request whose proof of possession holds, with the URIs it names.
pub(crate) fn verified(csr_pem: &str) -> Result<(VerifiedCsr, Vec<String>, String), CeremonyError> {
    let csr = VerifiedCsr::parse_ca_pem(csr_pem).map_err(CeremonyError::Request)?;
    let malformed = || {
        CeremonyError::Request(CsrError::Malformed {
            problem: "its names cannot be read",
        })
    };
    let der = pem::single(csr_pem, CSR_LABEL, csr_pem.len()).map_err(|_bad| malformed())?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_bad| malformed())?;
    let uris = parsed
        .requested_extensions()
        .into_iter()
        .flatten()
        .filter_map(|extension| match extension {
            x509_parser::prelude::ParsedExtension::SubjectAlternativeName(names) => Some(names),
            _ => None,
        })
        .flat_map(|names| &names.general_names)
        .filter_map(|name| match name {
            x509_parser::prelude::GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect();
    let subject = &parsed.certification_request_info.subject;
    let name = subject
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    Ok((csr, uris, name.unwrap_or_default().to_owned()))
}

fn read(path: &Path) -> Result<String, CeremonyError> {
    fs::read_to_string(path).map_err(|source| CeremonyError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}
