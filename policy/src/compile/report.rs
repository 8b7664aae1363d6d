//! Collecting the problems of one policy with their paths.

use std::fmt;

use crate::{
    authorization_policy::AuthorizationPolicy,
    error::{CompileError, Problem},
};

/// A field's path within its resource, `spec.rules[0].from[1].source.ipBlocks[2]`.
#[derive(Clone, Debug)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn root(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The problems of one policy.
#[derive(Debug)]
pub(super) struct Report {
    index: usize,
    policy: String,
    errors: Vec<CompileError>,
}

impl Report {
    pub(super) fn new(index: usize, policy: &AuthorizationPolicy) -> Self {
        let metadata = &policy.metadata;
        let policy = match (&metadata.namespace, &metadata.name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.clone(),
            (_, None) => format!("#{index}"),
        };
        Self {
            index,
            policy,
            errors: Vec::new(),
        }
    }

    pub(super) fn policy(&self) -> &str {
        &self.policy
    }

    pub(super) fn problem(&mut self, path: &Path, problem: Problem) {
        let (index, policy, path) = (self.index, self.policy.clone(), path.to_string());
        self.errors.push(CompileError {
            kind: "AuthorizationPolicy",
            policy,
            index,
            path,
            problem,
        });
    }

    pub(super) fn invalid(&mut self, path: &Path, value: &str, expected: &'static str) {
        self.problem(
            path,
            Problem::Invalid {
                value: value.to_owned(),
                expected,
            },
        );
    }

    pub(super) fn too_many(&mut self, path: &Path, found: usize, unit: &'static str, limit: usize) {
        self.problem(path, Problem::TooMany { found, unit, limit });
    }

    pub(super) fn limit(&mut self, path: &Path, found: usize, unit: &'static str, limit: usize) {
        if found > limit {
            self.too_many(path, found, unit, limit);
        }
    }

    /// A list that was written: neither empty nor above its limit.
    pub(super) fn list(&mut self, path: &Path, found: usize, unit: &'static str, limit: usize) {
        if found == 0 {
            self.problem(path, Problem::Empty);
        }
        self.limit(path, found, unit, limit);
    }

    pub(super) fn finish(self) -> Vec<CompileError> {
        self.errors
    }
}
