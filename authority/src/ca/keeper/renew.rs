//! When the intermediate is renewed, and how far that is. Pure: the time is an argument.

use identity::UnixTime;

use crate::ca::keeper::report::RenewalState;
use crate::ca::{CaCertificate, CaSettings, CertificateAuthority};
use crate::upstream::UpstreamError;

/// The renewal of one intermediate.
#[derive(Debug)]
pub(super) struct Renewal {
    due_at: UnixTime,
    next_try: UnixTime,
    pause_seconds: i64,
    longest_pause: i64,
    state: RenewalState,
    prepared: Option<CertificateAuthority>,
}

impl Renewal {
    pub(super) fn new(current: &CertificateAuthority, settings: &CaSettings) -> Self {
        // A chain ends with the first CA of it that does.
        let chain = current.chain();
        let end = chain.iter().map(|ca| ca.not_after()).min();
        let end = end.unwrap_or_else(|| current.intermediate.not_after());
        let life = end.secs_since(current.intermediate.not_before());
        let margin = settings.renew_before_seconds.unwrap_or(life / 3);
        let due_at = end.plus_secs(-margin).unwrap_or(end);
        Self {
            due_at,
            next_try: due_at,
            pause_seconds: FIRST_PAUSE,
            // A short margin needs many tries as well.
            longest_pause: (margin / TRIES).clamp(1, LONGEST_PAUSE),
            state: RenewalState::NotDue { due_at },
            prepared: None,
        }
    }

    pub(super) fn state(&self) -> RenewalState {
        self.state.clone()
    }

    pub(super) fn is_due(&self, now: UnixTime) -> bool {
        now >= self.due_at && self.may_try(now)
    }

    /// Whether nothing is prepared and no pause after a failure goes on.
    pub(super) fn may_try(&self, now: UnixTime) -> bool {
        let pauses = matches!(self.state, RenewalState::Failing { .. });
        self.prepared.is_none() && (now >= self.next_try || (now < self.due_at && !pauses))
    }

    pub(super) fn prepared(&self) -> Option<&CaCertificate> {
        self.prepared.as_ref().map(|next| &next.intermediate)
    }

    pub(super) fn prepare(&mut self, next: CertificateAuthority, activates_at: UnixTime) {
        self.state = RenewalState::Prepared {
            subject: next.intermediate.subject().to_owned(),
            sha256: next.intermediate.sha256().to_owned(),
            activates_at,
        };
        self.prepared = Some(next);
    }

    pub(super) fn is_activation_due(&self, now: UnixTime) -> bool {
        matches!(self.state, RenewalState::Prepared { activates_at, .. } if now >= activates_at)
    }

    pub(super) fn take_prepared(&mut self) -> Option<CertificateAuthority> {
        self.prepared.take()
    }

    /// Notes that nobody has signed yet; true the first time.
    pub(super) fn wait(&mut self, error: &UpstreamError, now: UnixTime) -> bool {
        self.next_try = now.plus_secs(1).unwrap_or(now);
        let is_first = !matches!(self.state, RenewalState::Waiting { .. });
        if is_first {
            self.state = RenewalState::Waiting {
                since: now,
                what: error.to_string(),
            };
        }
        is_first
    }

    pub(super) fn fail(&mut self, error: String, now: UnixTime) {
        let (since, attempts) = match &self.state {
            RenewalState::Failing {
                since, attempts, ..
            } => (*since, attempts.saturating_add(1)),
            _ => {
                self.pause_seconds = FIRST_PAUSE;
                (now, 1)
            }
        };
        let pause = self.pause_seconds.min(self.longest_pause);
        self.pause_seconds = self.pause_seconds.saturating_mul(2);
        self.next_try = now.plus_secs(pause).unwrap_or(now);
        self.prepared = None;
        self.state = RenewalState::Failing {
            since,
            attempts,
            error,
            next_try: self.next_try,
        };
    }
}

/// Seconds after the first failure.
const FIRST_PAUSE: i64 = 10;
/// Longest seconds between tries.
const LONGEST_PAUSE: i64 = 3600;
/// Tries that fit into the margin at least.
const TRIES: i64 = 50;
