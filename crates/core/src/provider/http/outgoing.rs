//! The bytes of a request on their way out: all at hand, or a stream that is read while it is sent.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::error::{Error, Result};

/// A request's body that is read while it is sent, so that it is never in memory as a whole. All clones are one stream: it can be sent once.
#[derive(Clone)]
pub struct Upload(Arc<Inner>);

struct Inner {
    stream: Mutex<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>>,
    length: Option<u64>,
    touched: AtomicBool,
}

impl Upload {
    /// A body of these pieces. `length` is how many bytes they are, where that is known. An error of the stream breaks the request off.
    pub fn new(stream: impl Stream<Item = Result<Bytes>> + Send + 'static, length: Option<u64>) -> Self {
        Self(Arc::new(Inner { stream: Mutex::new(Box::pin(stream)), length, touched: AtomicBool::new(false) }))
    }

    /// Whether something of it may have been sent: then it cannot be sent again.
    pub(super) fn is_touched(&self) -> bool {
        self.0.touched.load(Ordering::Acquire)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.0.touched.store(true, Ordering::Release);
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("length", &self.0.length).finish_non_exhaustive()
    }
}

/// What hyper is given.
pub(super) enum Payload {
    Whole(Full<Bytes>),
    Upload(Upload),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Upload(upload) => Poll::Ready(ready!(upload.poll(cx)).map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Upload(upload) => upload.0.length == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Upload(upload) => upload.0.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
