//! How long a provider waits: the deadlines of a call, counted only while somebody waits.
//!
//! A reader who takes his time counts toward no deadline, so the clock runs inside [`Patience::wait`] and nowhere else. HTTP services, programs and workers
//! hold to it alike; the router's own limit, over all attempts until the first content, is in `router.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::deps::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::ending::Ending;
use crate::provider::{Call, Deadlines};

/// The patience of one call.
#[derive(Debug)]
pub(crate) struct Patience {
    deadlines: Deadlines,
    streamed: bool,
    /// Time spent waiting so far.
    waited: Duration,
    begun: bool,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    /// Made by the first wait that is one, and kept from one to the next.
    watch: Option<Box<Watch>>,
}

/// What ends a wait.
#[derive(Debug)]
struct Watch {
    alarm: Alarm,
    ending: Ending,
}

impl Watch {
    fn new(cancel: &CancellationToken) -> Box<Self> {
        Box::new(Self { alarm: Alarm::default(), ending: Ending::of(cancel.clone()) })
    }
}

/// A timer that is not moved with every wait: when it fires it looks whether the time is really over, and sleeps on if it is not.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Sees to it that it fires at this time at the latest; never, where there is none.
    fn advance(&mut self, until: Option<Instant>) {
        let Some(until) = until else { return };
        match &mut self.0 {
            None => self.0 = Some(Box::pin(sleep_until(until))),
            Some(sleep) if sleep.deadline() > until => sleep.as_mut().reset(until),
            Some(_) => {}
        }
    }

    /// Ready when that time has come.
    fn poll(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(sleep), Some(until)) = (&mut self.0, until) else { return Poll::Pending };
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

impl Patience {
    /// For a call that is answered `streamed` or whole.
    pub(crate) fn new(call: &Call, streamed: bool) -> Self {
        Self {
            deadlines: call.deadlines,
            streamed,
            waited: Duration::ZERO,
            begun: false,
            clock: call.cx.clock.clone(),
            cancel: call.cx.cancel.clone(),
            watch: None,
        }
    }

    /// The answer has begun: from now on the idle limit holds. Of a service that is its first content, or one that sends only empty steps would be waited for
    /// as long as it likes; of a program of this machine it is any sign of life.
    pub(crate) fn begun(&mut self) {
        self.begun = true;
    }

    /// Waits for `what` no longer than the deadlines allow.
    ///
    /// # Errors
    /// Its own; `provider_timeout` naming the deadline that passed; `caller_cancelled`.
    pub(crate) fn wait<'a, F: Future>(&'a mut self, what: &'a str, done: F) -> Wait<'a, F> {
        Wait { patience: self, what, done, bound: None }
    }

    /// What a wait that begins now holds to, and the alarm set for it.
    fn bound(&mut self) -> Bound {
        let (name, limit, left) = self.next();
        let began = self.clock.instant();
        let until = began.checked_add(left);
        let watch = self.watch.get_or_insert_with(|| Watch::new(&self.cancel));
        watch.alarm.advance(until);
        Bound { name, limit, began, until }
    }

    /// Ready with the error when the caller left or the time is over.
    fn ended<T>(&mut self, bound: Bound, what: &str, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let Bound { name, limit, until, .. } = bound;
        let Watch { alarm, ending } = &mut **self.watch.get_or_insert_with(|| Watch::new(&self.cancel));
        if ending.poll(cx).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::CallerCancelled, "the caller left")));
        }
        ready!(alarm.poll(until, cx));
        // Text may have come all along when the total is over, or pieces of what was to come whole.
        let missed = if matches!(name, "total" | "whole") { "not complete after" } else { "nothing in" };
        let error = Error::timeout(format!("{what}: {missed} {} s", limit.as_secs_f64()));
        Poll::Ready(Err(error.with_hint(more(name))))
    }

    /// The nearest deadline: its name, its length and what is left of it.
    fn next(&self) -> (&'static str, Duration, Duration) {
        let Deadlines { first_event, idle, whole, total, .. } = self.deadlines;
        let (name, limit, left) = match (self.streamed, self.begun) {
            (true, true) => ("idle", idle, idle),
            (true, false) => ("first_event", first_event, first_event.saturating_sub(self.waited)),
            (false, _) => ("whole", whole, whole.saturating_sub(self.waited)),
        };
        let total_left = total.saturating_sub(self.waited);
        if total_left < left { ("total", total, total_left) } else { (name, limit, left) }
    }
}

pin_project! {
    /// One wait. By hand, because an async function would keep what it waits for twice: once as it was given, once pinned.
    pub(crate) struct Wait<'a, F> {
        patience: &'a mut Patience,
        what: &'a str,
        #[pin]
        done: F,
        // None before the first look.
        bound: Option<Bound>,
    }
}

/// What a wait holds to.
#[derive(Clone, Copy, Debug)]
struct Bound {
    name: &'static str,
    limit: Duration,
    began: Instant,
    until: Option<Instant>,
}

impl<T, F: Future<Output = Result<T>>> Future for Wait<'_, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let mut this = self.project();
        let patience = &mut **this.patience;
        let polled = this.done.as_mut().poll(cx);
        // What is there already is had without a look at the clock, a timer, or a place among those who wait for the end.
        if let (Poll::Ready(_), None) = (&polled, &*this.bound) {
            return polled;
        }
        let bound = *this.bound.get_or_insert_with(|| patience.bound());
        let result = match polled {
            Poll::Ready(result) => result,
            Poll::Pending => ready!(patience.ended(bound, this.what, cx)),
        };
        patience.waited += patience.clock.instant().saturating_duration_since(bound.began);
        Poll::Ready(result)
    }
}

/// Where more time is allowed. The command's flag bounds the whole and the total, and nothing else.
fn more(name: &str) -> String {
    let flag = if matches!(name, "total" | "whole") { "`--timeout`, or " } else { "" };
    format!("allow more with {flag}`timeouts.{name}` of [router], of the provider or of the route in the config")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::deps::SystemClock;
    use crate::ids::{ProviderId, RequestId};
    use crate::provider::{Context, Target, http::HttpClient};
    use crate::request::Request;

    fn patience(streamed: bool) -> Patience {
        let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
        let target = Target::new(ProviderId::new("p").unwrap(), None);
        let mut call = Call::new(Arc::new(Request::new("a")), target, cx);
        call.deadlines.first_event = Duration::from_secs(2);
        call.deadlines.idle = Duration::from_secs(1);
        call.deadlines.whole = Duration::from_secs(3);
        call.deadlines.total = Duration::from_millis(3500);
        Patience::new(&call, streamed)
    }

    async fn hint_of(patience: &mut Patience) -> String {
        let error = patience.wait("p", std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
        error.hint().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_named_and_only_waiting_counts() {
        let mut streamed = patience(true);
        assert!(hint_of(&mut streamed).await.contains("`timeouts.first_event`"));
        streamed.begun();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(hint_of(&mut streamed).await.contains("idle"));
        assert!(hint_of(&mut streamed).await.contains("`--timeout`, or `timeouts.total`"));
        assert!(hint_of(&mut patience(false)).await.contains("`--timeout`, or `timeouts.whole`"));
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_the_wait() {
        let mut patience = patience(true);
        patience.cancel.cancel();
        let error = patience.wait("p", std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerCancelled);
    }
}
