//! Trust bundles: which keys may sign the leaves of which trust domain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::x509::{IssuerError, IssuerKey};
use crate::{SpiffeIdError, TrustDomain};

/// How a configuration writes the issuers of one trust domain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerPem {
    /// PEM certificates of the authorities that sign leaves (intermediates where there are any,
    /// else the root); one or more in each string.
    pub issuers: Vec<String>,
}

/// The issuer keys of each trust domain. Keys of one are never used for another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrustBundle {
    domains: BTreeMap<TrustDomain, Vec<IssuerKey>>,
}

/// Why a bundle of the configuration is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A name that is no trust domain.
    #[error("{name:?} is not a trust domain")]
    BadTrustDomain {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: SpiffeIdError,
    },
    /// A name with upper-case letters, a scheme or a path.
    #[error("trust domain is written {name:?}, expected {expected:?}")]
    NotCanonical {
        /// The name.
        name: String,
        /// How it is written.
        expected: String,
    },
    /// An issuer that is refused.
    #[error("issuers[{index}] of trust domain {trust_domain} is refused")]
    BadIssuer {
        /// The trust domain.
        trust_domain: TrustDomain,
        /// Which of its strings, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: IssuerError,
    },
}

impl TrustBundle {
    /// Reads a bundle as configurations write it: by trust domain, all or nothing.
    ///
    /// A trust domain without issuers is kept: it is known, and nothing of it is trusted.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn from_config(config: &BTreeMap<String, IssuerPem>) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for (name, entry) in config {
            let domain = trust_domain(name)?;
            bundle.domains.entry(domain.clone()).or_default();
            for (index, pem) in entry.issuers.iter().enumerate() {
                let keys = IssuerKey::from_certificate_pem(pem).map_err(|source| {
                    BundleError::BadIssuer {
                        trust_domain: domain.clone(),
                        index,
                        source,
                    }
                })?;
                bundle.add(domain.clone(), keys);
            }
        }
        Ok(bundle)
    }

    /// Adds issuer keys to a trust domain; keys it has already are not repeated.
    pub fn add(&mut self, domain: TrustDomain, keys: impl IntoIterator<Item = IssuerKey>) {
        let held = self.domains.entry(domain).or_default();
        for key in keys {
            if !held.contains(&key) {
                held.push(key);
            }
        }
    }

    /// The keys that may sign leaves of `domain`; none for a trust domain that is not in the
    /// bundle, which [`X509Svid::check_signature`](crate::x509::X509Svid::check_signature) refuses.
    #[must_use]
    pub fn issuers(&self, domain: &TrustDomain) -> &[IssuerKey] {
        self.domains
            .get(domain)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Whether the bundle has this trust domain, with or without keys.
    #[must_use]
    pub fn contains(&self, domain: &TrustDomain) -> bool {
        self.domains.contains_key(domain)
    }

    /// The trust domains, in order.
    pub fn trust_domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.domains.keys()
    }

    /// Whether there is no trust domain at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }
}

fn trust_domain(name: &str) -> Result<TrustDomain, BundleError> {
    let domain = TrustDomain::new(name).map_err(|source| BundleError::BadTrustDomain {
        name: name.to_owned(),
        source,
    })?;
    if domain.as_str() == name {
        return Ok(domain);
    }
    Err(BundleError::NotCanonical {
        name: name.to_owned(),
        expected: domain.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::PemError;
    use crate::x509::testing::Authority;

    fn config(entries: &[(&str, Vec<String>)]) -> BTreeMap<String, IssuerPem> {
        entries
            .iter()
            .map(|(name, issuers)| {
                (
                    (*name).to_owned(),
                    IssuerPem {
                        issuers: issuers.clone(),
                    },
                )
            })
            .collect()
    }

    #[test]
    fn keeps_the_keys_of_each_trust_domain_apart() {
        let one = Authority::new(&rcgen::PKCS_ECDSA_P256_SHA256)
            .certificate
            .pem();
        let two = Authority::new(&rcgen::PKCS_ED25519).certificate.pem();
        let bundle = TrustBundle::from_config(&config(&[
            ("cluster.local", vec![one.clone(), two.clone(), one.clone()]),
            ("example.org", vec![two.clone()]),
            ("empty.example", vec![]),
        ]))
        .unwrap();
        let issuers = |name: &str| bundle.issuers(&TrustDomain::new(name).unwrap());
        let keys = |pem: &str| IssuerKey::from_certificate_pem(pem).unwrap();
        assert_eq!(issuers("cluster.local"), [keys(&one), keys(&two)].concat());
        assert_eq!(issuers("example.org"), keys(&two));
        assert_eq!(issuers("empty.example"), []);
        assert_eq!(issuers("unknown.example"), []);
        assert!(bundle.contains(&TrustDomain::new("empty.example").unwrap()));
        assert!(!bundle.contains(&TrustDomain::new("unknown.example").unwrap()));
        assert_eq!(bundle.trust_domains().count(), 3);
    }

    #[test]
    fn one_bad_entry_refuses_the_bundle() {
        let good = Authority::new(&rcgen::PKCS_ECDSA_P256_SHA256)
            .certificate
            .pem();
        let refused = TrustBundle::from_config(&config(&[
            ("cluster.local", vec![good.clone(), String::new()]),
            ("example.org", vec![good]),
        ]));
        let bad = BundleError::BadIssuer {
            trust_domain: TrustDomain::new("cluster.local").unwrap(),
            index: 1,
            source: IssuerError::Pem(PemError::Empty),
        };
        assert_eq!(refused, Err(bad));
    }

    #[test]
    fn refuses_names_that_are_not_canonical_trust_domains() {
        for name in [
            "Cluster.local",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/a",
        ] {
            let refused = TrustBundle::from_config(&config(&[(name, vec![])]));
            let expected = "cluster.local".to_owned();
            let name = name.to_owned();
            assert_eq!(refused, Err(BundleError::NotCanonical { name, expected }));
        }
        let refused = TrustBundle::from_config(&config(&[("a:1", vec![])]));
        let source = SpiffeIdError::BadTrustDomainChar;
        assert_eq!(
            refused,
            Err(BundleError::BadTrustDomain {
                name: "a:1".to_owned(),
                source
            })
        );
    }

    #[test]
    fn refuses_unknown_fields() {
        assert!(serde_json::from_str::<IssuerPem>(r#"{"issuers":[]}"#).is_ok());
        let refused = serde_json::from_str::<IssuerPem>(r#"{"issuers":[],"roots":[]}"#);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("unknown field `roots`")
        );
    }
}
