//! How far the record had come, kept outside of it: by this a start notices that an older one was
//! put in its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audit::merkle::Hash;
use crate::ca::files;

/// What is known of the record from outside.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Position {
    /// Version of this file.
    pub version: u32,
    /// Epoch of the last deny list that was numbered.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Size of the log at the last signed head.
    pub size: u64,
    /// The root there, lower-case hex.
    pub root: String,
    /// The signed head.
    pub head: String,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// It cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is not what we write.
    #[error(
        "{} is damaged: {problem}; without it nothing tells whether the record is an older one \
         (remove it only if nothing was restored)",
        path.display()
    )]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Position {
    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// [`PositionError`].
    pub fn read(path: &Path) -> Result<Option<Self>, PositionError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("read", path, source)),
        };
        let bad = |problem: String| PositionError::Bad {
            path: path.to_owned(),
            problem,
        };
        let position: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if position.version != VERSION {
            return Err(bad(format!(
                "version {}, expected {VERSION}",
                position.version
            )));
        }
        position
            .root
            .parse::<Hash>()
            .map_err(|error| bad(format!("root: {error}")))?;
        Ok(Some(position))
    }

    /// Replaces the file at once and durably.
    ///
    /// # Errors
    /// [`PositionError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), PositionError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| io_error("write", path, error.into()))?;
        files::replace_public(path, format!("{text}\n").as_bytes())
            .map_err(|source| io_error("write", path, source))
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> PositionError {
    PositionError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Version of the file.
pub const VERSION: u32 = 1;
