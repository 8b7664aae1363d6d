//! Resources in YAML files (JSON is YAML, too), with file, line and column in every error.

mod node;
mod problem;
mod source;
mod sources;

use std::{collections::BTreeMap, fmt};

use serde::de::DeserializeOwned;

use crate::{
    authorization_policy::AuthorizationPolicy,
    engine::PolicySet,
    error::CompileError,
    json,
    resources::{Resource, Resources},
    scope::Scope,
};

use self::node::{Document, Position};

pub use self::{
    problem::{Problem, ResourceName},
    source::{MAX_SHAPE_ERRORS, SourceDocument, documents},
    sources::{KINDS, OtherKinds, Sources, Written as WrittenResource},
};

/// Resources read from files, which remember where they were written.
#[derive(Debug, Default)]
pub struct PolicyFiles {
    resources: Resources,
    /// Kind and place in the list of the kind → where it was written.
    written: BTreeMap<(&'static str, usize), Written>,
}

#[derive(Debug)]
struct Written {
    file: String,
    document: Document,
}

/// What is wrong in a file; displays as `file:line:column: path: problem`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct YamlError {
    /// The file's name as given by the caller.
    pub file: String,
    /// Line, from 1, where it is known.
    pub line: Option<u64>,
    /// Column, from 1, where it is known.
    pub column: Option<u64>,
    /// Path within the resource; empty for the document as a whole.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

impl PolicyFiles {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads all documents of one file; `file` is its name, for errors. Empty documents count for nothing.
    ///
    /// # Errors
    /// All problems of shape of all documents (only the first of each, and only the first of the file if it is not
    /// YAML); nothing of the file is kept then. What fields mean is checked by [`PolicyFiles::compile`].
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), Vec<YamlError>> {
        let documents = node::documents(text).map_err(|error| {
            let position = error.position;
            vec![YamlError::new(file, position, String::new(), error.problem)]
        })?;
        let mut resources = Vec::new();
        let mut errors = Vec::new();
        for document in documents {
            match Resource::from_value(document.value()) {
                Ok(resource) => {
                    let file = file.to_owned();
                    resources.push((resource, Written { file, document }));
                }
                Err(error) => {
                    let position = document.position_of_field(&error.path, &error.problem);
                    errors.push(YamlError::new(file, position, error.path, error.problem));
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for (resource, written) in resources {
            let kind = resource.kind();
            let place = self.resources.push(resource);
            self.written.insert((kind, place), written);
        }
        Ok(())
    }

    /// The `AuthorizationPolicy` resources, in the order of files and documents.
    #[must_use]
    pub fn policies(&self) -> &[AuthorizationPolicy] {
        &self.resources.authorization
    }

    /// The resources of every kind, each list in the order of files and documents.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Compiles the resources of all files for one workload.
    ///
    /// # Errors
    /// Every problem of every resource, at its line and column.
    pub fn compile(&self, scope: &Scope) -> Result<PolicySet, Vec<YamlError>> {
        PolicySet::compile_resources(&self.resources, scope)
            .map_err(|errors| errors.iter().map(|error| self.locate(error)).collect())
    }

    /// A problem of the compiler, where it was written.
    #[must_use]
    pub fn locate(&self, error: &CompileError) -> YamlError {
        let problem = format!("{} {}: {}", error.kind, error.policy, error.problem);
        let (file, position) = match self.written.get(&(error.kind, error.index)) {
            Some(written) => (
                written.file.as_str(),
                written.document.position(&error.path),
            ),
            None => ("", None),
        };
        YamlError::new(file, position, error.path.clone(), problem)
    }
}

/// Reads all `AuthorizationPolicy` resources of one text; those of other kinds are checked for their shape only.
///
/// # Errors
/// See [`PolicyFiles::add`].
pub fn policies(file: &str, text: &str) -> Result<Vec<AuthorizationPolicy>, Vec<YamlError>> {
    let mut files = PolicyFiles::new();
    files.add(file, text)?;
    Ok(files.resources.authorization)
}

/// Reads a type from a text of exactly one document.
pub(crate) fn single<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    let not_yaml =
        |error: node::NotYaml| YamlError::new(file, error.position, String::new(), error.problem);
    let documents = node::documents(text).map_err(not_yaml)?;
    let [document] = documents.as_slice() else {
        let problem = format!("has {} documents, expected one", documents.len());
        return Err(YamlError::new(file, None, String::new(), problem));
    };
    json::shape(document.value()).map_err(|error| {
        let position = document.position_of_field(&error.path, &error.problem);
        YamlError::new(file, position, error.path, error.problem)
    })
}

impl YamlError {
    pub(crate) fn new(
        file: &str,
        position: Option<Position>,
        path: String,
        problem: String,
    ) -> Self {
        let (line, column) = (position.map(|p| p.line), position.map(|p| p.column));
        Self {
            file: file.to_owned(),
            line,
            column,
            path,
            problem,
        }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for YamlError {}

#[cfg(test)]
mod tests;
