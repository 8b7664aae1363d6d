//! Signature checks by the proxy.
//!
//! The module carries no cryptography: Envoy's foreign function `verify_signature` does it with the
//! library that also does its TLS. Arguments and result are two small protobuf messages.

use std::cell::RefCell;

use identity::x509::{BadSignature, SignatureAlgorithm, VerifySignature};

use crate::host::{Host, HostError};

/// Envoy's name of the function.
pub const FUNCTION: &str = "verify_signature";

/// Verifies signatures by asking the proxy.
#[derive(Debug)]
pub struct ProxyVerifier<'a, H> {
    host: &'a H,
    trouble: RefCell<Option<HostError>>,
}

impl<'a, H: Host> ProxyVerifier<'a, H> {
    /// A verifier that asks this proxy.
    pub const fn new(host: &'a H) -> Self {
        Self {
            host,
            trouble: RefCell::new(None),
        }
    }

    /// The proxy's last failure to check at all. What it could not check was refused, but that says
    /// nothing about the signature.
    #[must_use]
    pub fn trouble(self) -> Option<HostError> {
        self.trouble.into_inner()
    }
}

impl<H: Host> VerifySignature for ProxyVerifier<'_, H> {
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let hash = hash_name(algorithm).ok_or(BadSignature)?;
        let arguments = encode_arguments(hash, spki_der, signature, message);
        let result = self
            .host
            .call_foreign_function(FUNCTION, &arguments)
            .map_err(|error| {
                if let Ok(mut trouble) = self.trouble.try_borrow_mut() {
                    *trouble = Some(error);
                }
                BadSignature
            })?;
        if is_success(&result) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}

/// The hash by Envoy's name; the signature scheme follows from the key. Envoy always hashes first,
/// so it cannot check Ed25519.
const fn hash_name(algorithm: SignatureAlgorithm) -> Option<&'static str> {
    match algorithm {
        SignatureAlgorithm::EcdsaSha256 | SignatureAlgorithm::RsaPkcs1Sha256 => Some("sha256"),
        SignatureAlgorithm::EcdsaSha384 | SignatureAlgorithm::RsaPkcs1Sha384 => Some("sha384"),
        SignatureAlgorithm::RsaPkcs1Sha512 => Some("sha512"),
        _ => None,
    }
}

/// `envoy.source.extensions.common.wasm.VerifySignatureArguments`.
fn encode_arguments(hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + signature.len() + text.len() + 32);
    push_field(&mut out, 1, hash.as_bytes());
    push_field(&mut out, 2, key);
    push_field(&mut out, 3, signature);
    push_field(&mut out, 4, text);
    out
}

fn push_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    const LENGTH_DELIMITED: u8 = 2;
    out.push((number << 3) | LENGTH_DELIMITED);
    let mut len = bytes.len();
    while let Some(rest) = (len >> 7 != 0).then_some(len >> 7) {
        out.push(low_seven_bits(len) | 0x80);
        len = rest;
    }
    out.push(low_seven_bits(len));
    out.extend_from_slice(bytes);
}

fn low_seven_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// `envoy.source.extensions.common.wasm.VerifySignatureResult`: success is field 1, a boolean that
/// is true, and nothing else. A failure carries field 2, its reason.
fn is_success(result: &[u8]) -> bool {
    const FIELD_1_TRUE: [u8; 2] = [0x08, 0x01];
    result == FIELD_1_TRUE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Status;
    use crate::host::fake::FakeHost;

    fn verify(host: &FakeHost, algorithm: SignatureAlgorithm) -> bool {
        ProxyVerifier::new(host)
            .verify(algorithm, b"key", b"message", b"signature")
            .is_ok()
    }

    #[test]
    fn asks_with_the_fields_envoy_reads() {
        let long = vec![7; 300];
        let arguments = encode_arguments("sha256", b"key", b"sig", &long);
        let mut expected = b"\x0a\x06sha256\x12\x03key\x1a\x03sig\x22\xac\x02".to_vec();
        expected.extend_from_slice(&long);
        assert_eq!(arguments, expected);
    }

    #[test]
    fn accepts_only_a_plain_success() {
        let host = FakeHost::new();
        for (result, good) in [
            (&b"\x08\x01"[..], true),
            (b"", false),
            (b"\x08\x00", false),
            (b"\x08\x02", false),
            (b"\x12\x03bad", false),
            (b"\x08\x01\x12\x03bad", false),
            (b"\x08\x01\x08\x00", false),
        ] {
            host.set_foreign_result(result);
            assert_eq!(
                verify(&host, SignatureAlgorithm::EcdsaSha256),
                good,
                "{result:?}"
            );
        }
    }

    #[test]
    fn a_proxy_that_cannot_is_a_bad_signature() {
        let host = FakeHost::new();
        host.set_foreign_result(b"\x08\x01");
        assert!(!verify(&host, SignatureAlgorithm::Ed25519));
        host.fail("proxy_call_foreign_function", Status::NotFound);
        assert!(!verify(&host, SignatureAlgorithm::EcdsaSha256));
    }
}
