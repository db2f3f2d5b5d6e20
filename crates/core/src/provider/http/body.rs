//! The bytes of an answer: a stream with a size limit and a limit on silence, which gives its connection back at its end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::connect::{Origin, broken};
use super::pool::Lease;
use super::{Limits, Seconds};
use crate::error::{Error, Result};

/// The body of an answer as a stream of pieces. After an error, and after the end, it yields nothing more.
pub struct HttpBody {
    incoming: Incoming,
    /// Gone once the body is over: the connection is back in its pool, or closed.
    lease: Option<Lease>,
    origin: Origin,
    limits: Limits,
    received: u64,
    /// Runs only while upstream is waited for; a reader that takes its time stops it.
    silence: Option<Pin<Box<Sleep>>>,
}

impl HttpBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, origin: Origin, limits: Limits) -> Self {
        Self { incoming, lease: Some(lease), origin, limits, received: 0, silence: None }
    }

    /// The whole body.
    ///
    /// # Errors
    /// As the stream: `provider_protocol` over the byte limit, `provider_timeout`, `provider_connection`.
    pub async fn bytes(mut self) -> Result<Bytes> {
        self.gather().await
    }

    /// What is left of the body.
    ///
    /// # Errors
    /// As [`HttpBody::bytes`].
    pub(crate) async fn gather(&mut self) -> Result<Bytes> {
        // Most come in one piece, which is not copied.
        let first = self.next().await.transpose()?.unwrap_or_default();
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(2 * (first.len() + second.len()));
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.freeze())
    }

    /// The first bytes of the body, `limit` at most; what comes after them, and any failure, is left out. For the words of an error answer.
    pub async fn prefix(mut self, limit: usize) -> Bytes {
        let mut whole = BytesMut::new();
        while let Some(Ok(piece)) = self.next().await {
            whole.extend_from_slice(&piece);
            if whole.len() >= limit {
                whole.truncate(limit);
                break;
            }
        }
        whole.freeze()
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Bytes>>> {
        self.lease = None;
        Poll::Ready(Some(Err(error)))
    }

    fn over_limit(&self) -> Error {
        Error::protocol(format!("the answer of {} is larger than {} bytes, the limit", self.origin, self.limits.body))
    }
}

impl Stream for HttpBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        // One that says so beforehand is not waited for.
        if self.incoming.size_hint().lower() > self.limits.body {
            let error = self.over_limit();
            return self.fail(error);
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence = None;
                    let Ok(piece) = frame.into_data() else { continue };
                    self.received = self.received.saturating_add(piece.len() as u64);
                    if self.received > self.limits.body {
                        let error = self.over_limit();
                        return self.fail(error);
                    }
                    if !piece.is_empty() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = broken(&self.origin, error);
                    return self.fail(error);
                }
                Poll::Ready(None) => {
                    if let Some(lease) = self.lease.take() {
                        lease.finish();
                    }
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        let Some(limit) = self.limits.idle else { return Poll::Pending };
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        std::task::ready!(silence.as_mut().poll(cx));
        let error = Error::timeout(format!("{} went silent for {} in its answer", self.origin, Seconds(limit)));
        self.fail(error)
    }
}

impl std::fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpBody").field("received", &self.received).finish_non_exhaustive()
    }
}
