//! What the filter needs from the proxy, as one trait.
//!
//! Envoy is behind [`Host`] in the built module; the tests stand a double behind it. Every call can
//! fail and says how: a proxy that answers with a status nobody expected is a denial, never a panic.

#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
#[cfg(any(target_arch = "wasm32", clippy))]
pub mod proxy_wasm;

use std::fmt;

use crate::headers::HeaderBlock;

/// What the proxy-wasm 0.2.1 ABI can do for the filter.
///
/// Calls act on the context the proxy is calling into, or on the one chosen with
/// [`Host::set_effective_context`].
pub trait Host: Clone + 'static {
    /// Value of a property, `None` where the proxy does not have it; at most
    /// [`MAX_PROPERTY_BYTES`].
    ///
    /// # Errors
    /// Any status but `Ok` and `NotFound`.
    fn property(&self, path: &[&str]) -> Result<Option<Vec<u8>>, HostError>;

    /// The same by the path as the ABI writes it: its parts with a zero byte between them.
    ///
    /// # Errors
    /// As [`Host::property`].
    fn encoded_property(&self, path: &str) -> Result<Option<Vec<u8>>, HostError>;

    /// The headers of a map where the proxy wrote them, without a copy of each.
    ///
    /// # Errors
    /// Any status but `Ok`, or bytes that are no header map.
    fn header_block(&self, map: HeaderMap) -> Result<HeaderBlock, HostError>;

    /// Every header of a map, in order, repeated names kept apart, pseudo-headers included.
    ///
    /// # Errors
    /// Any status but `Ok`, or bytes that are no header map.
    fn header_map(&self, map: HeaderMap) -> Result<Vec<Header>, HostError>;

    /// Up to `max` bytes of a buffer, from its start.
    ///
    /// # Errors
    /// Any status but `Ok`; an absent buffer is `NotFound`.
    fn buffer(&self, buffer: Buffer, max: usize) -> Result<Vec<u8>, HostError>;

    /// Answers the request in the proxy's stead.
    ///
    /// # Errors
    /// Any status but `Ok`; the request must then be left paused.
    fn send_local_response(&self, response: &LocalResponse<'_>) -> Result<(), HostError>;

    /// Lets a paused request go on.
    ///
    /// # Errors
    /// Any status but `Ok`.
    fn resume_request(&self) -> Result<(), HostError>;

    /// Lets bytes of a paused connection go on that came from this side.
    ///
    /// # Errors
    /// Any status but `Ok`; Envoy answers `Unimplemented` for [`Side::Upstream`].
    fn resume_connection(&self, side: Side) -> Result<(), HostError>;

    /// Closes a connection; it ends after the callback. Envoy closes the same connection, the
    /// downstream one, for either side, and the proxied one with it.
    ///
    /// # Errors
    /// Any status but `Ok`; nothing may then be let through any more.
    fn close_connection(&self, side: Side) -> Result<(), HostError>;

    /// Sends a request without a body to a cluster; the reply comes with the token returned.
    ///
    /// # Errors
    /// Any status but `Ok`: no such cluster, nobody to connect to.
    fn http_call(&self, call: &HttpCall<'_>) -> Result<u32, HostError>;

    /// A value shared between the proxy's threads, and its version for [`Host::set_shared_data`].
    ///
    /// # Errors
    /// Any status but `Ok` and `NotFound`.
    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, HostError>;

    /// Sets a shared value, if its version is still `version` (0: whatever it is).
    ///
    /// # Errors
    /// `CasMismatch` where another thread was quicker, or any status but `Ok`.
    fn set_shared_data(&self, key: &str, value: &[u8], version: u32) -> Result<(), HostError>;

    /// Asks for a tick every so many milliseconds; 0 for none.
    ///
    /// # Errors
    /// Any status but `Ok`.
    fn set_tick_period(&self, milliseconds: u32) -> Result<(), HostError>;

    /// Nanoseconds since the Unix epoch, by the proxy's clock.
    ///
    /// # Errors
    /// Any status but `Ok`.
    fn now_nanoseconds(&self) -> Result<u64, HostError>;

    /// Makes the following calls act on another context of this module.
    ///
    /// # Errors
    /// `BadArgument` where that context is gone, or any status but `Ok`.
    fn set_effective_context(&self, context: u32) -> Result<(), HostError>;

    /// Calls one of the proxy's own functions by name.
    ///
    /// # Errors
    /// `NotFound` where the proxy has no such function, or any status but `Ok`.
    fn call_foreign_function(&self, name: &str, arguments: &[u8]) -> Result<Vec<u8>, HostError>;

    /// Makes a metric, or finds the one of that name; the number identifies it from then on.
    ///
    /// # Errors
    /// Any status but `Ok`.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Result<u32, HostError>;

    /// Adds to a counter.
    ///
    /// # Errors
    /// Any status but `Ok`.
    fn increment_metric(&self, metric: u32, by: i64) -> Result<(), HostError>;

    /// Sets a gauge, or adds a value to a histogram.
    ///
    /// # Errors
    /// Any status but `Ok`.
    fn record_metric(&self, metric: u32, value: u64) -> Result<(), HostError>;

    /// Writes to the proxy's log. There is nowhere to report that it could not.
    fn log(&self, level: LogLevel, message: &str);
}

/// A header: name in lower case, value as it came, both as bytes.
pub type Header = (Vec<u8>, Vec<u8>);

/// Most bytes taken from one property: a PEM certificate is a few thousand.
pub const MAX_PROPERTY_BYTES: usize = 64 * 1024;

/// A call to the proxy that did not do what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The proxy answered with a status other than `Ok`.
    #[error("{call} answered {status}")]
    Refused {
        /// Name in the ABI.
        call: &'static str,
        /// What it answered.
        status: Status,
    },
    /// More bytes came than are accepted.
    #[error("{call} gave {len} bytes, limit is {max}")]
    TooLarge {
        /// Name in the ABI.
        call: &'static str,
        /// Bytes that came.
        len: usize,
        /// Bytes that are accepted.
        max: usize,
    },
    /// Bytes came that are not what the ABI says.
    #[error("{call} gave bytes that are malformed")]
    Malformed {
        /// Name in the ABI.
        call: &'static str,
    },
}

impl HostError {
    /// True where the proxy says that the thing asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: Status::NotFound,
                ..
            }
        )
    }
}

/// A status other than `Ok`, by its number in the proxy-wasm ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// 1: nothing of that name.
    NotFound,
    /// 2: an argument the proxy does not accept.
    BadArgument,
    /// 3: a value that cannot be written as bytes.
    SerializationFailure,
    /// 4: bytes the proxy could not read.
    ParseFailure,
    /// 5: an expression that is none.
    BadExpression,
    /// 6: memory outside the module's.
    InvalidMemoryAccess,
    /// 7: nothing to give.
    Empty,
    /// 8: another thread changed the value first.
    CasMismatch,
    /// 9: an answer of another type.
    ResultMismatch,
    /// 10: the proxy failed.
    InternalFailure,
    /// 11: the connection broke.
    BrokenConnection,
    /// 12: the proxy does not do this.
    Unimplemented,
    /// Any other number.
    Unlisted(u32),
}

impl Status {
    /// Reads a status as the ABI returns it.
    ///
    /// # Errors
    /// Every number but 0.
    pub const fn from_raw(raw: u32) -> Result<(), Self> {
        Err(match raw {
            0 => return Ok(()),
            1 => Self::NotFound,
            2 => Self::BadArgument,
            3 => Self::SerializationFailure,
            4 => Self::ParseFailure,
            5 => Self::BadExpression,
            6 => Self::InvalidMemoryAccess,
            7 => Self::Empty,
            8 => Self::CasMismatch,
            9 => Self::ResultMismatch,
            10 => Self::InternalFailure,
            11 => Self::BrokenConnection,
            12 => Self::Unimplemented,
            other => Self::Unlisted(other),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::BadArgument => "bad argument",
            Self::SerializationFailure => "serialization failure",
            Self::ParseFailure => "parse failure",
            Self::BadExpression => "bad expression",
            Self::InvalidMemoryAccess => "invalid memory access",
            Self::Empty => "empty",
            Self::CasMismatch => "compare-and-swap mismatch",
            Self::ResultMismatch => "result mismatch",
            Self::InternalFailure => "internal failure",
            Self::BrokenConnection => "broken connection",
            Self::Unimplemented => "unimplemented",
            Self::Unlisted(raw) => return write!(f, "status {raw}"),
        })
    }
}

/// What the proxy shall do with the request after a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Action {
    /// Go on to the next filter.
    Continue,
    /// Stop here, until the request is resumed or answered.
    Pause,
}

/// Where bytes of a proxied connection come from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// From whoever connected to the proxy.
    Downstream,
    /// From whom the proxy connected to.
    Upstream,
}

/// A header map the filter reads.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HeaderMap {
    /// Headers of the request in hand.
    Request,
    /// Headers of the reply to [`Host::http_call`].
    HttpCallResponse,
}

/// A buffer the filter reads.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Buffer {
    /// Body of the reply to [`Host::http_call`].
    HttpCallResponseBody,
    /// The plug-in's configuration.
    PluginConfiguration,
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Is set.
    Gauge,
    /// Takes values, of which the proxy keeps quantiles.
    Histogram,
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    /// Something expected that is worth keeping.
    Info,
    /// A denial, or something an operator should look at.
    Warn,
    /// The filter cannot do its work.
    Error,
}

/// An answer in the proxy's stead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalResponse<'a> {
    /// HTTP status. Envoy turns it into trailers for gRPC by itself.
    pub status: u32,
    /// Response code details, as `%RESPONSE_CODE_DETAILS%` shows them.
    pub details: &'a str,
    /// Body, plain text.
    pub body: &'a str,
    /// Headers to add.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A request of the filter's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpCall<'a> {
    /// Envoy cluster.
    pub cluster: &'a str,
    /// Headers, with `:method`, `:path` and `:authority`.
    pub headers: &'a [(&'a str, &'a str)],
    /// Milliseconds until the proxy gives up.
    pub timeout_milliseconds: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_but_zero_is_an_error() {
        assert_eq!(Status::from_raw(0), Ok(()));
        for raw in 1..=12 {
            let status = Status::from_raw(raw).expect_err("not ok");
            assert!(!matches!(status, Status::Unlisted(_)), "{raw} is listed");
        }
        assert_eq!(Status::from_raw(13), Err(Status::Unlisted(13)));
        assert_eq!(Status::from_raw(u32::MAX), Err(Status::Unlisted(u32::MAX)));
    }
}
