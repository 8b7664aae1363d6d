//! The files of a CA, wherever they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::ca::import::ImportError;
use crate::ca::key::FileKey;
use crate::ca::secret::PassphraseSource;
use crate::ca::{CaCertificate, crl, names};

/// The files of a CA, by their names.
#[derive(Debug, Default)]
pub struct Files(pub(super) BTreeMap<String, Zeroizing<Vec<u8>>>);

/// How the files are named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// `ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem [ca-crl.pem]` (Istio).
    Cacerts,
    /// `tls.crt tls.key ca.crt`.
    KubernetesTls,
    /// `root.pem intermediate.pem intermediate.key [root.key]`.
    Own,
}

impl Files {
    /// Reads the files of a folder that any layout knows; symbolic links are followed, as a mounted
    /// secret needs it.
    ///
    /// # Errors
    /// [`ImportError::Read`] and [`ImportError::TooLarge`].
    pub fn read(folder: &Path) -> Result<Self, ImportError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ImportError::Read { path, source }
        };
        std::fs::read_dir(folder).map_err(failed(folder))?;
        let mut files = BTreeMap::new();
        for name in KNOWN {
            let path = folder.join(name);
            match read_bounded(&path) {
                Ok(Some(bytes)) => drop(files.insert(name.to_owned(), bytes)),
                Ok(None) => {
                    return Err(ImportError::TooLarge {
                        name: name.to_owned(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Ok(Self(files))
    }

    /// The `data` of a Kubernetes secret: names and base64.
    ///
    /// # Errors
    /// [`ImportError::NotBase64`] and [`ImportError::TooLarge`].
    pub fn of_secret(data: &BTreeMap<String, String>) -> Result<Self, ImportError> {
        let mut files = BTreeMap::new();
        for (name, text) in data
            .iter()
            .filter(|(name, _)| KNOWN.contains(&name.as_str()))
        {
            let bytes = STANDARD
                .decode(text.trim())
                .map_err(|_bad| ImportError::NotBase64 { name: name.clone() })?;
            if bytes.len() > MAX_FILE_BYTES {
                return Err(ImportError::TooLarge { name: name.clone() });
            }
            files.insert(name.clone(), Zeroizing::new(bytes));
        }
        Ok(Self(files))
    }

    /// A CA certificate with its key, and, unless it is a root, its chain (PEM) and root.
    ///
    /// # Errors
    /// [`ImportError::Read`] and [`ImportError::TooLarge`].
    pub fn of_parts(
        certificate: &Path,
        key: &Path,
        chain: Option<&Path>,
        root: Option<&Path>,
    ) -> Result<Self, ImportError> {
        let parts = [
            ("ca-cert.pem", certificate),
            ("ca-key.pem", key),
            ("cert-chain.pem", chain.unwrap_or(certificate)),
            ("root-cert.pem", root.unwrap_or(certificate)),
        ];
        let mut files = BTreeMap::new();
        for (name, path) in parts {
            let bytes = read_bounded(path).map_err(|source| ImportError::Read {
                path: path.to_owned(),
                source,
            })?;
            let bytes = bytes.ok_or_else(|| ImportError::TooLarge {
                name: path.display().to_string(),
            })?;
            files.insert(name.to_owned(), bytes);
        }
        Ok(Self(files))
    }

    pub(super) fn layout(&self) -> Result<Layout, ImportError> {
        let wanted: [(Layout, &[&'static str]); 3] = [
            (
                Layout::Cacerts,
                &[
                    "ca-cert.pem",
                    "ca-key.pem",
                    "cert-chain.pem",
                    "root-cert.pem",
                ],
            ),
            (Layout::KubernetesTls, &["tls.crt", "tls.key", "ca.crt"]),
            (
                Layout::Own,
                &["intermediate.pem", "intermediate.key", "root.pem"],
            ),
        ];
        for (layout, names) in wanted {
            let there = names
                .iter()
                .filter(|name| self.0.contains_key(**name))
                .count();
            let missing = names.iter().find(|name| !self.0.contains_key(**name));
            match missing {
                None => return Ok(layout),
                Some(missing) if there > 0 => {
                    return Err(ImportError::Incomplete {
                        missing,
                        found: self.0.keys().cloned().collect(),
                    });
                }
                Some(_) => {}
            }
        }
        Err(ImportError::Incomplete {
            missing: "ca-cert.pem",
            found: self.0.keys().cloned().collect(),
        })
    }

    pub(super) fn certificates(
        &self,
        file: &'static str,
    ) -> Result<Vec<CaCertificate>, ImportError> {
        let not_ca = |problem| ImportError::NotCa { file, problem };
        let bytes = self.0.get(file).map(|bytes| bytes.as_slice());
        let text = std::str::from_utf8(bytes.unwrap_or_default())
            .map_err(|_not_text| not_ca("it is not PEM certificates and nothing else"))?;
        let text = only_blocks(text);
        let certificates = CaCertificate::all_from_pem(&text).map_err(not_ca)?;
        for certificate in &certificates {
            if let Some(weakness) = certificate.weakness() {
                return Err(ImportError::Weak {
                    file,
                    subject: certificate.subject().to_owned(),
                    weakness: weakness.clone(),
                });
            }
        }
        Ok(certificates)
    }

    pub(super) fn key(
        &self,
        file: &'static str,
        passphrase: &PassphraseSource,
    ) -> Result<FileKey, ImportError> {
        let failed = |source| ImportError::Key { file, source };
        let bytes = self.0.get(file).map(|bytes| bytes.as_slice());
        let passphrase = passphrase.get().map_err(|error| failed(error.into()))?;
        FileKey::open(bytes.unwrap_or_default(), passphrase.as_ref()).map_err(failed)
    }
}

/// The PEM blocks of a text without what tools write around them (`openssl x509 -text`, bag
/// attributes).
fn only_blocks(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        inside |= line.starts_with("-----BEGIN ");
        if inside {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.starts_with("-----END ");
    }
    out
}

/// A file's bytes; `None` if it is too large.
fn read_bounded(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MAX_FILE_BYTES).then_some(bytes))
}

/// Largest file read; a Kubernetes secret holds no more than this in all.
pub(super) const MAX_FILE_BYTES: usize = 1 << 20;
/// Names that some layout knows.
const KNOWN: [&str; 12] = [
    "ca-cert.pem",
    "ca-key.pem",
    "cert-chain.pem",
    "root-cert.pem",
    crl::FILE,
    "tls.crt",
    "tls.key",
    "ca.crt",
    names::ROOT_CERTIFICATE,
    names::ROOT_KEY,
    names::INTERMEDIATE_CERTIFICATE,
    names::INTERMEDIATE_KEY,
];
