//! An answer that has begun: what is known of it, and the rest of its stream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::Router;
use super::envelope::Enveloping;
use super::opening::Opening;
use super::record::Record;
use super::resolve::Planned;
use super::sealed::Learning;
use crate::cache::flight::weight;
use crate::delta::{Delta, DeltaStream, Event};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ModelName;
use crate::provider::DynProvider;
use crate::provider::ending::Ending;
use crate::request::Hold;
use crate::response::{Folder, Response};
use crate::telemetry::Gaps;
use crate::trace::Trace;

/// The most events that may come before the first content: starts, pings, empty blocks.
const MOST_BEFORE_CONTENT: usize = 1024;

/// The most bytes of an answer that is held back until it is complete: past them it is given out as it comes.
pub(crate) const MOST_HELD: usize = 8 << 20;

/// A stream whose first content has come: from here on no other target takes over.
#[derive(Debug)]
pub(crate) struct Committed {
    head: Vec<Event>,
    rest: DeltaStream,
    /// Whether it was to be held back until it was complete, and grew too large.
    spilled: bool,
    /// Whom to tell how the rest goes.
    aftermath: Option<Aftermath>,
}

impl Committed {
    /// Reads until the first content event, or the end of an empty answer; one that is held back until its end, as far as there is room.
    pub(crate) async fn of(mut events: DeltaStream, opening: &mut Opening) -> Result<Self> {
        let mut head = Vec::with_capacity(2);
        while head.len() < MOST_BEFORE_CONTENT {
            let event = opening.next(&mut events).await?.ok_or_else(cut)?;
            let ends = is_end(&event);
            let commits = ends || event.is_content();
            head.push(event);
            if commits {
                let mut committed = Self { head, rest: events, spilled: false, aftermath: None };
                if !ends && opening.hold == Hold::Whole {
                    Box::pin(committed.complete()).await?;
                }
                return Ok(committed);
            }
        }
        Err(Error::protocol(format!("no content in the first {MOST_BEFORE_CONTENT} events")))
    }

    /// Reads on until the end, or until it is too large to be kept.
    async fn complete(&mut self) -> Result<()> {
        let mut held: usize = self.head.iter().map(weight).sum();
        loop {
            let event = self.rest.next().await.unwrap_or_else(|| Err(cut()))?;
            let ends = is_end(&event);
            held = held.saturating_add(weight(&event));
            self.head.push(event);
            self.spilled = !ends && held > MOST_HELD;
            if ends || self.spilled {
                return Ok(());
            }
        }
    }

    /// A stored answer: one event where the caller wants it whole, one a delta where it wants a stream.
    pub(crate) fn replay(stored: &Response, streamed: bool) -> Self {
        let deltas = stored.to_deltas();
        let head = if streamed { deltas.into_iter().map(Event::from).collect() } else { vec![Event::from(deltas)] };
        Self { head, rest: DeltaStream::of([]), spilled: false, aftermath: None }
    }

    /// Whether it was to be held back until it was complete, and is given out before that.
    pub(crate) fn is_spilled(&self) -> bool {
        self.spilled
    }

    /// What was read of it already.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.head.iter()
    }

    /// Without the bytes as received of what was read: for an answer that others may go on with.
    pub(crate) fn without_raw(&mut self) {
        self.head.iter_mut().for_each(|event| event.raw = None);
    }

    /// Whom to tell how the rest goes: now the business of whoever asks.
    pub(crate) fn take_aftermath(&mut self) -> Option<Aftermath> {
        self.aftermath.take()
    }

    /// With somebody to tell how the rest goes.
    pub(crate) fn telling(self, aftermath: Option<Aftermath>) -> Self {
        Self { aftermath, ..self }
    }

    /// With the rest of its stream changed.
    pub(crate) fn then(self, change: impl FnOnce(DeltaStream) -> DeltaStream) -> Self {
        Self { rest: change(self.rest), ..self }
    }

    /// The whole stream, what was read included, which tells by itself how it goes.
    pub(crate) fn into_stream(self) -> DeltaStream {
        let Self { head, rest, aftermath, .. } = self;
        let events = stream::iter(head.into_iter().map(Ok)).chain(rest);
        let Some(aftermath) = aftermath else { return DeltaStream::new(events) };
        DeltaStream::new(events.inspect(move |event| aftermath.see(event)))
    }
}

fn is_end(event: &Event) -> bool {
    event.deltas.iter().any(|delta| matches!(delta, Delta::End))
}

/// Whom to tell how an answer goes on after its first content: the breakers of who gives it.
#[derive(Debug)]
pub(crate) struct Aftermath {
    router: Router,
    provider: Arc<dyn DynProvider>,
    model: Option<ModelName>,
    began: Instant,
    /// The shortest limit of the caller's own.
    haste: Option<Duration>,
}

impl Aftermath {
    pub(super) fn new(router: &Router, planned: &Planned, began: Instant, haste: Option<Duration>) -> Self {
        let (provider, model) = (Arc::clone(&planned.provider), planned.target.model.clone());
        Self { router: router.clone(), provider, model, began, haste }
    }

    /// Looks at what comes of it.
    pub(super) fn see(&self, event: &Result<Event>) {
        match event {
            Ok(event) if is_end(event) => self.ended(),
            Ok(_) => {}
            Err(error) => self.failed(error),
        }
    }

    fn ended(&self) {
        self.router.tell_breakers(&self.provider, self.model.as_ref(), None);
    }

    /// A caller who allows too little time says nothing of the target.
    pub(super) fn failed(&self, error: &Error) {
        let took = self.router.deps().clock.instant().saturating_duration_since(self.began);
        if error.kind() == ErrorKind::ProviderTimeout && self.haste.is_some_and(|limit| took >= limit) {
            return;
        }
        self.router.tell_breakers(&self.provider, self.model.as_ref(), Some(error));
    }
}

pub(super) fn cut() -> Error {
    Error::protocol("the answer was cut: it ended without its last event")
        .with_hint("try again, or name another provider")
}

/// An answer that has begun. It is a stream of events; dropping it cancels the work behind it.
#[derive(Debug)]
pub struct Answer {
    events: DeltaStream,
    record: Arc<Record>,
    learning: Learning,
    /// Where the caller's dialect is not the answer's.
    enveloping: Option<Box<Enveloping>>,
    aftermath: Option<Aftermath>,
    /// How long its events are waited for.
    gaps: Option<Box<Gaps>>,
    /// Whether somebody wants to know what the provider calls the model.
    watched: bool,
    /// The router's end, which a provider need not watch for itself.
    ending: Ending,
    ended: bool,
    over: bool,
}

impl Answer {
    pub(super) fn new(
        committed: Committed,
        record: Arc<Record>,
        learning: Learning,
        enveloping: Option<Box<Enveloping>>,
    ) -> Self {
        record.first_content();
        let ending = Ending::of(record.ending().clone());
        let Committed { head, rest, aftermath, .. } = committed;
        let whole = head.iter().any(is_end);
        // Not checked for the laws again: where they are checked at all, the provider's stream was.
        let events = DeltaStream::unchecked(stream::iter(head.into_iter().map(Ok)).chain(rest));
        let watched = record.is_watched();
        let gaps = if whole { None } else { record.gaps().map(Box::new) };
        let (ended, over) = (false, false);
        Self { events, record, learning, enveloping, aftermath, gaps, watched, ending, ended, over }
    }

    /// How the answer came about, as far as it is known now: who answers, the cache, the attempts, what was dropped.
    pub fn trace(&self) -> Trace {
        self.record.trace()
    }

    /// Looks at how the answer came about, without a copy. `look` must be quick and must not ask this answer again.
    pub fn look<T>(&self, look: impl FnOnce(&Trace) -> T) -> T {
        self.record.look(look)
    }

    /// The rest of the answer as one response, with its trace.
    ///
    /// # Errors
    /// What breaks the answer.
    pub async fn collect(mut self) -> Result<Response> {
        let mut folder = Folder::default();
        while let Some(event) = self.next().await {
            event?.deltas.iter().for_each(|delta| folder.push(delta));
        }
        Ok(folder.finish()?.with_trace(Arc::new(self.record.trace())))
    }
}

impl Stream for Answer {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut next = match Pin::new(&mut self.events).poll_next(cx) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                let Self { gaps, record, .. } = &mut *self;
                gaps.iter_mut().for_each(|gaps| gaps.wait(|| record.now()));
                ready!(self.ending.poll(cx));
                Some(Err(shutting_down()))
            }
        };
        match &mut next {
            Some(Ok(event)) => {
                let Self { gaps, record, .. } = &mut *self;
                gaps.iter_mut().for_each(|gaps| gaps.event(|| record.now()));
                for delta in &event.deltas {
                    match delta {
                        Delta::Usage(usage) => self.record.usage(*usage),
                        Delta::End => {
                            self.ended = true;
                            if let Some(aftermath) = self.aftermath.take() {
                                aftermath.ended();
                            }
                        }
                        delta => {
                            if let Delta::Start { model, .. } = delta
                                && self.watched
                            {
                                self.record.answered_as(model);
                            }
                            self.learning.see(delta);
                        }
                    }
                }
                if let Some(enveloping) = &mut self.enveloping {
                    enveloping.change(&mut event.deltas);
                }
                return Poll::Ready(next);
            }
            Some(Err(_)) => {}
            None if self.ended => {
                self.over = true;
                return Poll::Ready(None);
            }
            None => {}
        }
        // The work behind a broken answer ends now, not when the caller lets go of it.
        self.over = true;
        self.events = DeltaStream::of([]);
        let error = next.and_then(Result::err).unwrap_or_else(cut);
        if let Some(aftermath) = self.aftermath.take() {
            aftermath.failed(&error);
        }
        self.record.failed(&error);
        Poll::Ready(Some(Err(error)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended && !self.over {
            self.record.left();
        }
    }
}

/// What a request is told that the router's end cuts off.
pub(crate) fn shutting_down() -> Error {
    Error::new(ErrorKind::RouterUnavailable, "the router is shutting down")
}
