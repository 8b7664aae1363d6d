//! SPIFFE identities, X509-SVID checks, trust bundles and deny lists; pure, for native and wasm32.
