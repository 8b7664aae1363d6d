//! The built filter: where it is, its bytes, and the module compiled once for each process.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wasmtime::{Config, Engine, Module};

/// Names the file to test instead of the one `just wasm` builds.
pub const PATH_VARIABLE: &str = "COUNTERSIGN_WASM";

/// Where `just wasm` leaves the filter, from the workspace's root.
pub const BUILT_PATH: &str = "target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm";

/// Why the filter cannot be loaded. `Debug` prints the message: tests unwrap it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// Nothing readable at the path.
    #[error("no filter at {}: run `just wasm`, or name one with {PATH_VARIABLE}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What reading it said.
        #[source]
        source: io::Error,
    },
    /// The file is no WebAssembly module that Cranelift can compile.
    #[error("{} does not compile as WebAssembly", path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// What the compiler said.
        source: wasmtime::Error,
    },
    /// The engine itself cannot be made.
    #[error("the WebAssembly engine does not start")]
    Engine {
        /// What the engine said.
        source: wasmtime::Error,
    },
}

impl fmt::Debug for ArtefactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The filter, compiled.
#[derive(Debug)]
pub struct Artefact {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its bytes, as Envoy would load them.
    pub bytes: Vec<u8>,
    /// The module; instances of it share the code.
    pub module: Module,
}

impl Artefact {
    /// Reads and compiles the filter at `path`, each time anew.
    ///
    /// # Errors
    /// The file is missing or is no module.
    pub fn read(path: &Path) -> Result<Self, ArtefactError> {
        read_and_compile(path.to_owned(), &Config::new())
    }

    /// Reads the filter where it is expected, and compiles it so that the instructions it takes are counted
    /// ([`crate::host::Plugin::instructions`]).
    ///
    /// # Errors
    /// As [`Artefact::read`].
    pub fn read_counting() -> Result<Self, ArtefactError> {
        read_and_compile(path(), Config::new().consume_fuel(true))
    }
}

/// The path the filter is expected at: [`PATH_VARIABLE`], else [`BUILT_PATH`] of this workspace.
#[must_use]
pub fn path() -> PathBuf {
    if let Some(named) = env::var_os(PATH_VARIABLE).filter(|named| !named.is_empty()) {
        return PathBuf::from(named);
    }
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).join(BUILT_PATH)
}

/// Reads and compiles the filter on the first call; later calls share the result.
///
/// # Errors
/// The file is missing or is no module. Tests let this fail them: there is no skipping.
pub fn load() -> Result<&'static Artefact, &'static ArtefactError> {
    static LOADED: OnceLock<Result<Artefact, ArtefactError>> = OnceLock::new();
    LOADED
        .get_or_init(|| read_and_compile(path(), &Config::new()))
        .as_ref()
}

fn read_and_compile(path: PathBuf, config: &Config) -> Result<Artefact, ArtefactError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(ArtefactError::Missing { path, source }),
    };
    let engine = Engine::new(config).map_err(|source| ArtefactError::Engine { source })?;
    match Module::new(&engine, &bytes) {
        Ok(module) => Ok(Artefact {
            path,
            bytes,
            module,
        }),
        Err(source) => Err(ArtefactError::Compile { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_filter_says_how_to_build_it() {
        let refused = read_and_compile(PathBuf::from("/nowhere/filter.wasm"), &Config::new());
        let error = refused.expect_err("nothing is there");
        assert!(matches!(error, ArtefactError::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains("just wasm"), "{error}");
    }
}
