//! The policy bundle of one root context: looking for a newer one, checking it, compiling it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use identity::policy_bundle::{Bundle, Check, Head, MAX_BUNDLE_BYTES, PolicyBundleError, verify};
use identity::signed::{MAX_HEAD_BYTES, Proof, SignedError};
use policy::PolicySet;
use policy::config::compile_policies;

use crate::agent::{self, Answer};
use crate::deny_list::floor;
use crate::deny_list::lease::Lease;
use crate::deny_list::poller::TRUST_IN_OTHERS;
use crate::deny_list::schedule::Schedule;
use crate::host::{Host, LogLevel};
use crate::metrics::Metrics;
use crate::policy_bundle::BundleSettings;
use crate::policy_bundle::held::{Around, Held, Refused};
use crate::settings::Plugin;
use crate::signature::ProxyVerifier;
use crate::time::Now;

/// Pause after a bundle that does not verify, milliseconds. It may be long, and would come again.
const REFUSED_PAUSE: u64 = 5_000;
/// Most problems of a refused bundle that are logged.
const MAX_PROBLEMS_LOGGED: usize = 20;

/// The policy bundle of one root context. Times are milliseconds on the root context's clock.
#[derive(Debug)]
pub struct Subscription<H> {
    host: H,
    metrics: Rc<Metrics<H>>,
    state: RefCell<Option<State>>,
    lease: Lease,
}

#[derive(Debug)]
struct State {
    settings: Rc<BundleSettings>,
    schedule: Schedule,
    held: Option<Held>,
    /// The newest epoch and sequence that were verified, also of policies that do not compile.
    seen: Option<(u64, u64)>,
    /// The shared head that was looked at last.
    looked_at: Vec<u8>,
    /// When the agent answered this thread last, or waiting began.
    answered: u64,
}

impl<H: Host> Subscription<H> {
    /// Without a configuration: nothing is asked for.
    pub fn new(host: H, metrics: Rc<Metrics<H>>) -> Self {
        Self {
            host,
            metrics,
            state: RefCell::default(),
            lease: Lease::default(),
        }
    }

    /// Starts anew with the settings of this configuration, if it has a bundle. Gives the policies to begin with:
    /// the inherited ones, or those that the proxy's threads share if these are newer.
    pub fn configure(&self, around: Around<'_>, inherited: Option<Held>) -> Option<Arc<PolicySet>> {
        self.stop();
        let settings = around.plugin.policy_bundle()?;
        let interval = settings.list.poll_milliseconds.into();
        let state = State {
            settings: Rc::clone(settings),
            schedule: Schedule::new(interval, around.now),
            seen: inherited.as_ref().map(|held| held.position),
            held: inherited.clone(),
            looked_at: Vec::new(),
            answered: around.now,
        };
        if let Ok(mut own) = self.state.try_borrow_mut() {
            *own = Some(state);
        }
        self.lease.begin(self.host.now_nanoseconds().unwrap_or(0));
        let (_, shared) = self.look(around);
        shared.or_else(|| inherited.map(|held| held.policies))
    }

    /// Asks for nothing any more.
    pub fn stop(&self) {
        if let Some(ended) = self.settings() {
            self.lease.release(&self.host, &ended.keys.lease);
        }
        if let Ok(mut own) = self.state.try_borrow_mut() {
            *own = None;
        }
    }

    /// What is held here, where it would be the same for this configuration and is newer than `than`; else `than`.
    pub fn newer(&self, plugin: &Plugin, than: Option<Held>) -> Option<Held> {
        let own = self.with(|state| {
            let held = state.held.as_ref()?;
            let wanted = plugin.policy_bundle()?;
            let covered = state.settings.is_covered_by(wanted, held.position.1);
            let newer = than
                .as_ref()
                .is_none_or(|than| than.position < held.position);
            (covered && newer && held.scope == plugin.scope).then(|| held.clone())
        });
        own.flatten().or(than)
    }

    /// When something is to be done next.
    pub fn due(&self) -> Option<u64> {
        self.with(|state| state.schedule.due())
    }

    /// Looks for a newer bundle if it is time. Gives the policies where there are other ones.
    pub fn on_tick(&self, around: Around<'_>) -> Option<Arc<PolicySet>> {
        let now = around.now;
        let due = self.with(|state| state.schedule.is_due(now, state.held.is_some()));
        if due != Some(true) {
            return None;
        }
        let (usable, found) = self.look(around);
        if usable && !self.is_ours_to_fetch(now) {
            self.with(|state| state.schedule.wait(now, state.held.is_some()));
        } else {
            self.fetch(now);
        }
        found
    }

    /// Whether this thread is the one that fetches: it has the lease, or has not asked for too long.
    fn is_ours_to_fetch(&self, now: u64) -> bool {
        let Some((settings, life, starving)) = self.with(|state| {
            let life = state.schedule.lease_milliseconds();
            let patience = match state.held {
                Some(_) => life.max(TRUST_IN_OTHERS),
                None => life.saturating_mul(2),
            };
            let starving = now.saturating_sub(state.answered) >= patience;
            (Rc::clone(&state.settings), life, starving)
        }) else {
            return false;
        };
        self.lease.hold_now(&self.host, &settings.keys.lease, life) || starving
    }

    /// Looks for a newer bundle in shared data: whether what is there can be used, and the policies if these are
    /// other ones.
    fn look(&self, around: Around<'_>) -> (bool, Option<Arc<PolicySet>>) {
        match self.read_shared(around) {
            Ok(found) => (true, found),
            Err(error) => {
                self.metrics
                    .count("countersign_policy_bundle_shared_refused");
                self.refused(&error);
                (false, None)
            }
        }
    }

    fn read_shared(&self, around: Around<'_>) -> Result<Option<Arc<PolicySet>>, Refused> {
        let Some(settings) = self.settings() else {
            return Ok(None);
        };
        let Some((jws, _version)) = self.host.shared_data(&settings.keys.head)? else {
            return Ok(None);
        };
        if jws.len() > MAX_HEAD_BYTES {
            let len = jws.len();
            return Err(PolicyBundleError::from(SignedError::TooLarge { len }).into());
        }
        if !self.is_news(&jws) {
            return Ok(None);
        }
        let Some(head) = self.check_head(&settings, &jws, around)? else {
            return Ok(None);
        };
        let body = self.host.shared_data(&settings.keys.body)?;
        self.take(&settings, &head, &body.unwrap_or_default().0, around)
    }

    /// The verified head; `None` where it is not newer than what was seen.
    fn check_head(
        &self,
        settings: &BundleSettings,
        jws: &[u8],
        around: Around<'_>,
    ) -> Result<Option<Head>, Refused> {
        let seen = self.with(|state| state.seen).flatten();
        let lowest = floor::read(&self.host, &settings.keys.floor)?;
        let verifier = ProxyVerifier::new(&self.host);
        let check = Check {
            proof: Proof {
                signers: &settings.list.signers,
                verifier: &verifier,
                now: Now::read(&self.host)?.unix,
                denied: around.denied,
            },
            name: Some(&settings.name),
            floor: lowest.max(seen),
            at_least: settings.at_least,
        };
        let head = verify(jws, &check)?;
        Ok((Some(head.position()) != seen).then_some(head))
    }

    /// Takes the policies of a verified head; gives them where they are other ones than those in force.
    fn take(
        &self,
        settings: &BundleSettings,
        head: &Head,
        body: &[u8],
        around: Around<'_>,
    ) -> Result<Option<Arc<PolicySet>>, Refused> {
        head.check_body(body)?;
        let position = head.position();
        let same = self.with(|state| {
            state.seen = Some(position);
            let held = state
                .held
                .as_mut()
                .filter(|held| held.sha256 == head.sha256);
            held.map(|held| held.position = position).is_some()
        });
        if floor::raise(&self.host, &settings.keys.floor, position).is_err() {
            self.metrics.count("countersign_policy_bundle_floor_failed");
        }
        let scope = &around.plugin.scope;
        let found = if same == Some(true) {
            None
        } else {
            let policies = Arc::new(compile_policies(body, scope).map_err(Refused::Policies)?);
            self.with(|state| {
                state.held = Some(Held {
                    position,
                    sha256: head.sha256,
                    scope: scope.clone(),
                    policies: Arc::clone(&policies),
                });
            });
            Some(policies)
        };
        self.metrics
            .set("countersign_policy_bundle_sequence", head.sequence);
        self.host.log(
            LogLevel::Info,
            &format!(
                "countersign: policy bundle {} {} in force",
                settings.name, head.sequence
            ),
        );
        Ok(found)
    }

    /// Asks the agent.
    fn fetch(&self, now: u64) {
        let Some((settings, seen)) =
            self.with(|state| (Rc::clone(&state.settings), state.seen.unwrap_or_default()))
        else {
            return;
        };
        match agent::ask(&self.host, &settings.list.cluster, &settings.path(seen)) {
            Ok(token) => {
                self.with(|state| state.schedule.sent(token, now));
            }
            Err(error) => self.failed(&error.to_string(), now),
        }
    }

    /// A reply to [`Host::http_call`]; one that is not awaited is passed over. Gives the policies where there are
    /// other ones.
    pub fn on_reply(
        &self,
        token: u32,
        headers: u32,
        body: usize,
        around: Around<'_>,
    ) -> Option<Arc<PolicySet>> {
        if self.with(|state| state.schedule.is_awaited(token)) != Some(true) {
            return None;
        }
        let now = around.now;
        let bytes = match agent::answer(&self.host, headers, body, MAX_BUNDLE_BYTES) {
            Ok(answer) => {
                self.with(|state| {
                    state.schedule.succeeded(now);
                    state.answered = now;
                });
                match answer {
                    Answer::New(bytes) => bytes,
                    Answer::Unchanged => return None,
                }
            }
            Err(problem) => {
                self.failed(&problem, now);
                return None;
            }
        };
        match self.read_bundle(&bytes, around) {
            Ok(found) => found,
            Err(error) => {
                self.refused(&error);
                if !matches!(error, Refused::Policies(_)) {
                    self.with(|state| state.schedule.pause(now, REFUSED_PAUSE));
                }
                None
            }
        }
    }

    fn read_bundle(
        &self,
        bytes: &[u8],
        around: Around<'_>,
    ) -> Result<Option<Arc<PolicySet>>, Refused> {
        let Some(settings) = self.settings() else {
            return Ok(None);
        };
        let bundle = Bundle::parse(bytes)?;
        let Some(head) = self.check_head(&settings, bundle.head, around)? else {
            return Ok(None);
        };
        let taken = self.take(&settings, &head, bundle.body, around);
        // Also what does not compile here: other workloads of the proxy may do with it.
        if !matches!(taken, Err(Refused::Bundle(_))) {
            self.hand_on(&settings, bundle);
        }
        taken
    }

    /// Shares a verified bundle with the proxy's other threads, the head last.
    fn hand_on(&self, settings: &BundleSettings, bundle: Bundle<'_>) {
        let (host, keys) = (&self.host, &settings.keys);
        let shared = host
            .set_shared_data(&keys.body, bundle.body, 0)
            .and_then(|()| host.set_shared_data(&keys.head, bundle.head, 0));
        if shared.is_err() {
            self.metrics.count("countersign_policy_bundle_share_failed");
        }
        self.is_news(bundle.head);
    }

    /// Nobody answered, or not well: counts every failure and logs the first of a row.
    fn failed(&self, problem: &str, now: u64) {
        let was_healthy = self.with(|state| {
            let was_healthy = state.schedule.is_healthy();
            state.schedule.failed(now, state.held.is_some());
            was_healthy
        });
        self.metrics.count("countersign_policy_bundle_poll_failed");
        if was_healthy == Some(true) {
            self.host.log(
                LogLevel::Warn,
                &format!("countersign: policy bundle: {problem}"),
            );
        }
    }

    /// What was found is not taken, and those policies stay in force that are.
    fn refused(&self, error: &Refused) {
        self.metrics.count("countersign_policy_bundle_refused");
        let say = |problem: &str| {
            self.host.log(
                LogLevel::Error,
                &format!("countersign: policy bundle is refused: {problem}"),
            );
        };
        match error {
            Refused::Host(error) => say(&error.to_string()),
            Refused::Bundle(error) => say(&agent::told(error)),
            Refused::Policies(problems) => {
                for problem in problems.iter().take(MAX_PROBLEMS_LOGGED) {
                    say(&problem.to_string());
                }
            }
        }
    }

    fn settings(&self) -> Option<Rc<BundleSettings>> {
        self.with(|state| Rc::clone(&state.settings))
    }

    /// Whether this is another head than the one looked at last; it is that one now.
    fn is_news(&self, jws: &[u8]) -> bool {
        let news = self.with(|state| {
            let news = state.looked_at != jws;
            jws.clone_into(&mut state.looked_at);
            news
        });
        news == Some(true)
    }

    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.state.try_borrow_mut().ok()?.as_mut().map(run)
    }
}
