//! The proxy-wasm shell that enforces identity and policy inside Envoy.
