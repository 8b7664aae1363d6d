//! The proxy-wasm 0.2.1 ABI, both ways: the only place with `unsafe`.
//!
//! Below are the functions the proxy gives and, at the end, those it calls. There is no SDK between:
//! its dispatcher panics on a reply to a call it did not register, which Envoy sends when a call
//! fails at once, and on statuses it does not list; and it exports callbacks that the filter does
//! not need, each of which Envoy would call on every request.

#![allow(
    unsafe_code,
    reason = "imports and exports of the ABI cannot be declared otherwise"
)]

use std::ptr::null_mut;

use crate::host::proxy_wasm::Proxy;
use crate::host::{Action, HostError, Status};
use crate::lent;
use crate::vm::Vm;

mod raw {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            max: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(
            map: u32,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        pub(super) fn proxy_continue_stream(stream: u32) -> u32;
        pub(super) fn proxy_http_call(
            cluster: *const u8,
            cluster_size: usize,
            headers: *const u8,
            headers_size: usize,
            body: *const u8,
            body_size: usize,
            trailers: *const u8,
            trailers_size: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            version: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            version: u32,
        ) -> u32;
        pub(super) fn proxy_define_metric(
            kind: u32,
            name: *const u8,
            name_size: usize,
            metric: *mut u32,
        ) -> u32;
        pub(super) fn proxy_increment_metric(metric: u32, by: i64) -> u32;
        pub(super) fn proxy_record_metric(metric: u32, value: u64) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_call_foreign_function(
            name: *const u8,
            name_size: usize,
            arguments: *const u8,
            arguments_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
    }
}

fn check(call: &'static str, raw: u32) -> Result<(), HostError> {
    Status::from_raw(raw).map_err(|status| HostError::Refused { call, status })
}

/// Runs a call that answers with memory, and takes that memory.
fn answer(
    call: &'static str,
    run: impl FnOnce(*mut *mut u8, *mut usize) -> u32,
) -> Result<Vec<u8>, HostError> {
    let mut data: *mut u8 = null_mut();
    let mut size: usize = 0;
    let raw = run(&raw mut data, &raw mut size);
    if let Err(error) = check(call, raw) {
        lent::clear();
        return Err(error);
    }
    if data.is_null() || size == 0 {
        lent::clear();
        return Ok(Vec::new());
    }
    lent::take(data.addr(), size).ok_or(HostError::Malformed { call })
}

pub(crate) fn log(level: u32, message: &str) -> Result<(), HostError> {
    // SAFETY: the proxy reads `len` bytes at the address before it returns.
    let raw = unsafe { raw::proxy_log(level, message.as_ptr(), message.len()) };
    check("proxy_log", raw)
}

pub(crate) fn now_nanoseconds() -> Result<u64, HostError> {
    let mut time = 0;
    // SAFETY: the proxy writes one u64 at the address, which is aligned and lives on the stack.
    let raw = unsafe { raw::proxy_get_current_time_nanoseconds(&raw mut time) };
    check("proxy_get_current_time_nanoseconds", raw)?;
    Ok(time)
}

pub(crate) fn set_tick_period(milliseconds: u32) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_set_tick_period_milliseconds(milliseconds) };
    check("proxy_set_tick_period_milliseconds", raw)
}

pub(crate) fn buffer(buffer: u32, max: usize) -> Result<Vec<u8>, HostError> {
    answer("proxy_get_buffer_bytes", |data, size| {
        // SAFETY: the proxy writes an address and a length to the two places, which live on the
        // stack of `answer`; the same holds for every other call through `answer`.
        unsafe { raw::proxy_get_buffer_bytes(buffer, 0, max, data, size) }
    })
}

pub(crate) fn header_map(map: u32) -> Result<Vec<u8>, HostError> {
    answer("proxy_get_header_map_pairs", |data, size| {
        // SAFETY: see `buffer`.
        unsafe { raw::proxy_get_header_map_pairs(map, data, size) }
    })
}

pub(crate) fn property(path: &[u8]) -> Result<Vec<u8>, HostError> {
    answer("proxy_get_property", |data, size| {
        // SAFETY: the proxy reads the path before it returns; else see `buffer`.
        unsafe { raw::proxy_get_property(path.as_ptr(), path.len(), data, size) }
    })
}

pub(crate) fn send_local_response(
    status: u32,
    details: &str,
    body: &str,
    headers: &[u8],
) -> Result<(), HostError> {
    // SAFETY: the proxy copies the three texts before it returns. -1 is "no gRPC status": Envoy
    // finds the one that belongs to the HTTP status for a gRPC request.
    let raw = unsafe {
        raw::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    };
    check("proxy_send_local_response", raw)
}

pub(crate) fn resume_request() -> Result<(), HostError> {
    const REQUEST: u32 = 0;
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_continue_stream(REQUEST) };
    check("proxy_continue_stream", raw)
}

pub(crate) fn http_call(cluster: &str, headers: &[u8], timeout: u32) -> Result<u32, HostError> {
    let trailers = crate::pairs::encode(&[]);
    let mut token = 0;
    // SAFETY: the proxy copies the texts before it returns and writes one u32 to the token.
    let raw = unsafe {
        raw::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            null_mut(),
            0,
            trailers.as_ptr(),
            trailers.len(),
            timeout,
            &raw mut token,
        )
    };
    check("proxy_http_call", raw)?;
    Ok(token)
}

pub(crate) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), HostError> {
    let mut version = 0;
    let value = answer("proxy_get_shared_data", |data, size| {
        // SAFETY: the proxy reads the key before it returns and writes one u32; else see `buffer`.
        unsafe { raw::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version) }
    })?;
    Ok((value, version))
}

pub(crate) fn set_shared_data(key: &str, value: &[u8], version: u32) -> Result<(), HostError> {
    // SAFETY: the proxy copies key and value before it returns.
    let raw = unsafe {
        raw::proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            version,
        )
    };
    check("proxy_set_shared_data", raw)
}

pub(crate) fn define_metric(kind: u32, name: &str) -> Result<u32, HostError> {
    let mut metric = 0;
    // SAFETY: the proxy copies the name before it returns and writes one u32.
    let raw = unsafe { raw::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut metric) };
    check("proxy_define_metric", raw)?;
    Ok(metric)
}

pub(crate) fn increment_metric(metric: u32, by: i64) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_increment_metric(metric, by) };
    check("proxy_increment_metric", raw)
}

pub(crate) fn record_metric(metric: u32, value: u64) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_record_metric(metric, value) };
    check("proxy_record_metric", raw)
}

pub(crate) fn set_effective_context(context: u32) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_set_effective_context(context) };
    check("proxy_set_effective_context", raw)
}

pub(crate) fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, HostError> {
    answer("proxy_call_foreign_function", |data, size| {
        // SAFETY: the proxy reads name and arguments before it returns; else see `buffer`.
        unsafe {
            raw::proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                arguments.as_ptr(),
                arguments.len(),
                data,
                size,
            )
        }
    })
}

// What the proxy calls. Nothing here needs `unsafe` but the fixed names.

thread_local! {
    static VM: Vm<Proxy> = Vm::new(Proxy);
}

fn with_vm<T>(run: impl FnOnce(&Vm<Proxy>) -> T) -> T {
    VM.with(run)
}

const fn raw_action(action: Action) -> u32 {
    match action {
        Action::Continue => 0,
        Action::Pause => 1,
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // A panic ends the module and Envoy then refuses every request; say where it was.
    std::panic::set_hook(Box::new(|info| {
        const CRITICAL: u32 = 5;
        // There is nobody left to tell that even the log did not work.
        log(CRITICAL, &format!("countersign: {info}")).ok();
    }));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    lent::lend(size)
}

/// The same by the name that hosts look for first.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut u8 {
    lent::lend(size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    with_vm(|vm| vm.on_context_create(context, parent));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_context: u32, _configuration_size: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(context: u32, configuration_size: usize) -> u32 {
    u32::from(with_vm(|vm| vm.on_configure(context, configuration_size)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(context: u32) {
    with_vm(|vm| vm.on_tick(context));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _headers: u32, _end: u32) -> u32 {
    raw_action(with_vm(|vm| vm.on_request_headers(context)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, _size: u32, _end: u32) -> u32 {
    raw_action(with_vm(|vm| vm.on_request_rest(context)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _trailers: u32) -> u32 {
    raw_action(with_vm(|vm| vm.on_request_rest(context)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    context: u32,
    token: u32,
    headers: u32,
    body_size: usize,
    _trailers: u32,
) {
    with_vm(|vm| vm.on_http_call_response(context, token, headers, body_size));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> u32 {
    with_vm(|vm| vm.on_done(context));
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    with_vm(|vm| vm.on_delete(context));
}
