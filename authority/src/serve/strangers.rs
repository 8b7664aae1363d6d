//! Connections of clients without a certificate: they join or ask for health, and are soon done.
//!
//! Anybody can open them, so the oldest must make room for the newest: whoever holds connections
//! open uses up nobody else's file descriptors.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::limits::peers::Slot;

/// The latest strangers.
#[derive(Clone, Debug)]
pub(crate) struct Strangers {
    most: usize,
    latest: Arc<Mutex<VecDeque<CancellationToken>>>,
}

impl Strangers {
    /// Room for the latest `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            latest: Arc::default(),
        }
    }

    /// Lets one in; one that came long before may have to go.
    pub(crate) fn admit<S>(&self, stream: S, slot: Slot) -> Ending<S> {
        let end = CancellationToken::new();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.push_back(end.clone());
        if latest.len() > self.most
            && let Some(oldest) = latest.pop_front()
        {
            oldest.cancel();
        }
        Ending {
            stream,
            end: Some(Box::pin(end.cancelled_owned())),
            _slot: slot,
        }
    }
}

/// A connection that may have to end: its reader then sees it closed.
#[derive(Debug)]
pub(crate) struct Ending<S> {
    stream: S,
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Its place among all connections, free again when it ends.
    _slot: Slot,
}

impl<S> Ending<S> {
    /// One that need not end.
    pub(crate) const fn never(stream: S, slot: Slot) -> Self {
        Self {
            stream,
            end: None,
            _slot: slot,
        }
    }
}

impl<S: Connected> Connected for Ending<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ending<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_for_the_newest() {
        let strangers = Strangers::new(2);
        let peers = crate::limits::peers::Peers::new(9, 9);
        let slot = || peers.admit([127, 0, 0, 1].into()).unwrap();
        let mut theirs = Vec::new();
        let mut ours = Vec::new();
        for _ in 0..2 {
            let (one, other) = duplex(8);
            theirs.push(one);
            ours.push(strangers.admit(other, slot()));
        }
        // The first is waiting when the third comes.
        let first = ours.remove(0);
        let waiting = tokio::spawn(async move {
            let mut first = first;
            first.read(&mut [0]).await
        });
        tokio::task::yield_now().await;
        let (one, other) = duplex(8);
        theirs.push(one);
        ours.push(strangers.admit(other, slot()));
        let ended = timeout(Duration::from_secs(5), waiting).await.unwrap();
        assert_eq!(ended.unwrap().unwrap(), 0);
        // The others are served.
        for (theirs, ours) in theirs[1..].iter_mut().zip(&mut ours) {
            theirs.write_all(b"x").await.unwrap();
            assert_eq!(ours.read(&mut [0]).await.unwrap(), 1);
        }
    }
}
