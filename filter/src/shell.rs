//! The module's side of proxy-wasm: what the SDK's dispatcher is given, each callback handed on to the
//! [`Vm`], which knows the contexts by their numbers.

#![allow(
    unsafe_code,
    reason = "the SDK's entry point is a function of a fixed name"
)]

use log::{LevelFilter, Log, Metadata, Record};
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::{Action, ContextType};

use crate::abi;
use crate::host;
use crate::host::Side;
use crate::host::proxy_wasm::Proxy;
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

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        with_vm(|vm| vm.on_context_create(id, self.id));
        Some(Box::new(StreamShell { id }))
    }

    fn create_stream_context(&self, id: u32) -> Option<Box<dyn StreamContext>> {
        with_vm(|vm| vm.on_context_create(id, self.id));
        Some(Box::new(ConnectionShell { id }))
    }

    fn get_type(&self) -> Option<ContextType> {
        // A configuration for TCP in an HTTP filter, and the other way around, ends the module at the
        // first request or connection, and Envoy denies: the dispatcher knows no context for it.
        Some(if with_vm(|vm| vm.is_tcp(self.id)) {
            ContextType::StreamContext
        } else {
            ContextType::HttpContext
        })
    }
}

impl Drop for RootShell {
    fn drop(&mut self) {
        with_vm(|vm| vm.on_delete(self.id));
    }
}

/// A request. The SDK drops it when Envoy says that the context has ended.
struct StreamShell {
    id: u32,
}

impl Context for StreamShell {
    fn on_done(&mut self) -> bool {
        with_vm(|vm| vm.on_done(self.id));
        true
    }
}

impl HttpContext for StreamShell {
    fn on_http_request_headers(&mut self, _headers: usize, _end: bool) -> Action {
        with_vm(|vm| vm.on_request_headers(self.id)).into()
    }

    fn on_http_request_body(&mut self, _size: usize, _end: bool) -> Action {
        with_vm(|vm| vm.on_request_rest(self.id)).into()
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        with_vm(|vm| vm.on_request_rest(self.id)).into()
    }
}

impl Drop for StreamShell {
    fn drop(&mut self) {
        with_vm(|vm| vm.on_delete(self.id));
    }
}

/// A TCP connection. The SDK drops it likewise.
struct ConnectionShell {
    id: u32,
}

impl Context for ConnectionShell {
    fn on_done(&mut self) -> bool {
        with_vm(|vm| vm.on_done(self.id));
        true
    }
}

impl StreamContext for ConnectionShell {
    fn on_new_connection(&mut self) -> Action {
        with_vm(|vm| vm.on_new_connection(self.id)).into()
    }

    fn on_downstream_data(&mut self, size: usize, _end: bool) -> Action {
        with_vm(|vm| vm.on_data(self.id, Side::Downstream, size)).into()
    }

    fn on_upstream_data(&mut self, size: usize, _end: bool) -> Action {
        with_vm(|vm| vm.on_data(self.id, Side::Upstream, size)).into()
    }
}

impl Drop for ConnectionShell {
    fn drop(&mut self) {
        with_vm(|vm| vm.on_delete(self.id));
    }
}

impl From<host::Action> for Action {
    fn from(action: host::Action) -> Self {
        match action {
            host::Action::Continue => Self::Continue,
            host::Action::Pause => Self::Pause,
        }
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
