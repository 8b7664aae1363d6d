//! Requests coming in: who sent it, and may it.

use std::net::{IpAddr, SocketAddr};

use policy::{Decision, DenyReason, Needs, NotEvaluable, Peer, PeerFault, Request};

use crate::attributes::{
    AttributeError, CONNECTION_SERVER_NAME, DESTINATION_ADDRESS, FILTER_STATE_DIRECT_ADDRESS,
};
use crate::decision_log::RequestFacts;
use crate::host::{Header, HeaderMap, Host};
use crate::peer::{self, PeerView};
use crate::root::Root;
use crate::settings::Plugin;
use crate::time::Now;

/// A decision and what it was made on, for the log.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The decision.
    pub decision: Decision,
    /// The peer; none where it was not looked at.
    pub view: Option<PeerView>,
    /// What the log says about the request.
    pub facts: RequestFacts,
    /// What the proxy answered, where it did not answer well.
    pub note: Option<String>,
}

/// Why a request cannot be evaluated, and what the proxy said.
#[derive(Debug)]
struct Unreadable {
    attribute: &'static str,
    note: String,
}

impl From<AttributeError> for Unreadable {
    fn from(error: AttributeError) -> Self {
        Self {
            attribute: error.name(),
            note: error.to_string(),
        }
    }
}

/// Decides the request in hand.
///
/// Everything the decision rests on is read before any policy is asked, and what cannot be read is
/// a denial.
pub fn judge<H: Host>(root: &Root<H>, plugin: &Plugin, now: Now) -> Judged {
    let headers = match root.host().header_map(HeaderMap::Request) {
        Ok(headers) => headers,
        Err(error) => {
            let note = error.to_string();
            let unreadable = Unreadable {
                attribute: "request headers",
                note,
            };
            return refused(None, RequestFacts::default(), unreadable);
        }
    };
    let facts = RequestFacts::of(&headers);
    let view = peer::downstream(root, plugin, now);
    let needs = plugin.policies.needs();
    let around = match Around::read(root.host(), needs) {
        Ok(around) => around,
        // The peer's own fault is the better answer.
        Err(_) if matches!(view.peer, Peer::Unidentified(_)) => Around::default(),
        Err(unreadable) => return refused(Some(view), facts, unreadable),
    };
    let decision = plugin
        .policies
        .decide(&around.request(&view.peer, &headers));
    let note = view.note.clone();
    Judged {
        decision,
        view: Some(view),
        facts,
        note,
    }
}

fn refused(view: Option<PeerView>, facts: RequestFacts, unreadable: Unreadable) -> Judged {
    let Unreadable { attribute, note } = unreadable;
    let reason = DenyReason::NotEvaluable(NotEvaluable::AttributeUnreadable { attribute });
    Judged {
        decision: Decision::Deny(reason),
        view,
        facts,
        note: Some(note),
    }
}

/// What surrounds the request, as far as the policies look at it.
#[derive(Debug, Default)]
struct Around {
    source_ip: Option<IpAddr>,
    destination: Option<SocketAddr>,
    sni: Option<Vec<u8>>,
}

impl Around {
    fn read<H: Host>(host: &H, needs: Needs) -> Result<Self, Unreadable> {
        let mut around = Self::default();
        if needs.source_ip {
            around.source_ip = Some(source_ip(host)?);
        }
        if needs.destination_ip || needs.destination_port {
            around.destination = Some(DESTINATION_ADDRESS.address(host)?.ok_or_else(|| {
                missing(
                    DESTINATION_ADDRESS.name(),
                    "a policy looks at the listener's address",
                )
            })?);
        }
        if needs.sni {
            around.sni = CONNECTION_SERVER_NAME.bytes(host)?;
        }
        Ok(around)
    }

    fn request<'a>(&'a self, peer: &'a Peer, headers: &'a Vec<Header>) -> Request<'a> {
        let first = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted.as_bytes());
            found.map(|(_, value)| value.as_slice())
        };
        let mut request = Request::new(peer).with_headers(headers);
        request.method = first(":method");
        request.path = first(":path");
        request.host = first(":authority");
        request.source_ip = self.source_ip;
        request.destination_ip = self.destination.map(|address| address.ip());
        request.destination_port = self.destination.map(|address| address.port());
        request.sni = self.sni.as_deref();
        request
    }
}

/// Address of the TCP peer, which Envoy has no attribute for: what a filter in front left.
///
/// `source.address` is no stand-in. With settings that the filter cannot see, among them those of
/// Istio's inbound listeners, Envoy takes it from a header that the peer wrote.
fn source_ip<H: Host>(host: &H) -> Result<IpAddr, Unreadable> {
    FILTER_STATE_DIRECT_ADDRESS.ip(host)?.ok_or_else(|| {
        missing(
            FILTER_STATE_DIRECT_ADDRESS.name(),
            "a policy looks at the address of the TCP peer",
        )
    })
}

fn missing(attribute: &'static str, why: &str) -> Unreadable {
    Unreadable {
        attribute,
        note: format!("{attribute} is missing: {why}"),
    }
}

/// The decision before there is any configuration.
pub fn without_configuration() -> Decision {
    Decision::Deny(DenyReason::NotEvaluable(NotEvaluable::NoConfiguration))
}

/// The decision where the proxy does not say what time it is.
pub fn without_time() -> Decision {
    Decision::Deny(DenyReason::PeerRejected(PeerFault::AttributeUnreadable {
        attribute: "current time",
    }))
}
