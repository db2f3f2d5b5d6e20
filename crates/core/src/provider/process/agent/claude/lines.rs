//! What `claude -p` prints, as an answer.
//!
//! A line is an object with a `type`: `stream_event` wraps an event of the Messages API as it streamed, `assistant` repeats a whole message or tells an error,
//! `rate_limit_event` says what is left of an account, `result` is the last word. Lines of subagents name the call that they belong to and are passed over.
//!
//! It asks again by itself where a stream breaks off, an answer is cut by its limit or refused; the texts of such attempts come one after the other. So where it
//! has no tools, the first message that said something is the answer: its reason to end is obeyed at once, a second message is an error, and the text of
//! the `result` is held against what was given on. With tools several messages are the rule, and an empty line stands between them.

use serde::Deserialize;
use serde_json::Value;

use super::super::answer::{Answer, Ended, Reader};
use super::super::{Ask, known};
use super::failed::{self, Failure, Limit};
use crate::delta::FinishReason;
use crate::error::{Error, Result};
use crate::usage::Usage;

/// Reads the lines of one run.
#[derive(Debug, Default)]
pub(super) struct Lines {
    tools: bool,
    schema: bool,
    has_key: bool,
    /// Whether the vendor itself is asked.
    vendor: bool,
    /// All text that was given on.
    given: String,
    /// Where the text of the last message begins in it.
    message: usize,
    /// Whether the message under way has not said why it ends.
    open: bool,
    /// The counts of the message under way, and of those before it.
    counts: Counts,
    spent: Usage,
    failure: Option<Failure>,
    limit: Option<Limit>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    System {
        #[serde(default)]
        served_by_anthropic: Option<bool>,
        /// The tools that it has, where the line says how it begins.
        #[serde(default)]
        tools: Option<Vec<String>>,
    },
    StreamEvent {
        event: Streamed,
        #[serde(default)]
        parent_tool_use_id: Option<String>,
    },
    Assistant(Box<Said>),
    RateLimitEvent {
        rate_limit_info: Limit,
    },
    Result(Box<Last>),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Streamed {
    MessageStart {
        message: Message,
    },
    ContentBlockDelta {
        delta: Piece,
    },
    MessageDelta {
        delta: Ending,
        #[serde(default)]
        usage: Option<Counts>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    message: Message,
    #[serde(default)]
    is_api_error_message: Option<bool>,
    #[serde(flatten)]
    failure: Failure,
}

#[derive(Deserialize)]
pub(super) struct Last {
    #[serde(default)]
    pub(super) subtype: String,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default)]
    pub(super) api_error_status: Option<u16>,
    #[serde(default)]
    pub(super) terminal_reason: Option<String>,
    #[serde(default)]
    pub(super) result: Option<String>,
    #[serde(default)]
    pub(super) errors: Option<Vec<Value>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    structured_output: Option<Value>,
    #[serde(default)]
    total_cost_usd: Option<f64>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default, rename = "modelUsage")]
    models: Option<serde_json::Map<String, Value>>,
}

/// Counts as the API has them: what is cached is no part of the input.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Option<u64>,
}

/// Counts of one model as the `result` has them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OfModel {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
    thinking_tokens: u64,
    cost_basis: Option<String>,
}

impl Counts {
    /// What a later count says, and what an earlier one said of the rest.
    fn then(self, later: Self) -> Self {
        Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            cache_creation_input_tokens: later.cache_creation_input_tokens.or(self.cache_creation_input_tokens),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
        }
    }

    fn usage(self) -> Usage {
        let (read, written) = (self.cache_read_input_tokens, self.cache_creation_input_tokens);
        let (read, written) = (read.unwrap_or_default(), written.unwrap_or_default());
        let input = self.input_tokens.unwrap_or_default().saturating_add(read).saturating_add(written);
        let mut usage = Usage::new(input, self.output_tokens.unwrap_or_default());
        (usage.cache_read, usage.cache_write) = (read, written);
        usage.reasoning = self.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or_default();
        usage
    }
}

impl OfModel {
    fn usage(&self) -> Usage {
        let (read, written) = (self.cache_read_input_tokens, self.cache_creation_input_tokens);
        let mut usage = Usage::new(self.input_tokens.saturating_add(read).saturating_add(written), self.output_tokens);
        (usage.cache_read, usage.cache_write, usage.reasoning) = (read, written, self.thinking_tokens);
        usage
    }
}

fn plus(a: Usage, b: Usage) -> Usage {
    let mut sum = Usage::new(a.input.saturating_add(b.input), a.output.saturating_add(b.output));
    sum.cache_read = a.cache_read.saturating_add(b.cache_read);
    sum.cache_write = a.cache_write.saturating_add(b.cache_write);
    sum.reasoning = a.reasoning.saturating_add(b.reasoning);
    sum
}

impl Reader for Lines {
    fn line(&mut self, line: &[u8], answer: &mut Answer) -> Result<()> {
        match known::<Line>("claude", line)? {
            Some(Line::System { served_by_anthropic, tools }) => {
                self.vendor = served_by_anthropic.unwrap_or(self.vendor);
                // A form that it does not understand it forgets without a word.
                if self.schema && tools.is_some_and(|tools| !tools.iter().any(|tool| tool == "StructuredOutput")) {
                    return Err(failed::unformed());
                }
            }
            Some(Line::StreamEvent { event, parent_tool_use_id: None }) => self.event(event, answer)?,
            Some(Line::Assistant(said)) if said.parent_tool_use_id.is_none() => {
                // What it says itself comes from a model `<synthetic>`.
                answer.model(said.message.model.as_deref().filter(|name| !name.starts_with('<')).unwrap_or_default());
                if said.is_api_error_message == Some(true) {
                    self.failure = Some(said.failure);
                }
            }
            Some(Line::RateLimitEvent { rate_limit_info }) => self.limit = Some(rate_limit_info),
            Some(Line::Result(last)) => self.last(*last, answer)?,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, ended: &Ended<'_>, _: &mut Answer) -> Result<()> {
        failed::unheard(ended.stderr).map_or(Ok(()), Err)
    }
}

impl Lines {
    pub(super) fn new(ask: &Ask) -> Self {
        let (tools, schema) = (ask.tools.is_some(), ask.schema.is_some());
        Self { tools, schema, has_key: ask.has_key, ..Self::default() }
    }

    fn event(&mut self, event: Streamed, answer: &mut Answer) -> Result<()> {
        match event {
            Streamed::MessageStart { message } => {
                answer.model(message.model.as_deref().unwrap_or_default());
                if !self.tools && !self.given.is_empty() {
                    return Err(broken_off());
                }
                // One that broke off is gone on with; all others were whole.
                if !self.open {
                    self.message = self.given.len();
                }
                self.open = true;
                self.counts = message.usage.unwrap_or_default();
            }
            Streamed::ContentBlockDelta { delta: Piece::TextDelta { text } } if !self.schema => {
                self.text(&text, answer)
            }
            Streamed::ContentBlockDelta { delta: Piece::ThinkingDelta { thinking } } => answer.thoughts(thinking),
            Streamed::MessageDelta { delta: Ending { stop_reason: Some(reason) }, usage } => {
                self.open = false;
                let counts = self.counts.then(usage.unwrap_or_default());
                self.spent = plus(self.spent, counts.usage());
                self.counts = Counts::default();
                let ends = match reason.as_str() {
                    "refusal" => Some(FinishReason::Refusal),
                    "max_tokens" | "model_context_window_exceeded" => Some(FinishReason::Length),
                    _ => None,
                };
                // It would ask again.
                if let Some(ends) = ends.filter(|_| !self.tools) {
                    answer.usage(self.spent);
                    answer.finish(ends, Some(reason));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives text on, with what must stand between it and another message.
    fn text(&mut self, text: &str, answer: &mut Answer) {
        if text.is_empty() {
            return;
        }
        if self.message == self.given.len() && self.message > 0 {
            self.given.push_str("\n\n");
            answer.text("\n\n");
            self.message = self.given.len();
        }
        self.given.push_str(text);
        answer.text(text);
    }

    fn last(&mut self, mut last: Last, answer: &mut Answer) -> Result<()> {
        answer.usage(self.usage(&last));
        let reason = last.stop_reason.take();
        if last.is_error == Some(true) || last.subtype != "success" {
            let class = self.failure.as_ref().and_then(|failure| failure.error.as_deref());
            let ends = match (reason.as_deref(), class) {
                (Some("refusal"), _) => FinishReason::Refusal,
                (_, Some("max_output_tokens")) => FinishReason::Length,
                _ => return Err(failed::error(&last, self.failure.as_ref(), self.limit.as_ref())),
            };
            answer.finish(ends, reason);
            return Ok(());
        }
        let result = last.result.take().unwrap_or_default();
        if self.schema {
            let text = match last.structured_output {
                Some(value) => value.to_string(),
                // A model that wrote the answer and did not call for it to be taken.
                None if serde_json::from_str::<Value>(&result).is_ok() => result,
                None => return Err(failed::formless()),
            };
            answer.text(text);
        } else {
            self.rest(&result, answer)?;
            if self.given.is_empty() {
                return Err(failed::speechless());
            }
        }
        let ends = match reason.as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
            Some("refusal") => FinishReason::Refusal,
            _ => FinishReason::Stop,
        };
        answer.finish(ends, reason);
        Ok(())
    }

    /// Gives on what the `result` has and no event brought: where it asked again without a stream, there were none.
    fn rest(&mut self, result: &str, answer: &mut Answer) -> Result<()> {
        let said = self.given.get(self.message..).unwrap_or_default();
        if let Some(rest) = result.strip_prefix(said) {
            let rest = rest.to_owned();
            self.text(&rest, answer);
        } else if !said.trim_end().ends_with(result.trim()) {
            if !self.tools {
                return Err(broken_off());
            }
            self.message = self.given.len();
            self.text(result, answer);
        }
        Ok(())
    }

    /// What the whole run took: of all models where they are told.
    fn usage(&self, last: &Last) -> Usage {
        let models = last.models.iter().flat_map(serde_json::Map::values);
        let models: Vec<OfModel> = models.filter_map(|value| serde_json::from_value(value.clone()).ok()).collect();
        let mut usage = match (models.is_empty(), last.usage) {
            (false, _) => models.iter().map(OfModel::usage).fold(Usage::default(), plus),
            (true, Some(counts)) => counts.usage(),
            (true, None) => self.spent,
        };
        if usage.reasoning == 0 {
            usage.reasoning = self.spent.reasoning;
        }
        // It counts every model's tokens at a price of its own table, and those of a subscription, which cost nothing. What a key pays at the vendor is
        // that price only for a model that the table has.
        let priced = |model: &OfModel| matches!(model.cost_basis.as_deref(), Some("list" | "managed"));
        if self.vendor && self.has_key && !models.is_empty() && models.iter().all(priced) {
            let cost = last.total_cost_usd.filter(|cost| cost.is_finite() && *cost >= 0.0);
            usage.cost_micros = cost.map(|cost| (cost * 1e6).ceil() as u64);
        }
        usage
    }
}

fn broken_off() -> Error {
    Error::connection("the answer broke off, and claude began another one")
}
