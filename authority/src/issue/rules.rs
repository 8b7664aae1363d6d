//! The rules in force, which a new file may replace while the authority runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::crypto::sha256_hex;
use crate::issuance::{BUILTIN_FILE, BUILTIN_TEXT, Policy, Problem};

/// Rules and where they are from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadedRules {
    /// The rules.
    pub policy: Policy,
    /// The file's name, or `builtin`.
    pub source: String,
    /// SHA-256 of the file's text, lower-case hex.
    pub sha256: String,
    /// The file's text.
    pub text: String,
}

impl LoadedRules {
    /// The built-in rules.
    #[must_use]
    pub fn builtin() -> Self {
        Self {
            policy: Policy::builtin(),
            source: BUILTIN_FILE.to_owned(),
            sha256: sha256_hex(BUILTIN_TEXT.as_bytes()),
            text: BUILTIN_TEXT.to_owned(),
        }
    }

    /// Compiles the text of the file `source`.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn compile(source: &str, text: String) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            policy: Policy::compile(source, &text)?,
            source: source.to_owned(),
            sha256: sha256_hex(text.as_bytes()),
            text,
        })
    }
}

/// The rules in force; cheap to clone, and all clones see the same.
#[derive(Clone, Debug)]
pub struct LiveRules(Arc<Live>);

#[derive(Debug)]
struct Live {
    current: RwLock<Arc<LoadedRules>>,
    reloads: AtomicU64,
    refused: AtomicU64,
}

impl LiveRules {
    /// Starts with `rules`.
    #[must_use]
    pub fn new(rules: LoadedRules) -> Self {
        Self(Arc::new(Live {
            current: RwLock::new(Arc::new(rules)),
            reloads: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// The rules in force now. A decision is made with one set of them.
    #[must_use]
    pub fn current(&self) -> Arc<LoadedRules> {
        // Nothing panics while it holds the lock, which is held for a pointer's copy.
        Arc::clone(
            &self
                .0
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Puts `rules` in force.
    pub fn replace(&self, rules: LoadedRules) {
        *self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.0.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a content that could not be put in force.
    pub(crate) fn count_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often other rules were put in force since the start.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.0.reloads.load(Ordering::Relaxed)
    }

    /// How many contents were refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}
