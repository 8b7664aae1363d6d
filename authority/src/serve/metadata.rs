//! What a request says about itself: `owner`, `costCentre` and the like. Nothing of it is proven; it is
//! what rules may require and the record may be searched by.

use std::collections::BTreeMap;

use api::istio::{CERT_SIGNER, IMPERSONATED_IDENTITY};
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::metadata::{KeyAndValueRef, MetadataMap};

/// Metadata of gRPC headers: `x-countersign-owner: web` is `owner`. An istio-agent sends such a header
/// for its environment variable `CA_HEADER_x-countersign-owner`.
pub(crate) fn of_headers(headers: &MetadataMap) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for header in headers.iter() {
        if let KeyAndValueRef::Ascii(key, value) = header
            && let Some(key) = key.as_str().strip_prefix(PREFIX)
            && let Ok(value) = value.to_str()
        {
            add(&mut found, key, value);
        }
    }
    found
}

/// The same with the string fields of a request's metadata, which win.
pub(crate) fn of_request(
    fields: Option<&Struct>,
    mut found: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    for (key, value) in fields.into_iter().flat_map(|fields| &fields.fields) {
        if let Some(Kind::StringValue(value)) = &value.kind
            && !matches!(key.as_str(), CERT_SIGNER | IMPERSONATED_IDENTITY)
        {
            add(&mut found, key, value);
        }
    }
    found
}

/// Clients send keys of their own, so that what does not fit is left alone; a rule that requires it
/// refuses then.
fn add(found: &mut BTreeMap<String, String>, key: &str, value: &str) {
    let is_name = (1..=MAX_KEY).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let fits = value.len() <= MAX_VALUE && !value.chars().any(char::is_control);
    // The record folds names: of two that differ in case only one may count, for rules as for the record.
    let has_twin = found
        .keys()
        .any(|known| known != key && known.eq_ignore_ascii_case(key));
    let has_room = found.len() < MAX_KEYS || found.contains_key(key);
    if is_name && fits && has_room && !has_twin {
        found.insert(key.to_owned(), value.to_owned());
    }
}

/// What headers of metadata begin with.
const PREFIX: &str = "x-countersign-";
/// Most keys of one request.
const MAX_KEYS: usize = 16;
/// Longest key, in bytes.
const MAX_KEY: usize = 64;
/// Longest value, in bytes.
const MAX_VALUE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Struct {
        let value = |text: &str| prost_types::Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        Struct {
            fields: pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), value(v)))
                .collect(),
        }
    }

    #[test]
    fn fields_win_over_headers_and_options_are_no_metadata() {
        let mut headers = MetadataMap::new();
        headers.insert("x-countersign-owner", "a".parse().unwrap());
        headers.insert("x-countersign-team", "b".parse().unwrap());
        headers.insert("authorization", "Join secret".parse().unwrap());
        let asked = fields(&[("owner", "c"), (IMPERSONATED_IDENTITY, "spiffe://x/y")]);
        let found = of_request(Some(&asked), of_headers(&headers));
        let pairs: Vec<_> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("owner", "c"), ("team", "b")]);
    }

    #[test]
    fn what_does_not_fit_is_left_alone() {
        let long = "x".repeat(MAX_VALUE + 1);
        let asked = fields(&[("a", &long), ("b c", "x"), ("d", "x\ny"), ("", "x")]);
        assert!(of_request(Some(&asked), BTreeMap::new()).is_empty());
        let many: Vec<(String, String)> =
            (0..40).map(|n| (format!("k{n}"), "v".to_owned())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let found = of_request(Some(&fields(&many)), BTreeMap::new());
        assert_eq!(found.len(), MAX_KEYS);
    }
}
