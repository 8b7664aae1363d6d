//! Istio authorization policies compiled into an indexed set that decides and explains; pure, for native and wasm32.
