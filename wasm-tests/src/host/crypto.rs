//! Envoy's foreign function `verify_signature` (`source/extensions/common/wasm/foreign.cc`).

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use prost::Message;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::status::Status;

/// `envoy.source.extensions.common.wasm.VerifySignatureArguments`.
#[derive(Clone, PartialEq, Message)]
struct VerifySignatureArguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
    #[prost(string, tag = "5")]
    public_key_pem: String,
}

/// `envoy.source.extensions.common.wasm.VerifySignatureResult`.
#[derive(Clone, PartialEq, Message)]
struct VerifySignatureResult {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// Answers the foreign function: serialized arguments in, serialized result out.
///
/// As Envoy: a key that is not DER SubjectPublicKeyInfo is `BadArgument`; a wrong signature, an
/// unknown hash or a key type without a digest (Ed25519) is an `Ok` whose `result` is false. The
/// PEM form of the key is not done here, the filter sends DER.
pub(super) fn verify_signature(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let arguments =
        VerifySignatureArguments::decode(arguments).map_err(|_proto| Status::BadArgument)?;
    let parsed = SubjectPublicKeyInfo::from_der(&arguments.public_key);
    if !arguments.public_key_pem.is_empty() || !parsed.is_ok_and(|(rest, _)| rest.is_empty()) {
        return Err(Status::BadArgument);
    }
    let candidates = algorithms(&arguments.hash_function.to_ascii_lowercase());
    let verified = candidates.iter().any(|algorithm| {
        UnparsedPublicKey::new(*algorithm, &arguments.public_key)
            .verify(&arguments.text, &arguments.signature)
            .is_ok()
    });
    let error = if verified {
        String::new()
    } else if candidates.is_empty() {
        format!("{} is not supported.", arguments.hash_function)
    } else {
        "Failed to verify digest. Error code: 0".to_owned()
    };
    Ok(VerifySignatureResult {
        result: verified,
        error,
    }
    .encode_to_vec())
}

fn algorithms(hash: &str) -> &'static [&'static dyn VerificationAlgorithm] {
    match hash {
        "sha256" => &[
            &signature::ECDSA_P256_SHA256_ASN1,
            &signature::ECDSA_P384_SHA256_ASN1,
            &signature::RSA_PKCS1_2048_8192_SHA256,
        ],
        "sha384" => &[
            &signature::ECDSA_P256_SHA384_ASN1,
            &signature::ECDSA_P384_SHA384_ASN1,
            &signature::RSA_PKCS1_2048_8192_SHA384,
        ],
        "sha512" => &[&signature::RSA_PKCS1_2048_8192_SHA512],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    fn signed(text: &[u8]) -> VerifySignatureArguments {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("key");
        let signature = pair.sign(&SystemRandom::new(), text).expect("signature");
        VerifySignatureArguments {
            hash_function: "sha256".to_owned(),
            public_key: pair.public_key().as_der().expect("SPKI").as_ref().to_vec(),
            signature: signature.as_ref().to_vec(),
            text: text.to_vec(),
            public_key_pem: String::new(),
        }
    }

    fn answer(arguments: &VerifySignatureArguments) -> Result<bool, Status> {
        let bytes = verify_signature(&arguments.encode_to_vec())?;
        Ok(VerifySignatureResult::decode(bytes.as_slice())
            .expect("a result")
            .result)
    }

    #[test]
    fn verifies_a_good_signature_and_refuses_any_other() {
        let good = signed(b"text");
        assert_eq!(answer(&good), Ok(true));
        let other_text = VerifySignatureArguments {
            text: b"tent".to_vec(),
            ..good.clone()
        };
        assert_eq!(answer(&other_text), Ok(false));
        let unknown = VerifySignatureArguments {
            hash_function: "md5".into(),
            ..good.clone()
        };
        assert_eq!(answer(&unknown), Ok(false));
        let no_key = VerifySignatureArguments {
            public_key: vec![1, 2, 3],
            ..good
        };
        assert_eq!(answer(&no_key), Err(Status::BadArgument));
    }
}
