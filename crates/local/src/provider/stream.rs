//! From an engine's answer to deltas: the text and the tool calls of one choice.
//!
//! A streamed answer is an event an item; a whole one is a single event at the end. Next: [`llm_router::delta`].

use llm_router::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::provider::Context;
use llm_router::request::TokenLogprob;
use llm_router::usage::Usage;

use super::calls;
use crate::engine::{self, Answer, Finish, Output};
use crate::tools::{self, Call, Parser};

/// What the answer begins with.
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
}

/// The answer's events, its tool calls found by `parser`. Dropping the stream drops the answer, which ends its computation. Until the engine has a slot for it the call counts as one
/// that waits for a place.
pub(super) fn deltas(head: Head, answer: Answer, parser: Parser, cx: Context, stream: bool) -> DeltaStream {
    let blocks = Blocks { answer: head.id.clone(), parser: Some(parser), ..Blocks::default() };
    let start = Delta::Start { id: head.id, model: head.model, created: Some(head.created) };
    cx.wait_for_place(true);
    let mut state = State { answer, cx, first: Some(start), blocks, done: false };
    if stream {
        return DeltaStream::new(futures_util::stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((event, state))
        }));
    }
    DeltaStream::new(futures_util::stream::once(async move {
        let mut whole = Vec::new();
        while let Some(event) = state.next().await {
            event?.deltas.into_iter().for_each(|delta| append(&mut whole, delta));
        }
        Ok(whole.into())
    }))
}

struct State {
    answer: Answer,
    cx: Context,
    first: Option<Delta>,
    blocks: Blocks,
    done: bool,
}

impl State {
    async fn next(&mut self) -> Option<Result<Event>> {
        if self.done {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(Ok(vec![first].into()));
        }
        let item = tokio::select! {
            item = self.answer.next() => item,
            () = self.cx.cancel.cancelled() => {
                self.done = true;
                return Some(Err(Error::new(ErrorKind::CallerCancelled, "the request was cancelled")));
            }
        };
        // Whatever comes, it is from somebody who works on it, or is about to say that nobody will.
        self.cx.wait_for_place(false);
        let deltas = match item {
            // An empty event: it says that the engine is at work.
            Some(Ok(Output::Reading { .. })) => Vec::new(),
            Some(Ok(Output::Text { text, logprobs })) => self.blocks.text(&text, logprobs),
            Some(Ok(Output::Done { finish, usage })) => {
                self.done = true;
                self.blocks.end(finish, usage)
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
        Some(Ok(deltas.into()))
    }
}

/// The blocks of an answer as its text becomes them.
#[derive(Default)]
struct Blocks {
    /// The answer's id, of which the calls' ids are made.
    answer: String,
    /// `None` once the text is at its end.
    parser: Option<Parser>,
    /// Blocks begun so far.
    begun: u32,
    calls: u32,
    /// Whether the last block begun is a text that goes on.
    open: bool,
    /// Of tokens whose text is held back by the parser.
    logprobs: Vec<TokenLogprob>,
}

impl Blocks {
    fn text(&mut self, text: &str, logprobs: Vec<engine::TokenLogprob>) -> Vec<Delta> {
        self.logprobs.extend(logprobs.into_iter().map(logprob));
        let found = self.parser.as_mut().map(|parser| parser.push(text)).unwrap_or_default();
        self.found(found)
    }

    fn found(&mut self, found: Vec<tools::Event>) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for event in found {
            match event {
                // Blanks between calls are their form's, not the answer's.
                tools::Event::Text(text) if self.calls > 0 && !self.open && text.trim().is_empty() => {}
                tools::Event::Text(text) => self.say(text, &mut deltas),
                tools::Event::Call(call) => self.call(call, &mut deltas),
            }
        }
        deltas
    }

    fn say(&mut self, text: String, deltas: &mut Vec<Delta>) {
        if !self.open {
            deltas.push(Delta::BlockStart { choice: 0, block: self.begun, kind: BlockKind::Text });
            self.begun += 1;
            self.open = true;
        }
        let parts = [Part::Text(text), Part::Logprobs(std::mem::take(&mut self.logprobs))];
        let block = self.begun - 1;
        deltas.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| Delta::BlockDelta {
            choice: 0,
            block,
            part,
        }));
    }

    fn call(&mut self, call: Call, deltas: &mut Vec<Delta>) {
        self.close(deltas);
        // They tell of a text, and this has become none.
        self.logprobs.clear();
        let id = call.id.unwrap_or_else(|| calls::id(&self.answer, self.calls));
        let block = self.begun;
        self.begun += 1;
        self.calls += 1;
        deltas.extend([
            Delta::BlockStart { choice: 0, block, kind: BlockKind::ToolCall { id, name: call.name } },
            Delta::BlockDelta { choice: 0, block, part: Part::ToolArguments(call.arguments) },
            Delta::BlockEnd { choice: 0, block },
        ]);
    }

    fn close(&mut self, deltas: &mut Vec<Delta>) {
        if std::mem::take(&mut self.open) {
            deltas.push(Delta::BlockEnd { choice: 0, block: self.begun - 1 });
        }
    }

    fn end(&mut self, finish: Finish, usage: engine::Usage) -> Vec<Delta> {
        let rest = self.parser.take().map(Parser::finish).unwrap_or_default();
        let mut deltas = self.found(rest);
        // An empty answer is an empty text, and what is known of tokens without a text is not lost.
        if self.begun == 0 || (self.open && !self.logprobs.is_empty()) {
            self.say(String::new(), &mut deltas);
        }
        self.close(&mut deltas);
        let (reason, raw_reason) = match finish {
            Finish::Length => (FinishReason::Length, None),
            Finish::Stop | Finish::StopString(_) if self.calls > 0 => (FinishReason::ToolCalls, None),
            Finish::Stop => (FinishReason::Stop, None),
            Finish::StopString(_) => (FinishReason::Stop, Some("stop_sequence".to_owned())),
        };
        let count = |tokens| u64::try_from(tokens).unwrap_or(u64::MAX);
        let mut counted = Usage::new(count(usage.prompt_tokens), count(usage.completion_tokens));
        counted.cache_read = count(usage.cached_tokens);
        deltas.extend([Delta::Finish { choice: 0, reason, raw_reason }, Delta::Usage(counted), Delta::End]);
        deltas
    }
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

/// Adds a delta to a whole answer; text joins the text of its block before it.
fn append(whole: &mut Vec<Delta>, delta: Delta) {
    if let Delta::BlockDelta { block, part: Part::Text(more), .. } = &delta {
        let before = whole.iter_mut().rev().find_map(|delta| match delta {
            Delta::BlockDelta { block: earlier, part: Part::Text(text), .. } if earlier == block => Some(text),
            _ => None,
        });
        if let Some(before) = before {
            before.push_str(more);
            return;
        }
    }
    whole.push(delta);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use llm_router::request::BlockBody;
    use llm_router::response::{Folder, Response};

    use super::*;
    use crate::tools::Form;

    /// What comes of a text in pieces.
    fn answer(form: Form, pieces: &[&str], finish: Finish) -> Response {
        let mut blocks = Blocks { answer: "a".into(), parser: Some(Parser::new(form)), ..Blocks::default() };
        let mut deltas = vec![Delta::Start { id: "a".into(), model: "m".into(), created: None }];
        pieces.iter().for_each(|piece| deltas.extend(blocks.text(piece, Vec::new())));
        deltas.extend(blocks.end(finish, engine::Usage::default()));
        let mut folder = Folder::default();
        deltas.iter().for_each(|delta| folder.push(delta));
        folder.finish().unwrap()
    }

    #[test]
    fn text_and_calls_become_blocks_in_order() {
        let pieces = [
            "One ",
            "moment.\n<tool",
            "_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</tool_call>\n",
            "<tool_call>{\"name\":\"g\"}</tool_call>\n",
        ];
        let response = answer(Form::Hermes, &pieces, Finish::Stop);
        let choice = &response.choices[0];
        assert_eq!(choice.finish, FinishReason::ToolCalls);
        let bodies: Vec<_> = choice.content.iter().map(|block| &block.body).collect();
        assert_eq!(choice.content[0].as_text(), Some("One moment."));
        for (body, (wanted, with)) in bodies[1..].iter().zip([("f", "{\"a\":1}"), ("g", "{}")]) {
            assert!(
                matches!(body, BlockBody::ToolCall { id, name, arguments } if id.len() == 9 && name == wanted && arguments == with),
                "{body:?}"
            );
        }
        assert_eq!(bodies.len(), 3);
    }

    #[test]
    fn an_answer_without_calls_ends_as_text() {
        let cut = answer(Form::Hermes, &["x <tool_call>{\"na"], Finish::Length);
        assert_eq!((cut.choices[0].finish, cut.choices[0].content.len()), (FinishReason::Length, 1));
        let stopped = answer(Form::None, &["<tool_call>"], Finish::StopString("end".into()));
        assert_eq!((stopped.choices[0].finish, stopped.text().as_str()), (FinishReason::Stop, "<tool_call>"));
        assert_eq!(answer(Form::Llama, &[], Finish::Stop).text(), "");
    }
}
