//! One attempt's way to its first content: how long it may take, and what counts as a sign of life until then.
//!
//! A streamed answer has what the request has left for this target (`first_event.rs`). A provider whose events say that it gets on with the prompt has that
//! time for its first one, and the idle limit between two; one that says nothing before its end is waited for by its own limits alone, as whole answers
//! are. Providers hold to their deadlines themselves; this holds those to them that do not, and is the same for all.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::delta::{DeltaStream, Event};
use crate::error::{Error, Result};
use crate::provider::{Call, Context, Describe, Liveness};
use crate::request::{Hold, Request};

/// How one answer is waited for until it is given out.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// The end of the wait; none where nothing is counted.
    until: Option<Instant>,
    limit: Duration,
    /// The limit between two signs of life, where there are such.
    idle: Option<Duration>,
    /// Knows whether somebody works on it already, where there are signs of that.
    cx: Option<Context>,
    /// Whether it is held back until it is complete.
    pub(super) hold: Hold,
}

impl Opening {
    /// For a call that begins now.
    pub(super) fn of(call: &Call, describe: &Describe) -> Self {
        let limit = call.deadlines.first_event;
        let until = counts(&call.request, describe).then(|| Instant::now() + limit);
        let shows = describe.liveness == Liveness::Progress;
        let (idle, cx) = (shows.then_some(call.deadlines.idle), shows.then(|| call.cx.clone()));
        Self { until, limit, idle, cx, hold: hold(&call.request) }
    }

    /// For an answer that somebody else waits for, or that is there.
    pub(super) fn unhurried(request: &Request) -> Self {
        Self { until: None, limit: Duration::ZERO, idle: None, cx: None, hold: hold(request) }
    }

    /// What `done` gives, if it does so in time.
    ///
    /// # Errors
    /// Its own; `provider_timeout`.
    pub(super) async fn wait<T>(&self, done: impl Future<Output = Result<T>>) -> Result<T> {
        match self.until {
            Some(until) => timeout_at(until, done).await.unwrap_or_else(|_| Err(late(self.limit))),
            None => done.await,
        }
    }

    /// The next event before the first content.
    pub(super) async fn next(&mut self, events: &mut DeltaStream) -> Result<Option<Event>> {
        let event = self.wait(async { events.next().await.transpose() }).await?;
        // Who waits for a place has the time for a first event and no more: that somebody else's job goes on is no sign of its own.
        let waits = self.cx.as_ref().is_some_and(Context::waits_for_place);
        if let (Some(idle), Some(until), false) = (self.idle, &mut self.until, waits) {
            (*until, self.limit) = (Instant::now() + idle, idle);
        }
        Ok(event)
    }
}

/// Whether the time for the first event holds for a request at a provider.
pub(super) fn counts(request: &Request, describe: &Describe) -> bool {
    request.stream && describe.liveness != Liveness::End
}

fn hold(request: &Request) -> Hold {
    request.riders.hold.unwrap_or_default()
}

/// What is told of a target that said nothing in its share of the request's time.
pub(super) fn late(limit: Duration) -> Error {
    Error::timeout(format!(
        "no content in {} s, its share of the request's time for a first event",
        limit.as_secs_f64()
    ))
    .with_hint(
        "allow more with `timeouts.first_event` of [router], of the provider, the model or the route in the config",
    )
}
