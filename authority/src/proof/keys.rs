//! JSON Web Key Sets (RFC 7517): the public keys of a token's issuer.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::x509::BadSignature;
use serde_json::{Map, Value};

use crate::proof::jwt::Algorithm;
use crate::proof::strict_json;

/// Largest key set read, in bytes.
pub const MAX_KEY_SET_BYTES: usize = 256 * 1024;
/// Most keys of a set. Large issuers publish about ten.
pub const MAX_KEYS: usize = 128;

/// Public keys of an issuer that can verify signatures.
#[derive(Clone, Debug)]
pub(crate) struct KeySet(Vec<Key>);

/// Why a text is no key set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// More than [`MAX_KEY_SET_BYTES`].
    #[error("the key set is {len} bytes, limit is {max}", max = MAX_KEY_SET_BYTES)]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Not JSON, or without a list `keys`.
    #[error("the key set is not JSON with a list `keys`")]
    Malformed,
    /// More than [`MAX_KEYS`].
    #[error("the key set has {found} keys, limit is {max}", max = MAX_KEYS)]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Not one that can be used.
    #[error("the key set has no key that could verify a token")]
    NoneUsable,
}

/// A public key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    /// Modulus and exponent, big-endian.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed point.
    P256(Vec<u8>),
    /// Uncompressed point.
    P384(Vec<u8>),
    /// Uncompressed point.
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// Parses a key set. RFC 7517 §5: keys that cannot be used here are left out.
    ///
    /// # Errors
    /// [`KeySetError`], also if none can be used.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge { len: json.len() });
        }
        let set = strict_json::object(json).map_err(|_bad| KeySetError::Malformed)?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(KeySetError::Malformed);
        };
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany { found: keys.len() });
        }
        let keys: Vec<Key> = keys
            .iter()
            .filter_map(|key| Key::parse(key.as_object()?))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable);
        }
        Ok(Self(keys))
    }

    /// How many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token may be signed with. One without `kid` is good only where there is no
    /// choice, and a token's algorithm is never taken for another kind of key.
    pub(crate) fn for_token(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<&Key> {
        let fitting: Vec<&Key> = self
            .0
            .iter()
            .filter(|key| key.fits(algorithm) && (kid.is_none() || key.kid.as_deref() == kid))
            .take(MOST_TRIED)
            .collect();
        match kid {
            None if fitting.len() > 1 => Vec::new(),
            _ => fitting,
        }
    }
}

impl Key {
    fn parse(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        // RFC 7517 §4.2, §4.3: what is not for signatures verifies none.
        if text("use").is_some_and(|used| used != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops") {
            let verifies = |one: &Value| one.as_str() == Some("verify");
            operations.as_array()?.iter().find(|one| verifies(one))?;
        }
        let algorithm = match text("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name)?),
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let point = |length: usize| -> Option<Vec<u8>> {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // RFC 7518 §6.2.1.2: the full length of a coordinate.
            (x.len() == length && y.len() == length)
                .then(|| [&[4], x.as_slice(), y.as_slice()].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa {
                n: bytes("n")?,
                e: bytes("e")?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("EC", Some("P-521")) => Material::P521(point(66)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?),
            // `oct`, a shared key, among them: who can verify with it can sign.
            _ => return None,
        };
        let key = Self {
            kid: text("kid").map(ToOwned::to_owned),
            algorithm,
            material,
        };
        // A key whose own `alg` is of another kind could never be used.
        algorithm.is_none_or(|own| key.fits(own)).then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        let kind = match self.material {
            Material::Rsa { .. } => matches!(
                algorithm,
                A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512
            ),
            Material::P256(_) => algorithm == A::Es256,
            Material::P384(_) => algorithm == A::Es384,
            Material::P521(_) => algorithm == A::Es512,
            Material::Ed25519(_) => algorithm == A::EdDsa,
        };
        kind && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Verifies `signature` over `message`. RSA keys have 2048 to 8192 bits.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let raw = |with: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(with, key)
                .verify(message, signature)
                .map_err(|_unspecified| BadSignature)
        };
        match &self.material {
            Material::Rsa { n, e } => {
                let with = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return Err(BadSignature),
                };
                RsaPublicKeyComponents { n, e }
                    .verify(with, message, signature)
                    .map_err(|_unspecified| BadSignature)
            }
            Material::P256(point) if algorithm == Algorithm::Es256 => {
                raw(&signature::ECDSA_P256_SHA256_FIXED, point)
            }
            Material::P384(point) if algorithm == Algorithm::Es384 => {
                raw(&signature::ECDSA_P384_SHA384_FIXED, point)
            }
            Material::P521(point) if algorithm == Algorithm::Es512 => {
                raw(&signature::ECDSA_P521_SHA512_FIXED, point)
            }
            Material::Ed25519(key) if algorithm == Algorithm::EdDsa => {
                raw(&signature::ED25519, key)
            }
            _ => Err(BadSignature),
        }
    }
}

/// Keys of one `kid` that are tried; RFC 7517 §4.5 allows more than one.
const MOST_TRIED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &str) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes())
    }

    #[test]
    fn only_public_keys_for_signatures_are_kept() {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let ec = |more: &str| format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"{more}}}"#);
        assert_eq!(set(&ec("")).unwrap().len(), 1);
        assert_eq!(
            set(&ec(r#","use":"sig","key_ops":["verify"],"alg":"ES256""#))
                .unwrap()
                .len(),
            1
        );
        for unusable in [
            ec(r#","use":"enc""#),
            ec(r#","key_ops":["sign"]"#),
            ec(r#","key_ops":"verify""#),
            ec(r#","alg":"RS256""#),
            ec(r#","alg":"HS256""#),
            ec(r#","alg":"ECDH-ES""#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"AA"}}"#),
            format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{x}","y":"{x}"}}"#),
            r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
            r#"{"kty":"RSA","n":"not base64!","e":"AQAB"}"#.to_owned(),
            "7".to_owned(),
        ] {
            assert_eq!(
                set(&unusable).unwrap_err(),
                KeySetError::NoneUsable,
                "{unusable}"
            );
            // Beside a good one they do no harm.
            assert_eq!(set(&format!("{unusable},{}", ec(""))).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_no_key_set_or_too_much_is_refused() {
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(
                KeySet::parse(text.as_bytes()).unwrap_err(),
                KeySetError::Malformed,
                "{text}"
            );
        }
        assert_eq!(set("").unwrap_err(), KeySetError::NoneUsable);
        let many = vec!["{}"; MAX_KEYS + 1].join(",");
        assert_eq!(
            set(&many).unwrap_err(),
            KeySetError::TooMany {
                found: MAX_KEYS + 1
            }
        );
        let len = MAX_KEY_SET_BYTES + 1;
        let large = " ".repeat(len);
        assert_eq!(
            KeySet::parse(large.as_bytes()).unwrap_err(),
            KeySetError::TooLarge { len }
        );
    }

    #[test]
    fn a_short_rsa_key_verifies_nothing() {
        let n = URL_SAFE_NO_PAD.encode([0xc1; 128]);
        let keys = set(&format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#)).unwrap();
        let key = keys.for_token(Algorithm::Rs256, None)[0];
        assert_eq!(
            key.verify(Algorithm::Rs256, b"x", &[1; 128]),
            Err(BadSignature)
        );
    }
}
