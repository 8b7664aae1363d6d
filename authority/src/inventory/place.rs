//! Where a certificate is used, and what else is known of it.

use std::collections::BTreeMap;

use identity::SpiffeId;
use serde::{Deserialize, Serialize};

/// Where a certificate is used, as far as the request told. Nothing is decided by it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Location {
    /// The cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The IP address the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl Location {
    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cluster.is_none()
            && self.namespace.is_none()
            && self.pod.is_none()
            && self.node.is_none()
            && self.address.is_none()
    }

    /// Fills what is not known from Istio's form of an identity, `/ns/<namespace>/sa/<account>`,
    /// cuts what is too long and drops what is empty.
    #[must_use]
    pub(crate) fn completed(mut self, id: &SpiffeId) -> Self {
        if self.namespace.is_none() {
            let mut segments = id.path().split('/').skip(1);
            if let (Some("ns"), Some(namespace), Some("sa")) =
                (segments.next(), segments.next(), segments.next())
            {
                self.namespace = Some(namespace.to_owned());
            }
        }
        let bound = |text: Option<String>| {
            text.filter(|text| !text.is_empty()).map(|mut text| {
                text.truncate(text.floor_char_boundary(MAX_PLACE_BYTES));
                text
            })
        };
        Self {
            cluster: bound(self.cluster),
            namespace: bound(self.namespace),
            pod: bound(self.pod),
            node: bound(self.node),
            address: bound(self.address),
        }
    }
}

/// What else is known of a certificate (owner, cost centre …): few, short pairs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Metadata(BTreeMap<String, String>);

/// Why a pair is none of [`Metadata`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// A name that is none.
    #[error(
        "metadata name {name:?} is not 1 to {MAX_NAME_BYTES} of a-z, 0-9, `_`, `-`, `.`, beginning with a letter"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// A value that is too long or has control characters.
    #[error(
        "the value of metadata {name:?} is empty, longer than {MAX_VALUE_BYTES} bytes, or has control characters"
    )]
    BadValue {
        /// Its name.
        name: String,
    },
    /// More pairs than there may be.
    #[error("more than {MAX_PAIRS} pairs of metadata")]
    TooMany,
}

impl Metadata {
    /// Puts a pair in; one of the same name is replaced.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), MetadataError> {
        if !is_name(name) {
            return Err(MetadataError::BadName {
                name: name.chars().take(MAX_NAME_BYTES).collect(),
            });
        }
        let is_fine =
            (1..=MAX_VALUE_BYTES).contains(&value.len()) && !value.chars().any(char::is_control);
        if !is_fine {
            return Err(MetadataError::BadValue {
                name: name.to_owned(),
            });
        }
        if self.0.len() >= MAX_PAIRS && !self.0.contains_key(name) {
            return Err(MetadataError::TooMany);
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The pairs, by name.
    #[must_use]
    pub const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// As the record holds it: a JSON object, or nothing for no pairs.
    pub(crate) fn to_json(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| serde_json::json!(self.0).to_string())
    }

    /// Reads what [`Self::to_json`] wrote.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }
}

/// Whether `text` can name a pair.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
}

/// Where a request came from and what it told beside what is certified. Nothing of it is proven
/// unless the caller's proof proves it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestContext {
    /// Where.
    pub location: Location,
    /// What else.
    pub metadata: Metadata,
}

impl RequestContext {
    /// Adds what a Kubernetes token proved, and what the request said of itself. A pair that is none of
    /// [`Metadata`] is left out: clients send what they like, and nothing is decided by it here. Names are
    /// folded to lower case.
    pub(crate) fn tell(&mut self, selectors: &[String], said: &BTreeMap<String, String>) {
        let place = &mut self.location;
        for selector in selectors {
            let Some((kind, value)) = selector
                .strip_prefix("k8s:")
                .and_then(|rest| rest.split_once(':'))
            else {
                continue;
            };
            let part = match kind {
                "cluster" => &mut place.cluster,
                "ns" => &mut place.namespace,
                "pod-name" => &mut place.pod,
                "node-name" => &mut place.node,
                _ => continue,
            };
            *part = Some(value.to_owned());
        }
        for (name, value) in said {
            let name = name.to_ascii_lowercase();
            if let Err(error) = self.metadata.insert(&name, value) {
                tracing::debug!(%error, "metadata left out");
            }
        }
    }
}

/// Most pairs of metadata of a certificate.
pub const MAX_PAIRS: usize = 16;
/// Longest name of a pair, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Longest value of a pair, in bytes.
pub const MAX_VALUE_BYTES: usize = 256;
/// Longest part of a location, in bytes; Kubernetes names have at most 253.
const MAX_PLACE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_bounded() {
        let mut metadata = Metadata::default();
        for bad in ["", "Owner", "9", "a b", "é", &"a".repeat(64)] {
            let refused = metadata.insert(bad, "x").unwrap_err();
            assert!(matches!(refused, MetadataError::BadName { .. }), "{bad}");
        }
        for bad in ["", "a\nb", &"a".repeat(257)] {
            let refused = metadata.insert("owner", bad).unwrap_err();
            assert!(matches!(refused, MetadataError::BadValue { .. }), "{bad}");
        }
        for number in 0..MAX_PAIRS {
            metadata.insert(&format!("k{number}"), "v").unwrap();
        }
        assert_eq!(
            metadata.insert("one-more", "v"),
            Err(MetadataError::TooMany)
        );
        metadata.insert("k0", "another").unwrap();
        let again = Metadata::from_json(&metadata.to_json().unwrap()).unwrap();
        assert_eq!(again, metadata);
    }

    #[test]
    fn the_namespace_is_in_an_istio_identity() {
        let of = |id: &str| Location::default().completed(&SpiffeId::new(id).unwrap());
        let found = of("spiffe://td/ns/prod/sa/web");
        assert_eq!(found.namespace.as_deref(), Some("prod"));
        assert!(of("spiffe://td/prod/web").is_empty());
        assert!(of("spiffe://td/ns/prod").is_empty());
        let long = Location {
            pod: Some("é".repeat(1000)),
            node: Some(String::new()),
            ..Location::default()
        };
        let bounded = long.completed(&SpiffeId::new("spiffe://td/x").unwrap());
        assert_eq!(bounded.pod.map(|pod| pod.len()), Some(256));
        assert_eq!(bounded.node, None);
    }
}
