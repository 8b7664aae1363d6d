//! A proxy-wasm host on wasmtime that runs the built filter.
