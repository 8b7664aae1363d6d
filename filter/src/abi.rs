//! The proxy's functions (proxy-wasm 0.2.1) as the filter calls them: the only place with `unsafe`.
//!
//! Contexts and callbacks are the SDK's business ([`crate::shell`]). Its wrappers of these functions
//! are not used, because they panic on every status they do not list, and a panic ends the module for
//! all requests; here each status becomes an error. The one exception is the call to a cluster: only
//! the SDK's own wrapper makes its dispatcher know the reply.

#![allow(
    unsafe_code,
    reason = "imports and exports of the ABI cannot be declared otherwise"
)]

use std::ptr::null_mut;
use std::time::Duration;

use proxy_wasm::hostcalls;

use crate::host::{HostError, Status};

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
        pub(super) fn proxy_close_stream(stream: u32) -> u32;
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
    check(call, run(&raw mut data, &raw mut size))?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the ABI has the proxy allocate with the module's `malloc`, which is the SDK's
    // `Box<[u8]>` of exactly `size` bytes, write all of them, and leave the memory to the module. Each
    // such answer is taken once, here.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
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

pub(crate) fn continue_stream(stream: u32) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_continue_stream(stream) };
    check("proxy_continue_stream", raw)
}

pub(crate) fn close_stream(stream: u32) -> Result<(), HostError> {
    // SAFETY: no memory is passed.
    let raw = unsafe { raw::proxy_close_stream(stream) };
    check("proxy_close_stream", raw)
}

/// Statuses other than those below would be a panic of the SDK; Envoy's `httpCall` returns no other.
pub(crate) fn http_call(
    cluster: &str,
    headers: &[(&str, &str)],
    timeout: Duration,
) -> Result<u32, HostError> {
    hostcalls::dispatch_http_call(cluster, headers.to_vec(), None, Vec::new(), timeout).map_err(
        |status| HostError::Refused {
            call: "proxy_http_call",
            status: match status {
                proxy_wasm::types::Status::BadArgument => Status::BadArgument,
                _ => Status::InternalFailure,
            },
        },
    )
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
