//! What a denied caller gets to see: the class of the refusal, never its reason.
//!
//! The reason is in the decision log and in the response code details, which stay in the proxy.

use crate::host::{Host, HostError, LocalResponse};

/// Body of a denied inbound request, the same as of Envoy's own RBAC filter.
pub const INBOUND_BODY: &str = "RBAC: access denied";

/// Header that shows verdict and reason, where the configuration asks for it.
pub const DECISION_HEADER: &str = "x-countersign-decision";

/// Refuses an inbound request with 403.
///
/// # Errors
/// The proxy did not take the answer; the request must then stay paused.
pub fn deny_inbound<H: Host>(host: &H, reason: &str, show: bool) -> Result<(), HostError> {
    send(host, 403, reason, INBOUND_BODY, show)
}

/// Refuses an outbound request with 503. Its caller is a local workload, so the body has the reason.
///
/// # Errors
/// The proxy did not take the answer; the request must then stay paused.
pub fn deny_outbound<H: Host>(host: &H, reason: &str, show: bool) -> Result<(), HostError> {
    send(host, 503, reason, &format!("secure naming: {reason}"), show)
}

fn send<H: Host>(
    host: &H,
    status: u32,
    reason: &str,
    body: &str,
    show: bool,
) -> Result<(), HostError> {
    let details = format!("countersign_denied_{reason}");
    let decision = format!("deny:{reason}");
    let shown = [(DECISION_HEADER, decision.as_str())];
    let headers: &[(&str, &str)] = if show { &shown } else { &[] };
    host.send_local_response(&LocalResponse {
        status,
        details: &details,
        body,
        headers,
    })
}
