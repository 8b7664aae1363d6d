use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

use super::testing::*;
use super::*;
use crate::pem::{self, PemError};
use crate::{SpiffeIdError, UnixTime};

mod bytes;
mod facts;
mod profile;
mod signature;

fn authority() -> Authority {
    Authority::new(&PKCS_ECDSA_P256_SHA256)
}

fn strict(leaf: &Leaf) -> Result<X509Svid, SvidError> {
    X509Svid::parse(&authority().sign(leaf), SvidProfile::Strict)
}

fn istio(leaf: &Leaf) -> Result<X509Svid, SvidError> {
    X509Svid::parse(&authority().sign(leaf), SvidProfile::Istio)
}

#[test]
fn reads_the_facts_of_a_good_leaf() {
    let der = authority().sign(&Leaf::good());
    let svid = X509Svid::parse(&der, SvidProfile::Strict).unwrap();
    assert_eq!(svid.id().to_string(), HTTPBIN);
    assert_eq!(
        svid.validity(),
        Validity {
            not_before: NOT_BEFORE,
            not_after: NOT_AFTER
        }
    );
    assert_eq!(svid.serial_hex(), "0abc");
    assert_eq!(svid.issuer(), "CN=countersign test authority");
    assert_eq!(svid.der(), der);
    assert_eq!(svid.sha256(), Sha256Digest::of(&der));
    assert_eq!(svid.spki_der().len(), 91);
    assert_eq!(X509Svid::parse(&der, SvidProfile::Istio), Ok(svid));
}

#[test]
fn validity_includes_both_ends() {
    let svid = strict(&Leaf::good()).unwrap();
    let second = |point: UnixTime, by| point.plus_secs(by).unwrap();
    assert_eq!(svid.check_time(NOT_BEFORE), Ok(()));
    assert_eq!(svid.check_time(NOT_AFTER), Ok(()));
    let now = second(NOT_BEFORE, -1);
    assert_eq!(
        svid.check_time(now),
        Err(SvidError::NotYetValid {
            not_before: NOT_BEFORE,
            now
        })
    );
    let now = second(NOT_AFTER, 1);
    assert_eq!(
        svid.check_time(now),
        Err(SvidError::Expired {
            not_after: NOT_AFTER,
            now
        })
    );
}

#[test]
fn reads_pem_plain_and_url_encoded() {
    let der = authority().sign(&Leaf::good());
    let svid = X509Svid::parse(&der, SvidProfile::Strict).unwrap();
    let plain = pem::encode(&der, pem::CERTIFICATE);
    // As Envoy writes it: everything but unreserved characters.
    let encoded: String = plain
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    for text in [&plain, &encoded] {
        assert_eq!(
            X509Svid::parse_pem(text.as_bytes(), SvidProfile::Strict).as_ref(),
            Ok(&svid)
        );
    }
}

#[test]
fn refuses_pem_of_a_chain_and_of_nothing() {
    let text = pem::encode(&authority().sign(&Leaf::good()), pem::CERTIFICATE);
    let parse = |text: &str| X509Svid::parse_pem(text.as_bytes(), SvidProfile::Strict);
    let chain = format!("{text}{text}");
    assert_eq!(
        parse(&chain),
        Err(SvidError::Pem(PemError::SeveralBlocks { found: 2 }))
    );
    assert_eq!(parse(""), Err(SvidError::Pem(PemError::Empty)));
    assert_eq!(
        parse("%2"),
        Err(SvidError::Pem(PemError::BadPercent { at: 0 }))
    );
    let long = " ".repeat(MAX_PEM_BYTES + 1);
    let too_large = PemError::TooLarge {
        len: long.len(),
        max: MAX_PEM_BYTES,
    };
    assert_eq!(parse(&long), Err(SvidError::Pem(too_large)));
}

#[test]
fn every_refusal_has_a_code_of_its_own() {
    let mut codes = vec![
        SvidError::Pem(PemError::Empty).code(),
        SvidError::NotYetValid {
            not_before: NOT_BEFORE,
            now: NOT_BEFORE,
        }
        .code(),
        SvidError::Expired {
            not_after: NOT_AFTER,
            now: NOT_AFTER,
        }
        .code(),
        EncodingError::TooLarge { len: 0, max: 0 }.code(),
        EncodingError::NotCertificate.code(),
        EncodingError::TrailingBytes { count: 1 }.code(),
        EncodingError::NotDer.code(),
        EncodingError::AlgorithmMismatch.code(),
        EncodingError::NotVersion3 { found: 1 }.code(),
        EncodingError::BadSerial.code(),
        EncodingError::InvertedValidity {
            not_before: NOT_AFTER,
            not_after: NOT_BEFORE,
        }
        .code(),
        ExtensionError::TooMany { found: 0 }.code(),
        ExtensionError::Malformed { oid: String::new() }.code(),
        ExtensionError::Duplicate { oid: String::new() }.code(),
        ExtensionError::UnknownCritical { oid: String::new() }.code(),
        NameError::NoSan.code(),
        NameError::MalformedEntry.code(),
        NameError::NoUri.code(),
        NameError::SeveralUris { found: 2 }.code(),
        NameError::SanNotCritical.code(),
        NameError::IdTooLong { len: 0 }.code(),
        NameError::InvalidId(SpiffeIdError::Empty).code(),
        NameError::NotCanonical.code(),
        NameError::RootPath.code(),
        UsageError::CertificateAuthority.code(),
        UsageError::BasicConstraintsMissing.code(),
        UsageError::KeyUsageMissing.code(),
        UsageError::KeyUsageNotCritical.code(),
        UsageError::NoDigitalSignature.code(),
        UsageError::KeyCertSign.code(),
        UsageError::CrlSign.code(),
        UsageError::NoServerAuth.code(),
        UsageError::NoClientAuth.code(),
        UsageError::NoTlsAuth.code(),
        SignatureError::UnsupportedAlgorithm.code(),
        SignatureError::Malformed.code(),
        SignatureError::NoIssuers.code(),
        SignatureError::UnknownIssuer.code(),
    ];
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
    assert!(codes.iter().all(|code| {
        code.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    }));
}
