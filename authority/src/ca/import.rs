//! Taking over a CA that exists: Istio's `cacerts` folder or secret, a `kubernetes.io/tls` secret, a
//! folder of our own, or a certificate with its key. Everything is checked before anything is
//! written; what is incomplete, weak, expired or does not fit is refused, never completed.

use std::path::Path;

use identity::{TrustDomain, UnixTime};
use zeroize::Zeroizing;

pub(crate) use self::chain::chain_to_root;
use self::chain::{build_chain, check_chain, check_crl, check_owner, one_root};
pub use self::error::ImportError;
pub use self::files::{Files, Layout};
use crate::ca::init::{self, BACKDATE_SECONDS, Created};
use crate::ca::key::{CaKey as _, FileKey};
use crate::ca::load::is_signed_by;
use crate::ca::make::{CaProfile, Signer, Unsigned, organization, spki};
use crate::ca::secret::{Passphrase, PassphraseSource};
use crate::ca::{CaCertificate, CaError, crl, names, path};

mod chain;
mod error;
mod files;

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
