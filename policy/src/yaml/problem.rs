//! What is wrong in a file.

use std::fmt;

use serde::Serialize;

use super::YamlError;

/// What is wrong in a file; displays as `file:line:column: kind namespace/name: path: problem`, as far as it is known.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The file's name as given by the caller.
    pub file: String,
    /// Line, from 1.
    pub line: Option<u64>,
    /// Column, from 1.
    pub column: Option<u64>,
    /// The resource it is in.
    #[serde(flatten)]
    pub resource: Option<Box<ResourceName>>,
    /// Path within the resource, or the document where there is no resource; empty for the whole of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

/// A resource by name, as far as it has one.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ResourceName {
    /// `kind`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `metadata.namespace`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `metadata.name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl fmt::Display for ResourceName {
    /// `kind namespace/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => Ok(()),
            ("", name) | (name, "") => write!(f, " {name}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

impl Problem {
    /// A problem of a file as a whole.
    #[must_use]
    pub fn of_file(file: &str, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            problem: problem.into(),
            ..Self::default()
        }
    }
}

impl From<YamlError> for Problem {
    fn from(error: YamlError) -> Self {
        Self {
            file: error.file,
            line: error.line,
            column: error.column,
            path: error.path,
            problem: error.problem,
            ..Self::default()
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        let resource = self.resource.as_ref().map(ToString::to_string);
        for part in [
            resource.unwrap_or_default().as_str(),
            self.path.as_str(),
            self.problem.as_str(),
        ] {
            match part {
                "" => {}
                // A text as read from standard input has no name.
                part if self.file.is_empty() && part == self.problem => f.write_str(part)?,
                part => write!(f, ": {part}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
