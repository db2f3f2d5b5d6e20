//! The items of an answer as blocks: which block each piece belongs to, and when blocks end.
//!
//! A stream tells everything twice or more: in pieces, then whole with the part, the item and the answer. What was given is counted, so that the later
//! tellings only add what the pieces left out: a server that sends no pieces at all is read as well. A whole body is nothing but last tellings.

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};

use crate::delta::{BlockKind, Delta, Part};
use crate::dialect::json::{Object, lenient, text};
use crate::dialect::openai_chat::types::tokens;
use crate::dialect::openai_responses::items::PART;
use crate::dialect::openai_responses::thoughts::{Form, Thought};
use crate::dialect::openai_responses::types::{OURS, flat_name};
use crate::error::{Error, Result};
use crate::request::TokenLogprob;

/// The most items of an answer, and the most parts of one item.
const MOST: usize = 1024;

/// Items that the client is to act on before the model goes on.
const CALLS: &[&str] = &[
    "custom_tool_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "computer_call",
    "mcp_approval_request",
];

/// The items of one answer.
#[derive(Debug, Default)]
pub(super) struct Items {
    items: BTreeMap<u64, Item>,
    next_block: u32,
    /// Whether one of them is for the client to act on.
    called: bool,
}

#[derive(Debug)]
enum Item {
    Message(BTreeMap<u64, Piece>),
    Call(Piece),
    Thought(Thought),
    /// Another kind: its pieces say nothing, its last telling all.
    Other,
    Done {
        id: String,
    },
}

/// A text, a refusal or a call's arguments.
#[derive(Debug)]
struct Piece {
    block: u32,
    open: bool,
    refusal: bool,
    /// Bytes given so far.
    sent: usize,
    annotations: usize,
    logprobs: usize,
}

/// What a piece adds to a text.
#[derive(Default)]
pub(super) struct Added<'a> {
    pub(super) text: &'a str,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) refusal: bool,
}

impl Piece {
    fn new(block: u32) -> Self {
        Self { block, open: true, refusal: false, sent: 0, annotations: 0, logprobs: 0 }
    }

    fn push(&mut self, part: Part, deltas: &mut Vec<Delta>) {
        if !part.is_empty() {
            deltas.push(Delta::BlockDelta { choice: 0, block: self.block, part });
        }
    }

    fn text(&mut self, more: &str, make: fn(String) -> Part, deltas: &mut Vec<Delta>) {
        self.sent += more.len();
        self.push(make(more.to_owned()), deltas);
    }

    /// What the whole has beyond what was given.
    fn rest(&mut self, whole: &str, make: fn(String) -> Part, deltas: &mut Vec<Delta>) {
        if let Some(more) = whole.get(self.sent..) {
            self.text(more, make, deltas);
        }
    }

    fn end(&mut self, deltas: &mut Vec<Delta>) {
        if std::mem::replace(&mut self.open, false) {
            deltas.push(Delta::BlockEnd { choice: 0, block: self.block });
        }
    }
}

pub(super) fn begin(next_block: &mut u32, kind: BlockKind, deltas: &mut Vec<Delta>) -> u32 {
    let block = *next_block;
    *next_block += 1;
    deltas.push(Delta::BlockStart { choice: 0, block, kind });
    block
}

fn too_many(what: &str) -> Error {
    Error::protocol(format!("the answer has more than {MOST} {what}"))
}

fn over(index: u64) -> Error {
    Error::protocol(format!("output item {index} goes on after its end"))
}

fn object<'a>(raw: &'a RawValue, what: &str) -> Result<Object<'a>> {
    serde_json::from_str(raw.get()).map_err(|_| Error::protocol(format!("{what} of the answer is not an object")))
}

impl Items {
    /// Whether there are none yet.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the client is to act before the model goes on.
    pub(super) fn called(&self) -> bool {
        self.called
    }

    /// `response.output_item.added`.
    pub(super) fn added(&mut self, index: u64, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        // A server that numbers every item 0 begins another one.
        self.end_item(index, deltas);
        let fields = object(raw, "an output item")?;
        let item = match fields.get("type").and_then(text).as_deref() {
            Some("message") => Item::Message(BTreeMap::new()),
            Some("reasoning") => Item::Thought(Thought::default()),
            Some("function_call") => {
                let mut call = self.call(&fields, index, deltas)?;
                let early = fields.get("arguments").and_then(text).unwrap_or_default();
                call.text(&early, Part::ToolArguments, deltas);
                Item::Call(call)
            }
            _ => Item::Other,
        };
        self.insert(index, item)
    }

    fn insert(&mut self, index: u64, item: Item) -> Result<()> {
        if self.items.len() >= MOST {
            return Err(too_many("output items"));
        }
        self.items.insert(index, item);
        Ok(())
    }

    fn call(&mut self, fields: &Object<'_>, index: u64, deltas: &mut Vec<Delta>) -> Result<Piece> {
        let word = |name: &str| fields.get(name).and_then(text).filter(|word| !word.is_empty());
        let Some(name) = word("name") else { return Err(Error::protocol("a tool call of the answer has no name")) };
        let id = word("call_id").or_else(|| word("id")).map_or_else(|| format!("call_{index}"), |id| id.into_owned());
        let name = match word("namespace") {
            Some(namespace) => flat_name(&namespace, &name),
            None => name.into_owned(),
        };
        self.called = true;
        Ok(Piece::new(begin(&mut self.next_block, BlockKind::ToolCall { id, name }, deltas)))
    }

    /// The message at an index; one that was not announced begins here.
    fn piece(&mut self, index: u64, part: u64, refusal: bool, deltas: &mut Vec<Delta>) -> Result<&mut Piece> {
        if !self.items.contains_key(&index) {
            self.insert(index, Item::Message(BTreeMap::new()))?;
        }
        let parts = match self.items.get_mut(&index) {
            Some(Item::Message(parts)) => parts,
            Some(Item::Done { .. }) => return Err(over(index)),
            _ => return Err(Error::protocol(format!("output item {index} is no message but has text"))),
        };
        if parts.len() >= MOST && !parts.contains_key(&part) {
            return Err(too_many("parts in one item"));
        }
        let next_block = &mut self.next_block;
        let piece = parts.entry(part).or_insert_with(|| {
            let kind = if refusal { BlockKind::Refusal } else { BlockKind::Text };
            Piece { refusal, ..Piece::new(begin(next_block, kind, deltas)) }
        });
        if piece.refusal != refusal {
            return Err(Error::protocol(format!("part {part} of output item {index} is a text and a refusal at once")));
        }
        Ok(piece)
    }

    fn open_piece(&mut self, index: u64, part: u64, refusal: bool, deltas: &mut Vec<Delta>) -> Result<&mut Piece> {
        let piece = self.piece(index, part, refusal, deltas)?;
        if !piece.open {
            return Err(over(index));
        }
        Ok(piece)
    }

    /// A piece of a text or refusal.
    pub(super) fn text(&mut self, index: u64, part: u64, added: Added<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let piece = self.open_piece(index, part, added.refusal, deltas)?;
        piece.text(added.text, Part::Text, deltas);
        piece.logprobs += added.logprobs.len();
        piece.push(Part::Logprobs(added.logprobs), deltas);
        Ok(())
    }

    /// A whole text or refusal, before its part is over.
    pub(super) fn text_done(&mut self, index: u64, part: u64, added: Added<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let piece = self.open_piece(index, part, added.refusal, deltas)?;
        piece.rest(added.text, Part::Text, deltas);
        if piece.logprobs == 0 {
            piece.logprobs = added.logprobs.len();
            piece.push(Part::Logprobs(added.logprobs), deltas);
        }
        Ok(())
    }

    /// A citation.
    pub(super) fn annotation(&mut self, index: u64, part: u64, note: Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let piece = self.open_piece(index, part, false, deltas)?;
        piece.annotations += 1;
        piece.push(Part::Annotation(note), deltas);
        Ok(())
    }

    /// `response.content_part.added`: the block begins, be it never filled.
    pub(super) fn part_added(&mut self, index: u64, part: u64, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let fields = object(raw, "a part")?;
        match fields.get("type").and_then(text).as_deref() {
            Some("output_text") => drop(self.open_piece(index, part, false, deltas)?),
            Some("refusal") => drop(self.open_piece(index, part, true, deltas)?),
            _ => {}
        }
        Ok(())
    }

    /// A whole part of a message.
    pub(super) fn part_done(&mut self, index: u64, part: u64, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let fields = object(raw, "a part")?;
        let word = |name: &str| fields.get(name).and_then(text).unwrap_or_default();
        let kind = word("type");
        let piece = match kind.as_ref() {
            "output_text" => {
                let piece = self.piece(index, part, false, deltas)?;
                if piece.open {
                    piece.rest(&word("text"), Part::Text, deltas);
                    let notes: Vec<Value> = lenient(fields.get("annotations")).unwrap_or_default();
                    for note in notes.into_iter().skip(piece.annotations) {
                        piece.annotations += 1;
                        piece.push(Part::Annotation(note), deltas);
                    }
                    if let (0, Some(raw)) = (piece.logprobs, fields.get("logprobs")) {
                        piece.push(Part::Logprobs(tokens(raw)), deltas);
                    }
                }
                piece
            }
            "refusal" => {
                let piece = self.piece(index, part, true, deltas)?;
                if piece.open {
                    piece.rest(&word("refusal"), Part::Text, deltas);
                }
                piece
            }
            // Thoughts are read with their item.
            "reasoning_text" | "summary_text" => return Ok(()),
            kind => {
                // A kind that nobody knows: it is said once, by whichever telling is first.
                if !self.items.contains_key(&index) {
                    self.insert(index, Item::Message(BTreeMap::new()))?;
                }
                let Some(Item::Message(parts)) = self.items.get_mut(&index) else { return Ok(()) };
                if parts.contains_key(&part) || parts.len() >= MOST {
                    return Ok(());
                }
                let kind = BlockKind::Provider { dialect: OURS, kind: format!("{PART}{kind}") };
                let mut piece = Piece::new(begin(&mut self.next_block, kind, deltas));
                piece.push(Part::Raw(lenient(Some(raw)).unwrap_or_default()), deltas);
                parts.entry(part).or_insert(piece)
            }
        };
        piece.end(deltas);
        Ok(())
    }

    /// A piece of a call's arguments, or all of them.
    pub(super) fn arguments(&mut self, index: u64, more: &str, whole: bool, deltas: &mut Vec<Delta>) -> Result<()> {
        match self.items.get_mut(&index) {
            Some(Item::Call(call)) if whole => call.rest(more, Part::ToolArguments, deltas),
            Some(Item::Call(call)) => call.text(more, Part::ToolArguments, deltas),
            Some(Item::Done { .. }) => return Err(over(index)),
            _ => return Err(Error::protocol(format!("output item {index} is no tool call but has arguments"))),
        }
        Ok(())
    }

    /// A piece of thoughts.
    pub(super) fn thought(
        &mut self,
        index: u64,
        part: u64,
        form: Form,
        more: &str,
        deltas: &mut Vec<Delta>,
    ) -> Result<()> {
        if !self.items.contains_key(&index) {
            self.insert(index, Item::Thought(Thought::default()))?;
        }
        match self.items.get_mut(&index) {
            Some(Item::Thought(thought)) => thought.push(form, part, more, &mut self.next_block, deltas),
            Some(Item::Done { .. }) => return Err(over(index)),
            _ => return Err(Error::protocol(format!("output item {index} is no thought but has some"))),
        }
        Ok(())
    }

    /// Whether the item at an index has begun and not ended.
    pub(super) fn is_open(&self, index: u64) -> bool {
        self.items.get(&index).is_some_and(|item| !matches!(item, Item::Done { .. }))
    }

    /// A whole item: `response.output_item.done`, or an element of the answer's `output`.
    pub(super) fn done(&mut self, index: u64, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let fields = object(raw, "an output item")?;
        let word = |name: &str| fields.get(name).and_then(text).unwrap_or_default();
        let (kind, id) = (word("type"), word("id"));
        match self.items.get(&index) {
            // Told again.
            Some(Item::Done { id: known }) if *known == id => return Ok(()),
            Some(Item::Done { .. }) => drop(self.items.remove(&index)),
            _ => {}
        }
        match kind.as_ref() {
            "message" => {
                let parts: Vec<&RawValue> =
                    fields.get("content").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
                for (part, raw) in (0..).zip(parts) {
                    self.part_done(index, part, raw, deltas)?;
                }
            }
            "function_call" => {
                let mut call = match self.items.remove(&index) {
                    Some(Item::Call(call)) => call,
                    Some(_) => return Err(Error::protocol(format!("output item {index} became a tool call"))),
                    None => self.call(&fields, index, deltas)?,
                };
                let whole = fields.get("arguments").map(|raw| text(raw).unwrap_or_else(|| raw.get().into()));
                call.rest(&whole.unwrap_or_default(), Part::ToolArguments, deltas);
                call.end(deltas);
            }
            "reasoning" => {
                let thought = match self.items.remove(&index) {
                    Some(Item::Thought(thought)) => thought,
                    Some(_) => return Err(Error::protocol(format!("output item {index} became a thought"))),
                    None => Thought::default(),
                };
                thought.end(Some((&id, &fields)), &mut self.next_block, deltas);
            }
            "image_generation_call" if fields.get("result").and_then(text).is_some_and(|data| !data.is_empty()) => {
                let format = fields.get("output_format").and_then(text).unwrap_or("png".into());
                let mut piece = Piece::new(begin(
                    &mut self.next_block,
                    BlockKind::Media { mime: format!("image/{format}") },
                    deltas,
                ));
                piece.push(Part::Bytes(word("result").into_owned()), deltas);
                piece.end(deltas);
            }
            _ => {
                self.called |= CALLS.contains(&kind.as_ref());
                let kind = BlockKind::Provider { dialect: OURS, kind: kind.into_owned() };
                let mut piece = Piece::new(begin(&mut self.next_block, kind, deltas));
                piece.push(Part::Raw(lenient(Some(raw)).unwrap_or(Value::Object(Map::new()))), deltas);
                piece.end(deltas);
            }
        }
        let id = id.into_owned();
        self.end_item(index, deltas);
        self.insert(index, Item::Done { id })
    }

    /// Ends what is open of an item.
    fn end_item(&mut self, index: u64, deltas: &mut Vec<Delta>) {
        match self.items.remove(&index) {
            Some(Item::Message(mut parts)) => parts.values_mut().for_each(|piece| piece.end(deltas)),
            Some(Item::Call(mut call)) => call.end(deltas),
            Some(Item::Thought(thought)) => thought.end(None, &mut self.next_block, deltas),
            Some(Item::Other | Item::Done { .. }) | None => {}
        }
    }

    /// Ends everything.
    pub(super) fn end(&mut self, deltas: &mut Vec<Delta>) {
        let open: Vec<u64> = self.items.keys().copied().collect();
        open.into_iter().for_each(|index| self.end_item(index, deltas));
    }
}
