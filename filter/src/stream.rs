//! One request and where it stands.

use std::cell::RefCell;
use std::rc::Rc;

use policy::Decision;
use policy::config::AllowedLog;

use crate::attributes::{CONNECTION_ID, CONNECTION_LOCAL_URI, UPSTREAM_LOCAL_URI};
use crate::decision_log::{Line, RequestFacts};
use crate::host::{Action, HeaderMap, Host};
use crate::inbound::{self, Judged};
use crate::peer::Seen;
use crate::reply;
use crate::root::Root;
use crate::settings::{Direction, Plugin};
use crate::time::Now;
use crate::upstream::{self, Check, NamingDenial};

/// A request's context.
#[derive(Debug)]
pub struct Stream<H> {
    context: u32,
    root: Rc<Root<H>>,
    stand: RefCell<Stand>,
}

/// Where a request stands. Only `Allowed` lets its body pass.
#[derive(Debug)]
enum Stand {
    New,
    Allowed,
    Denied,
    Held(Box<Held>),
}

/// What a held request is decided on later. It keeps the configuration it came under.
#[derive(Clone, Debug)]
struct Held {
    plugin: Rc<Plugin>,
    cluster: String,
    facts: RequestFacts,
}

/// A verdict in words, whatever the direction.
struct Verdict<'a> {
    direction: Direction,
    allowed: bool,
    reason: &'a str,
    detail: String,
    policy: Option<&'a str>,
    seen: Option<&'a Seen>,
    facts: &'a RequestFacts,
}

impl<H: Host> Stream<H> {
    /// A request that has just begun.
    #[must_use]
    pub const fn new(context: u32, root: Rc<Root<H>>) -> Self {
        Self {
            context,
            root,
            stand: RefCell::new(Stand::New),
        }
    }

    /// The root context it belongs to.
    #[must_use]
    pub const fn root(&self) -> &Rc<Root<H>> {
        &self.root
    }

    /// The headers are there: decides, or holds the request.
    pub fn on_request_headers(&self) -> Action {
        let Some(plugin) = self.root.plugin() else {
            let decision = inbound::without_configuration();
            return self.finish_inbound(None, &unseen(decision), None);
        };
        match (plugin.direction, Now::read(self.root.host())) {
            (Direction::Inbound, Ok(now)) => {
                let judged = inbound::judge(&self.root, &plugin, now);
                self.finish_inbound(Some(&plugin), &judged, Some(now))
            }
            (Direction::Inbound, Err(error)) => {
                let mut judged = unseen(inbound::without_time());
                judged.note = Some(error.to_string());
                self.finish_inbound(Some(&plugin), &judged, None)
            }
            (Direction::Outbound, now) => self.begin_outbound(plugin, now.ok()),
        }
    }

    /// Body or trailers: they pass only behind an allowed request.
    pub fn on_request_rest(&self) -> Action {
        let allowed = self
            .stand
            .try_borrow()
            .is_ok_and(|stand| matches!(*stand, Stand::Allowed));
        if allowed {
            Action::Continue
        } else {
            Action::Pause
        }
    }

    /// Looks again at a held request, in its own context; `last` where its time is up.
    ///
    /// True where it is decided.
    pub fn on_hold_due(&self, last: bool) -> bool {
        let held = match self.stand.try_borrow().as_deref() {
            Ok(Stand::Held(held)) => held.clone(),
            _ => return true,
        };
        let now = Now::read(self.root.host()).ok();
        let mut seen = Seen::default();
        let mut check = self.check(&held, now, &mut seen);
        if last && matches!(check, Check::Pending) {
            let milliseconds = held.plugin.hold().milliseconds;
            check = NamingDenial::HoldTimeout { milliseconds }.into();
        }
        let allowed = matches!(check, Check::Verified);
        if matches!(check, Check::Pending) {
            return false;
        }
        let action = self.finish_outbound(Some(&held.plugin), &held.facts, &check, &seen, now);
        if allowed && action == Action::Continue && self.root.host().resume_request().is_err() {
            // It stays paused, and nothing of it is sent.
            self.root.metrics().count("countersign_resume_failed");
            self.set(Stand::Denied);
        }
        true
    }

    /// The request is over.
    pub fn on_done(&self) {
        self.root.forget_held(self.context);
    }

    fn begin_outbound(&self, plugin: Rc<Plugin>, now: Option<Now>) -> Action {
        let headers = self.root.host().header_map(HeaderMap::Request);
        let facts = headers
            .map(|headers| RequestFacts::of(&headers))
            .unwrap_or_default();
        let mut seen = Seen::default();
        let cluster = match upstream::cluster(self.root.host(), &plugin) {
            Ok(cluster) => cluster,
            Err(check) => {
                return self.finish_outbound(Some(&plugin), &facts, &check, &seen, now);
            }
        };
        let held = Held {
            plugin: Rc::clone(&plugin),
            cluster,
            facts,
        };
        let mut check = self.check(&held, now, &mut seen);
        if matches!(check, Check::Pending) {
            match self.root.hold(self.context, &plugin) {
                Ok(()) => {
                    self.set(Stand::Held(Box::new(held)));
                    return Action::Pause;
                }
                Err(full) => check = NamingDenial::HoldLimit { max: full.max }.into(),
            }
        }
        self.finish_outbound(Some(&plugin), &held.facts, &check, &seen, now)
    }

    fn check(&self, held: &Held, now: Option<Now>, seen: &mut Seen) -> Check {
        match now {
            Some(now) => upstream::check(&self.root, &held.plugin, &held.cluster, now, seen),
            None => NamingDenial::Unreadable {
                attribute: "current time",
            }
            .into(),
        }
    }

    fn finish_inbound(&self, plugin: Option<&Plugin>, judged: &Judged, now: Option<Now>) -> Action {
        let view = judged.view.as_ref();
        let verdict = Verdict {
            direction: Direction::Inbound,
            allowed: judged.decision.is_allowed(),
            reason: judged.decision.code(),
            detail: match &judged.decision {
                Decision::Allow(reason) => reason.to_string(),
                Decision::Deny(reason) => with_note(reason.to_string(), judged.note.as_deref()),
            },
            policy: judged.decision.rule().map(policy::PolicyRule::id),
            seen: view.map(|view| &view.seen),
            facts: &judged.facts,
        };
        self.finish(plugin, &verdict, now)
    }

    fn finish_outbound(
        &self,
        plugin: Option<&Plugin>,
        facts: &RequestFacts,
        check: &Check,
        seen: &Seen,
        now: Option<Now>,
    ) -> Action {
        let (allowed, reason, detail) = match check {
            Check::Verified => (
                true,
                "server_verified",
                "the server is one that the cluster names".to_owned(),
            ),
            Check::Denied { denial, note } => (
                false,
                denial.code(),
                with_note(denial.to_string(), note.as_deref()),
            ),
            // Nobody asks to finish what is pending; were it so, it must not pass.
            Check::Pending => (false, "pending", "the server is not known yet".to_owned()),
        };
        let verdict = Verdict {
            direction: Direction::Outbound,
            allowed,
            reason,
            detail,
            policy: None,
            seen: Some(seen),
            facts,
        };
        self.finish(plugin, &verdict, now)
    }

    /// Counts, logs and acts. The only place where a request becomes allowed.
    fn finish(&self, plugin: Option<&Plugin>, verdict: &Verdict<'_>, now: Option<Now>) -> Action {
        let word = if verdict.allowed { "allow" } else { "deny" };
        self.root.metrics().count_decision(word, verdict.reason);
        if !verdict.allowed
            || plugin.is_some_and(|plugin| plugin.decision_log.allowed == AllowedLog::All)
        {
            self.log(word, verdict, now);
        }
        if verdict.allowed {
            self.set(Stand::Allowed);
            return Action::Continue;
        }
        self.set(Stand::Denied);
        let host = self.root.host();
        let show = plugin.is_some_and(|plugin| plugin.decision_log.response_header);
        let sent = match verdict.direction {
            Direction::Inbound => reply::deny_inbound(host, verdict.reason, show),
            Direction::Outbound => reply::deny_outbound(host, verdict.reason, show),
        };
        if sent.is_err() {
            self.root.metrics().count("countersign_reply_failed");
        }
        Action::Pause
    }

    fn log(&self, word: &'static str, verdict: &Verdict<'_>, now: Option<Now>) {
        let host = self.root.host();
        let local = match verdict.direction {
            Direction::Inbound => CONNECTION_LOCAL_URI,
            Direction::Outbound => UPSTREAM_LOCAL_URI,
        };
        // What the log would like to say besides; a decision does not rest on it.
        let local = local.text(host).unwrap_or_default();
        let connection = CONNECTION_ID.number(host).unwrap_or_default();
        Line {
            time: now.map(Now::as_seconds),
            direction: match verdict.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            },
            verdict: word,
            reason: verdict.reason,
            detail: &verdict.detail,
            policy: verdict.policy,
            peer: verdict
                .seen
                .and_then(|seen| seen.id.as_ref())
                .map(ToString::to_string),
            peer_sha256: verdict
                .seen
                .and_then(|seen| seen.digest)
                .map(|sha256| sha256.to_string()),
            local,
            connection,
            request_id: verdict.facts.request_id.as_deref(),
            method: &verdict.facts.method,
            path: &verdict.facts.path,
            list_sequence: self.root.deny_list().map(|list| list.sequence()),
        }
        .write(host);
    }

    fn set(&self, stand: Stand) {
        // Held nowhere across a call to the proxy, so it is never borrowed here.
        if let Ok(mut own) = self.stand.try_borrow_mut() {
            *own = stand;
        }
    }
}

fn unseen(decision: Decision) -> Judged {
    Judged {
        decision,
        view: None,
        facts: RequestFacts::default(),
        note: None,
    }
}

fn with_note(text: String, note: Option<&str>) -> String {
    match note {
        Some(note) => format!("{text}: {note}"),
        None => text,
    }
}
