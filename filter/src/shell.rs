//! The module's side of proxy-wasm: each callback handed on to the [`Vm`], which knows the contexts by their numbers.
//!
//! Root contexts are the SDK's: start, configuration, timer, replies to calls. Requests and connections come in by
//! functions of our own, which take the place of the SDK's when the module is built (`trim_exports`): its
//! dispatcher keeps a table of objects for them beside ours, which cost a request as much as its policies. Were
//! the place not taken, the SDK would be asked for a context that there is none for, and end the module: Envoy
//! then denies.

#![allow(
    unsafe_code,
    reason = "callbacks are functions of fixed names, the SDK's among them"
)]

use log::{LevelFilter, Log, Metadata, Record};
use proxy_wasm::traits::{Context, RootContext};

use crate::abi;
use crate::host::proxy_wasm::Proxy;
use crate::host::{Action, Side};
use crate::vm::Vm;

thread_local! {
    static VM: Vm<Proxy> = Vm::new(Proxy);
}

proxy_wasm::main! {{
    // Fails only where a logger was set before, and this is the first thing that runs.
    if log::set_logger(&ProxyLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    // A panic ends the module and Envoy then refuses every request; say where it was.
    std::panic::set_hook(Box::new(|info| {
        const CRITICAL: u32 = 5;
        // There is nobody left to tell that even the log did not work.
        abi::log(CRITICAL, &format!("countersign: {info}")).ok();
    }));
    proxy_wasm::set_root_context(|id| {
        with_vm(|vm| vm.on_context_create(id, 0));
        Box::new(RootShell { id })
    });
}}

fn with_vm<T>(run: impl FnOnce(&Vm<Proxy>) -> T) -> T {
    VM.with(run)
}

/// A root context: one configuration of the plug-in.
struct RootShell {
    id: u32,
}

impl Context for RootShell {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        // Only whether there are any matters.
        let headers = u32::try_from(headers).unwrap_or(u32::MAX);
        with_vm(|vm| vm.on_http_call_response(self.id, token, headers, body));
    }

    fn on_done(&mut self) -> bool {
        with_vm(|vm| vm.on_done(self.id));
        true
    }
}

impl RootContext for RootShell {
    fn on_configure(&mut self, size: usize) -> bool {
        with_vm(|vm| vm.on_configure(self.id, size))
    }

    fn on_tick(&mut self) {
        with_vm(|vm| vm.on_tick(self.id));
    }
}

impl Drop for RootShell {
    fn drop(&mut self) {
        with_vm(|vm| vm.on_delete(self.id));
    }
}

/// The SDK's own functions of these names, for root contexts.
mod sdk {
    unsafe extern "C" {
        pub(super) safe fn proxy_on_context_create(context: u32, parent: u32);
        pub(super) safe fn proxy_on_delete(context: u32);
    }
}

/// `proxy_on_context_create`: of a root context where `parent` is 0.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_context_create(context: u32, parent: u32) {
    if parent == 0 {
        sdk::proxy_on_context_create(context, parent);
    } else {
        with_vm(|vm| vm.on_context_create(context, parent));
    }
}

/// `proxy_on_delete`: the context has ended.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_delete(context: u32) {
    if !with_vm(|vm| vm.on_child_delete(context)) {
        sdk::proxy_on_delete(context);
    }
}

/// `proxy_on_request_headers`.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_request_headers(context: u32, _headers: u32, _end: u32) -> u32 {
    number(with_vm(|vm| vm.on_request_headers(context)))
}

/// `proxy_on_request_body`.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_request_body(context: u32, _size: u32, _end: u32) -> u32 {
    number(with_vm(|vm| vm.on_request_rest(context)))
}

/// `proxy_on_request_trailers`.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_request_trailers(context: u32, _trailers: u32) -> u32 {
    number(with_vm(|vm| vm.on_request_rest(context)))
}

/// `proxy_on_new_connection`.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_new_connection(context: u32) -> u32 {
    number(with_vm(|vm| vm.on_new_connection(context)))
}

/// `proxy_on_downstream_data`.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_downstream_data(context: u32, size: usize, _end: u32) -> u32 {
    number(with_vm(|vm| vm.on_data(context, Side::Downstream, size)))
}

/// `proxy_on_upstream_data`.
#[unsafe(no_mangle)]
extern "C" fn countersign_on_upstream_data(context: u32, size: usize, _end: u32) -> u32 {
    number(with_vm(|vm| vm.on_data(context, Side::Upstream, size)))
}

/// The action's number in the ABI.
const fn number(action: Action) -> u32 {
    match action {
        Action::Continue => 0,
        Action::Pause => 1,
    }
}

/// The `log` facade's way to the proxy's log, so that what libraries log arrives there, too.
struct ProxyLog;

impl Log for ProxyLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Trace => 0,
                log::Level::Debug => 1,
                log::Level::Info => 2,
                log::Level::Warn => 3,
                log::Level::Error => 4,
            };
            // The log is where failures are told; there is nowhere else to tell this one.
            abi::log(level, &record.args().to_string()).ok();
        }
    }

    fn flush(&self) {}
}
