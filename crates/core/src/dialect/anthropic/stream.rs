//! Answers of this dialect as deltas. A stream's events and a whole message go through one machine: a whole message is its own events, one after the other.
//!
//! What one block says is `blocks.rs`. The terminal event is `message_stop`. What is not known of the message becomes [`Delta::Unknown`]: a part of a
//! message (`{"usage": {…}}`, `{"content": [{"index": 0, …}]}`), or an event of an unknown type, which then has its `type`.

use serde_json::{Map, Value, value::RawValue};

use crate::delta::{Delta, Event, FinishReason, Raw};
use crate::dialect::anthropic::blocks::Blocks;
use crate::dialect::anthropic::{error, types};
use crate::dialect::json::{Object, lenient, text};
use crate::dialect::unnamed::with_model;
use crate::dialect::{Decoder, Dialect, Frame, Framing};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::usage::Usage;

const OURS: Dialect = Dialect::Anthropic;

pub(super) struct MessageDecoder {
    framing: Framing,
    /// Whether the caller speaks this dialect, so that frames are passed on as received.
    keep_raw: bool,
    /// The model, where the answer does not say.
    model: String,
    /// Whether the answer names no model, so that frames that are passed on are given the target's.
    unnamed: bool,
    started: bool,
    finished: bool,
    done: bool,
    blocks: Blocks,
    counts: types::Counts,
    usage: Option<Usage>,
}

impl MessageDecoder {
    pub(super) fn new(call: &Call, framing: Framing) -> Self {
        Self {
            framing,
            keep_raw: call.request.origin.as_ref().is_some_and(|origin| origin.dialect == OURS),
            model: call.model().unwrap_or_default().to_owned(),
            unnamed: false,
            started: false,
            finished: false,
            done: false,
            blocks: Blocks::default(),
            counts: types::Counts::default(),
            usage: None,
        }
    }

    fn event(&mut self, name: Option<&str>, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        let mut fields = Object::parse(data).map_err(|error| error::unreadable(data, &error))?;
        let kind = fields.take("type").and_then(text);
        let index: u32 = lenient(fields.take("index")).unwrap_or(0);
        match kind.as_deref().or(name).unwrap_or_default() {
            "message_start" => match fields.take("message") {
                Some(message) => self.start(object(message, "message")?, deltas),
                None => Err(Error::protocol("the answer begins without a message")),
            },
            "content_block_start" => {
                self.may_go_on()?;
                match fields.take("content_block") {
                    Some(block) => self.blocks.start(index, block, deltas),
                    None => Err(Error::protocol(format!("block {index} of the answer begins without a block"))),
                }
            }
            "content_block_delta" => {
                self.may_go_on()?;
                match fields.take("delta") {
                    Some(piece) => self.blocks.go_on(index, piece, deltas),
                    None => Ok(()),
                }
            }
            "content_block_stop" => {
                self.may_go_on()?;
                self.blocks.stop(index, deltas)
            }
            "message_delta" => self.message_delta(fields, deltas),
            "message_stop" => self.stop(deltas),
            "ping" => Ok(()),
            "error" => Err(error::in_answer(data)),
            // Errors of gateways in between have no type of this dialect.
            _ if fields.get("error").is_some() => Err(error::in_answer(data)),
            _ => {
                deltas.push(Delta::Unknown { dialect: OURS, raw: serde_json::from_slice(data).unwrap_or_default() });
                Ok(())
            }
        }
    }

    fn may_go_on(&self) -> Result<()> {
        match (self.started, self.finished) {
            (false, _) => Err(Error::protocol("the answer does not begin with message_start")),
            (_, true) => Err(Error::protocol("the answer goes on after its stop_reason")),
            _ => Ok(()),
        }
    }

    /// The message begins; in a whole answer this is all of it but for its blocks.
    fn start(&mut self, mut message: Object<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Err(Error::protocol("the answer begins twice"));
        }
        let id = message.take("id").and_then(text).unwrap_or_default().into_owned();
        match message.take("model").and_then(text).filter(|model| !model.is_empty()) {
            Some(model) => self.model = model.into_owned(),
            None => self.unnamed = !self.model.is_empty(),
        }
        deltas.push(Delta::Start { id, model: self.model.clone(), created: None });
        let blocks: Vec<&RawValue> = match message.take("content") {
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|_| Error::protocol("the content of the answer is not a list of blocks"))?,
            None => Vec::new(),
        };
        let reason = message.take("stop_reason").and_then(text);
        let usage = message.take("usage");
        for name in ["type", "role"] {
            message.take(name);
        }
        self.unknown(values(message), usage, deltas);
        for (index, raw) in (0..).zip(blocks) {
            self.blocks.start(index, raw, deltas)?;
            self.blocks.stop(index, deltas)?;
        }
        match reason {
            Some(reason) => self.finish(Some(&reason), deltas),
            None => Ok(()),
        }
    }

    fn message_delta(&mut self, mut fields: Object<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        if !self.started {
            return Err(Error::protocol("the answer does not begin with message_start"));
        }
        let mut said = match fields.take("delta") {
            Some(raw) => object(raw, "delta")?,
            None => Object::default(),
        };
        let reason = said.take("stop_reason").and_then(text);
        let usage = fields.take("usage");
        let mut rest = values(said);
        rest.extend(values(fields));
        self.unknown(rest, usage, deltas);
        match reason {
            Some(reason) => self.finish(Some(&reason), deltas),
            None => Ok(()),
        }
    }

    /// Token counts, and what is not known of the message.
    fn unknown(&mut self, mut rest: Map<String, Value>, usage: Option<&RawValue>, deltas: &mut Vec<Delta>) {
        let more = usage.map(|raw| self.counts.read(raw)).unwrap_or_default();
        if !more.is_empty() {
            rest.insert("usage".to_owned(), more.into());
        }
        if !rest.is_empty() {
            deltas.push(Delta::Unknown { dialect: OURS, raw: rest.into() });
        }
        let counted = self.counts.usage();
        if usage.is_some() && self.usage != Some(counted) {
            self.usage = Some(counted);
            deltas.push(Delta::Usage(counted));
        }
    }

    fn finish(&mut self, reason: Option<&str>, deltas: &mut Vec<Delta>) -> Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        self.blocks.stop_all(deltas)?;
        let known = match reason {
            Some(word) => types::finish_reason(word),
            // Servers that give no reason and then say that they are done.
            None if self.blocks.called() => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        };
        deltas.push(Delta::Finish { choice: 0, reason: known, raw_reason: reason.map(str::to_owned) });
        Ok(())
    }

    fn stop(&mut self, deltas: &mut Vec<Delta>) -> Result<()> {
        if !self.started {
            return Err(Error::protocol("the answer ends without having begun"));
        }
        self.finish(None, deltas)?;
        deltas.push(Delta::End);
        self.done = true;
        Ok(())
    }

    fn whole(&mut self, data: &[u8], deltas: &mut Vec<Delta>) -> Result<()> {
        let message = Object::parse(data).map_err(|error| error::unreadable(data, &error))?;
        if message.get("content").is_none() {
            return Err(match message.get("error").is_some() || message.get("type").is_none() {
                true if message.is_empty() => Error::protocol("the answer holds nothing"),
                true => error::in_answer(data),
                false => Error::protocol("the answer has no content"),
            });
        }
        self.start(message, deltas)?;
        self.stop(deltas)
    }
}

fn object<'a>(raw: &'a RawValue, what: &str) -> Result<Object<'a>> {
    serde_json::from_str(raw.get()).map_err(|_| Error::protocol(format!("the answer's {what} is not an object")))
}

/// Fields that say something, parsed.
fn values(fields: Object<'_>) -> Map<String, Value> {
    let given = fields.rest().filter(|(_, raw)| raw.get() != "null");
    given.filter_map(|(name, raw)| Some((name.to_owned(), lenient(Some(raw))?))).collect()
}

impl Decoder for MessageDecoder {
    fn frame(&mut self, frame: Frame) -> Result<Event> {
        let data = frame.data.trim_ascii();
        // After the end nothing counts any more; and some servers end as another dialect would.
        if self.done || (self.framing == Framing::Stream && (data.is_empty() || data == b"[DONE]")) {
            return Ok(Event::default());
        }
        let mut deltas = Vec::with_capacity(4);
        match self.framing {
            Framing::Stream => self.event(frame.name.as_deref(), data, &mut deltas)?,
            Framing::Whole => self.whole(data, &mut deltas)?,
        }
        let Frame { name, mut data } = frame;
        // It is said once, at the beginning.
        if self.keep_raw && std::mem::take(&mut self.unnamed) {
            let inside = (self.framing == Framing::Stream).then_some("message");
            data = with_model(data, inside, "model", &self.model);
        }
        let raw = self.keep_raw.then_some(Raw { dialect: OURS, name, data });
        Ok(Event { deltas, raw })
    }

    fn end(&mut self) -> Result<Event> {
        match (self.done, self.finished) {
            (true, _) => Ok(Event::default()),
            (_, true) => Err(Error::protocol(
                "the answer was cut: it had its stop_reason, but the connection ended without message_stop",
            )),
            _ => Err(Error::protocol("the answer was cut: the connection ended without message_stop")),
        }
    }
}
