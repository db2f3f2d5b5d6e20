//! The body of a streamed answer: the router's events through the dialect's encoder, as they come.
//!
//! No task and no channel stands between: the connection polls this, this polls the answer. A slow reader therefore slows the upstream, and a connection that goes
//! away drops the answer, which ends the upstream's work. All that is ready goes out in one piece.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame};
use llm_router::delta::{Delta, Event};
use llm_router::dialect::Encoder;
use llm_router::error::Result;
use llm_router::router::Answer;
use tokio::time::{Instant, Sleep};

/// Past this size a piece goes out although more is ready.
const PIECE: usize = 32 << 10;

/// The body of a streamed answer.
pub(crate) struct Relay {
    from: From,
    encoder: Box<dyn Encoder>,
    out: BytesMut,
    silence: Pin<Box<Sleep>>,
    ping_after: Duration,
    spoke: Instant,
    broken: Option<Broken>,
}

/// Says whether a streamed answer broke off with an error, to whoever keeps answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(pub(crate) Arc<AtomicBool>);

enum From {
    /// The head went out before the first content came.
    Waiting(BoxFuture<'static, Result<Answer>>),
    Flowing(Answer),
    Over,
}

impl Relay {
    /// An answer that has begun.
    pub(crate) fn flowing(answer: Answer, encoder: Box<dyn Encoder>, ping_after: Duration) -> Self {
        Self::new(From::Flowing(answer), encoder, ping_after)
    }

    /// An answer that has not: what comes of it, an error too, is said in the stream.
    pub(crate) fn waiting(
        answer: BoxFuture<'static, Result<Answer>>,
        encoder: Box<dyn Encoder>,
        ping_after: Duration,
    ) -> Self {
        Self::new(From::Waiting(answer), encoder, ping_after)
    }

    fn new(from: From, encoder: Box<dyn Encoder>, ping_after: Duration) -> Self {
        let spoke = Instant::now();
        let silence = Box::pin(tokio::time::sleep_until(spoke + ping_after));
        Self { from, encoder, out: BytesMut::new(), silence, ping_after, spoke, broken: None }
    }

    /// Has `broken` told of an error in the stream.
    pub(crate) fn telling(mut self, broken: Option<Broken>) -> Self {
        self.broken = broken;
        self
    }

    /// Writes what is ready.
    fn gather(&mut self, cx: &mut Context<'_>) {
        while self.out.len() < PIECE {
            let failed = match &mut self.from {
                From::Over => return,
                From::Waiting(answer) => match answer.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(answer)) => {
                        self.from = From::Flowing(answer);
                        continue;
                    }
                    Poll::Ready(Err(error)) => error,
                },
                From::Flowing(answer) => match Pin::new(&mut *answer).poll_next(cx) {
                    Poll::Pending => return,
                    Poll::Ready(None) => {
                        self.from = From::Over;
                        return;
                    }
                    Poll::Ready(Some(Ok(event))) => {
                        tell_at_end(answer, &event, self.encoder.as_mut());
                        match self.encoder.event(&event, &mut self.out) {
                            Ok(()) => continue,
                            Err(error) => error,
                        }
                    }
                    Poll::Ready(Some(Err(error))) => error,
                },
            };
            self.encoder.error(&failed, &mut self.out);
            if let Some(Broken(broken)) = &self.broken {
                broken.store(true, Ordering::Release);
            }
            self.from = From::Over;
        }
    }
}

/// Before the last event the encoder learns how the answer came about.
pub(crate) fn tell_at_end(answer: &Answer, event: &Event, encoder: &mut dyn Encoder) {
    if matches!(event.deltas.last(), Some(Delta::End)) {
        answer.look(|trace| encoder.about(trace));
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            this.gather(cx);
            if !this.out.is_empty() {
                this.spoke = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(this.out.split().freeze()))));
            }
            if matches!(this.from, From::Over) {
                return Poll::Ready(None);
            }
            // The timer is not moved with every piece; when it fires it looks how long the silence has really been.
            if this.silence.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let due = this.spoke + this.ping_after;
            let now = Instant::now();
            if due <= now {
                this.encoder.ping(&mut this.out);
                this.spoke = now;
                this.silence.as_mut().reset(now + this.ping_after);
            } else {
                this.silence.as_mut().reset(due);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use llm_router::config::Settings;
    use llm_router::dialect::{Dialect, Framing, codec};
    use llm_router::request::Request;
    use llm_router::router::resolve::Door;
    use llm_router::router::{Op, Router};
    use llm_router::testing::scripted::{Scripted, Turn, text_events};

    use super::*;

    async fn piece(relay: &mut Relay) -> Bytes {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *relay).poll_frame(cx)).await;
        frame.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_comes_after_fifteen_seconds_of_silence_and_not_before() {
        const SILENCE: Duration = Duration::from_secs(15);
        for dialect in [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic, Dialect::Gemini] {
            let events = text_events("one two", None).into_iter().take(2).collect();
            let provider = Scripted::new("s", [Turn::Hang(events)]);
            let router = Router::builder().provider(provider).settings(Settings::default()).build().unwrap();
            let mut request = Request::new("hi");
            (request.model, request.stream) = (Some("s/m".to_owned()), true);
            let encoder = codec(dialect).encoder(&request, Framing::Stream);
            let answer = router.call(Op::new(request, Door::CompatibleApi)).await.unwrap();
            let mut relay = Relay::flowing(answer, encoder, SILENCE);
            assert!(piece(&mut relay).await.windows(4).any(|words| words == b"one "), "{dialect}");
            for nth in 1..=3 {
                let spoke = Instant::now();
                let ping = piece(&mut relay).await;
                let silent = spoke.elapsed();
                assert!(
                    silent >= SILENCE && silent < SILENCE + Duration::from_millis(10),
                    "{dialect} {nth} {silent:?}"
                );
                assert!(ping.len() < 64 && !ping.windows(3).any(|words| words == b"one"), "{dialect} {ping:?}");
            }
        }
    }
}
