//! Properties (Envoy's attributes), by path.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A typed attribute value; its encoding is that of Envoy's `serializeValue`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One byte, 0 or 1.
    Bool(bool),
    /// Eight bytes, little-endian.
    Int(i64),
    /// Eight bytes, little-endian.
    Uint(u64),
    /// The bytes themselves.
    Bytes(Vec<u8>),
}

impl Value {
    /// The bytes a hostcall hands over.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bool(value) => vec![u8::from(*value)],
            Self::Int(value) => value.to_le_bytes().to_vec(),
            Self::Uint(value) => value.to_le_bytes().to_vec(),
            Self::Bytes(value) => value.clone(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Bytes(value.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Bytes(value.into_bytes())
    }
}

/// What `proxy_get_property` can see on one stream.
///
/// A path that is not set answers `NotFound`, as an attribute without a value does in Envoy. The one exception
/// is `connection.id` (and `connection_id`, which is the same): connections that look alike have the same number, others another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(BTreeMap<Vec<String>, Value>);

impl Properties {
    /// No attribute at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These, with one more set: `("connection.mtls", true)`. For segments that themselves have
    /// dots (filter-state keys, metadata namespaces) use [`Properties::with_path`].
    #[must_use]
    pub fn with(self, dotted: &str, value: impl Into<Value>) -> Self {
        let path: Vec<&str> = dotted.split('.').collect();
        self.with_path(&path, value)
    }

    /// These, with one more set, by its segments.
    #[must_use]
    pub fn with_path(mut self, path: &[&str], value: impl Into<Value>) -> Self {
        self.set(path, value);
        self
    }

    /// These, without one (and without everything below it).
    #[must_use]
    pub fn without(mut self, dotted: &str) -> Self {
        let prefix: Vec<&str> = dotted.split('.').collect();
        self.0.retain(|path, _| {
            !path
                .iter()
                .map(String::as_str)
                .zip(&prefix)
                .all(|(a, b)| a == *b)
                || path.len() < prefix.len()
        });
        self
    }

    /// Sets one, by its segments.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        self.0.insert(path, value.into());
    }

    /// Adds all of `more`, which win over what is there.
    #[must_use]
    pub fn merged(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The paths that are set, segments joined by dots.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.0.keys().map(|path| path.join(".")).collect()
    }

    pub(super) fn lookup(&self, raw_path: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8(raw_path.to_vec()).ok()?;
        let path: Vec<String> = text.split('\0').map(str::to_owned).collect();
        let set = |path: &[String]| self.0.get(path).map(Value::encode);
        if path == ["connection", "id"] || path == ["connection_id"] {
            let id = || self.connection_id().map(|id| id.to_le_bytes().to_vec());
            return set(&["connection".to_owned(), "id".to_owned()]).or_else(id);
        }
        set(&path)
    }

    /// Envoy numbers its connections; here those that look alike are one, unless `connection.id` is set.
    fn connection_id(&self) -> Option<u64> {
        let of_connection = self.0.iter().filter(|(path, _)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            matches!(
                path.as_slice(),
                ["connection" | "source" | "destination", ..]
                    | [
                        "filter_state",
                        "countersign.peer_certificate" | "countersign.direct_remote_address"
                    ]
            )
        });
        let mut hasher = DefaultHasher::new();
        let mut known = false;
        for (path, value) in of_connection {
            known = true;
            path.hash(&mut hasher);
            value.encode().hash(&mut hasher);
        }
        known.then(|| hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_look_alike_have_one_number_unless_it_is_set() {
        let id = |properties: &Properties| properties.lookup(b"connection\0id");
        let one = Properties::new().with("connection.mtls", true);
        let other = one.clone().with("source.address", "10.0.0.1:1");
        assert_eq!(id(&one), id(&one.clone().with("xds.cluster_name", "x")));
        assert!(id(&one).is_some() && id(&one) != id(&other));
        assert_eq!(id(&Properties::new()), None);
        let set = one.with("connection.id", 7_u64);
        assert_eq!(id(&set), Some(7_u64.to_le_bytes().to_vec()));
    }

    #[test]
    fn finds_a_property_by_its_nul_separated_path_and_nothing_else() {
        let properties = Properties::new()
            .with("connection.mtls", true)
            .with_path(&["filter_state", "a.b"], "text");
        assert_eq!(properties.lookup(b"connection\0mtls"), Some(vec![1]));
        assert_eq!(
            properties.lookup(b"filter_state\0a.b"),
            Some(b"text".to_vec())
        );
        assert_eq!(properties.lookup(b"connection"), None);
        assert_eq!(
            properties.without("connection").lookup(b"connection\0mtls"),
            None
        );
    }
}
