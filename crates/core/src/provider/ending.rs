//! Waiting for a token's end beside something else, for those who are polled far more often than anything ends.
//!
//! Asking a [`CancellationToken`] means taking its lock and a place in its list of waiters each time. A task that asks again with the waker that stands there already only looks
//! whether the end has come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A wait for a token's end.
#[derive(Debug)]
pub(crate) struct Ending {
    token: CancellationToken,
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is woken at the end.
    waker: Option<Waker>,
}

impl Ending {
    /// Waits for the end of `token`: best one that few share, since all who ask take its lock.
    pub(crate) fn of(token: CancellationToken) -> Self {
        Self { waiting: Box::pin(token.clone().cancelled_owned()), token, waker: None }
    }

    /// Ready when the end has come; else the task is woken then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return if self.token.is_cancelled() { Poll::Ready(()) } else { Poll::Pending };
        }
        let ended = self.waiting.as_mut().poll(cx);
        self.waker = Some(cx.waker().clone());
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_end_is_told_to_whoever_asked_last() {
        let token = CancellationToken::new();
        let mut ending = Ending::of(token.clone());
        for _ in 0..3 {
            assert!(futures_util::poll!(poll_fn(|cx| ending.poll(cx))).is_pending());
        }
        let told = tokio::spawn(async move { poll_fn(|cx| ending.poll(cx)).await });
        token.cancel();
        assert!(told.await.is_ok());
    }
}
