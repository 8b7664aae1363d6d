//! Intermediates for other clusters below our root.

use std::path::Path;

use identity::{TrustDomain, UnixTime};

use crate::ca::init::{self, BACKDATE_SECONDS, Created, NewKey};
use crate::ca::load::{is_signed_by, open_key};
use crate::ca::make::{CaProfile, Signer, Unsigned, organization, spki};
use crate::ca::path::{self, UriHost};
use crate::ca::secret::PassphraseSource;
use crate::ca::{CaCertificate, CaError, CaKey, names};

/// What an intermediate of another cluster is to be.
#[derive(Clone, Debug)]
pub struct IntermediateOptions {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Name of the cluster, part of the common name, so that no two clusters share one.
    pub cluster: String,
    /// Number of this generation, part of the common name.
    pub generation: u32,
    /// CAs that may follow it.
    pub path_length: u8,
    /// Validity, seconds; no longer than the root's.
    pub seconds: i64,
    /// Hosts that URI names are confined to; mostly none.
    pub uri_hosts: Vec<UriHost>,
    /// The time now.
    pub now: UnixTime,
}

/// An intermediate that was not signed yet.
#[derive(Debug)]
pub struct IntermediatePlan {
    root: CaCertificate,
    profile: CaProfile,
}

impl IntermediatePlan {
    /// Checks what is wanted against the root of the CA in `folder`.
    ///
    /// # Errors
    /// [`CaError`]; [`CaError::Path`] if nothing below would validate.
    pub fn new(folder: &Path, options: &IntermediateOptions) -> Result<Self, CaError> {
        let root = CaCertificate::read(&folder.join(names::ROOT_CERTIFICATE))?;
        let now = options.now;
        let after = |seconds| now.plus_secs(seconds).ok_or(CaError::BadDate { time: now });
        let profile = CaProfile {
            trust_domain: options.trust_domain.clone(),
            organization: organization(&options.trust_domain),
            common_name: format!(
                "{} Intermediate CA G{}",
                options.cluster, options.generation
            ),
            path_length: options.path_length,
            not_before: after(-BACKDATE_SECONDS)?.max(root.not_before()),
            not_after: after(options.seconds)?.min(root.not_after()),
            uri_hosts: options.uri_hosts.clone(),
        };
        let id = options.trust_domain.id_string();
        path::check(&[&root], &profile.candidate(&id), now)?;
        if let Some(host) = unmatched(options) {
            return Err(CaError::Path(path::PathError::NotPermitted {
                issuer: profile.common_name,
                name: host,
            }));
        }
        Ok(Self { root, profile })
    }

    /// What the certificate will say.
    #[must_use]
    pub const fn profile(&self) -> &CaProfile {
        &self.profile
    }

    /// Makes the key, has the root's key of the CA in `folder` sign, and writes a CA folder at `out`,
    /// which must not exist: root, certificate and key, without the root's key.
    ///
    /// # Errors
    /// [`CaError`].
    pub async fn sign(
        &self,
        folder: &Path,
        out: &Path,
        passphrase: &PassphraseSource,
    ) -> Result<CaCertificate, CaError> {
        let key_path = folder.join(names::ROOT_KEY);
        let root_key = open_key(&key_path, passphrase)?;
        if root_key.public_key() != self.root.public_key() {
            return Err(CaError::KeyMismatch {
                key: key_path,
                certificate: folder.join(names::ROOT_CERTIFICATE),
            });
        }
        let sealing = passphrase
            .get()
            .map_err(|error| CaError::NewKey(error.into()))?;
        let key = NewKey::make(root_key.algorithm(), None, sealing.as_ref())?;
        let certificate = self.certify(key.key(), root_key.as_ref()).await?;
        let contents = [
            (names::ROOT_CERTIFICATE, self.root.pem()),
            (names::INTERMEDIATE_CERTIFICATE, certificate.pem()),
            (names::INTERMEDIATE_KEY, key.text.as_str()),
        ];
        match init::publish_files(out, &contents)? {
            Created::Made => Ok(certificate),
            Created::AlreadyThere => Err(CaError::Exists {
                path: out.to_owned(),
            }),
        }
    }

    async fn certify(&self, key: &dyn CaKey, root: &dyn CaKey) -> Result<CaCertificate, CaError> {
        let signer = Signer::Ca(&self.root);
        let unsigned = Unsigned::certificate(&self.profile, &spki(key), signer, root)?;
        let made = CaCertificate::from_der(unsigned.sign(root).await?)
            .map_err(|problem| CaError::BadResult { problem })?;
        if is_signed_by(&made, &self.root) {
            return Ok(made);
        }
        Err(CaError::BadResult {
            problem: "the root's subject cannot be repeated byte for byte as its issuer",
        })
    }
}

/// The trust domain, if the hosts leave it out: then no leaf of it would validate.
fn unmatched(options: &IntermediateOptions) -> Option<String> {
    let name = options.trust_domain.as_str();
    let matches = options.uri_hosts.is_empty()
        || options
            .uri_hosts
            .iter()
            .any(|host| path::host_matches(name, host.as_str()));
    (!matches).then(|| options.trust_domain.id_string())
}
