//! What is told of a decision: counted always, logged as the configuration says.

use std::rc::Rc;

use identity::x509::Sha256Digest;
use policy::Decision;

use crate::attributes::{CONNECTION_ID, CONNECTION_LOCAL_URI, UPSTREAM_LOCAL_URI};
use crate::decision_log::{self, Line, RequestFacts, with_note};
use crate::headers::HeaderBlock;
use crate::host::{HeaderMap, Host};
use crate::inbound::{Judged, Who};
use crate::peer::Seen;
use crate::settings::{Direction, Plugin};
use crate::time::Now;
use crate::upstream::Check;

use super::Stream;

/// A verdict in words, whatever the direction.
pub(super) struct Verdict<'a> {
    pub(super) direction: Direction,
    pub(super) allowed: bool,
    pub(super) reason: &'static str,
    pub(super) facts: Option<&'a RequestFacts>,
    cause: Cause<'a>,
    now: Option<Now>,
    /// Whether it is one on a request that was open.
    review: bool,
}

/// What it was made on.
enum Cause<'a> {
    Inbound(&'a Judged),
    Outbound(&'a Check, &'a Seen),
}

impl<'a> Verdict<'a> {
    pub(super) fn inbound(judged: &'a Judged, now: Option<Now>, review: bool) -> Self {
        Self {
            direction: Direction::Inbound,
            allowed: judged.decision.is_allowed(),
            reason: judged.decision.code(),
            facts: None,
            cause: Cause::Inbound(judged),
            now,
            review,
        }
    }

    pub(super) fn outbound(
        check: &'a Check,
        seen: &'a Seen,
        now: Option<Now>,
        review: bool,
    ) -> Self {
        let (allowed, reason) = match check {
            Check::Verified => (true, "server_verified"),
            Check::Denied { denial, .. } => (false, denial.code()),
            // Nobody asks to finish what is pending; were it so, it must not pass.
            Check::Pending => (false, "pending"),
        };
        Self {
            direction: Direction::Outbound,
            allowed,
            reason,
            facts: None,
            cause: Cause::Outbound(check, seen),
            now,
            review,
        }
    }

    fn detail(&self) -> String {
        match &self.cause {
            Cause::Inbound(judged) => match &judged.decision {
                Decision::Allow(reason) => reason.to_string(),
                Decision::Deny(reason) => with_note(reason.to_string(), judged.note.as_deref()),
            },
            Cause::Outbound(Check::Denied { denial, note }, _) => {
                with_note(denial.to_string(), note.as_deref())
            }
            Cause::Outbound(Check::Verified, _) => {
                "the server is one that the cluster names".to_owned()
            }
            Cause::Outbound(Check::Pending, _) => "the server is not known yet".to_owned(),
        }
    }

    const fn judged(&self) -> Option<&'a Judged> {
        match self.cause {
            Cause::Inbound(judged) => Some(judged),
            Cause::Outbound(..) => None,
        }
    }

    fn who(&self) -> Option<&'a Who> {
        self.judged().map(|judged| &judged.who)
    }

    /// The other end's SPIFFE ID and the SHA-256 of its certificate.
    fn peer(&self) -> (Option<String>, Option<Sha256Digest>) {
        match &self.cause {
            Cause::Inbound(judged) => (judged.who.id(), judged.who.digest()),
            Cause::Outbound(_, seen) => (seen.id.as_ref().map(ToString::to_string), seen.digest),
        }
    }
}

impl<H: Host> Stream<H> {
    /// Counts a decision, and logs it if it is to be logged.
    pub(super) fn report(
        &self,
        plugin: Option<&Rc<Plugin>>,
        verdict: &Verdict<'_>,
        headers: Option<&HeaderBlock>,
    ) {
        if verdict.review {
            // An open request that stays open is nothing new.
            if verdict.allowed {
                return;
            }
            self.root.metrics().count("countersign_open_stream_reset");
        }
        let watched = verdict.judged().and_then(|judged| judged.shadow.as_ref());
        let counted = (verdict.allowed, verdict.reason);
        let plugin = plugin.map(AsRef::as_ref);
        if decision_log::count(&self.root, plugin, counted, watched) {
            self.log(plugin, verdict, headers);
        }
    }

    fn log(&self, plugin: Option<&Plugin>, verdict: &Verdict<'_>, headers: Option<&HeaderBlock>) {
        let host = self.root.host();
        let named = plugin.map(Plugin::logged_headers);
        let named = named.unwrap_or_default();
        let read;
        let facts = match (verdict.facts, headers) {
            (Some(facts), _) => facts,
            (None, Some(headers)) => {
                read = RequestFacts::of(headers, named);
                &read
            }
            // The proxy has them no more for a request that is open.
            (None, None) if verdict.review => {
                read = RequestFacts::default();
                &read
            }
            (None, None) => {
                let headers = host.header_block(HeaderMap::Request).unwrap_or_default();
                read = RequestFacts::of(&headers, named);
                &read
            }
        };
        let link = verdict.who().and_then(|who| who.link.as_ref());
        let (peer, peer_sha256) = verdict.peer();
        let via = verdict.who().filter(|who| who.forwarded.is_some());
        let via = via.and_then(|who| who.link.as_ref()?.certificate.as_ref());
        // What the log would like to say besides; a decision does not rest on it.
        let local = match (verdict.direction, link) {
            (Direction::Inbound, Some(link)) => link.local(host).map(str::to_owned),
            (Direction::Inbound, None) => CONNECTION_LOCAL_URI.text(host).unwrap_or_default(),
            (Direction::Outbound, _) => UPSTREAM_LOCAL_URI.text(host).unwrap_or_default(),
        };
        let connection = link.map_or_else(
            || CONNECTION_ID.number(host).unwrap_or_default(),
            |link| link.id,
        );
        let judged = verdict.judged();
        let detail = verdict.detail();
        Line {
            time: verdict.now.map(Now::as_seconds),
            direction: match verdict.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            },
            verdict: if verdict.allowed { "allow" } else { "deny" },
            reason: verdict.reason,
            detail: &detail,
            policy: judged
                .and_then(|judged| judged.decision.rule())
                .map(policy::PolicyRule::id),
            failed: judged.and_then(|judged| judged.failed.as_deref()),
            peer,
            peer_sha256: peer_sha256.map(|sha256| sha256.to_string()),
            via: via.map(|svid| svid.id().to_string()),
            local,
            connection,
            facts,
            open: verdict.review,
            list_sequence: self.root.deny_list().map(|list| list.sequence()),
            shadow: judged.and_then(|judged| judged.shadow.as_ref()),
            allowed: verdict.allowed,
        }
        .write(host);
    }
}
