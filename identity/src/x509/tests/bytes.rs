//! The certificate's own encoding.

use proptest::prelude::*;

use super::*;
use crate::x509::outer::Outer;

fn encoding(error: EncodingError) -> Result<X509Svid, SvidError> {
    Err(SvidError::Encoding(error))
}

fn parse(der: &[u8]) -> Result<X509Svid, SvidError> {
    X509Svid::parse(der, SvidProfile::Strict)
}

/// A good leaf with one run of bytes of its signed part replaced by another of the same length,
/// signed again.
fn resigned(from: &[u8], to: &[u8]) -> Vec<u8> {
    let authority = authority();
    let der = authority.sign(&Leaf::good());
    let outer = Outer::read(&der).unwrap();
    let mut signed = outer.signed.to_vec();
    let at = signed
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    signed.splice(at..at + from.len(), to.iter().copied());
    authority.sign_bytes(&signed, outer.algorithm)
}

#[test]
fn refuses_trailing_bytes() {
    let mut der = authority().sign(&Leaf::good());
    der.extend([0, 0]);
    assert_eq!(
        parse(&der),
        encoding(EncodingError::TrailingBytes { count: 2 })
    );
}

#[test]
fn refuses_certificates_beyond_the_limit() {
    let len = MAX_CERTIFICATE_BYTES + 1;
    let too_large = EncodingError::TooLarge {
        len,
        max: MAX_CERTIFICATE_BYTES,
    };
    assert_eq!(parse(&vec![0x30; len]), encoding(too_large));
}

#[test]
fn refuses_every_truncation() {
    let der = authority().sign(&Leaf::good());
    for end in 0..der.len() {
        assert_eq!(
            parse(&der[..end]),
            encoding(EncodingError::NotDer),
            "{end} bytes"
        );
    }
}

#[test]
fn refuses_another_form_of_the_unsigned_part() {
    let der = authority().sign(&Leaf::good());
    let outer = Outer::read(&der).unwrap();
    let bits = der::write(der::BIT_STRING, &[&[0], outer.signature]).unwrap();
    let rebuilt = der::write(der::SEQUENCE, &[outer.signed, outer.algorithm, &bits]).unwrap();
    assert_eq!(rebuilt, der);

    let long_form = [&[0x30, 0x83, 0][..], &der[2..]].concat();
    assert_eq!(parse(&long_form), encoding(EncodingError::NotDer));
    let bits = der::write(der::BIT_STRING, &[&[1], outer.signature]).unwrap();
    let unused_bit = der::write(der::SEQUENCE, &[outer.signed, outer.algorithm, &bits]).unwrap();
    assert_eq!(parse(&unused_bit), encoding(EncodingError::NotDer));
    let more = der::write(
        der::SEQUENCE,
        &[outer.signed, outer.algorithm, &bits, &[5, 0]],
    );
    assert_eq!(parse(&more.unwrap()), encoding(EncodingError::NotDer));
}

#[test]
fn refuses_an_algorithm_that_is_not_the_signed_one() {
    let der = authority().sign(&Leaf::good());
    let outer = Outer::read(&der).unwrap();
    let bits = der::write(der::BIT_STRING, &[&[0], outer.signature]).unwrap();
    // ecdsa-with-SHA256 with NULL parameters instead of none.
    let oid = &outer.algorithm[2..];
    let with_null = der::write(der::SEQUENCE, &[oid, &[5, 0]]).unwrap();
    let changed = der::write(der::SEQUENCE, &[outer.signed, &with_null, &bits]).unwrap();
    assert_eq!(parse(&changed), encoding(EncodingError::AlgorithmMismatch));
}

#[test]
fn refuses_versions_before_3() {
    let version = [0xa0, 3, 2, 1];
    for (number, found) in [(0, 1), (1, 2), (3, 4)] {
        let der = resigned(
            &[&version[..], &[2]].concat(),
            &[&version[..], &[number]].concat(),
        );
        assert_eq!(parse(&der), encoding(EncodingError::NotVersion3 { found }));
    }
}

#[test]
fn refuses_serials_that_are_negative_or_zero_or_padded() {
    let serial = [2, 2, 0x0a, 0xbc];
    for bad in [[2, 2, 0x8a, 0xbc], [2, 2, 0, 0], [2, 2, 0, 1]] {
        assert_eq!(
            parse(&resigned(&serial, &bad)),
            encoding(EncodingError::BadSerial),
            "{bad:?}"
        );
    }
}

#[test]
fn serials_may_take_20_bytes_and_show_without_their_sign_byte() {
    let mut leaf = Leaf::good();
    leaf.serial = vec![0x7f; MAX_SERIAL_BYTES];
    assert_eq!(
        strict(&leaf).unwrap().serial_hex(),
        "7f".repeat(MAX_SERIAL_BYTES)
    );
    leaf.serial = vec![0x7f; MAX_SERIAL_BYTES + 1];
    assert_eq!(strict(&leaf), encoding(EncodingError::BadSerial));
    leaf.serial = vec![0x80; MAX_SERIAL_BYTES - 1];
    assert_eq!(
        strict(&leaf).unwrap().serial_hex(),
        "80".repeat(MAX_SERIAL_BYTES - 1)
    );
}

#[test]
fn refuses_a_validity_that_ends_before_it_begins() {
    let der = resigned(b"260101000000Z", b"260101000101Z");
    let not_before = NOT_AFTER.plus_secs(1).unwrap();
    let inverted = EncodingError::InvertedValidity {
        not_before,
        not_after: NOT_AFTER,
    };
    assert_eq!(parse(&der), encoding(inverted));
}

#[test]
fn issuer_names_are_escaped_and_the_last_part_comes_first() {
    let authority = Authority::with(&PKCS_ECDSA_P256_SHA256, |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, " a,b\n# ");
    });
    let svid = parse(&authority.sign(&Leaf::good())).unwrap();
    assert_eq!(
        svid.issuer(),
        "O=\\ a\\,b\\0a#\\ ,CN=countersign test authority"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(parse(&bytes).is_err());
        prop_assert!(X509Svid::parse_pem(&bytes, SvidProfile::Istio).is_err());
        prop_assert!(IssuerKey::from_certificate_der(&bytes).is_err());
        prop_assert!(IssuerKey::from_spki_der(&bytes).is_err());
    }

    #[test]
    fn damaged_certificates_cause_no_panic_and_never_another_signed_identity(
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let authority = authority();
        let mut der = authority.sign(&Leaf::good());
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        let issuer = IssuerKey::from_certificate_der(authority.certificate.der()).unwrap();
        let accepted = parse(&der).and_then(|svid| svid.check_signature(&[issuer], &AwsLc));
        prop_assert!(accepted.is_err(), "byte {at}");
    }

    #[test]
    fn ids_read_from_certificates_are_those_written(path in "(/[a-zA-Z0-9._-]{0,8}[a-zA-Z0-9]){1,4}") {
        let uri = format!("spiffe://cluster.local{path}");
        let svid = strict(&Leaf::with(san(&[&uri]))).unwrap();
        prop_assert_eq!(svid.id().to_string(), uri);
    }

    /// What an authority that signs anything could make its peers parse.
    #[test]
    fn damaged_signed_parts_signed_again_cause_no_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let authority = authority();
        let der = authority.sign(&Leaf::good());
        let outer = Outer::read(&der).unwrap();
        let mut signed = outer.signed.to_vec();
        for (at, byte) in changes {
            let at = at.index(signed.len());
            signed[at] = byte;
        }
        let der = authority.sign_bytes(&signed, outer.algorithm);
        let issuer = IssuerKey::from_certificate_der(authority.certificate.der()).unwrap();
        for profile in [SvidProfile::Strict, SvidProfile::Istio] {
            if let Ok(svid) = X509Svid::parse(&der, profile) {
                prop_assert_eq!(svid.check_signature(std::slice::from_ref(&issuer), &AwsLc), Ok(()));
                prop_assert!(!svid.id().path().is_empty());
            }
        }
    }
}
