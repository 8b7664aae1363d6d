//! JSON Web Key Sets (RFC 7517 §5), as far as a configuration can be wrong about them.

use serde_json::Value;

use crate::json;

/// That it is a set of public keys. On failure, what was found (never a key) and what is expected.
///
/// Not checked: whether the keys are well formed; the proxy refuses those it cannot read.
pub(super) fn check(text: &str) -> Result<(), (String, &'static str)> {
    let set =
        json::parse(text.as_bytes()).map_err(|error| (error.to_string(), "a JSON Web Key Set"))?;
    let keys = match set.get("keys") {
        Some(Value::Array(keys)) if !keys.is_empty() => keys,
        _ => {
            return Err((
                "keys".to_owned(),
                "a set with a list of keys that is not empty",
            ));
        }
    };
    for (index, key) in keys.iter().enumerate() {
        let at = |field: &str| format!("keys[{index}].{field}");
        let Some(kind) = key.get("kty").and_then(Value::as_str) else {
            return Err((at("kty"), "a key with its type"));
        };
        // RFC 7518 §6.4: a symmetric key is its own secret; whoever reads the configuration can sign.
        if kind == "oct" {
            return Err((
                at("kty"),
                "a public key: a shared secret would stand in the proxy's configuration",
            ));
        }
        // RFC 7518 §6.2.2 and §6.3.2: the private members.
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        if let Some(secret) = private.iter().find(|field| key.get(**field).is_some()) {
            return Err((at(secret), "a public key: take the private members out"));
        }
    }
    Ok(())
}
