//! Tool calls of a streamed answer, put together from the pieces that servers give: whole, in order, each once.
//!
//! The definition says: a call's first piece has its index, id and name, later pieces have its index and more arguments. Servers also repeat the id or
//! name in every piece, give the name late, leave out the id or the index, number every call 0, or give two calls one id. This file bears all of that,
//! and knows nothing else of an answer.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::delta::{BlockKind, Delta, Part};
use crate::dialect::json::{Object, lenient, text};
use crate::error::{Error, Result};

/// The most calls of one answer.
const MAX_CALLS: usize = 512;

/// The most bytes of arguments kept for a call whose name has not come.
const MAX_NAMELESS: usize = 1024 * 1024;

/// The calls of one choice.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<CallState>);

#[derive(Debug)]
struct CallState {
    /// The server's number for it, where it gives one.
    index: Option<u64>,
    /// The server's id, "" until it comes.
    server_id: String,
    /// Arguments that came before the name.
    early: String,
    /// The block, once it began.
    block: Option<u32>,
}

/// Where the calls' blocks belong.
pub(super) struct Place<'a> {
    /// The choice.
    pub(super) choice: u32,
    /// The choice's next free block.
    pub(super) next_block: &'a mut u32,
    /// The answer's id: ids of our own are made from it.
    pub(super) answer: &'a str,
}

impl Calls {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads one element of `tool_calls`, and gives back what it does not know of it: the call's place, and its fields.
    pub(super) fn piece<'a>(
        &mut self,
        raw: &'a RawValue,
        place: &mut Place<'_>,
        deltas: &mut Vec<Delta>,
    ) -> Result<Option<(usize, Object<'a>)>> {
        let Some(mut fields) = serde_json::from_str::<Object<'a>>(raw.get()).ok() else {
            return Err(Error::protocol("a tool call of the answer is not an object"));
        };
        let index: Option<u64> = lenient(fields.take("index"));
        let id = fields.take("id").and_then(text).unwrap_or_default();
        let kind = fields.take("type").and_then(text);
        if kind.is_some_and(|kind| kind != "function" && !kind.is_empty()) {
            // Another type of call: only who speaks this dialect can make sense of it.
            return Ok(Some((self.0.len(), serde_json::from_str(raw.get()).unwrap_or_default())));
        }
        let mut function: Object<'_> =
            fields.take("function").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let name = function.take("name").and_then(text).unwrap_or_default();
        let arguments = function.take("arguments").map(arguments).unwrap_or_default();
        let at = self.find(index, &id, &name)?;
        let taken =
            self.0.iter().enumerate().any(|(other, call)| other != at && !id.is_empty() && call.server_id == id);
        let Some(call) = self.0.get_mut(at) else { return Ok(None) };
        if call.server_id.is_empty() {
            call.server_id = id.to_string();
        }
        if call.block.is_none() && !name.is_empty() {
            let id = match call.server_id.as_str() {
                "" => format!("call_{}_{at}", place.answer),
                id if taken => format!("{id}_{at}"),
                id => id.to_owned(),
            };
            let block = *place.next_block;
            *place.next_block += 1;
            call.block = Some(block);
            let kind = BlockKind::ToolCall { id, name: name.into_owned() };
            deltas.push(Delta::BlockStart { choice: place.choice, block, kind });
            push(place.choice, block, std::mem::take(&mut call.early), deltas);
        }
        match call.block {
            Some(block) => push(place.choice, block, arguments.into_owned(), deltas),
            None if call.early.len() + arguments.len() > MAX_NAMELESS => {
                return Err(Error::protocol("a tool call of the answer has no name"));
            }
            None => call.early.push_str(&arguments),
        }
        Ok(Some((at, fields)).filter(|(_, fields)| !fields.is_empty()))
    }

    /// Ends every call's block.
    pub(super) fn end(&mut self, choice: u32, deltas: &mut Vec<Delta>) -> Result<()> {
        for call in self.0.drain(..) {
            match call.block {
                Some(block) => deltas.push(Delta::BlockEnd { choice, block }),
                None if call.early.is_empty() => {}
                None => return Err(Error::protocol("a tool call of the answer has no name")),
            }
        }
        Ok(())
    }

    /// The call that a piece belongs to; a new one where it begins one.
    fn find(&mut self, index: Option<u64>, id: &str, name: &str) -> Result<usize> {
        let known = match index {
            // A number in use with another id and a name of its own is another call.
            Some(_) => self.0.iter().rposition(|call| call.index == index).filter(|&at| {
                let other = self.0.get(at).is_some_and(|call| !call.server_id.is_empty() && call.server_id != id);
                id.is_empty() || name.is_empty() || !other
            }),
            None if !id.is_empty() => self.0.iter().rposition(|call| call.server_id == id),
            None if !name.is_empty() => None,
            None => self.0.len().checked_sub(1),
        };
        if let Some(at) = known {
            return Ok(at);
        }
        if self.0.len() >= MAX_CALLS {
            return Err(Error::protocol(format!("the answer has more than {MAX_CALLS} tool calls")));
        }
        self.0.push(CallState { index, server_id: String::new(), early: String::new(), block: None });
        Ok(self.0.len() - 1)
    }
}

/// Arguments are a text; servers that forgot to write them as one give the object itself.
fn arguments(raw: &RawValue) -> Cow<'_, str> {
    text(raw).unwrap_or_else(|| Cow::Borrowed(raw.get()))
}

fn push(choice: u32, block: u32, arguments: String, deltas: &mut Vec<Delta>) {
    if !arguments.is_empty() {
        deltas.push(Delta::BlockDelta { choice, block, part: Part::ToolArguments(arguments) });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The calls as id, name, arguments.
    fn assemble(pieces: &[&str]) -> Vec<(String, String, String)> {
        let (mut calls, mut deltas, mut next) = (Calls::default(), Vec::new(), 0);
        for piece in pieces {
            let raw: Box<RawValue> = serde_json::from_str(&format!("{{{piece}}}")).unwrap();
            let mut place = Place { choice: 0, next_block: &mut next, answer: "a1" };
            calls.piece(&raw, &mut place, &mut deltas).unwrap();
        }
        calls.end(0, &mut deltas).unwrap();
        let mut whole: Vec<(String, String, String)> = Vec::new();
        for delta in deltas {
            match delta {
                Delta::BlockStart { kind: BlockKind::ToolCall { id, name }, .. } => {
                    whole.push((id, name, String::new()))
                }
                Delta::BlockDelta { block, part: Part::ToolArguments(more), .. } => {
                    whole[block as usize].2.push_str(&more)
                }
                _ => {}
            }
        }
        whole
    }

    fn expect(pieces: &[&str], calls: &[(&str, &str, &str)]) {
        let calls: Vec<_> = calls.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect();
        assert_eq!(assemble(pieces), calls, "{pieces:?}");
    }

    #[test]
    fn by_the_definition() {
        expect(
            &[
                r#""index":0,"id":"x","type":"function","function":{"name":"f","arguments":""}"#,
                r#""index":0,"function":{"arguments":"{\"a\""}"#,
                r#""index":1,"id":"y","type":"function","function":{"name":"g","arguments":"{}"}"#,
                r#""index":0,"function":{"arguments":":1}"}"#,
            ],
            &[("x", "f", "{\"a\":1}"), ("y", "g", "{}")],
        );
    }

    #[test]
    fn repeated_late_and_missing_parts() {
        expect(
            &[
                r#""index":0,"id":"x","function":{"name":"f","arguments":"{"}"#,
                r#""index":0,"id":"x","function":{"name":"f","arguments":"}"}"#,
            ],
            &[("x", "f", "{}")],
        );
        expect(
            &[
                r#""index":0,"function":{"arguments":"{"}"#,
                r#""index":0,"id":"x","function":{"name":"f","arguments":"}"}"#,
            ],
            &[("x", "f", "{}")],
        );
        expect(&[r#""function":{"name":"f","arguments":{"a": 1}}"#], &[("call_a1_0", "f", "{\"a\": 1}")]);
        expect(
            &[
                r#""id":"x","function":{"name":"f"}"#,
                r#""function":{"arguments":"{}"}"#,
                r#""id":"y","function":{"name":"f"}"#,
            ],
            &[("x", "f", "{}"), ("y", "f", "")],
        );
    }

    #[test]
    fn numbers_and_ids_used_twice() {
        expect(
            &[
                r#""index":0,"id":"x","function":{"name":"f","arguments":"{}"}"#,
                r#""index":0,"id":"y","function":{"name":"f","arguments":"[]"}"#,
            ],
            &[("x", "f", "{}"), ("y", "f", "[]")],
        );
        expect(
            &[
                r#""index":0,"id":"x","function":{"name":"f","arguments":"{}"}"#,
                r#""index":1,"id":"x","function":{"name":"g","arguments":"{}"}"#,
            ],
            &[("x", "f", "{}"), ("x_1", "g", "{}")],
        );
    }
}
