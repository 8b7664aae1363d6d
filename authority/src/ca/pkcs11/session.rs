//! A session with a token, and the key in it; lives on one thread.

use aws_lc_rs::digest;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session as RawSession, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::ca::der;
use crate::ca::key::KeyAlgorithm;
use crate::ca::pkcs11::{Pkcs11Error, Pkcs11Uri};
use crate::ca::secret::Passphrase;
use crate::crypto::random_bytes;

/// A session that is logged in, and the key that signs.
pub(super) struct Session {
    raw: RawSession,
    key: ObjectHandle,
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
}

impl Session {
    /// Finds the one key of the URI's label.
    pub(super) fn open(uri: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        let raw = log_in(uri)?;
        let key = match keys(&raw, uri, ObjectClass::PRIVATE_KEY)?.as_slice() {
            [only] => *only,
            others => {
                return Err(Pkcs11Error::Objects {
                    token: uri.token().to_owned(),
                    object: uri.object().to_owned(),
                    found: others.len(),
                });
            }
        };
        let public = keys(&raw, uri, ObjectClass::PUBLIC_KEY)?;
        let (algorithm, public_key) = describe(&raw, uri, key, public.first().copied())?;
        Ok(Self {
            raw,
            key,
            algorithm,
            public_key,
        })
    }

    /// Makes the key, then opens it.
    pub(super) fn generate(uri: &Pkcs11Uri, algorithm: KeyAlgorithm) -> Result<Self, Pkcs11Error> {
        let raw = log_in(uri)?;
        if !keys(&raw, uri, ObjectClass::PRIVATE_KEY)?.is_empty() {
            return Err(Pkcs11Error::Exists {
                token: uri.token().to_owned(),
                object: uri.object().to_owned(),
            });
        }
        let id = random_bytes::<8>().map_err(|_none| Pkcs11Error::Gone)?;
        let label = Attribute::Label(uri.object().as_bytes().to_vec());
        let id = Attribute::Id(id.to_vec());
        let (mechanism, kind) = match algorithm {
            KeyAlgorithm::EcdsaP256 => (
                Mechanism::EccKeyPairGen,
                vec![Attribute::EcParams(P256.to_vec())],
            ),
            KeyAlgorithm::EcdsaP384 => (
                Mechanism::EccKeyPairGen,
                vec![Attribute::EcParams(P384.to_vec())],
            ),
            KeyAlgorithm::Rsa2048 => (
                Mechanism::RsaPkcsKeyPairGen,
                vec![
                    Attribute::ModulusBits(2048.into()),
                    Attribute::PublicExponent(vec![1, 0, 1]),
                ],
            ),
        };
        let mut public = kind;
        public.extend([
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            label.clone(),
            id.clone(),
        ]);
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label,
            id,
        ];
        raw.generate_key_pair(&mechanism, &public, &private)
            .map_err(failed("make a key pair"))?;
        drop(raw);
        Self::open(uri)
    }

    /// Kind and public key.
    pub(super) fn facts(&self) -> (KeyAlgorithm, Vec<u8>) {
        (self.algorithm, self.public_key.clone())
    }

    /// Signs; an ECDSA signature comes as r and s and leaves as DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        // Few tokens hash for ECDSA themselves.
        let (mechanism, data) = match self.algorithm {
            KeyAlgorithm::EcdsaP256 => (Mechanism::Ecdsa, hash(&digest::SHA256, message)),
            KeyAlgorithm::EcdsaP384 => (Mechanism::Ecdsa, hash(&digest::SHA384, message)),
            KeyAlgorithm::Rsa2048 => (Mechanism::Sha256RsaPkcs, message.to_vec()),
        };
        let signature = self
            .raw
            .sign(&mechanism, self.key, &data)
            .map_err(failed("sign"))?;
        match self.algorithm {
            KeyAlgorithm::Rsa2048 => Ok(signature),
            KeyAlgorithm::EcdsaP256 => ecdsa_der(&signature, 32),
            KeyAlgorithm::EcdsaP384 => ecdsa_der(&signature, 48),
        }
    }
}

fn log_in(uri: &Pkcs11Uri) -> Result<RawSession, Pkcs11Error> {
    let module = |source| Pkcs11Error::Module {
        module: uri.module().to_owned(),
        source: Box::new(source),
    };
    let context = Pkcs11::new(uri.module()).map_err(module)?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another key of this process uses the module; it is never finalized, so that each can.
        Ok(()) | Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(module(error)),
    }
    let slot = find_token(&context, uri)?;
    let session = context
        .open_rw_session(slot)
        .map_err(failed("open a session"))?;
    let pin = Passphrase::read(uri.pin_file()).map_err(Pkcs11Error::Pin)?;
    let pin = pin.to_text().map_err(Pkcs11Error::Pin)?;
    match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
        Ok(()) | Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(CryptokiError::Pkcs11(
            RvError::PinIncorrect | RvError::PinLocked | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => Err(Pkcs11Error::WrongPin {
            token: uri.token().to_owned(),
        }),
        Err(error) => Err(failed("log in")(error)),
    }
}

fn find_token(context: &Pkcs11, uri: &Pkcs11Uri) -> Result<Slot, Pkcs11Error> {
    let slots = context
        .get_slots_with_initialized_token()
        .map_err(failed("list the slots"))?;
    for slot in slots {
        let token = context
            .get_token_info(slot)
            .map_err(failed("describe itself"))?;
        if token.label().trim_end() == uri.token() {
            return Ok(slot);
        }
    }
    Err(Pkcs11Error::NoToken {
        token: uri.token().to_owned(),
    })
}

fn keys(
    session: &RawSession,
    uri: &Pkcs11Uri,
    class: ObjectClass,
) -> Result<Vec<ObjectHandle>, Pkcs11Error> {
    session
        .find_objects(&[
            Attribute::Class(class),
            Attribute::Label(uri.object().as_bytes().to_vec()),
        ])
        .map_err(failed("look for the key"))
}

/// Kind of a key and its public half, as the bit string of a SubjectPublicKeyInfo holds it.
fn describe(
    session: &RawSession,
    uri: &Pkcs11Uri,
    private: ObjectHandle,
    public: Option<ObjectHandle>,
) -> Result<(KeyAlgorithm, Vec<u8>), Pkcs11Error> {
    let unsupported = |problem| Pkcs11Error::Unsupported {
        object: uri.object().to_owned(),
        problem,
    };
    let public = public.ok_or_else(|| unsupported("without its public half in the token"))?;
    let attributes = session
        .get_attributes(
            public,
            &[
                AttributeType::KeyType,
                AttributeType::EcParams,
                AttributeType::EcPoint,
                AttributeType::Modulus,
                AttributeType::PublicExponent,
            ],
        )
        .map_err(failed("describe the key"))?;
    let extractable = session
        .get_attributes(private, &[AttributeType::Extractable])
        .map_err(failed("describe the key"))?;
    if extractable.contains(&Attribute::Extractable(true)) {
        tracing::warn!(key = %uri, "the token would give this key away (CKA_EXTRACTABLE)");
    }
    let find = |wanted: fn(&Attribute) -> Option<&Vec<u8>>| attributes.iter().find_map(wanted);
    if attributes.contains(&Attribute::KeyType(KeyType::RSA)) {
        let modulus = find(|a| match a {
            Attribute::Modulus(bytes) => Some(bytes),
            _ => None,
        });
        let exponent = find(|a| match a {
            Attribute::PublicExponent(bytes) => Some(bytes),
            _ => None,
        });
        let (Some(modulus), Some(exponent)) = (modulus, exponent) else {
            return Err(unsupported("without modulus or exponent"));
        };
        if modulus.iter().skip_while(|byte| **byte == 0).count() < 256 {
            return Err(unsupported("an RSA key of fewer than 2048 bits"));
        }
        return Ok((
            KeyAlgorithm::Rsa2048,
            der::rsa_public_key(modulus, exponent),
        ));
    }
    let parameters = find(|a| match a {
        Attribute::EcParams(bytes) => Some(bytes),
        _ => None,
    });
    let algorithm = match parameters.map(Vec::as_slice) {
        Some(P256) => KeyAlgorithm::EcdsaP256,
        Some(P384) => KeyAlgorithm::EcdsaP384,
        _ => return Err(unsupported("neither RSA nor on P-256 or P-384")),
    };
    let point = find(|a| match a {
        Attribute::EcPoint(bytes) => Some(bytes),
        _ => None,
    });
    let length = match algorithm {
        KeyAlgorithm::EcdsaP384 => 97,
        _ => 65,
    };
    point
        .and_then(|point| unwrap_point(point, length))
        .map(|point| (algorithm, point))
        .ok_or_else(|| unsupported("without an uncompressed public point"))
}

/// CKA_EC_POINT should be an OCTET STRING around the point; some tokens give the point itself.
fn unwrap_point(value: &[u8], length: usize) -> Option<Vec<u8>> {
    let point = match value {
        [0x04, size, rest @ ..] if usize::from(*size) == length && rest.len() == length => rest,
        bare if bare.len() == length => bare,
        _ => return None,
    };
    (point.first() == Some(&0x04)).then(|| point.to_vec())
}

fn hash(algorithm: &'static digest::Algorithm, message: &[u8]) -> Vec<u8> {
    digest::digest(algorithm, message).as_ref().to_vec()
}

/// `ECDSA-Sig-Value` (RFC 3279 §2.2.3) of r and s of `half` octets each.
fn ecdsa_der(raw: &[u8], half: usize) -> Result<Vec<u8>, Pkcs11Error> {
    match raw.split_at_checked(half) {
        Some((r, s)) if s.len() == half => Ok(der::sequence(&[
            der::unsigned_integer(r),
            der::unsigned_integer(s),
        ])),
        _ => Err(failed("sign in the length of its curve")(
            CryptokiError::InvalidValue,
        )),
    }
}

fn failed(action: &'static str) -> impl FnOnce(CryptokiError) -> Pkcs11Error {
    move |source| Pkcs11Error::Token {
        action,
        source: Box::new(source),
    }
}

/// OBJECT IDENTIFIER secp256r1, DER.
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// OBJECT IDENTIFIER secp384r1, DER.
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_found_wrapped_and_bare() {
        let mut bare = vec![4; 65];
        bare[1] = 65;
        let mut wrapped = vec![4, 65];
        wrapped.extend_from_slice(&bare);
        assert_eq!(unwrap_point(&bare, 65), Some(bare.clone()));
        assert_eq!(unwrap_point(&wrapped, 65), Some(bare.clone()));
        for bad in [&[][..], &bare[..64], &wrapped[..66], &[2; 65]] {
            assert_eq!(unwrap_point(bad, 65), None);
        }
    }

    #[test]
    fn a_raw_signature_becomes_der_with_the_fewest_octets() {
        let mut raw = [0; 64];
        raw[31] = 1;
        raw[32] = 0x80;
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(&der[..6], &[0x30, 38, 2, 1, 1, 2]);
        assert_eq!(&der[6..9], &[33, 0, 0x80]);
        assert!(ecdsa_der(&raw[..63], 32).is_err());
    }
}
