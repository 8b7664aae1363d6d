//! What `PeerAuthentication` and `RequestAuthentication` have in common: head, selector, order of age.

use crate::{
    authorization_policy::{Metadata, WorkloadSelector},
    compile::limits,
    error::{CompileError, Problem},
};

/// The problems of one resource, with their paths.
#[derive(Debug)]
pub(crate) struct Report {
    kind: &'static str,
    index: usize,
    policy: String,
    errors: Vec<CompileError>,
}

impl Report {
    /// Checks kind, version, name, namespace and time of creation at once.
    pub(crate) fn of(
        kind: &'static str,
        index: usize,
        written: (&str, &str),
        metadata: &Metadata,
    ) -> Self {
        let mut report = Self {
            kind,
            index,
            policy: label(metadata, index),
            errors: Vec::new(),
        };
        let (api_version, written_kind) = written;
        if !API_VERSIONS.contains(&api_version) {
            let expected = "security.istio.io/v1 or security.istio.io/v1beta1";
            report.invalid("apiVersion", api_version, expected);
        }
        if written_kind != kind {
            report.invalid("kind", written_kind, kind);
        }
        report.name(
            "metadata.name",
            metadata.name.as_deref(),
            b"-.",
            limits::MAX_NAME_BYTES,
        );
        report.name(
            "metadata.namespace",
            metadata.namespace.as_deref(),
            b"-",
            limits::MAX_NAMESPACE_BYTES,
        );
        if let Err(found) = created(metadata) {
            let expected = "a time in UTC such as 2026-01-31T09:00:00Z";
            report.invalid("metadata.creationTimestamp", &found, expected);
        }
        report
    }

    fn name(&mut self, path: &str, name: Option<&str>, punctuation: &[u8], limit: usize) {
        let Some(name) = name else {
            let expected = "name and namespace are needed";
            return self.problem(path, Problem::Missing { expected });
        };
        if name.len() > limit {
            self.too_many(path, name.len(), "bytes", limit);
        }
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let edges = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
        if !edges || !bytes.iter().all(|b| plain(b) || punctuation.contains(b)) {
            let expected = "a Kubernetes name that begins and ends with a-z or 0-9";
            self.invalid(path, name, expected);
        }
    }

    /// Labels without wildcards; Istio takes none at all for "every workload".
    pub(crate) fn selector(&mut self, selector: Option<&WorkloadSelector>) {
        let labels = selector.and_then(|selector| selector.match_labels.as_ref());
        for (key, value) in labels.into_iter().flatten() {
            let path = format!("spec.selector.matchLabels.{key}");
            if key.is_empty() || key.contains('*') {
                self.invalid(&path, key, "a label name without wildcard");
            }
            if value.contains('*') {
                self.invalid(&path, value, "a label value without wildcard");
            }
        }
    }

    pub(crate) fn problem(&mut self, path: impl Into<String>, problem: Problem) {
        self.errors.push(CompileError {
            kind: self.kind,
            policy: self.policy.clone(),
            index: self.index,
            path: path.into(),
            problem,
        });
    }

    pub(crate) fn invalid(&mut self, path: impl Into<String>, value: &str, expected: &'static str) {
        let value = value.to_owned();
        self.problem(path, Problem::Invalid { value, expected });
    }

    pub(crate) fn too_many(
        &mut self,
        path: impl Into<String>,
        found: usize,
        unit: &'static str,
        limit: usize,
    ) {
        self.problem(path, Problem::TooMany { found, unit, limit });
    }

    pub(crate) fn finish(self) -> Vec<CompileError> {
        self.errors
    }
}

/// Reports resources beyond the limit and those whose namespace and name were seen before.
pub(crate) fn check_set<'a>(
    kind: &'static str,
    resources: impl ExactSizeIterator<Item = (&'a Metadata, Vec<CompileError>)>,
) -> Vec<CompileError> {
    let total = resources.len();
    let mut errors = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (index, (metadata, found)) in resources.enumerate() {
        let at = |path: &str, problem| CompileError {
            kind,
            policy: label(metadata, index),
            index,
            path: path.to_owned(),
            problem,
        };
        let limit = limits::MAX_POLICIES;
        if index == limit {
            let (found, unit) = (total, "resources");
            errors.push(at("metadata", Problem::TooMany { found, unit, limit }));
            break;
        }
        errors.extend(
            found
                .into_iter()
                .map(|error| CompileError { index, ..error }),
        );
        if !seen.insert((&metadata.namespace, &metadata.name)) {
            errors.push(at("metadata.name", Problem::Duplicate));
        }
    }
    errors
}

/// The resource as errors name it.
fn label(metadata: &Metadata, index: usize) -> String {
    match (&metadata.namespace, &metadata.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.clone(),
        (_, None) => format!("#{index}"),
    }
}

/// When the API server created the resource. Resources without a time, such as those in files, count as older
/// than all others, as in Istio.
///
/// # Errors
/// What was found instead of `YYYY-MM-DDTHH:MM:SSZ`, the one form an API server writes; in it, the order of
/// texts is that of time.
pub(crate) fn created(metadata: &Metadata) -> Result<&str, String> {
    match &metadata.creation_timestamp {
        None => Ok(""),
        Some(serde_json::Value::String(time)) if is_time(time) => Ok(time),
        Some(other) => Err(other.to_string()),
    }
}

fn is_time(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *shape,
        })
}

const API_VERSIONS: [&str; 2] = ["security.istio.io/v1", "security.istio.io/v1beta1"];
