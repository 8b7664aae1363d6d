//! Certificates for cases.

use identity::{
    SpiffeId, UnixTime,
    x509::{SvidProfile, X509Svid},
};
use policy::corpus::{CaseCertificate, CaseKey};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};

/// The time of every case: 2027-01-15T00:00:00Z.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_799_971_200);

/// A certificate of `id` as the case describes it.
pub(crate) fn svid(id: &SpiffeId, case: &CaseCertificate) -> X509Svid {
    let issuer = case.issuer_common_name.as_deref().unwrap_or("issuer");
    let issuer = Issuer::new(authority(issuer), key(CaseKey::Ec256));
    let leaf = params(id, case).signed_by(&key(case.key.unwrap_or(CaseKey::Ec256)), &issuer);
    X509Svid::parse(leaf.unwrap().der(), SvidProfile::Strict).unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn params(id: &SpiffeId, case: &CaseCertificate) -> CertificateParams {
    let now = rcgen::date_time_ymd(2027, 1, 15);
    let seconds = |count: i64| std::time::Duration::from_secs(count.try_into().unwrap());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = now - seconds(case.age_seconds.unwrap_or(60));
    params.not_after = now + seconds(case.remaining_seconds.unwrap_or(3_600));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
    params.extended_key_usages = match &case.extended_key_usages {
        None => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
        Some(oids) => oids
            .iter()
            .map(|oid| ExtendedKeyUsagePurpose::Other(arcs(oid)))
            .collect(),
    };
    params.serial_number = case.serial.as_deref().map(serial);
    if !case.policy_oids.is_empty() {
        params.custom_extensions = vec![policies(&case.policy_oids)];
    }
    params
}

fn key(kind: CaseKey) -> KeyPair {
    KeyPair::generate_for(match kind {
        CaseKey::Ec256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        CaseKey::Ec384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        CaseKey::Ed25519 => &rcgen::PKCS_ED25519,
        CaseKey::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
    })
    .unwrap()
}

fn serial(hex: &str) -> SerialNumber {
    let byte = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(byte).collect();
    SerialNumber::from_slice(&bytes)
}

fn arcs(oid: &str) -> Vec<u64> {
    oid.split('.').map(|arc| arc.parse().unwrap()).collect()
}

/// certificatePolicies (RFC 5280 §4.2.1.4): a sequence of sequences of one OID each, all of them short.
fn policies(oids: &[String]) -> CustomExtension {
    let der = |tag: u8, content: Vec<u8>| {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128, "a short length");
        [vec![tag, length], content].concat()
    };
    let information = |oid: &String| der(0x30, der(0x06, oid_content(&arcs(oid))));
    let content = der(0x30, oids.iter().flat_map(information).collect());
    CustomExtension::from_oid_content(&[2, 5, 29, 32], content)
}

/// X.690 §8.19.
fn oid_content(arcs: &[u64]) -> Vec<u8> {
    let mut content = vec![u8::try_from(arcs[0] * 40 + arcs[1]).unwrap()];
    for arc in &arcs[2..] {
        let mut groups = vec![u8::try_from(arc & 0x7f).unwrap()];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    content
}
