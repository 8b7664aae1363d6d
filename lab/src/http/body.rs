//! Request bodies: nothing, bytes at once, or bytes that trickle.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Full;
use hyper::HeaderMap;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The body of a request.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Full<Bytes>),
    Trickle {
        frames: VecDeque<Frame<Bytes>>,
        pause: Duration,
        timer: Pin<Box<Sleep>>,
    },
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Whole(Full::default()))
    }

    /// All at once, with its length declared.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Full::new(bytes.into())))
    }

    /// One chunk after another with a pause before each, without a declared length, then `trailers` if any.
    /// Has to be made within a tokio runtime.
    #[must_use]
    pub fn trickle<C: Into<Bytes>>(
        chunks: impl IntoIterator<Item = C>,
        pause: Duration,
        trailers: Option<HeaderMap>,
    ) -> Self {
        let chunks = chunks.into_iter().map(|chunk| Frame::data(chunk.into()));
        let frames = chunks.chain(trailers.map(Frame::trailers)).collect();
        Self(Kind::Trickle {
            frames,
            pause,
            timer: Box::pin(tokio::time::sleep(pause)),
        })
    }
}

impl From<Full<Bytes>> for Body {
    fn from(body: Full<Bytes>) -> Self {
        Self(Kind::Whole(body))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(body) => Pin::new(body).poll_frame(context),
            Kind::Trickle {
                frames,
                pause,
                timer,
            } => {
                ready!(timer.as_mut().poll(context));
                timer.as_mut().reset(Instant::now() + *pause);
                Poll::Ready(frames.pop_front().map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Trickle { frames, .. } => frames.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Trickle { .. } => SizeHint::default(),
        }
    }
}
