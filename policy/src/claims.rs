//! Claims of a validated token, and what other filters left about a request.

use serde_json::Value;

/// The payload of a JSON Web Token that the proxy validated.
///
/// Implemented for [`Value`], the payload as JSON.
pub trait Claims {
    /// Calls `test` with the text at `path`, or with each text of a list there, until it says true; whether
    /// one did. Other types (numbers, booleans, objects, lists in lists) are never passed to it.
    fn any(&self, path: &[Box<str>], test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// Envoy's dynamic metadata: a namespace (the name of a filter) has a tree of values.
///
/// Implemented for [`Value`], an object with a member for each namespace, and for [`NoMetadata`].
pub trait DynamicMetadata {
    /// Calls `test` with the text at `path` of `namespace`; what it says. False if there is no text.
    fn text(&self, namespace: &str, path: &[Box<str>], test: &mut dyn FnMut(&[u8]) -> bool)
    -> bool;

    /// Calls `test` with each text of the list at `path` of `namespace` until it says true; whether one did.
    fn elements(
        &self,
        namespace: &str,
        path: &[Box<str>],
        test: &mut dyn FnMut(&[u8]) -> bool,
    ) -> bool;
}

/// A request that no other filter left anything about.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetadata;

impl DynamicMetadata for NoMetadata {
    fn text(&self, _: &str, _: &[Box<str>], _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }

    fn elements(&self, _: &str, _: &[Box<str>], _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

impl Claims for Value {
    fn any(&self, path: &[Box<str>], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        match at(self, path) {
            Some(Self::String(text)) => test(text.as_bytes()),
            Some(Self::Array(list)) => any_text(list, test),
            _ => false,
        }
    }
}

impl DynamicMetadata for Value {
    fn text(
        &self,
        namespace: &str,
        path: &[Box<str>],
        test: &mut dyn FnMut(&[u8]) -> bool,
    ) -> bool {
        match self.get(namespace).and_then(|found| at(found, path)) {
            Some(Self::String(text)) => test(text.as_bytes()),
            _ => false,
        }
    }

    fn elements(
        &self,
        namespace: &str,
        path: &[Box<str>],
        test: &mut dyn FnMut(&[u8]) -> bool,
    ) -> bool {
        match self.get(namespace).and_then(|found| at(found, path)) {
            Some(Self::Array(list)) => any_text(list, test),
            _ => false,
        }
    }
}

/// Only objects have members: a step into a list or text leads nowhere.
fn at<'v>(root: &'v Value, path: &[Box<str>]) -> Option<&'v Value> {
    path.iter().try_fold(root, |value, step| {
        value
            .as_object()
            .and_then(|members| members.get(step.as_ref()))
    })
}

fn any_text(list: &[Value], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    list.iter()
        .filter_map(Value::as_str)
        .any(|text| test(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(steps: &[&str]) -> Vec<Box<str>> {
        steps.iter().map(|step| (*step).into()).collect()
    }

    fn seen(of: impl Fn(&mut dyn FnMut(&[u8]) -> bool) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        let said = of(&mut |value| {
            seen.push(String::from_utf8(value.to_vec()).unwrap());
            false
        });
        assert!(!said, "nothing was said to match");
        seen
    }

    #[test]
    fn claims_are_texts_and_lists_of_texts() {
        let claims = json!({
            "iss": "i", "aud": ["a", 1, null, ["x"], "b"], "n": 7, "t": true, "o": {"in": {"er": ["c"]}}
        });
        for (steps, values) in [
            (&["iss"][..], &["i"][..]),
            (&["aud"], &["a", "b"]),
            (&["o", "in", "er"], &["c"]),
            (&["n"], &[]),
            (&["t"], &[]),
            (&["o"], &[]),
            (&["o", "in"], &[]),
            (&["iss", "i"], &[]),
            (&["aud", "0"], &[]),
            (&["missing"], &[]),
            (&[], &[]),
        ] {
            let path = path(steps);
            assert_eq!(seen(|test| claims.any(&path, test)), values, "{steps:?}");
        }
        assert!(claims.any(&path(&["aud"]), &mut |value| value == b"b"));
    }

    #[test]
    fn metadata_tells_a_text_from_a_list() {
        let metadata = json!({"envoy.filters.a": {"k": "v", "l": ["v", 1]}});
        let (k, l) = (path(&["k"]), path(&["l"]));
        let mut is_v = |value: &[u8]| value == b"v";
        assert!(metadata.text("envoy.filters.a", &k, &mut is_v));
        assert!(!metadata.text("envoy.filters.a", &l, &mut is_v));
        assert!(!metadata.text("envoy.filters.b", &k, &mut is_v));
        assert!(metadata.elements("envoy.filters.a", &l, &mut is_v));
        assert!(!metadata.elements("envoy.filters.a", &k, &mut is_v));
        assert!(!NoMetadata.text("envoy.filters.a", &k, &mut |_| true));
        assert!(!NoMetadata.elements("envoy.filters.a", &l, &mut |_| true));
    }
}
