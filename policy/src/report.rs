//! Collecting the problems of one resource with their paths, and what resources of every kind have in common: head,
//! selector, targets.

use std::fmt;

use crate::{
    authentication::created,
    authorization_policy::{Metadata, TargetReference, WorkloadSelector},
    compile::limits,
    error::{CompileError, Problem},
};

/// A field's path within its resource, `spec.rules[0].from[1].source.ipBlocks[2]`.
#[derive(Clone, Debug)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn root(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Path> for String {
    fn from(path: &Path) -> Self {
        path.0.clone()
    }
}

/// The problems of one resource.
#[derive(Debug)]
pub(crate) struct Report {
    kind: &'static str,
    index: usize,
    policy: String,
    errors: Vec<CompileError>,
}

impl Report {
    /// None yet; `index` is the resource's place among those of its kind.
    pub(crate) fn new(kind: &'static str, index: usize, metadata: &Metadata) -> Self {
        Self {
            kind,
            index,
            policy: label(metadata, index),
            errors: Vec::new(),
        }
    }

    /// Checks version, kind, name and namespace; `written` are the first two.
    pub(crate) fn head(&mut self, written: (&str, &str), metadata: &Metadata) {
        let (api_version, kind) = written;
        if !API_VERSIONS.contains(&api_version) {
            let expected = "security.istio.io/v1 or security.istio.io/v1beta1";
            self.invalid("apiVersion", api_version, expected);
        }
        if kind != self.kind {
            self.invalid("kind", kind, self.kind);
        }
        let (name, limit) = (metadata.name.as_deref(), limits::MAX_NAME_BYTES);
        self.name("metadata.name", name, b"-.", limit);
        let (name, limit) = (metadata.namespace.as_deref(), limits::MAX_NAMESPACE_BYTES);
        self.name("metadata.namespace", name, b"-", limit);
    }

    /// Checks the time of creation, for kinds of which the oldest resource counts.
    pub(crate) fn creation(&mut self, metadata: &Metadata) {
        if let Err(found) = created(metadata) {
            let expected = "a time in UTC such as 2026-01-31T09:00:00Z";
            self.invalid("metadata.creationTimestamp", &found, expected);
        }
    }

    fn name(&mut self, path: &str, name: Option<&str>, punctuation: &[u8], limit: usize) {
        let Some(name) = name else {
            let expected = "name and namespace are needed";
            return self.problem(path, Problem::Missing { expected });
        };
        self.limit(path, name.len(), "bytes", limit);
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

    /// One way of selecting, and targets of the resource's own namespace.
    pub(crate) fn targets(
        &mut self,
        selector: Option<&WorkloadSelector>,
        one: Option<&TargetReference>,
        many: Option<&[TargetReference]>,
    ) {
        let ways = [
            ("spec.selector", selector.is_some()),
            ("spec.targetRef", one.is_some()),
            ("spec.targetRefs", many.is_some()),
        ];
        let mut written = ways.into_iter().filter(|(_, there)| *there);
        if let (Some((other, _)), Some((path, _))) = (written.next(), written.next_back()) {
            self.problem(path, Problem::Conflict { other });
        }
        if let Some(target) = one {
            self.target(&Path::root("spec.targetRef"), target);
        }
        if let Some(many) = many {
            let path = Path::root("spec.targetRefs");
            let limit = limits::MAX_TARGET_REFS;
            self.list(&path, many.len(), "targets", limit);
            for (index, target) in many.iter().enumerate().take(limit) {
                self.target(&path.index(index), target);
            }
        }
    }

    fn target(&mut self, path: &Path, target: &TargetReference) {
        if target.name.is_empty() {
            let expected = "the target's name";
            self.problem(&path.field("name"), Problem::Missing { expected });
        }
        if let Some(namespace) = &target.namespace {
            let expected = "left out: a target is always in the resource's namespace";
            self.invalid(&path.field("namespace"), namespace, expected);
        }
        let kind = (target.group.as_str(), target.kind.as_str());
        if !TARGETS.contains(&kind) {
            let found = format!("{}/{}", target.group, target.kind);
            let expected = "a Service, ServiceEntry, Gateway or GatewayClass with its group";
            self.invalid(&path.field("kind"), &found, expected);
        }
    }

    pub(crate) fn problem(&mut self, path: impl Into<String>, problem: Problem) {
        self.add(path.into(), problem);
    }

    pub(crate) fn invalid(&mut self, path: impl Into<String>, value: &str, expected: &'static str) {
        let value = value.to_owned();
        self.add(path.into(), Problem::Invalid { value, expected });
    }

    pub(crate) fn too_many(
        &mut self,
        path: impl Into<String>,
        found: usize,
        unit: &'static str,
        limit: usize,
    ) {
        self.add(path.into(), Problem::TooMany { found, unit, limit });
    }

    pub(crate) fn limit(
        &mut self,
        path: impl Into<String>,
        found: usize,
        unit: &'static str,
        limit: usize,
    ) {
        if found > limit {
            self.too_many(path, found, unit, limit);
        }
    }

    /// A list that was written: neither empty nor above its limit.
    pub(crate) fn list(&mut self, path: &Path, found: usize, unit: &'static str, limit: usize) {
        if found == 0 {
            self.problem(path, Problem::Empty);
        }
        self.limit(path, found, unit, limit);
    }

    fn add(&mut self, path: String, problem: Problem) {
        self.errors.push(CompileError {
            kind: self.kind,
            policy: self.policy.clone(),
            index: self.index,
            path,
            problem,
        });
    }

    /// The resource as errors name it.
    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }

    pub(crate) fn finish(self) -> Vec<CompileError> {
        self.errors
    }
}

/// The resource as errors name it.
pub(crate) fn label(metadata: &Metadata, index: usize) -> String {
    match (&metadata.namespace, &metadata.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.clone(),
        (_, None) => format!("#{index}"),
    }
}

const API_VERSIONS: [&str; 2] = ["security.istio.io/v1", "security.istio.io/v1beta1"];
/// Group and kind of what `targetRefs` may name.
const TARGETS: [(&str, &str); 6] = [
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("networking.istio.io", "Gateway"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];
