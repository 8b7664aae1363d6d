//! What can go wrong with a guest.

use std::fmt;

use crate::artefact::ArtefactError;

/// Why a call into the filter gave no answer. `Debug` prints the message: tests unwrap it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The filter itself could not be loaded.
    #[error("the filter cannot be loaded: {source}")]
    Artefact {
        /// Why.
        source: &'static ArtefactError,
    },
    /// The module asks for an import no proxy-wasm host has, or cannot be instantiated.
    #[error("the filter does not instantiate: {source:#}")]
    Instantiate {
        /// What wasmtime said.
        source: wasmtime::Error,
    },
    /// The guest trapped: a panic, an out-of-bounds access, an exhausted memory.
    #[error("{export} trapped: {source:#}; last log lines: {log:?}")]
    Trap {
        /// The export that was called.
        export: &'static str,
        /// What wasmtime said.
        source: wasmtime::Error,
        /// The guest's last log lines (a panic message among them).
        log: Vec<String>,
    },
    /// The guest trapped earlier; Envoy would not call it again either.
    #[error("the filter trapped earlier, {export} is not called")]
    Dead {
        /// The export that was to be called.
        export: &'static str,
    },
    /// `proxy_on_vm_start` answered false.
    #[error("the filter refused to start")]
    RefusedToStart,
    /// No stream has this context id (any more).
    #[error("no stream has context id {id}")]
    NoSuchStream {
        /// The id.
        id: u32,
    },
    /// The filter answered neither Continue (0) nor Pause (1).
    #[error("{export} answered action {action}, which does not exist")]
    UnknownAction {
        /// The export that was called.
        export: &'static str,
        /// What it answered.
        action: u32,
    },
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
