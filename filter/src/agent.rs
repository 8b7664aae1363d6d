//! Asking the agent beside the proxy, over a cluster of the proxy's.

use std::error::Error;

use identity::chain;

use crate::deny_list::schedule::REPLY_TIMEOUT;
use crate::host::{Buffer, HeaderMap, Host, HostError, HttpCall};

/// What the agent says.
#[derive(Debug)]
pub enum Answer {
    /// 200, with a body.
    New(Vec<u8>),
    /// 204: there is nothing newer.
    Unchanged,
}

/// An error with its causes, in one line. As [`chain`], which would keep the whole of every such type in the module
/// only to be able to print it for debugging.
pub fn told(error: &impl Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

/// Sends a question; what comes of it is told to the root context, under the token that this gives.
///
/// # Errors
/// The proxy did not send it.
pub fn ask<H: Host>(host: &H, cluster: &str, path: &str) -> Result<u32, HostError> {
    host.http_call(&HttpCall {
        cluster,
        headers: &[
            (":method", "GET"),
            (":path", path),
            (":authority", cluster),
            (":scheme", "http"),
        ],
        timeout_milliseconds: REPLY_TIMEOUT,
    })
}

/// Reads the reply in hand: so many headers, none where there is no reply, and so many bytes of body, of which more
/// than `limit` are not read.
///
/// # Errors
/// What is wrong with it, in words.
pub fn answer<H: Host>(
    host: &H,
    headers: u32,
    body: usize,
    limit: usize,
) -> Result<Answer, String> {
    if headers == 0 {
        return Err("no reply".to_owned());
    }
    let map = host
        .header_map(HeaderMap::HttpCallResponse)
        .map_err(|error| error.to_string())?;
    let status = map.iter().find(|(name, _)| name == b":status");
    match status.map(|(_, value)| value.as_slice()) {
        Some(b"200") if body > limit => Err(format!("reply is {body} bytes, limit is {limit}")),
        Some(b"200") => host
            .buffer(Buffer::HttpCallResponseBody, body)
            .map(Answer::New)
            .map_err(|error| error.to_string()),
        Some(b"204") => Ok(Answer::Unchanged),
        other => Err(format!(
            "reply {}",
            String::from_utf8_lossy(other.unwrap_or_default())
        )),
    }
}
