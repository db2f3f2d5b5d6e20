//! An answer that has begun: what is known of it, and the rest of its stream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use futures_util::{StreamExt, stream};

use super::envelope::Enveloping;
use super::record::Record;
use super::sealed::Learning;
use crate::delta::{Delta, DeltaStream, Event};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::ending::Ending;
use crate::response::{Folder, Response};
use crate::trace::Trace;

/// The most events that may come before the first content: starts, pings, empty blocks.
const MOST_BEFORE_CONTENT: usize = 1024;

/// A stream whose first content has come: from here on no other target takes over.
#[derive(Debug)]
pub(crate) struct Committed {
    head: Vec<Event>,
    rest: DeltaStream,
}

impl Committed {
    /// Reads until the first content event, or the end of an empty answer.
    pub(crate) async fn of(mut events: DeltaStream) -> Result<Self> {
        let mut head = Vec::with_capacity(2);
        while head.len() < MOST_BEFORE_CONTENT {
            let event = events.next().await.unwrap_or_else(|| Err(cut()))?;
            let commits = event.is_content() || event.deltas.iter().any(|delta| matches!(delta, Delta::End));
            head.push(event);
            if commits {
                return Ok(Self { head, rest: events });
            }
        }
        Err(Error::protocol(format!("no content in the first {MOST_BEFORE_CONTENT} events")))
    }

    /// A stored answer: one event where the caller wants it whole, one a delta where it wants a stream.
    pub(crate) fn replay(stored: &Response, streamed: bool) -> Self {
        let deltas = stored.to_deltas();
        let head = if streamed { deltas.into_iter().map(Event::from).collect() } else { vec![Event::from(deltas)] };
        Self { head, rest: DeltaStream::of([]) }
    }

    /// What was read of it already.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.head.iter()
    }

    /// With the rest of its stream changed.
    pub(crate) fn then(self, change: impl FnOnce(DeltaStream) -> DeltaStream) -> Self {
        Self { head: self.head, rest: change(self.rest) }
    }

    /// The whole stream, what was read included.
    pub(crate) fn into_stream(self) -> DeltaStream {
        DeltaStream::new(stream::iter(self.head.into_iter().map(Ok)).chain(self.rest))
    }
}

fn cut() -> Error {
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
        let Committed { head, rest } = committed;
        // Not checked for the laws again: where they are checked at all, the provider's stream was.
        let events = DeltaStream::unchecked(stream::iter(head.into_iter().map(Ok)).chain(rest));
        Self { events, record, learning, enveloping, ending, ended: false, over: false }
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
                ready!(self.ending.poll(cx));
                Some(Err(shutting_down()))
            }
        };
        match &mut next {
            Some(Ok(event)) => {
                for delta in &event.deltas {
                    match delta {
                        Delta::Usage(usage) => self.record.usage(*usage),
                        Delta::End => self.ended = true,
                        delta => self.learning.see(delta),
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
