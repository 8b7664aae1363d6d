//! Certificates made for one run; their keys are thrown away.

use std::collections::BTreeMap;

use identity::UnixTime;
use identity::x509::SvidProfile;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::{CertificateError, CertificateSpec, KeyKind, Presented};

/// Makes certificates as described, each under an issuer of the name asked for.
pub struct Mint {
    now: UnixTime,
    issuers: BTreeMap<String, (Issuer<'static, KeyPair>, String)>,
    usual: BTreeMap<String, Presented>,
}

const DEFAULT_ISSUER: &str = "policy test issuer";
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
/// A hundred years: how far dates of a certificate may be from the time of the test, in seconds.
const MAX_SPAN: i64 = 36_500 * 86_400;
/// id-ce-certificatePolicies (RFC 5280 §4.2.1.4).
const CERTIFICATE_POLICIES: [u64; 4] = [2, 5, 29, 32];

impl Mint {
    /// Nothing made yet; dates are relative to `now`.
    #[must_use]
    pub fn new(now: UnixTime) -> Self {
        Self {
            now,
            issuers: BTreeMap::new(),
            usual: BTreeMap::new(),
        }
    }

    /// A good certificate of a SPIFFE ID, the same whenever it is asked for.
    ///
    /// # Errors
    /// No certificate can have this ID.
    pub fn usual(&mut self, id: &str, profile: SvidProfile) -> Result<Presented, CertificateError> {
        if let Some(made) = self.usual.get(id) {
            return Ok(made.clone());
        }
        let made = self.make(&CertificateSpec::of(id), profile)?;
        self.usual.insert(id.to_owned(), made.clone());
        Ok(made)
    }

    /// The issuers used so far, PEM.
    #[must_use]
    pub fn issuers(&self) -> Vec<String> {
        self.issuers.values().map(|(_, pem)| pem.clone()).collect()
    }

    /// Makes a certificate and checks it as a peer's.
    ///
    /// # Errors
    /// A value no certificate can have.
    pub fn make(
        &mut self,
        spec: &CertificateSpec,
        profile: SvidProfile,
    ) -> Result<Presented, CertificateError> {
        let params = self.params(spec)?;
        let name = spec.issuer_common_name.as_deref().unwrap_or(DEFAULT_ISSUER);
        let issuer = self.issuer(name)?;
        let certificate = params
            .signed_by(&key(spec.key)?, issuer)
            .map_err(not_made)?;
        let der = certificate.der().to_vec();
        Ok(Presented::of(
            certificate.pem(),
            der,
            profile,
            Some(self.now),
        ))
    }

    fn issuer(&mut self, name: &str) -> Result<&Issuer<'static, KeyPair>, CertificateError> {
        if !self.issuers.contains_key(name) {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            // Issuers are pinned by their keys; their dates are not looked at.
            params.not_before = OffsetDateTime::UNIX_EPOCH;
            params.not_after = date(253_402_300_799).ok_or_else(|| not_made("no such date"))?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = key(KeyKind::Ec256)?;
            let pem = params.self_signed(&key).map_err(not_made)?.pem();
            self.issuers
                .insert(name.to_owned(), (Issuer::new(params, key), pem));
        }
        let made = self.issuers.get(name).map(|(issuer, _)| issuer);
        made.ok_or_else(|| not_made("no issuer"))
    }

    fn params(&self, spec: &CertificateSpec) -> Result<CertificateParams, CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let age = spec.age_seconds.unwrap_or(MINUTE);
        let left = spec.remaining_seconds.unwrap_or(HOUR);
        params.not_before = self.at(age.saturating_neg())?;
        params.not_after = self.at(left)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match &spec.extended_key_usages {
            None => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Some(names) => names
                .iter()
                .map(|name| usage(name))
                .collect::<Result<_, _>>()?,
        };
        params.use_authority_key_identifier_extension = true;
        let uris = spec.id.iter().chain(&spec.uris);
        let mut names = uris
            .map(|uri| ascii(uri, "a URI").map(SanType::URI))
            .collect::<Result<Vec<_>, _>>()?;
        for dns in &spec.dns {
            names.push(SanType::DnsName(ascii(dns, "a DNS name")?));
        }
        params.subject_alt_names = names;
        params.serial_number = spec.serial.as_deref().map(serial).transpose()?;
        if !spec.policy_oids.is_empty() {
            let oids = spec.policy_oids.iter().map(|text| oid(text));
            let content = policies(&oids.collect::<Result<Vec<_>, _>>()?);
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(
                    &CERTIFICATE_POLICIES,
                    content,
                ));
        }
        Ok(params)
    }

    fn at(&self, seconds: i64) -> Result<OffsetDateTime, CertificateError> {
        self.now
            .plus_secs(seconds)
            .and_then(|at| date(at.as_secs()))
            .filter(|at| (1950..=9999).contains(&at.year()) && seconds.abs() <= MAX_SPAN)
            .ok_or_else(|| CertificateError::BadValue {
                value: format!("{} {seconds:+} s", self.now),
                expected: "a date between the years 1950 and 9999, at most a hundred years away",
            })
    }
}

fn date(seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

fn key(kind: KeyKind) -> Result<KeyPair, CertificateError> {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
    match kind {
        KeyKind::Ec256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyKind::Ec384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyKind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
    }
    .map_err(not_made)
}

fn usage(name: &str) -> Result<ExtendedKeyUsagePurpose, CertificateError> {
    Ok(match name {
        "serverAuth" => ExtendedKeyUsagePurpose::ServerAuth,
        "clientAuth" => ExtendedKeyUsagePurpose::ClientAuth,
        dotted => ExtendedKeyUsagePurpose::Other(oid(dotted)?),
    })
}

fn ascii<T: for<'t> TryFrom<&'t str>>(
    text: &str,
    expected: &'static str,
) -> Result<T, CertificateError> {
    T::try_from(text).map_err(|_not_ascii| bad(text, expected))
}

fn serial(text: &str) -> Result<SerialNumber, CertificateError> {
    let expected = "a serial number: 1 to 20 bytes, hexadecimal";
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes
        .filter(|bytes| (1..=20).contains(&bytes.len()) && digits.len().is_multiple_of(2))
        .map(|bytes| SerialNumber::from_slice(&bytes))
        .ok_or_else(|| bad(text, expected))
}

/// The arcs of a dotted OID.
fn oid(text: &str) -> Result<Vec<u64>, CertificateError> {
    let arcs: Option<Vec<u64>> = text
        .split('.')
        .map(|arc| arc.parse::<u32>().ok().map(u64::from))
        .collect();
    arcs.filter(|arcs| match arcs.as_slice() {
        [0 | 1, second, ..] => *second < 40,
        [2, _, ..] => true,
        _ => false,
    })
    .ok_or_else(|| bad(text, "a dotted OID such as 1.3.6.1.4.1.99999.1"))
}

/// `CertificatePolicies`: a sequence of `PolicyInformation`, each with its OID alone.
fn policies(oids: &[Vec<u64>]) -> Vec<u8> {
    let one = |arcs: &Vec<u64>| element(SEQUENCE, &element(OBJECT_IDENTIFIER, &arcs_der(arcs)));
    element(SEQUENCE, &oids.iter().flat_map(one).collect::<Vec<u8>>())
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// One element in DER (X.690 §8.1).
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut bytes = vec![tag];
    match (u8::try_from(content.len()), u8::try_from(significant.len())) {
        (Ok(short), _) if short < 0x80 => bytes.push(short),
        (_, count) => {
            bytes.push(0x80 | count.unwrap_or(u8::MAX));
            bytes.extend(significant);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The content of an OBJECT IDENTIFIER (X.690 §8.19).
fn arcs_der(arcs: &[u64]) -> Vec<u8> {
    let [first, second, rest @ ..] = arcs else {
        return Vec::new();
    };
    let first = first.saturating_mul(40).saturating_add(*second);
    std::iter::once(&first)
        .chain(rest)
        .flat_map(|arc| base128(*arc))
        .collect()
}

fn base128(mut arc: u64) -> Vec<u8> {
    let low = |arc: u64| u8::try_from(arc & 0x7f).unwrap_or(0x7f);
    let mut digits = vec![low(arc)];
    arc >>= 7;
    while arc > 0 {
        digits.push(low(arc) | 0x80);
        arc >>= 7;
    }
    digits.reverse();
    digits
}

fn bad(value: &str, expected: &'static str) -> CertificateError {
    CertificateError::BadValue {
        value: value.to_owned(),
        expected,
    }
}

fn not_made(error: impl ToString) -> CertificateError {
    CertificateError::NotMade {
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";

    fn made(spec: &CertificateSpec) -> Presented {
        Mint::new(NOW).make(spec, SvidProfile::Strict).unwrap()
    }

    #[test]
    fn what_is_described_is_what_is_found_in_the_certificate() {
        let spec = CertificateSpec {
            serial: Some("0a:0B".to_owned()),
            issuer_common_name: Some("Test CA".to_owned()),
            extended_key_usages: Some(vec![
                "serverAuth".into(),
                "clientAuth".into(),
                "1.3.6.1.4.1.99999.7".into(),
            ]),
            policy_oids: vec!["2.999.1".to_owned(), "1.2.840.113549".to_owned()],
            key: KeyKind::Ec384,
            ..CertificateSpec::of(SLEEP)
        };
        let svid = made(&spec).checked.unwrap();
        assert_eq!(svid.id().to_string(), SLEEP);
        assert_eq!(svid.serial_hex(), "0a0b");
        assert!(svid.issuer().contains("Test CA"), "{}", svid.issuer());
        assert_eq!(svid.policy_oids(), ["2.999.1", "1.2.840.113549"]);
        assert!(
            svid.extended_key_usages()
                .iter()
                .any(|oid| oid == "1.3.6.1.4.1.99999.7")
        );
        assert_eq!(svid.key_bits(), 384);
    }

    #[test]
    fn certificates_that_prove_nothing_say_why() {
        let two = CertificateSpec {
            uris: vec!["spiffe://cluster.local/ns/default/sa/other".to_owned()],
            ..CertificateSpec::of(SLEEP)
        };
        let expired = CertificateSpec {
            age_seconds: Some(7_200),
            remaining_seconds: Some(-60),
            ..CertificateSpec::of(SLEEP)
        };
        let code = |spec| made(&spec).checked.unwrap_err().code();
        assert_eq!(code(expired), "expired");
        assert_eq!(code(two), "two_uri_sans");
    }

    #[test]
    fn values_no_certificate_can_have_are_refused() {
        let mut mint = Mint::new(NOW);
        let mut refused =
            |spec: CertificateSpec| mint.make(&spec, SvidProfile::Strict).unwrap_err();
        for spec in [
            CertificateSpec {
                serial: Some("xyz".into()),
                ..CertificateSpec::of(SLEEP)
            },
            CertificateSpec {
                serial: Some("abc".into()),
                ..CertificateSpec::of(SLEEP)
            },
            CertificateSpec {
                policy_oids: vec!["1.99.1".into()],
                ..CertificateSpec::of(SLEEP)
            },
            CertificateSpec {
                extended_key_usages: Some(vec!["codeSigning".into()]),
                ..CertificateSpec::of(SLEEP)
            },
            CertificateSpec {
                id: Some("spiffe://café/x".into()),
                ..CertificateSpec::default()
            },
        ] {
            let error = refused(spec);
            assert!(
                matches!(error, CertificateError::BadValue { .. }),
                "{error:?}"
            );
        }
    }

    #[test]
    fn long_contents_have_long_lengths() {
        assert_eq!(element(SEQUENCE, &[0; 3]), [0x30, 3, 0, 0, 0]);
        assert_eq!(element(SEQUENCE, &[0; 200])[..3], [0x30, 0x81, 200]);
        assert_eq!(element(SEQUENCE, &[0; 300])[..4], [0x30, 0x82, 1, 44]);
    }
}
