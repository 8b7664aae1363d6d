//! What filters in front left about a request: the validated token's payload, and dynamic metadata.
//!
//! The payload comes as JSON from filter state, where a `set_filter_state` filter behind Envoy's
//! `jwt_authn` puts it; types are intact there. Where nobody does (Istio's own filter chain), it is read
//! from dynamic metadata one value at a time, and that loses types: Envoy gives the same bytes for a text
//! and for a number, list or object of another spelling. So there a value counts only if it cannot be
//! anything but text, as does each element of a list (asked for by its index, which only a list has). What
//! has control characters in it may be a number, a truth value or an object: the request is then denied,
//! for a value that is passed over could be the one that a DENY policy names. (A number whose eight bytes
//! all happen to be printable passes for that text; no integer below 2^44 is one.)

use serde_json::{Map, Value};

use crate::attributes::{AttributeError, FILTER_STATE_JWT_PAYLOAD};
use crate::host::Host;

/// Most elements of a list that are read from dynamic metadata one by one.
pub const MAX_ELEMENTS: usize = 64;
/// Most steps of a path into dynamic metadata, its namespace and key included.
pub const MAX_DEPTH: usize = 16;

/// Name, for reports, of what is read from dynamic metadata.
const METADATA: &str = "metadata.filter_metadata";
const JWT_NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// The key under which Istio has `jwt_authn` put the payload.
const JWT_KEY: &str = "payload";
/// What Envoy's formatter writes where it has nothing.
const NOTHING: &[u8] = b"-";

/// The payload of the token that the proxy validated, as far as `paths` look into it; `None` without a token.
///
/// # Errors
/// It cannot be read, or is no JSON object, or a value's type cannot be told.
pub fn claims<'a, H: Host>(
    host: &H,
    paths: impl Iterator<Item = &'a [Box<str>]>,
) -> Result<Option<Value>, AttributeError> {
    let left = FILTER_STATE_JWT_PAYLOAD.bytes(host)?;
    if let Some(json) = left.filter(|json| json.as_slice() != NOTHING) {
        let parsed = serde_json::from_slice::<Value>(&json).ok();
        return match parsed {
            Some(payload @ Value::Object(_)) => Ok(Some(payload)),
            _ => Err(AttributeError::Malformed {
                name: FILTER_STATE_JWT_PAYLOAD.name(),
                expected: "a JSON object",
            }),
        };
    }
    let mut payload = Value::Object(Map::new());
    let mut any = false;
    for path in paths {
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        if let Some(value) = read(host, &[JWT_NAMESPACE, JWT_KEY], &path)? {
            any |= insert(&mut payload, &path, value);
        }
    }
    Ok(any.then_some(payload))
}

/// The values of dynamic metadata that `keys` name, an object with a member for each namespace.
///
/// # Errors
/// One cannot be read, or its type cannot be told.
pub fn dynamic<'a, H: Host>(
    host: &H,
    keys: impl Iterator<Item = (&'a str, &'a [Box<str>])>,
) -> Result<Value, AttributeError> {
    let mut metadata = Value::Object(Map::new());
    for (namespace, path) in keys {
        let mut steps = vec![namespace];
        for step in path {
            steps.push(step);
        }
        if let Some(value) = read(host, &[], &steps)? {
            insert(&mut metadata, &steps, value);
        }
    }
    Ok(metadata)
}

/// A text, or a list of texts, where the steps of `at` and then `steps` lead.
fn read<H: Host>(host: &H, at: &[&str], steps: &[&str]) -> Result<Option<Value>, AttributeError> {
    let mut path = vec!["metadata", "filter_metadata"];
    path.extend_from_slice(at);
    path.extend_from_slice(steps);
    if path.len() > MAX_DEPTH {
        return Err(malformed("a path of at most 16 steps"));
    }
    let mut elements = Vec::new();
    while let Some(bytes) = element(host, &path, elements.len())? {
        if elements.len() == MAX_ELEMENTS {
            return Err(malformed("a list of at most 64 elements"));
        }
        elements.push(Value::String(text(bytes)?));
    }
    if !elements.is_empty() {
        return Ok(Some(Value::Array(elements)));
    }
    match property(host, &path)? {
        None => Ok(None),
        // A list without elements: the number of its pairs, as the ABI writes it.
        Some(bytes) if bytes == [0; 4] => Ok(Some(Value::Array(Vec::new()))),
        Some(bytes) => Ok(Some(Value::String(text(bytes)?))),
    }
}

fn element<H: Host>(
    host: &H,
    path: &[&str],
    index: usize,
) -> Result<Option<Vec<u8>>, AttributeError> {
    let index = index.to_string();
    let mut path = path.to_vec();
    path.push(&index);
    property(host, &path)
}

fn property<H: Host>(host: &H, path: &[&str]) -> Result<Option<Vec<u8>>, AttributeError> {
    // A step with a zero byte in it would be two steps.
    if path.iter().any(|step| step.contains('\0')) {
        return Err(malformed("a path without zero bytes"));
    }
    host.property(path)
        .map_err(|error| AttributeError::Refused {
            name: METADATA,
            error,
        })
}

fn text(bytes: Vec<u8>) -> Result<String, AttributeError> {
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(malformed("text"));
    }
    String::from_utf8(bytes).map_err(|_not_utf8| malformed("text"))
}

const fn malformed(expected: &'static str) -> AttributeError {
    AttributeError::Malformed {
        name: METADATA,
        expected,
    }
}

/// Puts a value where `steps` lead; false where another value is in the way.
fn insert(root: &mut Value, steps: &[&str], value: Value) -> bool {
    let mut place = root;
    for step in steps {
        let Value::Object(members) = place else {
            return false;
        };
        place = members
            .entry(*step)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    *place = value;
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::Status;
    use crate::host::fake::FakeHost;

    const STATE: &str = "filter_state.countersign.jwt_payload";
    const PAYLOAD: &str = "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload";

    fn paths() -> Vec<Vec<Box<str>>> {
        [&["iss"][..], &["aud"], &["realm", "roles"]]
            .iter()
            .map(|path| path.iter().map(|step| (*step).into()).collect())
            .collect()
    }

    fn read_claims(host: &FakeHost) -> Result<Option<Value>, AttributeError> {
        claims(host, paths().iter().map(Vec::as_slice))
    }

    #[test]
    fn takes_the_payload_from_filter_state_with_its_types() {
        let host = FakeHost::new();
        host.set_property(STATE, br#"{"iss":"i","exp":7,"aud":["a"]}"#);
        host.set_property(&format!("{PAYLOAD}.iss"), b"somebody else");
        let found = read_claims(&host).unwrap();
        assert_eq!(found, Some(json!({"iss": "i", "exp": 7, "aud": ["a"]})));
    }

    #[test]
    fn a_payload_that_is_no_object_or_cannot_be_read_is_an_error() {
        for json in [
            &b"{"[..],
            b"null",
            b"[]",
            b"\"x\"",
            b"{} {}",
            b"\xff",
            b"--",
        ] {
            let host = FakeHost::new();
            host.set_property(STATE, json);
            assert!(read_claims(&host).is_err(), "{json:?}");
        }
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let host = FakeHost::new();
        host.set_property(STATE, &deep);
        assert!(read_claims(&host).is_err());
        host.fail_property(STATE, Status::InternalFailure);
        assert!(read_claims(&host).is_err());
    }

    #[test]
    fn falls_back_to_dynamic_metadata() {
        for nothing in [&b""[..], b"-"] {
            let host = FakeHost::new();
            host.set_property(STATE, nothing);
            assert_eq!(read_claims(&host), Ok(None));
            host.set_property(&format!("{PAYLOAD}.iss"), b"i");
            host.set_property(&format!("{PAYLOAD}.aud"), b"\x02\0\0\0 and so on");
            host.set_property(&format!("{PAYLOAD}.aud.0"), b"a");
            host.set_property(&format!("{PAYLOAD}.aud.1"), "\u{e9}".as_bytes());
            host.set_property(&format!("{PAYLOAD}.realm.roles"), &[0; 4]);
            let found = read_claims(&host).unwrap();
            let wanted = json!({"iss": "i", "aud": ["a", "\u{e9}"], "realm": {"roles": []}});
            assert_eq!(found, Some(wanted));
        }
    }

    #[test]
    fn what_may_be_no_text_is_an_error_and_not_an_absence() {
        // A truth value, the number 7, an object, a text that reads as a list, no UTF-8.
        for bytes in [
            &[1][..],
            &7_f64.to_le_bytes(),
            b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0",
            b"\x01\0\0\0\x05\0\0\0\0\0\0\0admin\0\0",
            b"\xff",
            b"a\nb",
        ] {
            let host = FakeHost::new();
            host.set_property(&format!("{PAYLOAD}.iss"), bytes);
            assert!(read_claims(&host).is_err(), "{bytes:?}");
            let host = FakeHost::new();
            host.set_property(&format!("{PAYLOAD}.aud.0"), b"good");
            host.set_property(&format!("{PAYLOAD}.aud.1"), bytes);
            assert!(read_claims(&host).is_err(), "{bytes:?} in a list");
        }
        let host = FakeHost::new();
        host.fail_property(&format!("{PAYLOAD}.iss"), Status::InternalFailure);
        assert!(read_claims(&host).is_err());
    }

    #[test]
    fn integers_below_2_to_the_44_never_pass_for_text() {
        let mut number = (1_u64 << 44) - 1;
        while number > 0 {
            for number in [number, number - 1, number.reverse_bits() >> 20] {
                let number = u32::try_from(number >> 22).map_or(0.0, f64::from)
                    * f64::from(1 << 22)
                    + u32::try_from(number & 0x3f_ffff).map_or(0.0, f64::from);
                for number in [number, -number] {
                    assert!(text(number.to_le_bytes().to_vec()).is_err(), "{number}");
                }
            }
            number -= number / 1000 + 1;
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_an_error() {
        let host = FakeHost::new();
        for index in 0..MAX_ELEMENTS {
            host.set_property(&format!("{PAYLOAD}.aud.{index}"), b"a");
        }
        let found = read_claims(&host).unwrap().unwrap();
        assert_eq!(found["aud"].as_array().map(Vec::len), Some(MAX_ELEMENTS));
        host.set_property(&format!("{PAYLOAD}.aud.{MAX_ELEMENTS}"), b"a");
        assert!(read_claims(&host).is_err());
    }

    #[test]
    fn reads_the_metadata_that_policies_name() {
        let host = FakeHost::new();
        host.set_property("metadata.filter_metadata.envoy.filters.a.k", b"v");
        host.set_property("metadata.filter_metadata.envoy.filters.a.l.0", b"w");
        let path = |step: &str| -> Vec<Box<str>> { vec![step.into()] };
        let keys = [
            ("envoy.filters.a", path("k")),
            ("envoy.filters.a", path("l")),
            ("envoy.filters.b", path("k")),
        ];
        let found = dynamic(&host, keys.iter().map(|(ns, path)| (*ns, path.as_slice())));
        assert_eq!(
            found,
            Ok(json!({"envoy.filters.a": {"k": "v", "l": ["w"]}}))
        );
        let odd = [("envoy.filters.a", path("a\0b"))];
        assert!(dynamic(&host, odd.iter().map(|(ns, path)| (*ns, path.as_slice()))).is_err());
    }
}
