//! Streams to agents, which end when the certificate they were opened with stops being good.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use identity::UnixTime;
use identity::x509::Sha256Digest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::clock::Clock;
use crate::revoke::SignedList;

/// How long a stream may stay open.
#[derive(Debug)]
pub(crate) struct Session {
    /// The client certificate it was opened with.
    pub(crate) sha256: Sha256Digest,
    /// Last second of that certificate.
    pub(crate) not_after: UnixTime,
    /// Tells which certificates are denied.
    pub(crate) lists: watch::Receiver<Arc<SignedList>>,
    /// Tells when the authority stops.
    pub(crate) stopping: CancellationToken,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Session {
    /// Waits until the stream must end, and says why.
    async fn ended(&mut self) -> Status {
        loop {
            // By the clock, anew at each list: timers stand still while a machine sleeps, and
            // clocks are set.
            let left = self
                .not_after
                .secs_since(self.clock.now())
                .saturating_add(1);
            let expired = Status::unauthenticated("the client certificate has expired");
            let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else {
                return expired;
            };
            if self.lists.borrow_and_update().denies(&self.sha256) {
                return Status::permission_denied("the client certificate is not good any more");
            }
            tokio::select! {
                () = self.stopping.cancelled() => {
                    return Status::unavailable("the authority is stopping");
                }
                () = tokio::time::sleep(Duration::from_secs(left)) => return expired,
                changed = self.lists.changed() => if changed.is_err() {
                    return Status::unavailable("the authority is stopping");
                }
            }
        }
    }
}

/// Turns a value into the message that carries it.
pub(crate) type Render<V, T> =
    Box<dyn Fn(V) -> BoxFuture<'static, Result<T, Status>> + Send + Sync>;

struct Watch<V, T> {
    values: watch::Receiver<V>,
    render: Render<V, T>,
    session: Session,
}

impl<V: Clone + Send + Sync, T> Watch<V, T> {
    async fn next(&mut self) -> Result<T, Status> {
        tokio::select! {
            biased;
            status = self.session.ended() => return Err(status),
            changed = self.values.changed() => if changed.is_err() {
                return Err(Status::unavailable("the authority is stopping"));
            },
        }
        let value = self.values.borrow_and_update().clone();
        (self.render)(value).await
    }
}

/// The value as it stands, at once, and each change. A slow reader misses values in between, never
/// the last.
pub(crate) fn stream<V, T>(
    mut values: watch::Receiver<V>,
    render: Render<V, T>,
    session: Session,
) -> BoxStream<'static, Result<T, Status>>
where
    V: Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    values.mark_changed();
    let watch = Watch {
        values,
        render,
        session,
    };
    stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.next().await {
            Ok(message) => Some((Ok(message), Some(watch))),
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}
