//! Making a root and an intermediate.

use std::fs;
use std::io;
use std::path::Path;

use identity::{TrustDomain, UnixTime};
use zeroize::Zeroizing;

use crate::ca::key::{CaKey, FileKey, KeyAlgorithm};
use crate::ca::make::{CaProfile, Signer, Unsigned, organization, spki};
use crate::ca::pkcs11::{Pkcs11Key, Pkcs11Uri};
use crate::ca::secret::Passphrase;
use crate::ca::{CaCertificate, CaError, files, names};

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

/// What may be said beside it; the defaults are what [`init`] makes.
#[derive(Clone, Debug)]
pub struct CaOptions {
    /// Organization of both subjects; the trust domain if none is given.
    pub organization: Option<String>,
    /// First words of both common names; `Root CA G1` and `Intermediate CA G1` follow.
    pub name: String,
    /// Validity of the root, seconds.
    pub root_seconds: i64,
    /// Validity of the intermediate, seconds.
    pub intermediate_seconds: i64,
    /// CA certificates that may follow the root; at least the intermediate.
    pub root_path_length: u8,
    /// Encrypts both keys.
    pub passphrase: Option<Passphrase>,
    /// Token to make the root's key in.
    pub root_token: Option<Pkcs11Uri>,
    /// Token to make the intermediate's key in.
    pub intermediate_token: Option<Pkcs11Uri>,
}

impl Default for CaOptions {
    fn default() -> Self {
        Self {
            organization: None,
            name: "Countersign".to_owned(),
            root_seconds: ROOT_SECONDS,
            intermediate_seconds: INTERMEDIATE_SECONDS,
            root_path_length: ROOT_PATH_LENGTH,
            passphrase: None,
            root_token: None,
            intermediate_token: None,
        }
    }
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
    init_with(dir, wanted, &CaOptions::default())
}

/// [`init`] with names, lifetimes and custody of one's own.
///
/// Two that race for keys in a token have the second refused by the first one's labels.
///
/// # Errors
/// [`CaError`], also of a token.
pub fn init_with(dir: &Path, wanted: &CaInit, options: &CaOptions) -> Result<Created, CaError> {
    if exists(dir)? {
        return Ok(Created::AlreadyThere);
    }
    let hierarchy = Hierarchy::generate(wanted, options)?;
    publish_files(dir, &hierarchy.files())
}

/// Puts a folder with `contents` (name, text) at `dir` unless there is something: whole, durable, its
/// owner's alone.
pub(crate) fn publish_files(dir: &Path, contents: &[(&str, &str)]) -> Result<Created, CaError> {
    let temporary = files::unfinished(dir)?;
    let made = write_all(&temporary, contents).and_then(|()| publish(&temporary, dir));
    if !matches!(made, Ok(Created::Made)) {
        // Best effort: what is left behind is never read.
        fs::remove_dir_all(&temporary).ok();
    }
    made
}

fn exists(path: &Path) -> Result<bool, CaError> {
    path.try_exists().map_err(io_error("look for", path))
}

fn write_all(dir: &Path, contents: &[(&str, &str)]) -> Result<(), CaError> {
    files::create_private_dir(dir).map_err(io_error("create", dir))?;
    for (name, text) in contents {
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

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::Io {
        action,
        path,
        source,
    }
}

/// A root and an intermediate: the texts of their files.
struct Hierarchy {
    root_key: Zeroizing<String>,
    root_pem: String,
    intermediate_key: Zeroizing<String>,
    intermediate_pem: String,
}

impl Hierarchy {
    fn generate(wanted: &CaInit, options: &CaOptions) -> Result<Self, CaError> {
        let made = |token| NewKey::make(wanted.key_algorithm, token, options.passphrase.as_ref());
        let root_key = made(options.root_token.as_ref())?;
        let profile = profile(wanted, options, "Root")?;
        let root = root_key.certify(&profile, root_key.key(), Signer::Itself)?;
        let intermediate_key = made(options.intermediate_token.as_ref())?;
        let profile = self::profile(wanted, options, "Intermediate")?;
        let id = wanted.trust_domain.id_string();
        crate::ca::path::check(&[&root], &profile.candidate(&id), wanted.now)?;
        let intermediate = root_key.certify(&profile, intermediate_key.key(), Signer::Ca(&root))?;
        Ok(Self {
            root_key: root_key.text,
            root_pem: root.pem().to_owned(),
            intermediate_key: intermediate_key.text,
            intermediate_pem: intermediate.pem().to_owned(),
        })
    }

    fn files(&self) -> [(&'static str, &str); 4] {
        [
            (names::ROOT_KEY, self.root_key.as_str()),
            (names::ROOT_CERTIFICATE, &self.root_pem),
            (names::INTERMEDIATE_KEY, &self.intermediate_key),
            (names::INTERMEDIATE_CERTIFICATE, &self.intermediate_pem),
        ]
    }
}

/// A key that was made a moment ago, and what its file is to hold: the key, or its URI.
pub(crate) struct NewKey {
    key: Box<dyn CaKey>,
    pub(crate) text: Zeroizing<String>,
}

impl NewKey {
    /// Makes a key in a token, or in memory with its PEM text, encrypted if there is a passphrase.
    pub(crate) fn make(
        algorithm: KeyAlgorithm,
        token: Option<&Pkcs11Uri>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, CaError> {
        if let Some(uri) = token {
            let key = Pkcs11Key::generate(uri, algorithm)
                .map_err(|error| CaError::NewKey(error.into()))?;
            return Ok(Self {
                key: Box::new(key),
                text: Zeroizing::new(format!("{uri}\n")),
            });
        }
        let key = FileKey::generate(algorithm).map_err(CaError::NewKey)?;
        let text = key.to_pem(passphrase).map_err(CaError::NewKey)?;
        Ok(Self {
            key: Box::new(key),
            text,
        })
    }

    /// The key.
    pub(crate) fn key(&self) -> &dyn CaKey {
        self.key.as_ref()
    }

    /// Certifies `subject` with this key, waiting for the signature on this thread.
    fn certify(
        &self,
        profile: &CaProfile,
        subject: &dyn CaKey,
        signer: Signer<'_>,
    ) -> Result<CaCertificate, CaError> {
        let unsigned = Unsigned::certificate(profile, &spki(subject), signer, self.key())?;
        let signature = sign_here(self.key(), unsigned.bytes()).map_err(CaError::Sign)?;
        CaCertificate::from_der(unsigned.signed(&signature))
            .map_err(|problem| CaError::BadResult { problem })
    }
}

/// Waits for a signature on this thread: a key in memory gives it at once, a token's comes from a
/// thread of its own.
fn sign_here(key: &dyn CaKey, message: &[u8]) -> Result<Vec<u8>, crate::ca::key::CaKeyError> {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut signing = key.sign(message);
    loop {
        match signing.as_mut().poll(&mut context) {
            Poll::Ready(signed) => return signed,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn profile(wanted: &CaInit, options: &CaOptions, role: &str) -> Result<CaProfile, CaError> {
    let is_root = role == "Root";
    let (path_length, seconds) = if is_root {
        (options.root_path_length, options.root_seconds)
    } else {
        (0, options.intermediate_seconds)
    };
    let after = |seconds| {
        wanted
            .now
            .plus_secs(seconds)
            .ok_or(CaError::BadDate { time: wanted.now })
    };
    Ok(CaProfile {
        trust_domain: wanted.trust_domain.clone(),
        organization: options
            .organization
            .clone()
            .unwrap_or_else(|| organization(&wanted.trust_domain)),
        common_name: format!("{} {role} CA G{}", options.name, wanted.generation),
        path_length,
        not_before: after(-BACKDATE_SECONDS)?,
        not_after: after(seconds)?,
        uri_hosts: Vec::new(),
    })
}

/// One intermediate below the root, and room for one more level between them.
const ROOT_PATH_LENGTH: u8 = 1;
const ROOT_SECONDS: i64 = 3652 * 86_400;
/// Validity of an intermediate where nothing is said.
pub(crate) const INTERMEDIATE_SECONDS: i64 = 365 * 86_400;
/// A peer whose clock is behind must accept a CA made a moment ago.
pub(crate) const BACKDATE_SECONDS: i64 = 3600;
