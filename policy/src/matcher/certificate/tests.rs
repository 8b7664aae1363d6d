use identity::x509::SvidProfile;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType, SerialNumber,
};

use super::*;
use crate::matcher::Presence;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
/// 2027-01-15T08:00:00Z is NOW; the certificate is of 07:00 and ends at 09:00.
fn svid() -> X509Svid {
    let mut ca = CertificateParams::default();
    ca.distinguished_name = DistinguishedName::new();
    ca.distinguished_name
        .push(DnType::CommonName, "Issuer, one");
    ca.distinguished_name
        .push(DnType::OrganizationName, "Example");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = Issuer::new(ca, key);
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = DistinguishedName::new();
    leaf.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0x1b]));
    leaf.not_before = rcgen::date_time_ymd(2027, 1, 15) + std::time::Duration::from_secs(7 * 3600);
    leaf.not_after = rcgen::date_time_ymd(2027, 1, 15) + std::time::Duration::from_secs(9 * 3600);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    leaf.subject_alt_names = vec![SanType::URI("spiffe://td/a".try_into().unwrap())];
    // certificatePolicies: one policy, 2.23.140.1.2.1.
    let policies = vec![
        0x30, 0x0a, 0x30, 0x08, 0x06, 0x06, 0x67, 0x81, 0x0c, 0x01, 0x02, 0x01,
    ];
    leaf.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 32], policies)];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    X509Svid::parse(certificate.der(), SvidProfile::Strict).unwrap()
}

fn set(values: &[&str]) -> TextSet {
    TextSet::new(values, Presence::NonEmpty)
}

#[test]
fn each_attribute_is_compared() {
    let svid = svid();
    let other = Sha256Digest::of(b"other");
    for (test, wanted) in [
        (
            CertificateTest::Issuer(set(&["O=Example,CN=Issuer\\, one"])),
            true,
        ),
        (CertificateTest::Issuer(set(&["*CN=Issuer\\, one"])), true),
        (CertificateTest::Issuer(set(&["CN=Issuer"])), false),
        (CertificateTest::Serial(set(&["0a1b"])), true),
        (CertificateTest::Serial(set(&["0a1c"])), false),
        (CertificateTest::Sha256(vec![other, svid.sha256()]), true),
        (CertificateTest::Sha256(vec![other]), false),
        (CertificateTest::Spki(vec![svid.spki_sha256()]), true),
        (CertificateTest::Spki(vec![svid.sha256()]), false),
        (CertificateTest::KeyType(set(&["RSA", "EC"])), true),
        (CertificateTest::KeyType(set(&["RSA"])), false),
        (CertificateTest::KeyBits(vec![KeyBits::Exactly(256)]), true),
        (CertificateTest::KeyBits(vec![KeyBits::Exactly(384)]), false),
        (CertificateTest::KeyBits(vec![KeyBits::AtLeast(256)]), true),
        (CertificateTest::KeyBits(vec![KeyBits::AtLeast(257)]), false),
        (
            CertificateTest::ExtendedKeyUsage(set(&["1.3.6.1.5.5.7.3.2"])),
            true,
        ),
        (
            CertificateTest::ExtendedKeyUsage(set(&["1.3.6.1.5.5.7.3.3"])),
            false,
        ),
        (CertificateTest::PolicyOid(set(&["2.23.140.1.2.1"])), true),
        (CertificateTest::PolicyOid(set(&["2.23.140.1.*"])), true),
        (CertificateTest::PolicyOid(set(&["2.23.140.1.2"])), false),
        (CertificateTest::NotAfterWithin(3_600), true),
        (CertificateTest::NotAfterWithin(3_599), false),
        (CertificateTest::AgeLessThan(3_601), true),
        (CertificateTest::AgeLessThan(3_600), false),
    ] {
        assert_eq!(
            test.matches(&svid, Some(NOW)),
            wanted,
            "{test:?} {:?}",
            test.seen(&svid, Some(NOW))
        );
        assert!(!test.seen(&svid, Some(NOW)).is_empty(), "{test:?}");
        if test.looks_at_time() {
            assert!(!test.matches(&svid, None), "no time, no age: {test:?}");
            assert!(test.seen(&svid, None).is_empty());
        } else {
            assert_eq!(test.matches(&svid, None), wanted, "{test:?}");
        }
    }
}

/// A certificate that is denied by its digest stays denied in the other form of its ECDSA signature.
#[test]
fn a_digest_names_both_forms_of_a_certificate() {
    let svid = svid();
    let twin = svid.twin_sha256().expect("ECDSA has two forms");
    assert_ne!(twin, svid.sha256());
    assert!(CertificateTest::Sha256(vec![twin]).matches(&svid, None));
}

#[test]
fn sizes_are_plain_numbers() {
    for (text, size) in [
        ("2048", Some(KeyBits::Exactly(2048))),
        ("2048+", Some(KeyBits::AtLeast(2048))),
        ("0", Some(KeyBits::Exactly(0))),
        ("02048", None),
        ("+2048", None),
        ("2048++", None),
        ("-1", None),
        ("", None),
        ("+", None),
        ("*", None),
        ("4294967296", None),
    ] {
        assert_eq!(KeyBits::parse(text), size, "{text}");
    }
}
