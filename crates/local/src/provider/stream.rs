//! From an engine's answer to deltas: one text block of one choice.
//!
//! A streamed answer is an event an item; a whole one is a single event at the end. Next: [`llm_router::delta`].

use llm_router::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::request::TokenLogprob;
use llm_router::usage::Usage;
use tokio_util::sync::CancellationToken;

use crate::engine::{self, Answer, Finish, Output};

/// What the answer begins with.
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
}

/// The answer's events. Dropping the stream drops the answer, which ends its computation.
pub(super) fn deltas(head: Head, answer: Answer, cancel: CancellationToken, stream: bool) -> DeltaStream {
    let start = vec![
        Delta::Start { id: head.id, model: head.model, created: Some(head.created) },
        Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
    ];
    if stream {
        let state = State { answer, cancel, first: Some(start), done: false };
        return DeltaStream::new(futures_util::stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((event, state))
        }));
    }
    DeltaStream::new(futures_util::stream::once(async move {
        let mut state = State { answer, cancel, first: Some(start), done: false };
        let mut whole = Vec::new();
        while let Some(event) = state.next().await {
            event?.deltas.into_iter().for_each(|delta| append(&mut whole, delta));
        }
        Ok(whole.into())
    }))
}

struct State {
    answer: Answer,
    cancel: CancellationToken,
    first: Option<Vec<Delta>>,
    done: bool,
}

impl State {
    async fn next(&mut self) -> Option<Result<Event>> {
        if self.done {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(Ok(first.into()));
        }
        let item = tokio::select! {
            item = self.answer.next() => item,
            () = self.cancel.cancelled() => {
                self.done = true;
                return Some(Err(Error::new(ErrorKind::CallerCancelled, "the request was cancelled")));
            }
        };
        let event = match item {
            Some(Ok(Output::Text { text, logprobs })) => text_event(text, logprobs),
            Some(Ok(Output::Done { finish, usage })) => {
                self.done = true;
                end_event(finish, usage)
            }
            Some(Err(error)) => {
                self.done = true;
                return Some(Err(super::translate(error)));
            }
            None => {
                self.done = true;
                return Some(Err(Error::protocol("the embedded engine stopped in the middle of an answer")));
            }
        };
        Some(Ok(event))
    }
}

fn text_event(text: String, logprobs: Vec<engine::TokenLogprob>) -> Event {
    let parts = [Part::Text(text), Part::Logprobs(logprobs.into_iter().map(logprob).collect())];
    let deltas =
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| Delta::BlockDelta { choice: 0, block: 0, part });
    deltas.collect::<Vec<_>>().into()
}

fn end_event(finish: Finish, usage: engine::Usage) -> Event {
    let (reason, raw_reason) = match finish {
        Finish::Stop => (FinishReason::Stop, None),
        Finish::StopString(_) => (FinishReason::Stop, Some("stop_sequence".to_owned())),
        Finish::Length => (FinishReason::Length, None),
    };
    let count = |tokens| u64::try_from(tokens).unwrap_or(u64::MAX);
    let mut counted = Usage::new(count(usage.prompt_tokens), count(usage.completion_tokens));
    counted.cache_read = count(usage.cached_tokens);
    vec![
        Delta::BlockEnd { choice: 0, block: 0 },
        Delta::Finish { choice: 0, reason, raw_reason },
        Delta::Usage(counted),
        Delta::End,
    ]
    .into()
}

fn logprob(token: engine::TokenLogprob) -> TokenLogprob {
    let top = token.top.into_iter().map(|(bytes, logprob)| named(bytes, logprob)).collect();
    TokenLogprob { top, ..named(token.bytes, token.logprob) }
}

fn named(bytes: Vec<u8>, logprob: f32) -> TokenLogprob {
    let token = String::from_utf8_lossy(&bytes).into_owned();
    // The bytes say more than the text only where they are no whole characters.
    let bytes = (token.as_bytes() != bytes).then_some(bytes);
    TokenLogprob { token, logprob: f64::from(logprob), bytes, top: Vec::new() }
}

/// Adds a delta to a whole answer; text joins the text before it.
fn append(whole: &mut Vec<Delta>, delta: Delta) {
    if let Delta::BlockDelta { part: Part::Text(more), .. } = &delta {
        let before = whole.iter_mut().find_map(|delta| match delta {
            Delta::BlockDelta { part: Part::Text(text), .. } => Some(text),
            _ => None,
        });
        if let Some(before) = before {
            before.push_str(more);
            return;
        }
    }
    whole.push(delta);
}
