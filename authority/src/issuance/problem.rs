//! What is wrong in a file.

use std::fmt;

use serde::Serialize;

/// One problem of a file; displays as `file:line:column: path: problem`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The file's name as given by the caller.
    pub file: String,
    /// Line, from 1; none where it is not known.
    pub line: Option<u64>,
    /// Column, from 1; none where it is not known.
    pub column: Option<u64>,
    /// The field, e.g. `rules[2].spiffeId`; empty for the file as a whole.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

impl Problem {
    /// One of the file as a whole.
    #[must_use]
    pub fn of_file(file: &str, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            path: String::new(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Problem {
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

impl std::error::Error for Problem {}
