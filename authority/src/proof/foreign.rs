//! Certificates of foreign CAs. Possession of the key is proven by the TLS handshake.

use identity::UnixTime;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::crypto::sha256_hex;
use crate::issue::{Proof, ProofFault};
use crate::proof::ProofsError;
use crate::proof::https::read_roots;
use crate::proof::proven::Proven;
use crate::proof::settings::ForeignCaConfig;
use crate::proof::template::Template;

/// Longest chain looked at: leaf and intermediates.
pub(crate) const MAX_CHAIN: usize = 6;
/// Most alternative names of a certificate.
pub(crate) const MAX_NAMES: usize = 64;

/// The foreign CAs whose certificates are accepted.
#[derive(Debug, Default)]
pub(crate) struct ForeignCas(Vec<ForeignCa>);

#[derive(Debug)]
struct ForeignCa {
    name: String,
    roots: RootCertStore,
    template: Option<Template>,
}

impl ForeignCas {
    /// # Errors
    /// [`ProofsError::ForeignCa`] if a file of certificates cannot be used.
    pub(crate) fn new(config: &[ForeignCaConfig]) -> Result<Self, ProofsError> {
        let read = |config: &ForeignCaConfig| {
            let name = config.name.as_str().to_owned();
            match read_roots(&config.ca_file) {
                Ok(roots) => Ok(ForeignCa {
                    name,
                    roots,
                    template: config.spiffe_id.clone(),
                }),
                Err(source) => Err(ProofsError::ForeignCa { name, source }),
            }
        };
        config.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of their roots, for the TLS handshake.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = &TrustAnchor<'static>> {
        self.0.iter().flat_map(|ca| &ca.roots.roots)
    }

    /// Whose `chain` is, leaf first, DER. The handshake has verified it against all roots there are;
    /// here it is verified against those of one CA, at this moment: a connection can be older.
    ///
    /// # Errors
    /// [`ProofFault::UnknownCertificate`] if it is of none, else what is wrong with it.
    pub(crate) fn prove(&self, chain: &[Vec<u8>], now: UnixTime) -> Result<Proven, ProofFault> {
        let (leaf, intermediates) = chain.split_first().ok_or(ProofFault::Missing)?;
        if chain.len() > MAX_CHAIN {
            return Err(ProofFault::ForeignCertificate {
                problem: "its chain is too long",
            });
        }
        let der = CertificateDer::from(leaf.as_slice());
        let malformed = ProofFault::ForeignCertificate {
            problem: "it is malformed",
        };
        let end_entity = EndEntityCert::try_from(&der).map_err(|_bad| malformed.clone())?;
        let intermediates: Vec<CertificateDer<'_>> = intermediates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let seconds = u64::try_from(now.as_secs()).unwrap_or_default();
        let at =
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let mut fault = ProofFault::UnknownCertificate;
        for ca in &self.0 {
            let verified = end_entity.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &ca.roots.roots,
                &intermediates,
                at,
                KeyUsage::client_auth(),
                None,
                None,
            );
            match verified {
                Ok(_) => return ca.proven(leaf, now),
                Err(webpki::Error::CertExpired { .. }) => fault = ProofFault::CertificateExpired,
                Err(error) => tracing::debug!(%error, ca = ca.name, "not of this foreign CA"),
            }
        }
        Err(fault)
    }
}

impl ForeignCa {
    fn proven(&self, leaf: &[u8], now: UnixTime) -> Result<Proven, ProofFault> {
        let refused = |problem| ProofFault::ForeignCertificate { problem };
        let (_, certificate) =
            X509Certificate::from_der(leaf).map_err(|_bad| refused("it is malformed"))?;
        let facts = Facts::of(&certificate, leaf)?;
        let value = |name: &str| facts.value(name);
        let spiffe_id = self.template.as_ref().and_then(|template| {
            template
                .expand(value)
                .inspect_err(|error| tracing::debug!(%error, ca = self.name, "no identity"))
                .ok()
        });
        let expires = UnixTime::from_secs(certificate.validity().not_after.timestamp());
        Ok(Proven {
            proof: Proof::ForeignCertificate,
            by: self.name.clone(),
            subject: facts.subject.clone(),
            spiffe_id,
            selectors: facts.selectors(&self.name),
            evidence_sha256: facts.sha256,
            proven_at: now,
            expires,
            account: None,
        })
    }
}

/// What a foreign certificate says.
struct Facts {
    subject: String,
    issuer: String,
    common_names: Vec<String>,
    dns: Vec<String>,
    uris: Vec<String>,
    sha256: String,
}

impl Facts {
    fn of(certificate: &X509Certificate<'_>, der: &[u8]) -> Result<Self, ProofFault> {
        let refused = |problem| ProofFault::ForeignCertificate { problem };
        let names = certificate
            .subject_alternative_name()
            .map_err(|_twice| refused("its extensions are malformed"))?;
        let names = names.map(|names| names.value.general_names.as_slice());
        let names = names.unwrap_or_default();
        if names.len() > MAX_NAMES {
            return Err(refused("it has too many names"));
        }
        let mut facts = Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            common_names: Vec::new(),
            dns: Vec::new(),
            uris: Vec::new(),
            sha256: sha256_hex(der),
        };
        for name in certificate.subject().iter_common_name() {
            let name = name
                .as_str()
                .map_err(|_odd| refused("its common name is no text"))?;
            facts.common_names.push(name.to_owned());
        }
        for name in names {
            match name {
                GeneralName::DNSName(name) => facts.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                GeneralName::Invalid(..) => return Err(refused("a name of it is malformed")),
                _ => {}
            }
        }
        Ok(facts)
    }

    /// A variable of a template. What there are two of is not one.
    fn value(&self, name: &str) -> Option<String> {
        let only = |list: &[String]| match list {
            [one] => Some(one.clone()),
            _ => None,
        };
        match name {
            "subject:cn" => only(&self.common_names),
            "san:dns" => only(&self.dns),
            "san:uri-path" => {
                let uri = only(&self.uris)?;
                let (_, rest) = uri.split_once("://")?;
                rest.split_once('/').map(|(_, path)| path.to_owned())
            }
            "sha256" => Some(self.sha256.clone()),
            _ => None,
        }
    }

    fn selectors(&self, ca: &str) -> Vec<String> {
        let mut selectors = vec![
            format!("x509pop:ca:{ca}"),
            format!("x509pop:sha256:{}", self.sha256),
            format!("x509pop:subject:{}", self.subject),
            format!("x509pop:issuer:{}", self.issuer),
        ];
        let mut push = |kind: &str, values: &[String]| {
            selectors.extend(values.iter().map(|value| format!("x509pop:{kind}:{value}")));
        };
        push("subject:cn", &self.common_names);
        push("san:dns", &self.dns);
        push("san:uri", &self.uris);
        selectors
    }
}
