//! JSON Web Tokens (RFC 7519) that the test signs, and the key set that verifies them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::now;

/// Somebody who signs tokens by ES256.
pub(crate) struct TokenIssuer {
    name: String,
    key: EcdsaKeyPair,
}

impl TokenIssuer {
    pub(crate) fn new(name: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self {
            name: name.to_owned(),
            key,
        }
    }

    /// The public key, as a set.
    pub(crate) fn jwks(&self) -> String {
        // The uncompressed point: 4, x, y.
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "test",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
        .to_string()
    }

    /// A rule of a `RequestAuthentication` for this issuer's tokens.
    pub(crate) fn rule(&self) -> Value {
        json!({"issuer": self.name, "jwks": self.jwks()})
    }

    /// A token of the issuer, good for five minutes, with these claims beside, or instead of, the usual ones.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut all = json!({"iss": self.name, "sub": "alice", "iat": now(), "exp": now() + 300});
        for (name, value) in claims.as_object().expect("an object") {
            all[name] = value.clone();
        }
        self.sign(&json!({"alg": "ES256", "typ": "JWT", "kid": "test"}), &all)
    }

    /// Any header and payload with a good signature.
    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_parts(&header.to_string(), &payload.to_string())
    }

    /// A payload that no JSON library would write.
    pub(crate) fn sign_text(&self, payload: &str) -> String {
        self.sign_parts(r#"{"alg":"ES256","kid":"test"}"#, payload)
    }

    fn sign_parts(&self, header: &str, payload: &str) -> String {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        let signed = format!("{}.{}", encode(header), encode(payload));
        let random = SystemRandom::new();
        let signature = self.key.sign(&random, signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("signs"));
        format!("{signed}.{signature}")
    }
}

/// A `RequestAuthentication` of namespace `default` with these rules.
pub(crate) fn request_authentication(rules: &[Value]) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "default"},
        "spec": {"jwtRules": rules},
    })
}
