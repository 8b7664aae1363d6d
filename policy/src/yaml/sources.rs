//! Resources from texts, each with the place it was written at; whatever is wrong is told at once.

use std::rc::Rc;

use serde_json::Value;

use super::{Problem, ResourceName, SourceDocument, YamlError, documents};
use crate::{
    engine::PolicySet,
    error::CompileError,
    resources::{Resource, Resources},
    scope::Scope,
};

/// The kinds that are read.
pub const KINDS: [&str; 3] = [
    "AuthorizationPolicy",
    "PeerAuthentication",
    "RequestAuthentication",
];
/// What API server and `kubectl` call the group of these kinds.
const GROUP: &str = "security.istio.io/";

/// What becomes of resources of other kinds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OtherKinds {
    /// They are errors: a misspelt kind would be a policy that protects nothing.
    Refuse,
    /// They are left out, unless they say they are of Istio's security API.
    Skip,
}

/// One policy as it was written.
#[derive(Clone, Debug)]
pub struct Written {
    document: Rc<SourceDocument>,
    /// Where in the document; not empty for an item of a list.
    path: String,
    resource: Resource,
}

/// Policies of all kinds from files, in the order they were read.
#[derive(Debug, Default)]
pub struct Sources {
    policies: Vec<Written>,
    skipped: usize,
}

impl Written {
    /// The resource as it was written.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.document.part(&self.path).unwrap_or(&Value::Null)
    }

    /// The resource.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Kind, namespace and name.
    #[must_use]
    pub fn resource_name(&self) -> ResourceName {
        ResourceName {
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.resource.kind()
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        metadata(self.value(), "namespace")
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        metadata(self.value(), "name")
    }

    /// The file it is in.
    #[must_use]
    pub fn file(&self) -> &str {
        self.document.file()
    }

    /// What was written at `path` within the resource.
    #[must_use]
    pub fn part(&self, path: &str) -> Option<&Value> {
        self.document.part(&join(&self.path, path))
    }

    /// The line on which a rule begins.
    #[must_use]
    pub fn line_of_rule(&self, rule: usize) -> Option<u64> {
        let path = join(&self.path, &format!("spec.rules[{rule}]"));
        self.document.error(&path, "").line
    }

    /// A problem at `path` within the resource, named with the resource, where it was written.
    #[must_use]
    pub fn error(&self, path: &str, problem: &str) -> Problem {
        let place = self.document.error(&join(&self.path, path), problem);
        named(self.value(), path.to_owned(), place)
    }
}

impl Sources {
    /// Adds the policies of one text, and gives its problems: what is no YAML, other kinds, and what does not have
    /// the shape of its kind. A policy with such a problem is left out.
    pub fn add(&mut self, file: &str, text: &str, other: OtherKinds) -> Vec<Problem> {
        let documents = match documents(file, text) {
            Ok(documents) => documents,
            Err(error) => return vec![error.into()],
        };
        if documents.is_empty() {
            return vec![Problem::of_file(file, "is empty: no policy in it")];
        }
        let mut problems = Vec::new();
        for document in documents {
            let document = Rc::new(document);
            for path in resources(document.value()) {
                problems.extend(self.add_part(&document, path, other));
            }
        }
        problems
    }

    fn add_part(
        &mut self,
        document: &Rc<SourceDocument>,
        path: String,
        other: OtherKinds,
    ) -> Vec<Problem> {
        let Some(value) = document.part(&path) else {
            return vec![document.error(&path, "is missing").into()];
        };
        let kind = text(value, "kind");
        let ours = text(value, "apiVersion").starts_with(GROUP);
        if other == OtherKinds::Skip && !ours && !kind.is_empty() {
            self.skipped += 1;
            return Vec::new();
        }
        let resource = match kind {
            "AuthorizationPolicy" => document.shape_at(&path).map(Resource::AuthorizationPolicy),
            "PeerAuthentication" => document.shape_at(&path).map(Resource::PeerAuthentication),
            "RequestAuthentication" => document
                .shape_at(&path)
                .map(Resource::RequestAuthentication),
            _ => return vec![unknown_kind(document, &path, value)],
        };
        match resource {
            Ok(resource) => {
                self.policies.push(Written {
                    document: Rc::clone(document),
                    path,
                    resource,
                });
                Vec::new()
            }
            Err(errors) => {
                let named = |error: YamlError| {
                    let within = within(&path, &error.path);
                    named(value, within, error)
                };
                errors.into_iter().map(named).collect()
            }
        }
    }

    /// Adds the elements of the list `list` of a document, and gives their problems.
    pub fn add_parts(
        &mut self,
        document: &Rc<SourceDocument>,
        list: &str,
        length: usize,
    ) -> Vec<Problem> {
        (0..length)
            .flat_map(|index| {
                self.add_part(document, format!("{list}[{index}]"), OtherKinds::Refuse)
            })
            .collect()
    }

    /// The policies, for keeps.
    #[must_use]
    pub fn into_policies(self) -> Vec<Written> {
        self.policies
    }

    /// The policies.
    #[must_use]
    pub fn policies(&self) -> &[Written] {
        &self.policies
    }

    /// How many resources of other kinds were left out.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The policies by kind, as the compiler takes them.
    #[must_use]
    pub fn resources(&self) -> Resources {
        self.policies
            .iter()
            .map(|written| written.resource.clone())
            .collect()
    }

    /// Compiles all policies for one workload.
    ///
    /// # Errors
    /// Every problem of every policy, where it was written.
    pub fn compile(&self, scope: &Scope) -> Result<PolicySet, Vec<Problem>> {
        PolicySet::compile_resources(&self.resources(), scope)
            .map_err(|errors| errors.iter().map(|error| self.locate(error)).collect())
    }

    /// The policy at a place in the list of its kind.
    #[must_use]
    pub fn of_kind(&self, kind: &str, index: usize) -> Option<&Written> {
        self.policies
            .iter()
            .filter(|written| written.kind() == kind)
            .nth(index)
    }

    fn locate(&self, error: &CompileError) -> Problem {
        let problem = error.problem.to_string();
        match self.of_kind(error.kind, error.index) {
            Some(written) => written.error(&error.path, &problem),
            None => Problem::of_file("", format!("{} {}: {problem}", error.kind, error.policy)),
        }
    }
}

fn unknown_kind(document: &SourceDocument, path: &str, resource: &Value) -> Problem {
    let kinds = KINDS.join(", ");
    if text(resource, "kind").is_empty() {
        let problem = format!("has no kind; expected {kinds}");
        return document.error(path, problem).into();
    }
    let problem = format!("is not a kind of policy ({kinds})");
    let place = document.error(&join(path, "kind"), problem);
    named(resource, "kind".to_owned(), place)
}

/// A problem with the resource it is of.
fn named(resource: &Value, path: String, place: YamlError) -> Problem {
    Problem {
        resource: Some(Box::new(ResourceName {
            kind: text(resource, "kind").to_owned(),
            namespace: metadata(resource, "namespace").to_owned(),
            name: metadata(resource, "name").to_owned(),
        })),
        path,
        ..Problem::from(place)
    }
}

fn metadata<'v>(resource: &'v Value, field: &str) -> &'v str {
    resource
        .get("metadata")
        .map_or("", |metadata| text(metadata, field))
}

/// Where the resources of a document are: the whole of it, or the items of a list (`kubectl get -o yaml`).
fn resources(value: &Value) -> Vec<String> {
    let is_list = text(value, "kind").ends_with("List");
    match value.get("items").and_then(Value::as_array) {
        Some(items) if is_list => (0..items.len())
            .map(|index| format!("items[{index}]"))
            .collect(),
        _ => vec![String::new()],
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn join(base: &str, path: &str) -> String {
    match (base, path) {
        ("", path) => path.to_owned(),
        (base, "") => base.to_owned(),
        (base, path) => format!("{base}.{path}"),
    }
}

/// What is left of `path` below `base`.
fn within(base: &str, path: &str) -> String {
    let rest = path.strip_prefix(base).unwrap_or(path);
    rest.strip_prefix('.').unwrap_or(rest).to_owned()
}
