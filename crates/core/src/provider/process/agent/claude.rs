//! Claude Code: how `claude -p` is started and how its `stream-json` lines are read.
//!
//! A line is an object with a `type`: `stream_event` wraps an event of the Messages API as it streamed, `assistant` repeats a whole message, `result` is the
//! last word. On errors of the API `result.subtype` stays `success`: `is_error` tells.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Ended, Reader};
use super::home::{Home, Layout};
use super::{Ask, Driver, Launch, NEUTRAL, failed, known};
use crate::delta::FinishReason;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Capabilities;
use crate::usage::Usage;

pub(in super::super) const CLAUDE: Driver = Driver {
    layout: Layout {
        variable: "CLAUDE_CONFIG_DIR",
        folder: ".claude",
        names_home: false,
        logins: &[".credentials.json"],
    },
    keys: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
    takes: Capabilities {
        images: true,
        json_schema: false,
        tools: false,
        audio: false,
        files: false,
        multiple_choices: false,
    },
    takes_effort: false,
    modes: &["dontAsk", "plan", "acceptEdits", "bypassPermissions"],
    launch,
    reader: |_| Box::new(Lines::default()),
};

fn launch(ask: &Ask, _: &Home) -> Result<Launch> {
    let mut args: Vec<String> = [
        "-p",
        "--output-format",
        "stream-json",
        "--include-partial-messages",
        "--verbose",
        "--strict-mcp-config",
        "--disable-slash-commands",
        "--no-session-persistence",
    ]
    .map(String::from)
    .into();
    if ask.has_key {
        // It keeps the user's login out, so it is for those alone who have a key.
        args.push("--bare".into());
    }
    args.extend(["--system-prompt".into(), ask.system.clone().unwrap_or_else(|| NEUTRAL.into())]);
    args.extend(ask.model.iter().flat_map(|model| ["--model".into(), model.clone()]));
    match &ask.tools {
        Some(tools) => args.extend(["--permission-mode".into(), tools.mode.clone()]),
        None => args.extend(["--max-turns", "1", "--tools", ""].map(String::from)),
    }
    let stdin = if ask.pictures.is_empty() {
        Bytes::from(ask.prompt.clone())
    } else {
        args.extend(["--input-format", "stream-json"].map(String::from));
        let picture = |picture: &super::Picture| json!({"type": "image", "source": {"type": "base64", "media_type": picture.mime, "data": picture.data}});
        let mut content: Vec<_> = ask.pictures.iter().map(picture).collect();
        content.push(json!({"type": "text", "text": ask.prompt}));
        Bytes::from(format!("{}\n", json!({"type": "user", "message": {"role": "user", "content": content}})))
    };
    let variables = [
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        // The router asks again, and the next target too.
        ("CLAUDE_CODE_MAX_RETRIES", "0"),
    ];
    let variables = variables.map(|(name, value)| (name, value.to_owned())).into();
    Ok(Launch { args, stdin, variables, report: None })
}

#[derive(Debug, Default)]
struct Lines {
    /// Text of whole messages, for versions that stream none.
    whole: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    StreamEvent {
        event: Streamed,
    },
    Assistant {
        message: Whole,
    },
    Result(Box<Last>),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Streamed {
    MessageStart {
        message: Named,
    },
    ContentBlockDelta {
        delta: Piece,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    model: String,
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
struct Whole {
    #[serde(default)]
    model: String,
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Last {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    is_error: bool,
    api_error_status: Option<u16>,
    #[serde(default)]
    result: String,
    stop_reason: Option<String>,
    total_cost_usd: Option<f64>,
    #[serde(default)]
    usage: Counts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl Reader for Lines {
    fn line(&mut self, line: &[u8], answer: &mut Answer) -> Result<()> {
        match known::<Line>("claude", line)? {
            Some(Line::StreamEvent { event: Streamed::MessageStart { message } }) => answer.model(&message.model),
            Some(Line::StreamEvent { event: Streamed::ContentBlockDelta { delta } }) => match delta {
                Piece::TextDelta { text } => answer.text(text),
                Piece::ThinkingDelta { thinking } => answer.thoughts(thinking),
                Piece::Other => {}
            },
            Some(Line::Assistant { message }) => {
                answer.model(&message.model);
                for piece in message.content {
                    if let Block::Text { text } = piece {
                        self.whole.push_str(&text);
                    }
                }
            }
            Some(Line::Result(last)) => self.last(&last, answer)?,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _: &Ended<'_>, _: &mut Answer) -> Result<()> {
        Ok(())
    }
}

impl Lines {
    fn last(&mut self, last: &Last, answer: &mut Answer) -> Result<()> {
        if last.is_error || last.subtype != "success" {
            let said = if last.result.is_empty() { &last.subtype } else { &last.result };
            return Err(match last.api_error_status {
                Some(404) => Error::new(ErrorKind::CallerModelUnknown, format!("claude: {said}")),
                _ => failed("claude", said, ErrorKind::ProviderServerError),
            });
        }
        if !answer.has_begun() {
            answer.text(std::mem::take(&mut self.whole));
        }
        let Counts { input_tokens, cache_creation_input_tokens: written, cache_read_input_tokens: read, output_tokens } =
            last.usage;
        let mut usage = Usage::new(input_tokens + written + read, output_tokens);
        (usage.cache_read, usage.cache_write) = (read, written);
        usage.cost_micros = last.total_cost_usd.filter(|cost| *cost > 0.0).map(|cost| (cost * 1e6).ceil() as u64);
        answer.usage(usage);
        let reason = match last.stop_reason.as_deref() {
            Some("max_tokens") => FinishReason::Length,
            Some("refusal") => FinishReason::Refusal,
            _ => FinishReason::Stop,
        };
        answer.finish(reason, last.stop_reason.clone());
        Ok(())
    }
}
