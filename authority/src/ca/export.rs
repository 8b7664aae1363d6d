//! Giving the CA away as Istio's `cacerts` files, for istiod or for a way back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use identity::UnixTime;
use zeroize::Zeroizing;

use crate::ca::crl::{self, CrlError};
use crate::ca::init::{self, Created};
use crate::ca::key::{CaKeyError, FileKey};
use crate::ca::load::{key_path, open_key};
use crate::ca::secret::PassphraseSource;
use crate::ca::{CaCertificate, CaError, CertificateAuthority, files, load_with, names};

/// The texts of a `cacerts` folder.
#[derive(Debug)]
pub struct Export {
    chain: Vec<CaCertificate>,
    key: Option<Zeroizing<String>>,
    crl: Option<String>,
    without_crl: Vec<String>,
}

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Whether the key goes out, too; istiod reads no encrypted one, so it leaves as plain PKCS#8.
    pub with_key: bool,
    /// Life of the revocation lists, seconds.
    pub crl_seconds: i64,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The CA cannot be read.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The key is where nobody gets it.
    #[error(
        "the intermediate's key is in a PKCS#11 token, which does not give it away: export without the key"
    )]
    KeyInToken,
    /// The key cannot be read.
    #[error("the intermediate's key cannot be read")]
    Key(#[source] CaKeyError),
    /// The lists kept beside the CA are not good.
    #[error("{} is not good", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CrlError,
    },
    /// There is something in the way.
    #[error("{} exists already; it was left as it is", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}

impl Export {
    /// Reads the CA in `folder`, and signs an empty revocation list for each CA of the chain whose key
    /// is there; for the others those of `ca-crl.pem` beside it are taken.
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn prepare(
        folder: &Path,
        passphrase: &PassphraseSource,
        options: &ExportOptions,
        now: UnixTime,
    ) -> Result<Self, ExportError> {
        let authority = load_with(folder, now, passphrase)?;
        let chain: Vec<CaCertificate> = authority.chain().into_iter().cloned().collect();
        let key = if options.with_key {
            Some(plain_key(folder, &authority.intermediate, passphrase)?)
        } else {
            None
        };
        let (crl, without_crl) = lists(folder, &authority, passphrase, options, now).await?;
        Ok(Self {
            chain,
            key,
            crl,
            without_crl,
        })
    }

    /// CAs of the chain for which there is no list; if there are any, no `ca-crl.pem` is written.
    #[must_use]
    pub fn without_crl(&self) -> &[String] {
        &self.without_crl
    }

    /// Names, texts and modes of the files.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, Zeroizing<String>, u32)> {
        let pem = |part: &[CaCertificate]| {
            Zeroizing::new(part.iter().map(CaCertificate::pem).collect::<String>())
        };
        let (root, below) = self
            .chain
            .split_last()
            .map_or((None, &[][..]), |(root, below)| (Some(root), below));
        let mut out = vec![
            (
                "ca-cert.pem",
                pem(below.get(..1).unwrap_or_default()),
                0o644,
            ),
            ("cert-chain.pem", pem(below), 0o644),
            (
                "root-cert.pem",
                pem(root.map(std::slice::from_ref).unwrap_or_default()),
                0o644,
            ),
        ];
        if let Some(key) = &self.key {
            out.push(("ca-key.pem", key.clone(), 0o600));
        }
        if let Some(crl) = &self.crl {
            out.push((crl::FILE, Zeroizing::new(crl.clone()), 0o644));
        }
        out
    }

    /// Writes the folder `to`, which must not exist; it appears whole.
    ///
    /// # Errors
    /// [`ExportError`]; then nothing was written.
    pub fn write(&self, to: &Path) -> Result<(), ExportError> {
        let all = self.files();
        let contents: Vec<_> = all
            .iter()
            .map(|(name, text, _)| (*name, text.as_str()))
            .collect();
        if init::publish_files(to, &contents)? == Created::AlreadyThere {
            return Err(ExportError::Exists {
                path: to.to_owned(),
            });
        }
        for (name, _, mode) in all.iter().filter(|(_, _, mode)| *mode != 0o600) {
            let path = to.join(name);
            files::set_mode(&path, *mode).map_err(init::io_error("set the mode of", &path))?;
        }
        Ok(())
    }
}

fn plain_key(
    folder: &Path,
    certificate: &CaCertificate,
    passphrase: &PassphraseSource,
) -> Result<Zeroizing<String>, ExportError> {
    let path = key_path(folder, certificate)?;
    let text = fs::read(&path)
        .map(Zeroizing::new)
        .map_err(|source| CaError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
    if crate::ca::Pkcs11Uri::is_meant(&text) {
        return Err(ExportError::KeyInToken);
    }
    let passphrase = passphrase
        .get()
        .map_err(|error| ExportError::Key(error.into()))?;
    FileKey::open(&text, passphrase.as_ref())
        .and_then(|key| key.to_pem(None))
        .map_err(ExportError::Key)
}

/// A list of each CA, or the subjects of those that have none.
async fn lists(
    folder: &Path,
    authority: &CertificateAuthority,
    passphrase: &PassphraseSource,
    options: &ExportOptions,
    now: UnixTime,
) -> Result<(Option<String>, Vec<String>), ExportError> {
    let chain = authority.chain();
    let kept = kept_lists(folder, &chain, now)?;
    let root_key_path = folder.join(names::ROOT_KEY);
    let (mut text, mut without) = (String::new(), Vec::new());
    for ca in &chain {
        let key = if **ca == authority.intermediate {
            Some(authority.key.clone())
        } else if **ca == authority.root && root_key_path.exists() {
            // With another passphrase, or without one, the root's lists come from elsewhere.
            open_key(&root_key_path, passphrase).ok()
        } else {
            None
        };
        let key = key.filter(|_| ca.signs_crls());
        let kept = kept.iter().find(|list| list.issuer_sha256 == ca.sha256());
        match (key, kept) {
            (_, Some(kept)) => text.push_str(&kept.pem),
            (Some(key), None) => {
                text.push_str(&crl::sign_empty(ca, key.as_ref(), now, options.crl_seconds).await?);
            }
            (None, None) => without.push(ca.subject().to_owned()),
        }
    }
    Ok((without.is_empty().then_some(text), without))
}

fn kept_lists(
    folder: &Path,
    chain: &[&CaCertificate],
    now: UnixTime,
) -> Result<Vec<crl::CheckedCrl>, ExportError> {
    let path = folder.join(crl::FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            crl::check(&text, chain, now).map_err(|source| ExportError::Crl { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(CaError::Io {
            action: "read",
            path,
            source,
        }
        .into()),
    }
}
