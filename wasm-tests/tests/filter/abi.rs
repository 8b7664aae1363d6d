//! The artefact itself: what it asks of Envoy, what it offers, how large it is.

use wasm_tests::artefact;
use wasm_tests::fixtures::NOW;
use wasm_tests::host::{Plugin, World};

/// What Envoy must fetch, keep and compile for each worker.
const LARGEST: usize = 1 << 20;

/// Callbacks without which the filter could not do its work.
const NEEDED_EXPORTS: [&str; 10] = [
    "memory",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_http_call_response",
    "proxy_on_delete",
];

/// Callbacks that the filter has no use for. Envoy would call them for every request.
const COSTLY_EXPORTS: [&str; 7] = [
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_connection_close",
];

#[test]
fn exports_nothing_that_envoy_would_call_in_vain() {
    let artefact = artefact::load().expect("the filter is built");
    let exports: Vec<&str> = artefact
        .module
        .exports()
        .map(|export| export.name())
        .collect();
    for costly in COSTLY_EXPORTS {
        assert!(!exports.contains(&costly), "{costly} in {exports:?}");
    }
    let own = exports.iter().find(|name| name.starts_with("countersign_"));
    assert_eq!(own, None, "it has not taken the place of the SDK's");
}

#[test]
fn imports_nothing_but_proxy_wasm_hostcalls() {
    let artefact = artefact::load().expect("the filter is built");
    let foreign: Vec<String> = artefact
        .module
        .imports()
        .filter(|import| import.module() != "env" || !import.name().starts_with("proxy_"))
        .map(|import| format!("{}.{}", import.module(), import.name()))
        .collect();
    assert_eq!(
        foreign,
        Vec::<String>::new(),
        "Envoy refuses a module with other imports"
    );
}

#[test]
fn every_import_is_one_the_abi_has() {
    Plugin::start(&World::at(NOW)).expect("each import is a hostcall with the right signature");
}

#[test]
fn exports_what_envoy_calls() {
    let artefact = artefact::load().expect("the filter is built");
    let exports: Vec<&str> = artefact
        .module
        .exports()
        .map(|export| export.name())
        .collect();
    let missing: Vec<&&str> = NEEDED_EXPORTS
        .iter()
        .filter(|needed| !exports.contains(needed))
        .collect();
    assert!(missing.is_empty(), "{missing:?} missing from {exports:?}");
    assert!(exports.contains(&"proxy_abi_version_0_2_1"), "{exports:?}");
    let allocates = ["malloc", "proxy_on_memory_allocate"];
    assert!(
        exports.iter().any(|name| allocates.contains(name)),
        "{exports:?}"
    );
}

#[test]
fn is_small() {
    let size = artefact::load().expect("the filter is built").bytes.len();
    assert!(size <= LARGEST, "{size} bytes, limit is {LARGEST}");
}
