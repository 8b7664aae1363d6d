//! Envoy bootstraps and Istio resources that put the filter and the agent in front of a workload.
//!
//! A spec ([`sidecar::Server`], [`sidecar::Client`], [`istio::WasmPlugin`]) says what is wanted in the
//! project's terms; `bootstrap()` checks it as a whole, reports every problem with its field path, and
//! gives a value that prints as YAML. Output depends on the spec alone: same spec, same bytes.
//!
//! What every bootstrap has, because a check elsewhere relies on it: no TLS session resumption (a resumed
//! session skips certificate checks), a bound on the age of connections, typed exact URI SAN matchers on
//! every TLS cluster, no hedging, no header of the application that could switch retries on, and a Wasm
//! filter that fails closed. Nothing here does I/O: paths are written down, never opened. [`doctor`] looks
//! for what undoes these in a configuration from anywhere.
//!
//! ```
//! use envoy_config::sidecar::{Client, Server, Upstream};
//! use envoy_config::tls::TlsSource;
//!
//! let tls = TlsSource::Sds {
//!     socket_path: "/run/countersign/agent.sock".into(),
//!     certificate: "default".to_owned(),
//!     validation: "ROOTCA".to_owned(),
//! };
//! let server = Server::new(
//!     "httpbin",
//!     "127.0.0.1:15006".parse()?,
//!     "127.0.0.1:8000".parse()?,
//!     tls.clone(),
//! );
//! assert!(server.bootstrap()?.to_yaml()?.contains("require_client_certificate: true"));
//!
//! let allowed = ["spiffe://cluster.local/ns/default/sa/httpbin".parse()?].into();
//! let httpbin = Upstream::new("httpbin", "127.0.0.1:15006".parse()?, allowed, tls);
//! let client = Client::new("sleep", "127.0.0.1:15001".parse()?, vec![httpbin]);
//! assert!(client.bootstrap()?.to_yaml()?.contains("san_type: URI"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod address;
pub mod age;
pub mod doctor;
pub mod emit;
pub mod error;
pub mod ext_authz;
pub mod istio;
pub mod jwt;
pub mod rbac;
pub mod sidecar;
pub mod tls;
pub mod version;

mod access_log;
mod bootstrap;
mod cluster;
mod http;
mod listener;
mod plugin;
mod stats;
mod typed;
mod wasm;

pub use bootstrap::Bootstrap;
pub use cluster::{AGENT_HTTP_CLUSTER, AGENT_SDS_CLUSTER, APP_CLUSTER};
pub use emit::EmitError;
pub use error::{Problem, SpecError, SpecErrors};
pub use http::{DIRECT_ADDRESS_KEY, JWT_PAYLOAD_KEY, PEER_CERTIFICATE_KEY, REMOTE_ADDRESS_KEY};
pub use version::EnvoyVersion;
