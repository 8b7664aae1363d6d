//! Making a root and an intermediate.

use std::fs;
use std::io;
use std::path::Path;

use identity::{TrustDomain, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::ca::key::KeyAlgorithm;
use crate::ca::{CaError, files, names};
use crate::crypto::sha256_hex;
use crate::issue::serial::random_serial;

/// What to make.
#[derive(Clone, Debug)]
pub struct CaInit {
    /// The trust domain, named in both subjects.
    pub trust_domain: TrustDomain,
    /// Kind of both keys.
    pub key_algorithm: KeyAlgorithm,
    /// Number of this hierarchy, counted from one; part of both subjects, so that no two roots of
    /// a trust domain share a name.
    pub generation: u32,
    /// The time now.
    pub now: UnixTime,
}

/// Whether [`init`] made the CA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created {
    /// It did.
    Made,
    /// There was one already, or somebody else was quicker; it is untouched.
    AlreadyThere,
}

/// Makes a root (ten years, path length 1) and an intermediate (one year, path length 0) in the
/// folder `dir`, unless it exists. The parent of `dir` must exist.
///
/// The folder appears whole: it is written beside its place, synced, and renamed there. A process
/// that is killed leaves at most a folder named `<dir>.new-<random>`, which nobody reads and the
/// next start of an authority removes.
///
/// # Errors
/// [`CaError`] if keys, certificates or files cannot be made.
pub fn init(dir: &Path, wanted: &CaInit) -> Result<Created, CaError> {
    if exists(dir)? {
        return Ok(Created::AlreadyThere);
    }
    let temporary = files::unfinished(dir)?;
    let made = write_all(&temporary, wanted).and_then(|()| publish(&temporary, dir));
    if !matches!(made, Ok(Created::Made)) {
        // Best effort: what is left behind is never read.
        fs::remove_dir_all(&temporary).ok();
    }
    made
}

fn exists(path: &Path) -> Result<bool, CaError> {
    path.try_exists().map_err(io_error("look for", path))
}

fn write_all(dir: &Path, wanted: &CaInit) -> Result<(), CaError> {
    let hierarchy = Hierarchy::generate(wanted)?;
    files::create_private_dir(dir).map_err(io_error("create", dir))?;
    for (name, text) in [
        (names::ROOT_KEY, hierarchy.root_key.as_str()),
        (names::ROOT_CERTIFICATE, hierarchy.root_pem.as_str()),
        (names::INTERMEDIATE_KEY, hierarchy.intermediate_key.as_str()),
        (
            names::INTERMEDIATE_CERTIFICATE,
            hierarchy.intermediate_pem.as_str(),
        ),
    ] {
        let path = dir.join(name);
        files::write_private(&path, text.as_bytes()).map_err(io_error("write", &path))?;
    }
    files::sync_dir(dir).map_err(io_error("sync", dir))
}

/// Moves the finished folder to its place, unless there is something already.
fn publish(from: &Path, to: &Path) -> Result<Created, CaError> {
    // A plain rename would replace an empty folder; this one replaces nothing.
    let renamed = rustix::fs::renameat_with(
        rustix::fs::CWD,
        from,
        rustix::fs::CWD,
        to,
        rustix::fs::RenameFlags::NOREPLACE,
    );
    match renamed.map_err(io::Error::from) {
        Ok(()) => {
            files::sync_parent(to).map_err(io_error("sync the folder of", to))?;
            Ok(Created::Made)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Created::AlreadyThere),
        Err(source) => Err(CaError::Io {
            action: "create",
            path: to.to_owned(),
            source,
        }),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::Io {
        action,
        path,
        source,
    }
}

/// A root and an intermediate, PEM.
struct Hierarchy {
    root_key: Zeroizing<String>,
    root_pem: String,
    intermediate_key: Zeroizing<String>,
    intermediate_pem: String,
}

impl Hierarchy {
    fn generate(wanted: &CaInit) -> Result<Self, CaError> {
        let root_key = generate_key(wanted.key_algorithm)?;
        let root = ca_params(wanted, "Root", ROOT_PATH_LENGTH, ROOT_SECONDS)?;
        let failed = |what| move |source| CaError::Generate { what, source };
        let root_certificate = root
            .self_signed(&root_key)
            .map_err(failed("root certificate"))?;

        let intermediate_key = generate_key(wanted.key_algorithm)?;
        let mut intermediate = ca_params(wanted, "Intermediate", 0, INTERMEDIATE_SECONDS)?;
        intermediate.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_params(&root, &root_key);
        let intermediate_certificate = intermediate
            .signed_by(&intermediate_key, &issuer)
            .map_err(failed("intermediate certificate"))?;
        Ok(Self {
            root_key: Zeroizing::new(root_key.serialize_pem()),
            root_pem: root_certificate.pem(),
            intermediate_key: Zeroizing::new(intermediate_key.serialize_pem()),
            intermediate_pem: intermediate_certificate.pem(),
        })
    }
}

fn generate_key(algorithm: KeyAlgorithm) -> Result<KeyPair, CaError> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(algorithm.rcgen()),
        KeyAlgorithm::Rsa2048 => KeyPair::generate_rsa_for(algorithm.rcgen(), RsaKeySize::_2048),
    }
    .map_err(|source| CaError::Generate {
        what: "CA key",
        source,
    })
}

fn ca_params(
    wanted: &CaInit,
    role: &str,
    path_length: u8,
    seconds: i64,
) -> Result<CertificateParams, CaError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization(&wanted.trust_domain));
    name.push(
        DnType::CommonName,
        format!("Countersign {role} CA G{}", wanted.generation),
    );
    let uri = wanted.trust_domain.id_string();
    let uri = uri.try_into().map_err(|source| CaError::Generate {
        what: "CA's trust domain name",
        source,
    })?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(random_serial()?.as_bytes()));
    params.not_before = date(wanted.now.plus_secs(-BACKDATE_SECONDS), wanted.now)?;
    params.not_after = date(wanted.now.plus_secs(seconds), wanted.now)?;
    // X509-SVID §4.2: a signing certificate may carry a SPIFFE ID, then without a path.
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// The trust domain as an organization name, which X.520 limits to 64 characters.
fn organization(trust_domain: &TrustDomain) -> String {
    let name = trust_domain.as_str();
    if name.len() <= MAX_ORGANIZATION_BYTES {
        return name.to_owned();
    }
    let digest = sha256_hex(name.as_bytes());
    let (short, _) = digest.split_at_checked(32).unwrap_or((&digest, ""));
    format!("trust domain sha256 {short}")
}

fn date(time: Option<UnixTime>, now: UnixTime) -> Result<OffsetDateTime, CaError> {
    let time = time.ok_or(CaError::BadDate { time: now })?;
    OffsetDateTime::from_unix_timestamp(time.as_secs()).map_err(|_range| CaError::BadDate { time })
}

const MAX_ORGANIZATION_BYTES: usize = 64;
/// One intermediate below the root, and room for one more level between them.
const ROOT_PATH_LENGTH: u8 = 1;
const ROOT_SECONDS: i64 = 3652 * 86_400;
const INTERMEDIATE_SECONDS: i64 = 365 * 86_400;
/// A peer whose clock is behind must accept a CA made a moment ago.
const BACKDATE_SECONDS: i64 = 3600;
