//! Answers that come before the whole request was read.
//!
//! A server that answers and hangs up while the client still sends makes the client's system throw the answer away: what arrives at a closed socket is answered with a reset.
//! So the answer goes out at once, and the rest of the request is read and dropped for a while before the answer ends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Version};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, Sleep};

/// The most bytes that are read for nothing.
const MOST: usize = 256 << 20;
/// The longest time that is spent on them.
const LONGEST: Duration = Duration::from_secs(20);
/// After so much silence nothing more is waited for: a client that asked whether it may send at all (`Expect: 100-continue`) has its answer and sends nothing.
const QUIET: Duration = Duration::from_millis(500);

/// The answer, with the rest of its request behind it.
pub(crate) fn answer(response: Response, rest: Body) -> Response {
    if rest.is_end_stream() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // Its end is not known by its length: the answer is whole when the request has been read.
    head.headers.remove(CONTENT_LENGTH);
    if head.version < Version::HTTP_2 {
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let now = Instant::now();
    let patience = Box::pin(tokio::time::sleep_until(now + QUIET));
    Response::from_parts(
        head,
        Body::new(Lingering { body: Some(body), rest, left: MOST, until: now + LONGEST, patience }),
    )
}

struct Lingering {
    body: Option<Body>,
    rest: Body,
    left: usize,
    until: Instant,
    patience: Pin<Box<Sleep>>,
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Some(body) = &mut this.body {
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(None) => this.body = None,
                other => return other,
            }
        }
        while this.patience.as_mut().poll(cx).is_pending() {
            match Pin::new(&mut this.rest).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    let read = frame.data_ref().map_or(0, Bytes::len);
                    let now = Instant::now();
                    match this.left.checked_sub(read) {
                        Some(left) if now < this.until => this.left = left,
                        _ => break,
                    }
                    this.patience.as_mut().reset(now + QUIET);
                }
                Poll::Ready(Some(Err(_)) | None) => break,
            }
        }
        Poll::Ready(None)
    }
}
