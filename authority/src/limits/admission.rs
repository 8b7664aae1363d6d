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
mod tests;
