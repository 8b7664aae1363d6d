//! The host that is a real proxy.

use std::time::Duration;

use crate::headers::HeaderBlock;
use crate::host::{
    Buffer, Header, HeaderMap, Host, HostError, HttpCall, LocalResponse, LogLevel,
    MAX_PROPERTY_BYTES, MetricKind, Side,
};
use crate::{abi, pairs};

/// The proxy that loaded this module.
#[derive(Clone, Copy, Debug)]
pub struct Proxy;

impl Host for Proxy {
    fn property(&self, path: &[&str]) -> Result<Option<Vec<u8>>, HostError> {
        property(&pairs::encode_path(path))
    }

    fn encoded_property(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        property(path.as_bytes())
    }

    fn header_block(&self, map: HeaderMap) -> Result<HeaderBlock, HostError> {
        HeaderBlock::parse(abi::header_map(map_number(map))?).ok_or(HostError::Malformed {
            call: "proxy_get_header_map_pairs",
        })
    }

    fn header_map(&self, map: HeaderMap) -> Result<Vec<Header>, HostError> {
        pairs::decode(&abi::header_map(map_number(map))?).ok_or(HostError::Malformed {
            call: "proxy_get_header_map_pairs",
        })
    }

    fn buffer(&self, buffer: Buffer, max: usize) -> Result<Vec<u8>, HostError> {
        let buffer = match buffer {
            Buffer::HttpCallResponseBody => 4,
            Buffer::PluginConfiguration => 7,
        };
        let bytes = abi::buffer(buffer, max)?;
        if bytes.len() > max {
            let len = bytes.len();
            return Err(HostError::TooLarge {
                call: "proxy_get_buffer_bytes",
                len,
                max,
            });
        }
        Ok(bytes)
    }

    fn send_local_response(&self, response: &LocalResponse<'_>) -> Result<(), HostError> {
        let headers = pairs::encode(response.headers);
        abi::send_local_response(response.status, response.details, response.body, &headers)
    }

    fn resume_request(&self) -> Result<(), HostError> {
        const REQUEST: u32 = 0;
        abi::continue_stream(REQUEST)
    }

    fn resume_connection(&self, side: Side) -> Result<(), HostError> {
        abi::continue_stream(stream(side))
    }

    fn close_connection(&self, side: Side) -> Result<(), HostError> {
        abi::close_stream(stream(side))
    }

    fn http_call(&self, call: &HttpCall<'_>) -> Result<u32, HostError> {
        let timeout = Duration::from_millis(call.timeout_milliseconds.into());
        abi::http_call(call.cluster, call.headers, timeout)
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, HostError> {
        match abi::shared_data(key) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_shared_data(&self, key: &str, value: &[u8], version: u32) -> Result<(), HostError> {
        abi::set_shared_data(key, value, version)
    }

    fn set_tick_period(&self, milliseconds: u32) -> Result<(), HostError> {
        abi::set_tick_period(milliseconds)
    }

    fn now_nanoseconds(&self) -> Result<u64, HostError> {
        abi::now_nanoseconds()
    }

    fn set_effective_context(&self, context: u32) -> Result<(), HostError> {
        abi::set_effective_context(context)
    }

    fn call_foreign_function(&self, name: &str, arguments: &[u8]) -> Result<Vec<u8>, HostError> {
        abi::call_foreign_function(name, arguments)
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Result<u32, HostError> {
        let kind = match kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge => 1,
            MetricKind::Histogram => 2,
        };
        abi::define_metric(kind, name)
    }

    fn increment_metric(&self, metric: u32, by: i64) -> Result<(), HostError> {
        abi::increment_metric(metric, by)
    }

    fn record_metric(&self, metric: u32, value: u64) -> Result<(), HostError> {
        abi::record_metric(metric, value)
    }

    fn log(&self, level: LogLevel, message: &str) {
        log::log!(log::Level::from(level), "{message}");
    }
}

/// The side's number in the ABI.
const fn stream(side: Side) -> u32 {
    match side {
        Side::Downstream => 2,
        Side::Upstream => 3,
    }
}

fn property(path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    match abi::property(path) {
        Ok(value) if value.len() > MAX_PROPERTY_BYTES => Err(HostError::TooLarge {
            call: "proxy_get_property",
            len: value.len(),
            max: MAX_PROPERTY_BYTES,
        }),
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

const fn map_number(map: HeaderMap) -> u32 {
    match map {
        HeaderMap::Request => 0,
        HeaderMap::HttpCallResponse => 6,
    }
}

impl From<LogLevel> for log::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}
