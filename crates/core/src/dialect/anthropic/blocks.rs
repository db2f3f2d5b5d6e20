//! The content blocks of an answer: what each wire block is in the domain, and what is gathered until it is whole.
//!
//! Blocks keep their numbers. What a provider's own block streams in pieces (the input of a tool that runs there) is given when the block ends, since half
//! an object says nothing; callers of this dialect get the frames themselves. The answer around the blocks is `stream.rs`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json, value::RawValue};

use crate::delta::{BlockKind, Delta, Part};
use crate::dialect::Dialect;
use crate::dialect::json::{Object, lenient, text};
use crate::error::{Error, Result};

const OURS: Dialect = Dialect::Anthropic;

/// The most blocks of one answer.
const MAX_BLOCKS: usize = 4096;

/// The blocks of an answer.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: BTreeMap<u32, Open>,
    used: HashSet<u32>,
    called: bool,
}

/// A block that goes on.
#[derive(Debug)]
enum Open {
    /// Text or thoughts.
    Words,
    /// A call. `held` is the input that came with its beginning, for servers that stream no pieces of it.
    Call { held: Option<String> },
    /// The provider's own, with the pieces of its input.
    Own { input: String },
}

impl Blocks {
    /// Whether one of them calls a tool.
    pub(super) fn called(&self) -> bool {
        self.called
    }

    /// A block begins.
    pub(super) fn start(&mut self, index: u32, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        if self.used.len() >= MAX_BLOCKS {
            return Err(Error::protocol(format!("the answer has more than {MAX_BLOCKS} blocks")));
        }
        if !self.used.insert(index) {
            return Err(Error::protocol(format!("block {index} of the answer begins twice")));
        }
        let mut fields: Object<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Error::protocol(format!("block {index} of the answer is not an object")))?;
        let kind = fields.take("type").and_then(text).unwrap_or_default();
        let mut words = |name: &str| fields.take(name).and_then(text).filter(|text| !text.is_empty());
        let mut parts = Vec::new();
        let (kind, open) = match &*kind {
            "text" => {
                parts.extend(words("text").map(|text| Part::Text(text.into_owned())));
                let citations: Vec<Value> = lenient(fields.take("citations")).unwrap_or_default();
                parts.extend(citations.into_iter().map(Part::Annotation));
                (BlockKind::Text, Open::Words)
            }
            "thinking" => {
                parts.extend(words("thinking").map(|text| Part::Text(text.into_owned())));
                parts.extend(words("signature").map(|seal| Part::Signature(seal.into_owned())));
                (BlockKind::Reasoning { redacted: false }, Open::Words)
            }
            "redacted_thinking" => {
                parts.extend(words("data").map(|seal| Part::Signature(seal.into_owned())));
                (BlockKind::Reasoning { redacted: true }, Open::Words)
            }
            "tool_use" => {
                let id = words("id").map_or_else(|| format!("toolu_{index}"), |id| id.into_owned());
                let name = words("name").unwrap_or_default().into_owned();
                if name.is_empty() {
                    return Err(Error::protocol(format!("block {index} of the answer calls a tool without a name")));
                }
                self.called = true;
                let held = Some(fields.take("input").map_or_else(|| "{}".to_owned(), |input| input.get().to_owned()));
                (BlockKind::ToolCall { id, name }, Open::Call { held })
            }
            _ => {
                let whole: Value = lenient(Some(raw)).unwrap_or_default();
                parts.push(Part::Raw(whole));
                let kind = BlockKind::Provider { dialect: OURS, kind: kind.into_owned() };
                fields = Object::default();
                (kind, Open::Own { input: String::new() })
            }
        };
        // Before the block, so that who writes it again knows in time.
        unknown(index, fields, deltas);
        deltas.push(Delta::BlockStart { choice: 0, block: index, kind });
        deltas.extend(parts.into_iter().map(|part| Delta::BlockDelta { choice: 0, block: index, part }));
        self.open.insert(index, open);
        Ok(())
    }

    /// A block goes on.
    pub(super) fn go_on(&mut self, index: u32, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<()> {
        let Some(open) = self.open.get_mut(&index) else {
            let why = if self.used.contains(&index) { "goes on after its end" } else { "goes on and never began" };
            return Err(Error::protocol(format!("block {index} of the answer {why}")));
        };
        let mut fields: Object<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Error::protocol(format!("a piece of block {index} of the answer is not an object")))?;
        let kind = fields.take("type").and_then(text).unwrap_or_default();
        let mut words = |name: &str| fields.take(name).and_then(text).unwrap_or_default();
        let part = match (&*kind, open) {
            ("text_delta", _) => Part::Text(words("text").into_owned()),
            ("thinking_delta", _) => Part::Text(words("thinking").into_owned()),
            ("signature_delta", _) => Part::Signature(words("signature").into_owned()),
            ("input_json_delta", Open::Call { held }) => {
                let more = words("partial_json");
                if !more.is_empty() {
                    *held = None;
                }
                Part::ToolArguments(more.into_owned())
            }
            ("input_json_delta", Open::Own { input }) => {
                input.push_str(&words("partial_json"));
                return Ok(());
            }
            ("citations_delta", _) => match lenient(fields.take("citation")) {
                Some(note) => Part::Annotation(note),
                None => return Ok(()),
            },
            (_, Open::Own { .. }) => Part::Raw(Value::Object(fields.into_values().unwrap_or_default())),
            _ => {
                unknown(index, fields, deltas);
                return Ok(());
            }
        };
        if !part.is_empty() {
            deltas.push(Delta::BlockDelta { choice: 0, block: index, part });
        }
        Ok(())
    }

    /// A block is whole.
    pub(super) fn stop(&mut self, index: u32, deltas: &mut Vec<Delta>) -> Result<()> {
        let Some(open) = self.open.remove(&index) else {
            return Err(Error::protocol(format!("block {index} of the answer ends without having begun")));
        };
        let part = match open {
            Open::Words => None,
            Open::Call { held } => held.map(Part::ToolArguments),
            Open::Own { input } if input.trim().is_empty() => None,
            Open::Own { input } => {
                let value = serde_json::from_str(&input).unwrap_or(Value::String(input));
                Some(Part::Raw(json!({"input": value})))
            }
        };
        deltas.extend(part.map(|part| Delta::BlockDelta { choice: 0, block: index, part }));
        deltas.push(Delta::BlockEnd { choice: 0, block: index });
        Ok(())
    }

    /// Every block that is still open is whole: the answer is.
    pub(super) fn stop_all(&mut self, deltas: &mut Vec<Delta>) -> Result<()> {
        while let Some(index) = self.open.keys().next().copied() {
            self.stop(index, deltas)?;
        }
        Ok(())
    }
}

/// What is not known of a block, with its place.
fn unknown(index: u32, fields: Object<'_>, deltas: &mut Vec<Delta>) {
    let given = fields.rest().filter(|(_, raw)| raw.get() != "null");
    let mut rest: Map<String, Value> =
        given.filter_map(|(name, raw)| Some((name.to_owned(), lenient(Some(raw))?))).collect();
    if !rest.is_empty() {
        rest.insert("index".to_owned(), index.into());
        deltas.push(Delta::Unknown { dialect: OURS, raw: json!({"content": [rest]}) });
    }
}
