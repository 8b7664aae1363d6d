//! Taking over a CA that exists: Istio's `cacerts` folder or secret, a `kubernetes.io/tls` secret, a
//! folder of our own, or a certificate with its key. Everything is checked before anything is
//! written; what is incomplete, weak, expired or does not fit is refused, never completed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{TrustDomain, UnixTime};
use zeroize::Zeroizing;

use crate::ca::certificate::Weakness;
use crate::ca::crl::{self, CrlError};
use crate::ca::init::{self, BACKDATE_SECONDS, Created};
use crate::ca::key::{CaKey as _, CaKeyError, FileKey};
use crate::ca::load::is_signed_by;
use crate::ca::make::{CaProfile, Signer, Unsigned, organization, spki};
use crate::ca::path::{self, Candidate, PathError};
use crate::ca::secret::{Passphrase, PassphraseSource};
use crate::ca::{CaCertificate, CaError, names};

/// The files of a CA, by their names.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<String, Zeroizing<Vec<u8>>>);

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

/// Why a CA is not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{name} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// Its name.
        name: String,
    },
    /// A secret's value is not base64.
    #[error("{name} in the secret is not base64")]
    NotBase64 {
        /// Its name.
        name: String,
    },
    /// No layout has all of its files there.
    #[error("incomplete: {missing} is missing beside {found:?}")]
    Incomplete {
        /// The first file that is missing.
        missing: &'static str,
        /// What is there.
        found: Vec<String>,
    },
    /// A certificate is no CA's, or does not parse.
    #[error("{file}: {problem}")]
    NotCa {
        /// The file.
        file: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Its signature or key is too weak or not supported.
    #[error("{file}: {weakness} ({subject})")]
    Weak {
        /// The file.
        file: &'static str,
        /// The certificate's subject.
        subject: String,
        /// What is weak.
        weakness: Weakness,
    },
    /// Certificates in a chain file that no chain needs.
    #[error("{file} holds {subject}, which is not between the CA and its root")]
    Stray {
        /// The file.
        file: &'static str,
        /// The certificate's subject.
        subject: String,
    },
    /// More than one root.
    #[error("{file} holds {found} different roots, expected one")]
    SeveralRoots {
        /// The file.
        file: &'static str,
        /// How many.
        found: usize,
    },
    /// The root is not signed by itself.
    #[error("{file}: {subject} is not signed by itself, so it is no root")]
    NotSelfSigned {
        /// The file.
        file: &'static str,
        /// The certificate's subject.
        subject: String,
    },
    /// No chain of valid signatures leads to the root.
    #[error("no certificate in the files has signed {subject}")]
    BrokenChain {
        /// The one whose issuer is missing.
        subject: String,
    },
    /// Not valid now.
    #[error("{subject} is valid from {not_before} to {not_after}, and it is {now} now")]
    NotValidNow {
        /// The certificate's subject.
        subject: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time now.
        now: UnixTime,
    },
    /// Nothing that it signs would validate.
    #[error("nothing below it would validate")]
    Path(#[source] PathError),
    /// The key cannot be used.
    #[error("{file} does not hold a usable private key")]
    Key {
        /// The file.
        file: &'static str,
        /// What is wrong.
        #[source]
        source: CaKeyError,
    },
    /// The key is not the certificate's.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The key's file.
        key: &'static str,
        /// The certificate's file.
        certificate: &'static str,
    },
    /// Its subject would be written in another way in what it signs.
    #[error("the subject {subject} has a form that cannot be repeated byte for byte as issuer")]
    UnusableSubject {
        /// The certificate's subject.
        subject: String,
    },
    /// A revocation list in it is not good.
    #[error("{file} is not good")]
    Crl {
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: CrlError,
    },
    /// There is a CA already.
    #[error("there is a CA in {} already; it was left as it is", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// The files cannot be made.
    #[error(transparent)]
    Ca(#[from] CaError),
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

    fn layout(&self) -> Result<Layout, ImportError> {
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

    fn certificates(&self, file: &'static str) -> Result<Vec<CaCertificate>, ImportError> {
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

    fn key(
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

/// A CA that was checked and can be taken over.
#[derive(Debug)]
pub struct Import {
    layout: Layout,
    /// The CA that signs first, the root last; the root alone if it is what was given.
    chain: Vec<CaCertificate>,
    key: FileKey,
    root_key: Option<FileKey>,
    crl: Option<String>,
}

impl Import {
    /// Checks `files` at `now`; keys in them may be encrypted with `passphrase`.
    ///
    /// Checked: everything is there; each certificate is a CA's (`CA:true`, keyCertSign, subject key
    /// identifier), of a key of 2048 bits or more and a digest no weaker than SHA-256; signatures lead
    /// to one self-signed root; all are valid now; path lengths, name constraints and extended key
    /// usages allow what is to be signed; keys belong to their certificates; revocation lists are
    /// signed by the CAs of the chain. Not checked: whether any of them was revoked elsewhere.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn check(
        files: &Files,
        passphrase: &PassphraseSource,
        now: UnixTime,
    ) -> Result<Self, ImportError> {
        let layout = files.layout()?;
        let (signing, key_file, chain_file, root_file) = match layout {
            Layout::Cacerts => (
                "ca-cert.pem",
                "ca-key.pem",
                "cert-chain.pem",
                "root-cert.pem",
            ),
            Layout::KubernetesTls => ("tls.crt", "tls.key", "tls.crt", "ca.crt"),
            Layout::Own => (
                "intermediate.pem",
                "intermediate.key",
                "intermediate.pem",
                "root.pem",
            ),
        };
        let root = one_root(files.certificates(root_file)?, root_file)?;
        let own = files.certificates(signing)?.into_iter().next();
        let own = own.ok_or(ImportError::NotCa {
            file: signing,
            problem: "there is no certificate in it",
        })?;
        let chain = build_chain(own, files.certificates(chain_file)?, chain_file, root)?;
        check_chain(&chain, now)?;
        let key = files.key(key_file, passphrase)?;
        check_owner(&key, key_file, &chain, 0, signing)?;
        let root_key = if layout == Layout::Own && files.0.contains_key(names::ROOT_KEY) {
            let key = files.key(names::ROOT_KEY, passphrase)?;
            check_owner(&key, names::ROOT_KEY, &chain, chain.len() - 1, root_file)?;
            Some(key)
        } else {
            None
        };
        let crl = match files.0.get(crl::FILE) {
            Some(bytes) => Some(check_crl(bytes, &chain, now)?),
            None => None,
        };
        Ok(Self {
            layout,
            chain,
            key,
            root_key,
            crl,
        })
    }

    /// How the files were named.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The CA that signs first, the root last; one element if it is a root, below which an
    /// intermediate will be made.
    #[must_use]
    pub fn chain(&self) -> &[CaCertificate] {
        &self.chain
    }

    /// Whether the root itself was given, with its key.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.chain.len() == 1
    }

    /// Puts the CA into `folder`, which must not exist; keys are encrypted if there is a passphrase.
    /// Below a root a new intermediate is made for `trust_domain`.
    ///
    /// # Errors
    /// [`ImportError`]; then nothing was written.
    pub fn install(
        &self,
        folder: &Path,
        trust_domain: &TrustDomain,
        passphrase: Option<&Passphrase>,
        now: UnixTime,
    ) -> Result<(), ImportError> {
        let sealed = |key: &FileKey| key.to_pem(passphrase).map_err(CaError::NewKey);
        let (root, below) = self.chain.split_last().ok_or(ImportError::NotCa {
            file: "root-cert.pem",
            problem: "there is no certificate in it",
        })?;
        let mut contents = vec![(
            names::ROOT_CERTIFICATE,
            Zeroizing::new(root.pem().to_owned()),
        )];
        if below.is_empty() {
            let key = FileKey::generate(self.key.algorithm()).map_err(CaError::NewKey)?;
            let intermediate = self.intermediate(&key, root, trust_domain, now)?;
            contents.push((names::ROOT_KEY, sealed(&self.key)?));
            contents.push((names::INTERMEDIATE_KEY, sealed(&key)?));
            let text = Zeroizing::new(intermediate.pem().to_owned());
            contents.push((names::INTERMEDIATE_CERTIFICATE, text));
        } else {
            let text: String = below.iter().map(CaCertificate::pem).collect();
            contents.push((names::INTERMEDIATE_CERTIFICATE, Zeroizing::new(text)));
            contents.push((names::INTERMEDIATE_KEY, sealed(&self.key)?));
            if let Some(key) = &self.root_key {
                contents.push((names::ROOT_KEY, sealed(key)?));
            }
        }
        if let Some(crl) = &self.crl {
            contents.push((crl::FILE, Zeroizing::new(crl.clone())));
        }
        let contents: Vec<_> = contents
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        match init::publish_files(folder, &contents)? {
            Created::Made => Ok(()),
            Created::AlreadyThere => Err(ImportError::Exists {
                path: folder.to_owned(),
            }),
        }
    }

    /// An intermediate below an imported root.
    fn intermediate(
        &self,
        key: &FileKey,
        root: &CaCertificate,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<CaCertificate, ImportError> {
        let after = |seconds| now.plus_secs(seconds).ok_or(CaError::BadDate { time: now });
        let profile = CaProfile {
            trust_domain: trust_domain.clone(),
            organization: organization(trust_domain),
            common_name: "Countersign Intermediate CA G1".to_owned(),
            path_length: 0,
            not_before: after(-BACKDATE_SECONDS)?.max(root.not_before()),
            not_after: after(init::INTERMEDIATE_SECONDS)?.min(root.not_after()),
            uri_hosts: Vec::new(),
        };
        let id = trust_domain.id_string();
        path::check(&[root], &profile.candidate(&id), now).map_err(ImportError::Path)?;
        let unsigned = Unsigned::certificate(&profile, &spki(key), Signer::Ca(root), &self.key)?;
        let signature = self.key.sign_now(unsigned.bytes()).map_err(CaError::Sign)?;
        let made = CaCertificate::from_der(unsigned.signed(&signature))
            .map_err(|problem| CaError::BadResult { problem })?;
        if is_signed_by(&made, root) {
            return Ok(made);
        }
        Err(ImportError::UnusableSubject {
            subject: root.subject().to_owned(),
        })
    }
}

/// The one root of a bundle; the same one twice is one.
fn one_root(
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
fn build_chain(
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

fn check_chain(chain: &[CaCertificate], now: UnixTime) -> Result<(), ImportError> {
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
fn check_owner(
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

fn check_crl(bytes: &[u8], chain: &[CaCertificate], now: UnixTime) -> Result<String, ImportError> {
    let failed = |source| ImportError::Crl {
        file: crl::FILE,
        source,
    };
    let text = std::str::from_utf8(bytes).map_err(|_not_text| failed(CrlError::Malformed))?;
    let chain: Vec<&CaCertificate> = chain.iter().collect();
    crl::check(text, &chain, now).map_err(failed)?;
    Ok(text.to_owned())
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
const MAX_FILE_BYTES: usize = 1 << 20;
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
