//! Waiting for one's turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::limits::fair_queue::{FairQueue, Fullness, Pushed};
use crate::limits::{Bounds, Lane};

/// The door in front of some work; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    queue: FairQueue<Turn>,
    tickets: u64,
    shed: u64,
}

type Turn = oneshot::Sender<Result<Permit, Overload>>;

/// Leave to work; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<Inner>>);

/// Why a request is not worked on. None of these is the caller's mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Overload {
    /// Too many wait.
    #[error("{} wait already", what(*fullness))]
    Full {
        /// Which bound was hit.
        fullness: Fullness,
        /// When to come again.
        retry_after: Duration,
    },
    /// It waited, and another one who waits for less took its place.
    #[error("others came who have fewer requests waiting")]
    Displaced {
        /// When to come again.
        retry_after: Duration,
    },
    /// It waited for too long.
    #[error("its turn did not come in time")]
    Waited {
        /// When to come again.
        retry_after: Duration,
    },
    /// Its caller has given up.
    #[error("the caller's deadline has passed")]
    DeadlinePassed,
}

const fn what(fullness: Fullness) -> &'static str {
    match fullness {
        Fullness::Queue => "too many requests",
        Fullness::Group => "too many requests of the namespace",
        Fullness::Member => "too many requests of the caller",
    }
}

impl Overload {
    /// Stable name, for the metrics.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Full {
                fullness: Fullness::Queue,
                ..
            } => "queue_full",
            Self::Full {
                fullness: Fullness::Group,
                ..
            } => "namespace_queue_full",
            Self::Full {
                fullness: Fullness::Member,
                ..
            } => "caller_queue_full",
            Self::Displaced { .. } => "displaced",
            Self::Waited { .. } => "waited_too_long",
            Self::DeadlinePassed => "deadline_passed",
        }
    }

    /// When to come again.
    pub(crate) const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Full { retry_after, .. }
            | Self::Displaced { retry_after }
            | Self::Waited { retry_after } => Some(retry_after),
            Self::DeadlinePassed => None,
        }
    }
}

/// What goes on behind a door.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Load {
    /// Worked on.
    pub(crate) running: usize,
    /// Waiting.
    pub(crate) waiting: usize,
    /// Groups that have somebody waiting.
    pub(crate) groups: usize,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner {
            bounds,
            state: Mutex::default(),
        }))
    }

    /// What goes on now.
    pub(crate) fn load(&self) -> Load {
        let state = self.0.lock();
        Load {
            running: state.running,
            waiting: state.queue.len(),
            groups: state.queue.groups(),
        }
    }

    /// Waits for a turn of `lane`, but not beyond `deadline`. Whoever stops waiting, because the
    /// call was given up, leaves the queue.
    ///
    /// # Errors
    /// [`Overload`].
    pub(crate) async fn enter(
        &self,
        lane: Lane,
        deadline: Option<Instant>,
    ) -> Result<Permit, Overload> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Overload::DeadlinePassed);
        }
        let waiting = match self.take_place(lane)? {
            Place::Free(permit) => return Ok(permit),
            Place::Waits(waiting) => waiting,
        };
        let longest = now + self.0.bounds.wait;
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        match tokio::time::timeout_at(until, waiting.outcome()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) if until == longest => Err(Overload::Waited {
                retry_after: self.0.lock().retry_after(),
            }),
            Err(_elapsed) => Err(Overload::DeadlinePassed),
        }
    }

    fn take_place(&self, lane: Lane) -> Result<Place, Overload> {
        let mut state = self.0.lock();
        if state.running < self.0.bounds.running {
            state.running += 1;
            return Ok(Place::Free(Permit(Some(Arc::clone(&self.0)))));
        }
        state.tickets = state.tickets.wrapping_add(1);
        let ticket = state.tickets;
        let (turn, outcome) = oneshot::channel();
        let pushed = state.queue.push(&lane, ticket, turn, &self.0.bounds);
        match pushed {
            Pushed::Waits => {}
            Pushed::Displaced(other) => {
                let retry_after = state.retry_after();
                // It may have left a moment ago.
                other.send(Err(Overload::Displaced { retry_after })).ok();
            }
            Pushed::Full(_, fullness) => {
                let retry_after = state.retry_after();
                return Err(Overload::Full {
                    fullness,
                    retry_after,
                });
            }
        }
        drop(state);
        Ok(Place::Waits(Waiting {
            inner: Arc::clone(&self.0),
            lane,
            ticket,
            outcome,
        }))
    }
}

enum Place {
    Free(Permit),
    Waits(Waiting),
}

/// Somebody in the queue; dropped, it leaves.
struct Waiting {
    inner: Arc<Inner>,
    lane: Lane,
    ticket: u64,
    outcome: oneshot::Receiver<Result<Permit, Overload>>,
}

impl Waiting {
    async fn outcome(mut self) -> Result<Permit, Overload> {
        // The other end is dropped only with everything else.
        let gone = Err(Overload::DeadlinePassed);
        (&mut self.outcome).await.unwrap_or(gone)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let turn = self.inner.lock().queue.remove(&self.lane, self.ticket);
        drop(turn);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place is free: to whoever's turn it is.
    fn release(self: &Arc<Self>) {
        let mut state = self.lock();
        while let Some(turn) = state.queue.pop() {
            match turn.send(Ok(Permit(Some(Arc::clone(self))))) {
                Ok(()) => return,
                // Left in this very moment. Its permit must not come back here by being dropped.
                Err(Ok(mut unused)) => drop(unused.0.take()),
                Err(Err(_)) => {}
            }
        }
        state.running = state.running.saturating_sub(1);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.release();
        }
    }
}

impl State {
    /// Spread evenly over [`FIRST_RETRY`] to [`LAST_RETRY`], so that those who are shed together do
    /// not come again together. Multiples of the golden ratio are never far from even.
    fn retry_after(&mut self) -> Duration {
        self.shed = self.shed.wrapping_add(1);
        let spread = LAST_RETRY.saturating_sub(FIRST_RETRY);
        let share = self.shed.wrapping_mul(GOLDEN) >> 32;
        let micros = u64::try_from(spread.as_micros()).unwrap_or(0);
        FIRST_RETRY + Duration::from_micros(micros.saturating_mul(share) >> 32)
    }
}

/// istio-agent's first pause.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Istio-agent's last pause: whoever heeds the hint is back within its window of retries.
const LAST_RETRY: Duration = Duration::from_millis(1600);
/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admission(running: usize, waiting: usize) -> Admission {
        Admission::new(Bounds {
            running,
            waiting,
            per_group: waiting,
            per_member: waiting,
            wait: Duration::from_millis(300),
        })
    }

    fn lane(group: &str) -> Lane {
        Lane {
            group: group.into(),
            member: "m".into(),
        }
    }

    async fn until_waiting(admission: &Admission, count: usize) {
        while admission.load().waiting != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_flood_of_one_namespace_does_not_hold_up_another_ones_request() {
        let admission = Admission::new(Bounds {
            running: 2,
            waiting: 200,
            per_group: 200,
            per_member: 200,
            wait: Duration::from_secs(60),
        });
        let mut flood = tokio::task::JoinSet::new();
        // Each piece of work takes 10 ms: alone, the flood would be done after a second.
        let work = |admission: Admission, of: &'static str| async move {
            let begun = Instant::now();
            let permit = admission.enter(lane(of), None).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(permit.unwrap());
            begun.elapsed()
        };
        for _ in 0..200 {
            flood.spawn(work(admission.clone(), "flood"));
        }
        until_waiting(&admission, 198).await;
        let quiet = work(admission.clone(), "quiet").await;
        let slowest = flood.join_all().await.into_iter().max().unwrap();
        // Whoever is worked on, one of the flood before it at most, and its own work: 30 ms, and
        // what a busy machine adds to that, against a second and more.
        assert!(slowest >= Duration::from_millis(900), "{slowest:?}");
        assert!(quiet * 4 < slowest, "{quiet:?} of {slowest:?}");
        assert_eq!(admission.load(), Load::default());
    }

    #[tokio::test]
    async fn beyond_the_bound_requests_are_shed_with_a_time_to_come_again() {
        let admission = admission(1, 1);
        let held = admission.enter(lane("a"), None).await.unwrap();
        let second = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter(lane("a"), None).await.map(drop) }
        });
        until_waiting(&admission, 1).await;
        let mut hints = Vec::new();
        for _ in 0..100 {
            match admission.enter(lane("a"), None).await.map(drop) {
                Err(Overload::Full { retry_after, .. }) => hints.push(retry_after),
                other => panic!("{other:?}"),
            }
        }
        assert!(
            hints
                .iter()
                .all(|hint| (FIRST_RETRY..=LAST_RETRY).contains(hint))
        );
        // In each fifteenth of the window some.
        for slice in 0..15 {
            let from = FIRST_RETRY + Duration::from_millis(100) * slice;
            let to = from + Duration::from_millis(100);
            let here = hints
                .iter()
                .filter(|hint| (from..to).contains(*hint))
                .count();
            assert!((3..=12).contains(&here), "{here} from {from:?}");
        }
        drop(held);
        second.await.unwrap().unwrap();
        assert_eq!(admission.load(), Load::default());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_and_who_waits_too_long_is_sent_away() {
        let admission = admission(1, 8);
        let held = admission.enter(lane("a"), None).await.unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(
            admission.enter(lane("a"), Some(soon)).await.unwrap_err(),
            Overload::DeadlinePassed
        );
        assert_eq!(
            admission.enter(lane("a"), Some(soon)).await.unwrap_err(),
            Overload::DeadlinePassed
        );
        let waited = admission.enter(lane("b"), None).await.unwrap_err();
        assert!(matches!(waited, Overload::Waited { .. }), "{waited:?}");
        let hangs_up =
            tokio::time::timeout(Duration::from_millis(50), admission.enter(lane("c"), None));
        hangs_up.await.unwrap_err();
        assert_eq!(
            admission.load(),
            Load {
                running: 1,
                waiting: 0,
                groups: 0
            }
        );
        drop(held);
        assert_eq!(admission.load(), Load::default());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_place_is_lost_however_callers_come_and_go() {
        let admission = admission(3, 64);
        let mut callers = tokio::task::JoinSet::new();
        for number in 0_u64..400 {
            let admission = admission.clone();
            callers.spawn(async move {
                let of = lane(["a", "b", "c"][usize::try_from(number % 3).unwrap()]);
                let patience = Duration::from_micros(number % 7 * 150);
                let entered = tokio::time::timeout(patience, admission.enter(of, None)).await;
                if let Ok(Ok(permit)) = entered {
                    assert!(admission.load().running <= 3);
                    tokio::time::sleep(Duration::from_micros(number % 5 * 100)).await;
                    drop(permit);
                }
            });
        }
        callers.join_all().await;
        assert_eq!(admission.load(), Load::default());
    }
}
