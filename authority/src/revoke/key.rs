//! The key that signs deny lists. It is no CA key: a list says who is out, never who is in.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use identity::deny_list::ListKey;
use identity::{UnixTime, pem};
use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::ca::files;
use crate::crypto::NoRandomness;

/// An ECDSA P-256 key that signs deny lists (ES256).
pub struct ListSigner {
    pair: EcdsaKeyPair,
    public: ListKey,
    public_pem: String,
    csr_pem: String,
}

/// Why there is no such key, or no signature by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListKeyError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file holds no ECDSA P-256 key.
    #[error("{} does not hold an ECDSA P-256 key as PKCS#8 PEM", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is gone, although lists were signed with its key.
    #[error("{} is missing, but filters trust its key: restore it from a backup", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file of the next key holds another one than was prepared.
    #[error(
        "{} does not hold the key that was prepared, so verifiers do not know it: start the \
         authority again, which announces what it holds",
        path.display()
    )]
    NotPrepared {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made.
    #[error("cannot make the deny list's key")]
    Generate,
    /// No random name.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The library gave no signature.
    #[error("signing failed")]
    Sign,
}

impl ListSigner {
    /// Reads the key in the file `path`, which is made if it is not there: whole, mode 0600, and
    /// never over one that somebody else made meanwhile.
    ///
    /// # Errors
    /// [`ListKeyError`].
    pub fn open(path: &Path) -> Result<Self, ListKeyError> {
        let io_error = |action| {
            let path = path.to_owned();
            move |source| ListKeyError::Io {
                action,
                path,
                source,
            }
        };
        if !path.try_exists().map_err(io_error("look for"))? {
            create(path)?;
        }
        let text = Zeroizing::new(fs::read(path).map_err(io_error("read"))?);
        Self::from_pem(&text).ok_or_else(|| ListKeyError::BadKey {
            path: path.to_owned(),
        })
    }

    fn from_pem(text: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).ok()?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
                .ok()?;
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let public = ListKey::from_spki_der(spki.as_ref()).ok()?;
        let public_pem = public.to_pem();
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        let csr = CertificateParams::default().serialize_request(&key.ok()?);
        Some(Self {
            pair,
            public,
            public_pem,
            csr_pem: csr.ok()?.pem().ok()?,
        })
    }

    /// A certificate request for the key, PEM.
    #[must_use]
    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    /// The key id, as the lists name it.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// The public key, PEM `PUBLIC KEY`.
    #[must_use]
    pub fn public_key_pem(&self) -> &str {
        &self.public_pem
    }

    /// Signs `message`; r and s of 32 octets each.
    ///
    /// # Errors
    /// [`ListKeyError::Sign`] if the library gives no signature.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], ListKeyError> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_unspecified| ListKeyError::Sign)?;
        signature
            .as_ref()
            .try_into()
            .map_err(|_length| ListKeyError::Sign)
    }
}

/// The key that signs lists, and the one prepared to follow it. Verifiers that pin keys pin both, so
/// that the first list of the next key finds them ready.
#[derive(Debug)]
pub struct ListKeys {
    active: ListSigner,
    next: ListSigner,
    active_path: PathBuf,
    next_path: PathBuf,
    retired: Option<Retired>,
}

/// The key that was in use before.
#[derive(Debug)]
struct Retired {
    public_pem: String,
    /// When the last list that it signed has expired.
    until: UnixTime,
}

impl ListKeys {
    /// Reads both keys; either is made if it is not there.
    ///
    /// # Errors
    /// [`ListKeyError`].
    pub fn open(active_path: PathBuf, next_path: PathBuf) -> Result<Self, ListKeyError> {
        Ok(Self {
            active: ListSigner::open(&active_path)?,
            next: ListSigner::open(&next_path)?,
            active_path,
            next_path,
            retired: None,
        })
    }

    /// The key that signs.
    #[must_use]
    pub const fn active(&self) -> &ListSigner {
        &self.active
    }

    /// The key that will.
    #[must_use]
    pub const fn next(&self) -> &ListSigner {
        &self.next
    }

    /// The public keys of lists that are good at `now` or will be, PEM `PUBLIC KEY`; the one that
    /// signs first.
    #[must_use]
    pub fn public_pems(&self, now: UnixTime) -> Vec<String> {
        let retired = self.retired.iter().filter(|retired| now < retired.until);
        [&self.active, &self.next]
            .map(|key| key.public_key_pem().to_owned())
            .into_iter()
            .chain(retired.map(|retired| retired.public_pem.clone()))
            .collect()
    }

    /// Puts the next key in the place of the active one, and makes another next one. Broken off in
    /// between, it is either not done or done but for the next key, which is then made at the start.
    /// The last list of the key that was active is good until `until`.
    ///
    /// # Errors
    /// [`ListKeyError`]; [`ListKeyError::NotPrepared`] after one that was broken off.
    pub fn rotate(&mut self, until: UnixTime) -> Result<(), ListKeyError> {
        let io_error = |action| {
            let path = self.active_path.clone();
            move |source| ListKeyError::Io {
                action,
                path,
                source,
            }
        };
        // The file leads at the next start: a key that nobody was told of would then sign, and every
        // list be refused.
        if ListSigner::open(&self.next_path)?.kid() != self.next.kid() {
            let path = self.next_path.clone();
            return Err(ListKeyError::NotPrepared { path });
        }
        fs::rename(&self.next_path, &self.active_path).map_err(io_error("replace"))?;
        files::sync_parent(&self.active_path).map_err(io_error("sync the folder of"))?;
        let following = ListSigner::open(&self.next_path)?;
        let active = std::mem::replace(&mut self.next, following);
        let retired = std::mem::replace(&mut self.active, active);
        self.retired = Some(Retired {
            public_pem: retired.public_pem,
            until,
        });
        Ok(())
    }
}

impl fmt::Debug for ListSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListSigner")
            .field("kid", &self.kid())
            .field("private", &"[elided]")
            .finish_non_exhaustive()
    }
}

fn create(path: &Path) -> Result<(), ListKeyError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_unspecified| ListKeyError::Generate)?;
    let der = pair
        .to_pkcs8v1()
        .map_err(|_unspecified| ListKeyError::Generate)?;
    let text = Zeroizing::new(pem::encode(der.as_ref(), PRIVATE_KEY));
    let temporary = files::unfinished(path)?;
    let io_error = |action| {
        let path = path.to_owned();
        move |source| ListKeyError::Io {
            action,
            path,
            source,
        }
    };
    files::write_private(&temporary, text.as_bytes()).map_err(io_error("create"))?;
    // A hard link fails where a rename would replace.
    let linked = match fs::hard_link(&temporary, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    // What stays here is swept at the next start.
    fs::remove_file(&temporary).ok();
    linked.map_err(io_error("create"))?;
    files::sync_parent(path).map_err(io_error("sync the folder of"))
}

/// Label of a PKCS#8 key.
const PRIVATE_KEY: &str = "PRIVATE KEY";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[test]
    fn no_key_is_taken_into_use_but_the_one_that_was_prepared() {
        let dir = tempfile::TempDir::new().unwrap();
        let (active, next) = (dir.path().join("active.key"), dir.path().join("next.key"));
        let mut keys = ListKeys::open(active.clone(), next.clone()).unwrap();
        let (known, signing) = (keys.public_pems(NOW), fs::read(&active).unwrap());
        // As a rotation leaves it that failed between its two steps.
        fs::remove_file(&next).unwrap();
        ListSigner::open(&next).unwrap();
        match keys.rotate(NOW) {
            Err(ListKeyError::NotPrepared { path }) => assert_eq!(path, next),
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&active).unwrap(), signing);
        assert_eq!(keys.public_pems(NOW), known);
        // A start announces what is there, and then it is good.
        let mut keys = ListKeys::open(active, next).unwrap();
        let prepared = keys.next().public_key_pem().to_owned();
        keys.rotate(NOW).unwrap();
        assert_eq!(keys.active().public_key_pem(), prepared);
    }

    #[test]
    fn a_retired_key_is_named_until_its_last_list_has_expired() {
        let dir = tempfile::TempDir::new().unwrap();
        let (active, next) = (dir.path().join("active.key"), dir.path().join("next.key"));
        let mut keys = ListKeys::open(active, next).unwrap();
        let old = keys.active().public_key_pem().to_owned();
        keys.rotate(NOW.plus_secs(60).unwrap()).unwrap();
        for (second, named) in [(0, true), (59, true), (60, false), (61, false)] {
            let pems = keys.public_pems(NOW.plus_secs(second).unwrap());
            assert_eq!(pems.contains(&old), named, "{second}");
            assert_eq!(pems[0], keys.active().public_key_pem());
            assert_eq!(pems[1], keys.next().public_key_pem());
        }
    }
}
