//! The conversation to the wire: domain messages as `system` and `messages`. The way here is `messages.rs`.
//!
//! What the dialect cannot say is *refused* when the answer would be another without it (sound, files that are neither text nor PDF) and *dropped by name*
//! otherwise. Thoughts go back only with the seal of this dialect; a request that came in another one cannot hold it.

use crate::dialect::anthropic::messages::SOURCE;
use crate::dialect::anthropic::models::Model;
use crate::dialect::anthropic::{types, whole};
use crate::dialect::json::Writer;
use crate::dialect::{Dialect, FieldPath};
use crate::error::{Error, Result};
use crate::request::{Block, BlockBody, Message, Request, Role, Source};

const OURS: Dialect = Dialect::Anthropic;

/// The field that clients of other dialects write as they would here: aggregators taught it to them.
pub(super) const CACHE_MARK: &str = "cache_control";

/// What is known of the target and of where the request came from.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) model: &'static Model,
    /// Whether the request came in another dialect: its seals and file ids are another provider's.
    pub(super) foreign: bool,
}

/// Writes `system` and `messages`, and names in `dropped` what was left out.
pub(super) fn encode(request: &Request, to: &mut Writer, setting: Setting, dropped: &mut Vec<FieldPath>) -> Result<()> {
    let (mut system, mut turns) = turns(&request.messages, setting.model);
    if turns.is_empty() {
        // The vendor wants a user's turn: instructions that stand alone are one.
        turns.push(("user", std::mem::take(&mut system)));
    }
    let mut history = History { messages: &request.messages, setting, to, dropped };
    if !system.is_empty() {
        let mut said = Vec::new();
        history.choose(&system, &mut said)?;
        if !said.is_empty() {
            history.to.key("system");
            history.content(&said);
        }
    }
    history.to.key("messages");
    history.to.open(b'[');
    let mut said = false;
    for (role, of) in turns {
        said |= history.turn(role, &of)?;
    }
    history.to.close(b']');
    if said { Ok(()) } else { Err(Error::unsupported("messages: nothing of them can be said in this dialect")) }
}

/// Whether thoughts are to be given back to the model in the middle of its turn, and there are none to give.
pub(super) fn lacks_thoughts(messages: &[Message], foreign: bool) -> bool {
    let Some(last) = messages.iter().rev().find(|message| message.role == Role::Assistant) else { return false };
    let has = |wanted: fn(&BlockBody) -> bool| last.content.iter().any(|block| wanted(&block.body));
    let called = has(|body| matches!(body, BlockBody::ToolCall { .. }));
    called && (foreign || !has(|body| matches!(body, BlockBody::Reasoning { signature: Some(_), .. })))
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// The messages that become `system`, and the turns: a word for who speaks, and the messages that are one turn on the wire. Results stand together in one
/// turn, with what the user says right after them.
fn turns(messages: &[Message], model: &Model) -> (Vec<usize>, Vec<(&'static str, Vec<usize>)>) {
    let leading = messages.iter().take_while(|message| is_system(message)).count();
    let mut system: Vec<usize> = (0..leading).collect();
    let mut turns: Vec<(&'static str, Vec<usize>)> = Vec::with_capacity(messages.len());
    let mut results = false;
    for (at, message) in messages.iter().enumerate().skip(leading) {
        if is_system(message) && !model.system_turns {
            system.push(at);
            continue;
        }
        match (message.role, turns.last_mut()) {
            (Role::Tool | Role::User, Some((_, of))) if results => of.push(at),
            (Role::System | Role::Developer, _) => turns.push(("system", vec![at])),
            (Role::Assistant, _) => turns.push(("assistant", vec![at])),
            (Role::User | Role::Tool, _) => turns.push(("user", vec![at])),
        }
        results = message.role == Role::Tool;
    }
    (system, turns)
}

struct History<'a> {
    messages: &'a [Message],
    setting: Setting,
    to: &'a mut Writer,
    dropped: &'a mut Vec<FieldPath>,
}

impl<'a> History<'a> {
    /// Writes a turn, unless nothing is said in it.
    fn turn(&mut self, role: &str, of: &[usize]) -> Result<bool> {
        let mut said = Vec::new();
        self.choose(of, &mut said)?;
        if said.is_empty() {
            // The vendor refuses a turn in which nothing is said.
            return Ok(false);
        }
        // Right after calls the vendor wants their results, and only then anything else.
        said.sort_by_key(|block| !matches!(block.body, BlockBody::ToolResult { .. }));
        self.to.open(b'{');
        self.to.field("role", role);
        self.to.key("content");
        self.content(&said);
        let messages = self.messages;
        for message in of.iter().filter_map(|&at| messages.get(at)) {
            for (name, value) in message.extra.get(&OURS).into_iter().flatten() {
                self.to.field(name, value);
            }
        }
        self.to.close(b'}');
        Ok(true)
    }

    /// The blocks of messages that can be said; what cannot is dropped or refused here.
    fn choose(&mut self, of: &[usize], said: &mut Vec<&'a Block>) -> Result<()> {
        let messages = self.messages;
        for (at, message) in of.iter().filter_map(|&at| Some((at, messages.get(at)?))) {
            let path = format!("messages[{at}]");
            if message.name.is_some() {
                self.drop(format!("{path}.name"));
            }
            for (dialect, fields) in message.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
                fields.keys().for_each(|name| self.drop(format!("{path}.{dialect}.{name}")));
            }
            let alone = of.len() == 1 && message.content.len() == 1;
            for (place, block) in message.content.iter().enumerate() {
                let path = || format!("{path}.content[{place}]");
                // The vendor refuses empty texts, which other dialects put beside calls. Alone it is the caller's to answer for.
                let empty = block.as_text() == Some("") && !(alone && message.role == Role::User);
                if !empty && self.check(block, message.role, &path)? {
                    said.push(block);
                }
            }
        }
        Ok(())
    }

    fn drop(&mut self, path: String) {
        self.dropped.push(FieldPath(path));
    }

    /// Whether a block is written. Names what is not, and refuses what must not be lost.
    fn check(&mut self, block: &Block, role: Role, path: &dyn Fn() -> String) -> Result<bool> {
        let refuse = |why: &str| Err(Error::unsupported(format!("{}: {why}", path())));
        for (dialect, fields) in block.extra.iter().filter(|(dialect, _)| **dialect != OURS) {
            let lost = fields.keys().filter(|name| *name != CACHE_MARK);
            lost.for_each(|name| self.drop(format!("{}.{dialect}.{name}", path())));
        }
        match &block.body {
            BlockBody::Text { annotations, .. } => {
                if annotations.iter().any(|note| !types::is_citation(note)) {
                    self.drop(format!("{}.annotations", path()));
                }
            }
            BlockBody::Refusal { .. } | BlockBody::ToolCall { .. } => {}
            BlockBody::Reasoning { signature, .. } => {
                if signature.is_none() || self.setting.foreign {
                    self.drop(format!("{}.reasoning", path()));
                    return Ok(false);
                }
            }
            BlockBody::ToolResult { content, .. } => {
                for (at, inner) in content.iter().enumerate() {
                    self.check(inner, Role::Tool, &|| format!("{}.content[{at}]", path()))?;
                }
            }
            BlockBody::Image { .. } if role == Role::Assistant => {
                return refuse("this dialect takes no picture in an assistant's turn");
            }
            BlockBody::Image { .. } | BlockBody::File { .. } if matches!(role, Role::System | Role::Developer) => {
                return refuse("this dialect takes only text as a system prompt");
            }
            BlockBody::Image { source: Source::FileId(_), .. } | BlockBody::File { source: Source::FileId(_), .. }
                if self.setting.foreign =>
            {
                return refuse("a file that was uploaded to another provider cannot be named to this one");
            }
            BlockBody::Image { detail, .. } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.drop(format!("{}.detail", path()));
                }
            }
            BlockBody::File { source: Source::Base64 { mime, data }, .. } => {
                if mime != "application/pdf" && types::text_of(mime, data).is_none() {
                    return refuse("this dialect takes documents of plain text and PDF only");
                }
            }
            BlockBody::File { .. } => {}
            BlockBody::Audio { .. } => return refuse("this dialect takes no sound"),
            BlockBody::Provider { dialect: OURS, .. } => {}
            BlockBody::Provider { dialect, kind, .. } => {
                self.drop(format!("{}.{dialect}.{kind}", path()));
                return Ok(false);
            }
            BlockBody::Media { .. } => {
                self.drop(path());
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes content: one plain text as a text, anything else as blocks.
    fn content(&mut self, blocks: &[&Block]) {
        if let [Block { body: BlockBody::Text { text, annotations, .. }, extra }] = blocks
            && !extra.contains_key(&OURS)
            && !extra.values().any(|fields| fields.contains_key(CACHE_MARK))
            && !annotations.iter().any(types::is_citation)
        {
            return self.to.value(text);
        }
        self.to.open(b'[');
        blocks.iter().for_each(|block| self.block(block));
        self.to.close(b']');
    }

    fn block(&mut self, block: &Block) {
        if let BlockBody::Provider { dialect: OURS, raw, .. } = &block.body {
            return self.to.value(raw);
        }
        self.to.open(b'{');
        self.body(&block.body, block.extra.get(&OURS).is_some_and(|extra| extra.contains_key(SOURCE)));
        let ours = block.extra.get(&OURS);
        for (name, value) in ours.into_iter().flatten() {
            self.to.field(name, value);
        }
        if ours.is_none_or(|fields| !fields.contains_key(CACHE_MARK)) {
            self.to.some(CACHE_MARK, block.extra.values().find_map(|fields| fields.get(CACHE_MARK)));
        }
        self.to.close(b'}');
    }

    fn body(&mut self, body: &BlockBody, own_source: bool) {
        match body {
            BlockBody::Text { text, annotations, .. } => {
                self.to.field("type", "text");
                self.to.field("text", text);
                let citations: Vec<_> = annotations.iter().filter(|note| types::is_citation(note)).collect();
                self.to.some("citations", Some(&citations).filter(|list| !list.is_empty()));
            }
            // The dialect has no word for a refusal in a conversation; its words are the model's like any other.
            BlockBody::Refusal { text } => {
                self.to.field("type", "text");
                self.to.field("text", text);
            }
            BlockBody::Reasoning { signature, redacted: true, .. } => {
                self.to.field("type", "redacted_thinking");
                self.to.field("data", signature.as_deref().unwrap_or_default());
            }
            BlockBody::Reasoning { text, signature, .. } => {
                self.to.field("type", "thinking");
                self.to.field("thinking", text);
                self.to.field("signature", signature.as_deref().unwrap_or_default());
            }
            BlockBody::ToolCall { id, name, arguments } => {
                self.to.field("type", "tool_use");
                self.to.field("id", &types::call_id(id));
                self.to.field("name", name);
                self.to.key("input");
                whole::write_input(arguments, self.to);
            }
            BlockBody::ToolResult { call_id, content, is_error } => {
                self.to.field("type", "tool_result");
                self.to.field("tool_use_id", &types::call_id(call_id));
                let said: Vec<&Block> = content.iter().filter(|block| self.is_said(block)).collect();
                if !said.is_empty() {
                    self.to.key("content");
                    self.content(&said);
                }
                self.to.some("is_error", is_error.then_some(&true));
            }
            BlockBody::Image { source, .. } => {
                self.to.field("type", "image");
                types::write_source(source, self.to);
            }
            BlockBody::File { source, name } => {
                self.to.field("type", "document");
                if !own_source {
                    types::write_source(source, self.to);
                }
                self.to.some("title", name.as_ref());
            }
            // What is left was dropped or refused before.
            _ => {}
        }
    }

    /// Whether a block inside a result is written: [`History::check`] named the others.
    fn is_said(&self, block: &Block) -> bool {
        match &block.body {
            BlockBody::Text { text, .. } => !text.is_empty(),
            BlockBody::Provider { dialect, .. } => *dialect == OURS,
            BlockBody::Refusal { .. } | BlockBody::Image { .. } | BlockBody::File { .. } => true,
            _ => false,
        }
    }
}
