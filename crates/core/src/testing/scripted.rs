//! A provider that says what it is told.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use futures_util::StreamExt;

use crate::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use crate::embedding::{EmbedInput, EmbedRequest, EmbedResponse};
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId};
use crate::image::{ImageRequest, ImageResponse, Picture};
use crate::provider::{Availability, Call, Describe, Provider, unsupported};
use crate::usage::Usage;

/// What a [`Scripted`] provider does with one call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Turn {
    /// Answers a text.
    Text(String),
    /// Yields these events, errors included, in order.
    Events(Vec<Result<Event>>),
    /// Refuses before an answer begins.
    Fail(Error),
    /// Yields these events, errors included, each after this time.
    Slow(Duration, Vec<Result<Event>>),
    /// Yields these events and then nothing for ever.
    Hang(Vec<Event>),
    /// Says that the call waits for a place, has one after this time, and yields these events then.
    Queued(Duration, Vec<Event>),
}

/// A provider that follows a script: one turn a call, the last turn again and again.
#[derive(Debug)]
pub struct Scripted {
    describe: Describe,
    availability: Availability,
    turns: Vec<Turn>,
    models: Vec<ModelName>,
    dimensions: Option<usize>,
    pictures: Vec<Picture>,
    tokens: Option<u64>,
    calls: Mutex<Vec<Arc<Call>>>,
    live: Arc<AtomicUsize>,
}

impl Scripted {
    /// A provider of this id.
    ///
    /// # Panics
    /// When the id is none.
    #[allow(clippy::expect_used)]
    pub fn new(id: &str, turns: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            describe: Describe::new(ProviderId::new(id).expect("a provider id")),
            availability: Availability::Ready,
            turns: turns.into_iter().collect(),
            models: Vec::new(),
            dimensions: None,
            pictures: Vec::new(),
            tokens: None,
            calls: Mutex::default(),
            live: Arc::default(),
        }
    }

    /// A provider that always answers this text.
    pub fn text(id: &str, text: &str) -> Self {
        Self::new(id, [Turn::Text(text.into())])
    }

    /// With another description.
    #[must_use]
    pub fn describing(mut self, change: impl FnOnce(Describe) -> Describe) -> Self {
        self.describe = change(self.describe);
        self
    }

    /// With an availability.
    #[must_use]
    pub fn available(mut self, availability: Availability) -> Self {
        self.availability = availability;
        self
    }

    /// With a list of models.
    #[must_use]
    pub fn serving(mut self, models: impl IntoIterator<Item = ModelName>) -> Self {
        self.models = models.into_iter().collect();
        self
    }

    /// Making vectors of so many numbers: the input's size in bytes or tokens, then its place, then zeros. A turn that fails fails here too.
    #[must_use]
    pub fn embedding(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Drawing these pictures.
    #[must_use]
    pub fn drawing(mut self, pictures: impl IntoIterator<Item = Picture>) -> Self {
        self.pictures = pictures.into_iter().collect();
        self
    }

    /// Counting so many tokens in anything.
    #[must_use]
    pub fn counting(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Notes a call and gives its turn.
    fn turn(&self, call: &Arc<Call>) -> Option<Turn> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turns.get(calls.len()).or(self.turns.last()).cloned();
        calls.push(Arc::clone(call));
        turn
    }

    /// Notes a call that is not for text; fails it where its turn says so, or where the provider does no such thing.
    fn other<T>(&self, call: &Arc<Call>, done: Option<T>) -> Result<T> {
        match self.turn(call) {
            Some(Turn::Fail(error)) => Err(error),
            _ => done.ok_or_else(|| unsupported(&self.describe, "such things")),
        }
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Streams that are neither at their end nor dropped.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }
}

impl Provider for Scripted {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        self.availability.clone()
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let events = match self.turn(&call) {
            None => return Err(Error::unavailable("the script is empty")),
            Some(Turn::Fail(error)) => return Err(error),
            Some(Turn::Text(text)) => text_events(&text, call.model()).into_iter().map(Ok).collect(),
            Some(Turn::Events(events)) => events,
            Some(Turn::Slow(each, events)) => {
                let live = Live::new(&self.live);
                let events = futures_util::stream::iter(events).then(move |event| {
                    let _ = &live;
                    async move {
                        tokio::time::sleep(each).await;
                        event
                    }
                });
                return Ok(DeltaStream::new(events));
            }
            Some(Turn::Queued(after, events)) => {
                let (live, cx) = (Live::new(&self.live), call.cx.clone());
                cx.wait_for_place(true);
                let placed = async move {
                    tokio::time::sleep(after).await;
                    cx.wait_for_place(false);
                    Event::default()
                };
                let queued = futures_util::stream::iter([Event::default()]).chain(futures_util::stream::once(placed));
                return Ok(DeltaStream::new(queued.chain(futures_util::stream::iter(events)).map(move |event| {
                    let _ = &live;
                    Ok(event)
                })));
            }
            Some(Turn::Hang(events)) => {
                let live = Live::new(&self.live);
                let events =
                    futures_util::stream::iter(events.into_iter().map(Ok)).chain(futures_util::stream::pending());
                return Ok(DeltaStream::new(events.map(move |event| {
                    let _ = &live;
                    event
                })));
            }
        };
        let live = Live::new(&self.live);
        Ok(DeltaStream::new(futures_util::stream::iter(events).map(move |event| {
            let _ = &live;
            event
        })))
    }

    async fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        let dimensions = self.other(&call, self.dimensions)?;
        let dimensions = ask.dimensions.map_or(dimensions, |wanted| wanted as usize);
        let vector = |(place, input): (usize, &EmbedInput)| {
            let size = match input {
                EmbedInput::Text(text) => text.len(),
                EmbedInput::Tokens(tokens) => tokens.len(),
            };
            #[allow(clippy::cast_precision_loss)]
            let mut vector = vec![size as f32, place as f32];
            vector.resize(dimensions, 0.0);
            vector
        };
        let vectors = ask.inputs.iter().enumerate().map(vector).collect();
        let usage = Usage::new(ask.inputs.len() as u64, 0);
        Ok(EmbedResponse::new(call.model().unwrap_or("scripted"), vectors).with_usage(usage))
    }

    async fn image(&self, call: Arc<Call>, ask: Arc<ImageRequest>) -> Result<ImageResponse> {
        let pictures = self.other(&call, (!self.pictures.is_empty()).then(|| self.pictures.clone()))?;
        Ok(ImageResponse::new(pictures.into_iter().cycle().take(ask.count() as usize).collect()))
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        self.other(&call, self.tokens)
    }

    fn models(&self) -> Vec<ModelName> {
        self.models.clone()
    }
}

/// The events of an answer that is one text: a start, each word with its space, an end.
pub fn text_events(text: &str, model: Option<&str>) -> Vec<Event> {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let start = Delta::Start { id: "scripted".into(), model: model.unwrap_or("scripted").into(), created: None };
    let mut events = vec![Event::from(vec![start, Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text }])];
    for word in &words {
        events.push(Delta::BlockDelta { choice: 0, block: 0, part: Part::Text((*word).into()) }.into());
    }
    events.push(
        vec![
            Delta::BlockEnd { choice: 0, block: 0 },
            Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: None },
            Delta::Usage(Usage::new(1, words.len() as u64)),
            Delta::End,
        ]
        .into(),
    );
    events
}

/// Counts a stream while it lives.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
