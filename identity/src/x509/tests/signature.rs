//! Issuers, signatures, and the two forms of an ECDSA signature.

use rcgen::{IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::*;
use crate::x509::outer::Outer;
use crate::x509::signature::{KeyKind, ecdsa_parts};

fn issuer(authority: &Authority) -> IssuerKey {
    IssuerKey::from_certificate_pem(&authority.certificate.pem())
        .unwrap()
        .remove(0)
}

fn svid(authority: &Authority) -> X509Svid {
    X509Svid::parse(&authority.sign(&Leaf::good()), SvidProfile::Strict).unwrap()
}

fn signature(error: SignatureError) -> Result<(), SvidError> {
    Err(SvidError::Signature(error))
}

#[test]
fn accepts_each_algorithm_and_only_its_own_issuer() {
    let authorities: Vec<Authority> = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ]
    .into_iter()
    .map(Authority::new)
    .collect();
    let issuers: Vec<IssuerKey> = authorities.iter().map(issuer).collect();
    for (at, authority) in authorities.iter().enumerate() {
        let svid = svid(authority);
        assert_eq!(
            svid.check_signature(&issuers, &AwsLc),
            Ok(()),
            "authority {at}"
        );
        let mut others = issuers.clone();
        others.remove(at);
        others.push(issuer(&Authority::new(authority.key.algorithm())));
        assert_eq!(
            svid.check_signature(&others, &AwsLc),
            signature(SignatureError::UnknownIssuer),
            "authority {at}"
        );
    }
}

#[test]
fn refuses_every_leaf_when_no_issuer_is_trusted() {
    let svid = svid(&authority());
    assert_eq!(
        svid.check_signature(&[], &AwsLc),
        signature(SignatureError::NoIssuers)
    );
}

#[test]
fn refuses_signature_algorithms_that_are_not_listed() {
    let p521 = Authority::new(&rcgen::PKCS_ECDSA_P521_SHA512);
    let refused = svid(&p521).check_signature(&[issuer(&authority())], &AwsLc);
    assert_eq!(refused, signature(SignatureError::UnsupportedAlgorithm));
    assert_eq!(
        IssuerKey::from_certificate_der(p521.certificate.der()),
        Err(IssuerError::UnsupportedKey)
    );
}

#[test]
fn never_asks_the_verifier_about_a_key_of_another_kind() {
    struct Accepts;
    impl VerifySignature for Accepts {
        fn verify(
            &self,
            _: SignatureAlgorithm,
            _: &[u8],
            _: &[u8],
            _: &[u8],
        ) -> Result<(), BadSignature> {
            Ok(())
        }
    }
    let svid = svid(&authority());
    let rsa = issuer(&Authority::new(&PKCS_RSA_SHA256));
    let refused = svid.check_signature(&[rsa], &Accepts);
    assert_eq!(refused, signature(SignatureError::UnknownIssuer));
}

/// What the holder of a certificate can do: present it with (r, n − s).
fn twin_of(der: &[u8], order: &str) -> Vec<u8> {
    let outer = Outer::read(der).unwrap();
    let (r, s) = ecdsa_parts(outer.signature).unwrap();
    let order = hex::decode(order).unwrap();
    let mut other = vec![0_u8; order.len()];
    let mut borrow = 0_i16;
    for at in 0..order.len() {
        let from = i16::from(order[order.len() - 1 - at]);
        let take = if at < s.len() {
            i16::from(s[s.len() - 1 - at])
        } else {
            0
        };
        let difference = from - take - borrow;
        borrow = i16::from(difference < 0);
        other[order.len() - 1 - at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let [r, s] = [r, &other].map(|number| der::write_positive_integer(number).unwrap());
    let value = der::write(der::SEQUENCE, &[&r, &s]).unwrap();
    let bits = der::write(der::BIT_STRING, &[&[0], &value]).unwrap();
    der::write(der::SEQUENCE, &[outer.signed, outer.algorithm, &bits]).unwrap()
}

const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P384: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf\
                    581a0db248b0a77aecec196accc52973";

#[test]
fn both_forms_of_an_ecdsa_signature_verify_and_name_each_other() {
    for (algorithm, order) in [
        (&PKCS_ECDSA_P256_SHA256, P256),
        (&PKCS_ECDSA_P384_SHA384, P384),
    ] {
        let authority = Authority::new(algorithm);
        let issuers = [issuer(&authority)];
        for _ in 0..8 {
            let one = svid(&authority);
            let other = twin_of(one.der(), order);
            let other = X509Svid::parse(&other, SvidProfile::Strict).unwrap();
            assert_eq!(other.check_signature(&issuers, &AwsLc), Ok(()));
            assert_ne!(one.sha256(), other.sha256());
            assert_eq!(one.twin_sha256(), Some(other.sha256()));
            assert_eq!(other.twin_sha256(), Some(one.sha256()));
        }
    }
}

#[test]
fn other_signatures_have_one_form() {
    for algorithm in [&PKCS_ED25519, &PKCS_RSA_SHA256] {
        assert_eq!(svid(&Authority::new(algorithm)).twin_sha256(), None);
    }
}

#[test]
fn refuses_ecdsa_signatures_that_are_not_der() {
    let authority = authority();
    let der = authority.sign(&Leaf::good());
    let outer = Outer::read(&der).unwrap();
    let (r, s) = ecdsa_parts(outer.signature).unwrap();
    let padded = [&[0, 0][..], r].concat();
    let r = der::write(der::INTEGER, &[&padded]).unwrap();
    let s = der::write_positive_integer(s).unwrap();
    let value = der::write(der::SEQUENCE, &[&r, &s]).unwrap();
    let bits = der::write(der::BIT_STRING, &[&[0], &value]).unwrap();
    let changed = der::write(der::SEQUENCE, &[outer.signed, outer.algorithm, &bits]).unwrap();
    let svid = X509Svid::parse(&changed, SvidProfile::Strict).unwrap();
    let refused = svid.check_signature(&[issuer(&authority)], &AwsLc);
    assert_eq!(refused, signature(SignatureError::Malformed));
}

#[test]
fn issuers_must_be_signing_certificates() {
    let leaf = Authority::with(&PKCS_ECDSA_P256_SHA256, |params| {
        params.is_ca = IsCa::ExplicitNoCa
    });
    let refused = IssuerKey::from_certificate_der(leaf.certificate.der());
    assert_eq!(refused, Err(IssuerError::NotAuthority));
    let no_sign = Authority::with(&PKCS_ECDSA_P256_SHA256, |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let refused = IssuerKey::from_certificate_der(no_sign.certificate.der());
    assert_eq!(refused, Err(IssuerError::NoKeyCertSign));
}

#[test]
fn issuers_may_have_critical_name_constraints_and_a_spiffe_id() {
    let authority = Authority::with(&PKCS_ECDSA_P256_SHA256, |params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://cluster.local".try_into().unwrap())];
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("cluster.local".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let key = IssuerKey::from_certificate_der(authority.certificate.der()).unwrap();
    assert_eq!(key.kind(), KeyKind::Ecdsa);
    assert_eq!(svid(&authority).check_signature(&[key], &AwsLc), Ok(()));
}

#[test]
fn one_pem_text_may_hold_several_issuers_all_or_nothing() {
    let (one, two) = (authority(), Authority::new(&PKCS_ED25519));
    let text = format!("{}\n{}", one.certificate.pem(), two.certificate.pem());
    let keys = IssuerKey::from_certificate_pem(&text).unwrap();
    assert_eq!(keys, [issuer(&one), issuer(&two)]);
    let with_bad = format!("{text}{}", pem::encode(&[0x30, 0], pem::CERTIFICATE));
    assert_eq!(
        IssuerKey::from_certificate_pem(&with_bad),
        Err(IssuerError::Encoding(EncodingError::NotDer))
    );
    assert_eq!(
        IssuerKey::from_certificate_pem(""),
        Err(IssuerError::Pem(PemError::Empty))
    );
}

#[test]
fn refuses_keys_that_are_weak_or_compressed() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let raw = rcgen::PublicKeyData::der_bytes(&key);
    let compressed = [&[0, 2][..], &raw[1..33]].concat();
    let uncompressed = issuer(&authority());
    let p256 = &uncompressed.spki_der()[2..23];
    let bits = der::write(der::BIT_STRING, &[&compressed]).unwrap();
    let spki = der::write(der::SEQUENCE, &[p256, &bits]).unwrap();
    assert_eq!(
        IssuerKey::from_spki_der(&spki),
        Err(IssuerError::UnsupportedKey)
    );

    let rsa = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    for (modulus_bytes, accepted) in [(128, false), (255, false), (256, true), (1025, false)] {
        let modulus = der::write_positive_integer(&vec![0xff; modulus_bytes]).unwrap();
        let key = der::write(der::SEQUENCE, &[&modulus, &[2, 3, 1, 0, 1]]).unwrap();
        let bits = der::write(der::BIT_STRING, &[&[0], &key]).unwrap();
        let spki = der::write(der::SEQUENCE, &[rsa, &bits]).unwrap();
        assert_eq!(
            IssuerKey::from_spki_der(&spki).is_ok(),
            accepted,
            "{modulus_bytes} bytes"
        );
    }
}
