//! Certificate signing requests, DER: no panic, and of what is accepted only the key is kept, which
//! is one that may be certified.
//!
//! libFuzzer cannot guess a signature, so the input is also taken as the part of a request that is
//! signed, and signed here: that reaches what is looked at behind a good signature.

#![no_main]

use std::sync::LazyLock;

use authority::issue::{CsrError, KeyType, MAX_CSR_BYTES, MAX_NAMES, MIN_RSA_BITS, VerifiedCsr};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use identity::pem;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    judge(input);
    // Signing costs more than all the rest; most inputs are not worth it.
    if input.first() == Some(&0x30) && input.len() < MAX_CSR_BYTES {
        judge(&signed(input));
    }
});

fn judge(der: &[u8]) {
    let parsed = VerifiedCsr::parse(der);
    // The same through the door that clients use.
    let text = pem::encode(der, "CERTIFICATE REQUEST");
    let by_pem = VerifiedCsr::parse_pem(&text);
    if text.len() <= MAX_CSR_BYTES && !der.is_empty() {
        assert_eq!(by_pem, parsed, "DER and PEM of it are judged alike");
    } else {
        assert!(by_pem.is_err(), "too large as a text, or nothing");
    }
    if let Ok(text) = std::str::from_utf8(der) {
        // Whatever it says, it is an answer.
        let _judged = VerifiedCsr::parse_pem(text).map_err(|error| error.code());
    }
    match parsed {
        Err(error) => {
            assert!(error.code().starts_with("csr_"));
            assert!(!error.to_string().is_empty());
            if let CsrError::TooManyNames { found } = error {
                assert!(found > MAX_NAMES);
            }
        }
        Ok(csr) => {
            assert!(der.len() <= MAX_CSR_BYTES);
            // The key is a part of the request, byte for byte.
            let spki = csr.spki_der();
            assert!(der.windows(spki.len()).any(|window| window == spki));
            assert_eq!(csr.spki_sha256().len(), 64);
            if let KeyType::Rsa { bits } = csr.key_type() {
                assert!(bits >= MIN_RSA_BITS);
            }
        }
    }
}

/// `CertificationRequest ::= SEQUENCE { info, ecdsa-with-SHA256, signature }` (RFC 2986 §4.2).
fn signed(info: &[u8]) -> Vec<u8> {
    let signature = KEY.sign(&SystemRandom::new(), info).unwrap();
    let identifier = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let bits = [&[0], signature.as_ref()].concat();
    let body = [info, &identifier, &value(0x03, &bits)].concat();
    value(0x30, &body)
}

/// One DER value of less than 64 KiB.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [header.as_slice(), content].concat()
}

/// The key of the seeds: the private scalar is one, so that nobody takes it for a secret.
static KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let der = hex::decode(include_str!("../seeds/csr.key.hex").trim()).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).unwrap()
});
