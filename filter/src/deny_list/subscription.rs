//! The deny list of one root context: looking for a newer one, checking it, handing it out.

use std::cell::RefCell;
use std::rc::Rc;

use identity::UnixTime;
use identity::deny_list::{DenyList, MAX_UPDATE_BYTES, Update};

use crate::agent::{self, Answer};
use crate::deny_list::lease::Lease;
use crate::deny_list::poller::{Held, Poller};
use crate::deny_list::settings::DenyListSettings;
use crate::deny_list::shared::{self, Unusable};
use crate::deny_list::{Freshness, floor};
use crate::host::{Host, LogLevel};
use crate::metrics::Metrics;
use crate::signature::ProxyVerifier;
use crate::time::Now;

/// The deny list of one root context. Times are milliseconds on the root context's clock.
#[derive(Debug)]
pub struct Subscription<H> {
    host: H,
    metrics: Rc<Metrics<H>>,
    poller: RefCell<Option<Poller>>,
    lease: Lease,
    /// The shared head that was looked at last.
    seen: RefCell<Vec<u8>>,
}

impl<H: Host> Subscription<H> {
    /// Without a configuration: nothing is asked for.
    pub fn new(host: H, metrics: Rc<Metrics<H>>) -> Self {
        Self {
            host,
            metrics,
            poller: RefCell::default(),
            lease: Lease::default(),
            seen: RefCell::default(),
        }
    }

    /// Starts anew with these settings, keeping the list in hand where they accept it too, else
    /// taking over the one that the proxy's other threads share; `None` ends it.
    pub fn configure(&self, settings: Option<&Rc<DenyListSettings>>, now: u64) {
        let own = self.verified(settings);
        let ended = self.with_poller(|poller| Rc::clone(poller.settings()));
        if let Some(ended) = ended {
            self.lease.release(&self.host, &ended.keys.lease);
        }
        let poller = settings.cloned().map(|settings| {
            let mut poller = Poller::new(settings, now);
            if let Some(own) = own {
                poller.take(own, now);
            }
            poller
        });
        if let Ok(mut held) = self.poller.try_borrow_mut() {
            *held = poller;
        }
        self.forget_seen();
        self.lease.begin(self.host.now_nanoseconds().unwrap_or(0));
        self.look(now);
    }

    /// Takes over the newest list that another root context has verified with the same signers.
    pub fn inherit<'a>(&self, others: impl Iterator<Item = &'a Self>, now: u64)
    where
        H: 'a,
    {
        let Some(settings) = self.with_poller(|poller| Rc::clone(poller.settings())) else {
            return;
        };
        let newest = others
            .filter_map(|other| other.verified(Some(&settings)))
            .max_by_key(|held| held.list.position());
        if let Some(newest) = newest {
            self.with_poller(|poller| poller.take(newest, now));
        }
    }

    /// The list in hand, where `wanted` would accept it too.
    fn verified(&self, wanted: Option<&Rc<DenyListSettings>>) -> Option<Held> {
        let wanted = wanted?;
        let poller = self.poller.try_borrow().ok()?;
        let poller = poller
            .as_ref()
            .filter(|poller| poller.settings().is_covered_by(wanted))?;
        let held = poller.held()?;
        wanted
            .floor
            .is_none_or(|floor| held.list.position() >= floor)
            .then(|| held.clone())
    }

    /// The list in hand, stale or not.
    pub fn list(&self) -> Option<Rc<DenyList>> {
        self.held().map(|held| held.list)
    }

    fn held(&self) -> Option<Held> {
        self.poller.try_borrow().ok()?.as_ref()?.held().cloned()
    }

    /// Whether the list in hand may be relied on, by the wall clock and by this filter's own.
    pub fn freshness(&self, now: u64, wall: UnixTime) -> Freshness {
        let Some(Some(list)) = self.with_poller(|poller| {
            let held = poller.held()?;
            Some((Rc::clone(&held.list), poller.overdue(now)))
        }) else {
            return Freshness::Missing;
        };
        let (list, overdue) = list;
        let by_own_clock = overdue.map(|milliseconds| milliseconds / 1000);
        let by_wall_clock = u64::try_from(wall.secs_since(list.expires())).ok();
        match by_own_clock.max(by_wall_clock) {
            None => Freshness::Fresh,
            Some(seconds) => Freshness::Stale { seconds },
        }
    }

    /// When something is to be done next.
    pub fn due(&self) -> Option<u64> {
        self.with_poller(|poller| poller.due())
    }

    /// Looks for a newer list if it is time. True where certificates came on the list or went from
    /// it.
    pub fn on_tick(&self, now: u64) -> bool {
        if self.with_poller(|poller| poller.is_due(now)) != Some(true) {
            return false;
        }
        let (found, changed) = self.look(now);
        if found && !self.is_ours_to_fetch(now) {
            self.with_poller(|poller| poller.wait(now));
        } else {
            self.fetch(now);
        }
        changed
    }

    /// Whether this thread is the one that fetches: it has the lease, or others have had it too long.
    fn is_ours_to_fetch(&self, now: u64) -> bool {
        let Some((keys, life, starving)) = self.with_poller(|poller| {
            let life = poller.lease_milliseconds();
            let keys = poller.settings().keys.clone();
            (keys, life, poller.is_starving(now))
        }) else {
            return false;
        };
        self.lease.hold_now(&self.host, &keys.lease, life) || starving
    }

    /// Looks for a newer list in shared data: whether what is there can be used, and whether the
    /// list in hand has other entries now.
    fn look(&self, now: u64) -> (bool, bool) {
        match self.read_shared() {
            Err(None) => (false, false),
            Ok(None) => (true, false),
            Ok(Some(held)) => {
                let changed = self.take(held, now);
                (true, changed)
            }
            Err(Some(error)) => {
                self.metrics.count("countersign_deny_list_shared_refused");
                self.host.log(
                    LogLevel::Info,
                    &format!("countersign: deny list in shared data: {error}"),
                );
                (false, false)
            }
        }
    }

    /// The newer list in shared data; `None` where there is none, or one is being written just now.
    ///
    /// # Errors
    /// What is there is not to be used; without a reason where that was said before.
    fn read_shared(&self) -> Result<Option<Held>, Option<Unusable>> {
        let Some(settings) = self.with_poller(|poller| Rc::clone(poller.settings())) else {
            return Ok(None);
        };
        let Some(head) = shared::head(&self.host, &settings.keys).map_err(Some)? else {
            return Ok(None);
        };
        let held = self.held();
        if held.as_ref().is_some_and(|held| *held.head == *head) {
            return Ok(None);
        }
        if self.has_seen(&head) {
            return Err(None);
        }
        let own = held.as_ref().map(|held| &*held.list);
        let found = self.verify_shared(&settings, &head, own);
        let Err(error) = found else {
            return found.map_err(Some);
        };
        // A newer one that is being written just now is no reason to mistrust.
        if shared::head(&self.host, &settings.keys)
            .ok()
            .flatten()
            .as_ref()
            != Some(&head)
        {
            return Ok(None);
        }
        if let Ok(mut seen) = self.seen.try_borrow_mut() {
            *seen = head;
        }
        Err(Some(error))
    }

    fn verify_shared(
        &self,
        settings: &DenyListSettings,
        head: &[u8],
        own: Option<&DenyList>,
    ) -> Result<Option<Held>, Unusable> {
        let lowest = floor::read(&self.host, &settings.keys.floor)?;
        let wall = Now::read(&self.host)?.unix;
        let verifier = ProxyVerifier::new(&self.host);
        let check = shared::check(settings, &verifier, wall, lowest, own);
        shared::list(&self.host, &settings.keys, head, &check)
    }

    fn has_seen(&self, head: &[u8]) -> bool {
        self.seen.try_borrow().is_ok_and(|seen| *seen == head)
    }

    fn forget_seen(&self) {
        if let Ok(mut seen) = self.seen.try_borrow_mut() {
            seen.clear();
        }
    }

    /// Asks the agent.
    fn fetch(&self, now: u64) {
        let Some((path, settings, was_healthy)) = self.with_poller(|poller| {
            let settings = Rc::clone(poller.settings());
            (poller.path(), settings, poller.is_healthy())
        }) else {
            return;
        };
        match agent::ask(&self.host, &settings.cluster, &path) {
            Ok(token) => {
                self.with_poller(|poller| poller.sent(token, now));
            }
            Err(error) => {
                self.with_poller(|poller| poller.failed(now));
                self.report_poll(&error.to_string(), was_healthy);
            }
        }
    }

    /// A reply to [`Host::http_call`]; one that is not awaited is passed over. True where
    /// certificates came on the list or went from it.
    pub fn on_reply(&self, token: u32, headers: u32, body: usize, now: u64) -> bool {
        if self.with_poller(|poller| poller.is_awaited(token)) != Some(true) {
            return false;
        }
        let was_healthy = self
            .with_poller(|poller| poller.is_healthy())
            .unwrap_or(false);
        match self.read_reply(headers, body) {
            Ok(reply) => {
                self.with_poller(|poller| poller.succeeded(now));
                reply.is_some_and(|held| self.take(held, now))
            }
            Err(problem) => {
                self.with_poller(|poller| poller.failed(now));
                self.report_poll(&problem, was_healthy);
                false
            }
        }
    }

    /// Takes a verified list. True where its entries are others than before.
    fn take(&self, held: Held, now: u64) -> bool {
        let (sequence, len) = (held.list.sequence(), held.list.len());
        let changed = self.with_poller(|poller| poller.take(held, now)) == Some(true);
        self.metrics.set("countersign_deny_list_sequence", sequence);
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.metrics.set("countersign_deny_list_entries", len);
        changed
    }

    /// Counts every failure and logs the first of a row.
    fn report_poll(&self, problem: &str, was_healthy: bool) {
        self.metrics.count("countersign_deny_list_poll_failed");
        if was_healthy {
            self.host.log(
                LogLevel::Warn,
                &format!("countersign: deny list: {problem}"),
            );
        }
    }

    /// The list in a reply; `None` where there is no newer one.
    fn read_reply(&self, headers: u32, body: usize) -> Result<Option<Held>, String> {
        match agent::answer(&self.host, headers, body, MAX_UPDATE_BYTES)? {
            Answer::New(update) => self.read_list(update).map(Some),
            Answer::Unchanged if self.held().is_some() => Ok(None),
            Answer::Unchanged => Err("reply 204, and no list is held".to_owned()),
        }
    }

    fn read_list(&self, bytes: Vec<u8>) -> Result<Held, String> {
        let settings = self
            .with_poller(|poller| Rc::clone(poller.settings()))
            .ok_or("no deny list is configured")?;
        let lowest = floor::read(&self.host, &settings.keys.floor).map_err(|e| e.to_string())?;
        let wall = Now::read(&self.host)
            .map_err(|error| error.to_string())?
            .unix;
        let before = self.list();
        let verifier = ProxyVerifier::new(&self.host);
        let check = shared::check(&settings, &verifier, wall, lowest, before.as_deref());
        let short = shared::short_enough(&bytes);
        let update = Update::parse(bytes).map_err(|error| agent::told(&error))?;
        let head = update.head().into();
        let list = update.verify(&check).map_err(|error| agent::told(&error))?;
        let held = Held {
            list: list.into(),
            head,
        };
        self.hand_on(&settings, &held, short.as_deref(), before.as_deref());
        Ok(held)
    }

    /// Shares a list that was fetched with the proxy's other threads.
    fn hand_on(
        &self,
        settings: &DenyListSettings,
        held: &Held,
        update: Option<&[u8]>,
        before: Option<&DenyList>,
    ) {
        let (host, keys) = (&self.host, &settings.keys);
        if floor::raise(host, &keys.floor, held.list.position()).is_err() {
            self.metrics.count("countersign_deny_list_floor_failed");
        }
        if shared::publish(host, keys, held, update, before).is_err() {
            self.metrics.count("countersign_deny_list_share_failed");
        }
    }

    fn with_poller<T>(&self, run: impl FnOnce(&mut Poller) -> T) -> Option<T> {
        self.poller.try_borrow_mut().ok()?.as_mut().map(run)
    }
}
