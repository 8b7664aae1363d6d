//! What would be signed, shown before it is.

use identity::{TrustDomain, UnixTime};

use crate::ca::ceremony::transcript::{Statement, Transcript};
use crate::ca::ceremony::{CeremonyError, verified};
use crate::ca::init::BACKDATE_SECONDS;
use crate::ca::key::CaKey;
use crate::ca::load::is_signed_by;
use crate::ca::make::{CaProfile, Signer, Unsigned, organization};
use crate::ca::path::UriHost;
use crate::ca::{CaCertificate, CaError, CaKeyError, crl, path};
use crate::crypto::sha256_hex;

/// What is said on the offline machine.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The trust domain; the request must name it.
    pub trust_domain: TrustDomain,
    /// Common name; the one the request proposes if none is given.
    pub common_name: Option<String>,
    /// Organization; the trust domain if none is given.
    pub organization: Option<String>,
    /// CA certificates that may follow the intermediate.
    pub path_length: u8,
    /// Validity, seconds; no longer than the root's.
    pub seconds: i64,
    /// Hosts that URI names are confined to; mostly none.
    pub uri_hosts: Vec<UriHost>,
    /// People who are there.
    pub witnesses: Vec<String>,
    /// Validity of the root's revocation list, seconds.
    pub crl_seconds: i64,
    /// The time now.
    pub now: UnixTime,
}

/// What would be signed; nothing was yet.
#[derive(Debug)]
pub struct Plan {
    root: CaCertificate,
    profile: CaProfile,
    spki_der: Vec<u8>,
    statement: Statement,
    crl_seconds: i64,
    now: UnixTime,
}

/// What a ceremony gives back.
#[derive(Debug)]
pub struct Signed {
    /// The intermediate's certificate.
    pub certificate: CaCertificate,
    /// The transcript, as it is written.
    pub transcript: String,
    /// A revocation list of the root that lists nothing, PEM; `None` if the root may not sign any.
    pub crl: Option<String>,
}

impl Plan {
    /// Checks a request and the root against what was said.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub fn new(
        root: CaCertificate,
        csr_pem: &str,
        options: &PlanOptions,
    ) -> Result<Self, CeremonyError> {
        if !is_signed_by(&root, &root) {
            return Err(CeremonyError::Root {
                problem: "the root's certificate is not signed by itself",
            });
        }
        let (csr, uris, proposed) = verified(csr_pem)?;
        let id = options.trust_domain.id_string();
        if uris != [id.clone()] {
            return Err(CeremonyError::OtherTrustDomain {
                found: uris.join(", "),
                expected: id,
            });
        }
        let now = options.now;
        let after = |seconds| now.plus_secs(seconds).ok_or(CaError::BadDate { time: now });
        let profile = CaProfile {
            trust_domain: options.trust_domain.clone(),
            organization: options
                .organization
                .clone()
                .unwrap_or_else(|| organization(&options.trust_domain)),
            common_name: options.common_name.clone().unwrap_or(proposed),
            path_length: options.path_length,
            not_before: after(-BACKDATE_SECONDS)?.max(root.not_before()),
            not_after: after(options.seconds)?.min(root.not_after()),
            uri_hosts: options.uri_hosts.clone(),
        };
        path::check(&[&root], &profile.candidate(&id), now).map_err(CaError::from)?;
        let statement = Statement {
            format: Statement::FORMAT.to_owned(),
            tool: format!("countersign {}", env!("CARGO_PKG_VERSION")),
            at: now,
            witnesses: options.witnesses.clone(),
            root_subject: root.subject().to_owned(),
            root_sha256: root.sha256().to_owned(),
            request_sha256: sha256_hex(csr_pem.trim().as_bytes()),
            key_sha256: csr.spki_sha256().to_owned(),
            key_type: csr.key_type().to_string(),
            subject: format!("CN={},O={}", profile.common_name, profile.organization),
            trust_domain: id,
            path_length: profile.path_length,
            not_before: profile.not_before,
            not_after: profile.not_after,
            permitted_uri_hosts: profile.uri_hosts.iter().map(ToString::to_string).collect(),
            serial: String::new(),
            certificate_sha256: String::new(),
        };
        Ok(Self {
            root,
            profile,
            spki_der: csr.spki_der().to_vec(),
            statement,
            crl_seconds: options.crl_seconds,
            now,
        })
    }

    /// What the transcript will say; serial number and certificate come with the signature.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Signs the certificate, the transcript and the root's revocation list with the root's key.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub async fn sign(&self, key: &dyn CaKey) -> Result<Signed, CeremonyError> {
        if key.public_key() != self.root.public_key() {
            return Err(CeremonyError::Root {
                problem: "the key is not that of the root's certificate",
            });
        }
        let signer = Signer::Ca(&self.root);
        let unsigned = Unsigned::certificate(&self.profile, &self.spki_der, signer, key)?;
        let certificate = CaCertificate::from_der(unsigned.sign(key).await?)
            .map_err(|problem| CaError::BadResult { problem })?;
        if !is_signed_by(&certificate, &self.root) {
            // A key that signs something else than it says.
            return Err(CaError::Sign(CaKeyError::Sign).into());
        }
        let statement = Statement {
            serial: certificate.serial().to_owned(),
            certificate_sha256: certificate.sha256().to_owned(),
            ..self.statement.clone()
        };
        let transcript = Transcript::sign(&statement, key).await?;
        let crl = if self.root.signs_crls() {
            Some(crl::sign_empty(&self.root, key, self.now, self.crl_seconds).await?)
        } else {
            None
        };
        Ok(Signed {
            certificate,
            transcript,
            crl,
        })
    }
}
