//! Lints of what is no extension.

use identity::UnixTime;
use identity::x509::SignatureAlgorithm;
use x509_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::issue::lint::{Leaf, Outcome, require};

impl Leaf<'_> {
    pub(super) fn encoding(&self) -> Outcome {
        let signature = &self.certificate.signature_value;
        require(signature.unused_bits == 0, || {
            "the signature is not a whole number of octets".to_owned()
        })?;
        require(
            self.certificate.subject_uid.is_none() && self.certificate.issuer_uid.is_none(),
            || "it has a unique identifier, which RFC 5280 §4.1.2.8 forbids".to_owned(),
        )
    }

    pub(super) fn version(&self) -> Outcome {
        let version = self.certificate.version();
        require(version == X509Version::V3, || {
            format!("it is version {}", version.0.saturating_add(1))
        })
    }

    pub(super) fn serial_number(&self) -> Outcome {
        let octets = self.certificate.raw_serial();
        let Some(first) = octets.first() else {
            return Err("it is empty".to_owned());
        };
        require(*first < 0x80, || "it is negative".to_owned())?;
        let significant = octets.iter().skip_while(|octet| **octet == 0);
        let bits = match significant.clone().next() {
            Some(first) => {
                let whole =
                    u32::try_from(significant.count().saturating_sub(1)).unwrap_or(u32::MAX);
                whole
                    .saturating_mul(8)
                    .saturating_add(8 - first.leading_zeros())
            }
            None => 0,
        };
        require((64..=159).contains(&bits), || format!("it has {bits} bits"))
    }

    pub(super) fn signature_algorithm(&self) -> Outcome {
        let (inner, outer) = (
            &self.certificate.tbs_certificate.signature,
            &self.certificate.signature_algorithm,
        );
        require(inner == outer, || {
            format!("{} inside, {} outside", inner.algorithm, outer.algorithm)
        })?;
        let issuer = self.chain.issuer().ok_or("there is no issuer")?;
        let key = crate::issue::csr::signature_algorithm(outer).and_then(key_of);
        require(key.is_some_and(|key| key == issuer.key_algorithm), || {
            format!("{} is not of the issuer's key", outer.algorithm)
        })
    }

    pub(super) fn issuer_name(&self) -> Outcome {
        let issuer = self.chain.issuer().ok_or("there is no issuer")?;
        require(
            self.certificate.issuer().iter_rdn().next().is_some(),
            || "it is empty".to_owned(),
        )?;
        require(
            self.certificate.issuer().as_raw() == issuer.subject_der,
            || format!("it is {}, not {}", self.certificate.issuer(), issuer.name),
        )
    }

    fn validity(&self) -> (UnixTime, UnixTime) {
        let validity = self.certificate.validity();
        (
            UnixTime::from_secs(validity.not_before.timestamp()),
            UnixTime::from_secs(validity.not_after.timestamp()),
        )
    }

    pub(super) fn validity_order(&self) -> Outcome {
        let (not_before, not_after) = self.validity();
        require(not_before < not_after, || {
            format!("it begins at {not_before} and ends at {not_after}")
        })
    }

    /// Within each issuer's: no verifier demands it, but a leaf that outlives its issuer lies about
    /// when it ends.
    pub(super) fn lifetimes(&self) -> Outcome {
        let (not_before, not_after) = self.validity();
        for issuer in &self.chain.issuers {
            require(not_before >= issuer.not_before, || {
                format!("it begins before {}, at {}", issuer.name, issuer.not_before)
            })?;
            require(not_after <= issuer.not_after, || {
                format!("it ends after {}, at {}", issuer.name, issuer.not_after)
            })?;
        }
        Ok(())
    }

    /// "CAs conforming to this profile MUST always encode certificate validity dates through the year
    /// 2049 as UTCTime; certificate validity dates in 2050 or later MUST be encoded as
    /// GeneralizedTime."
    pub(super) fn time_encoding(&self) -> Outcome {
        let times = times(self.der).ok_or("there is no validity")?;
        let (not_before, not_after) = self.validity();
        for ((tag, text), time) in times.into_iter().zip([not_before, not_after]) {
            let (wanted, length) = if time.as_secs() < YEAR_2050 {
                (Tag::UtcTime, UTC_TIME.len())
            } else {
                (Tag::GeneralizedTime, UTC_TIME.len() + 2)
            };
            require(tag == wanted, || format!("{time} is written as {tag}"))?;
            // Seconds must be there, and neither fractions nor another zone.
            require(text.len() == length && text.last() == Some(&b'Z'), || {
                format!("{time} is not written in whole seconds of UTC")
            })?;
        }
        Ok(())
    }

    pub(super) fn subject_key(&self) -> Outcome {
        let key = self.certificate.public_key().raw;
        let same = self
            .chain
            .issuers
            .iter()
            .find(|issuer| issuer.spki_der == key);
        match same {
            None => Ok(()),
            Some(issuer) => Err(format!("it is the key of {}", issuer.name)),
        }
    }
}

/// The kind of key that makes such signatures, by its OID.
const fn key_of(algorithm: SignatureAlgorithm) -> Option<Oid<'static>> {
    use SignatureAlgorithm as S;
    Some(match algorithm {
        S::EcdsaSha256 | S::EcdsaSha384 => oid::OID_KEY_TYPE_EC_PUBLIC_KEY,
        S::RsaPkcs1Sha256 | S::RsaPkcs1Sha384 | S::RsaPkcs1Sha512 => oid::OID_PKCS1_RSAENCRYPTION,
        S::Ed25519 => oid::OID_SIG_ED25519,
        _ => return None,
    })
}

/// Tags and texts of notBefore and notAfter.
fn times(der: &[u8]) -> Option<[(Tag, &[u8]); 2]> {
    let next = |from| Any::from_der(from).ok();
    let (_, certificate) = next(der)?;
    let (_, tbs) = next(certificate.data)?;
    let mut rest = tbs.data;
    // [0] version, serial number, signature, issuer.
    for _ in 0..4 {
        rest = next(rest)?.0;
    }
    let (_, validity) = next(rest)?;
    let (rest, not_before) = next(validity.data)?;
    let (_, not_after) = next(rest)?;
    Some([
        (not_before.header.tag(), not_before.data),
        (not_after.header.tag(), not_after.data),
    ])
}

/// 2050-01-01T00:00:00Z.
const YEAR_2050: i64 = 2_524_608_000;
/// The form of a UTCTime.
const UTC_TIME: &str = "YYMMDDHHMMSSZ";
