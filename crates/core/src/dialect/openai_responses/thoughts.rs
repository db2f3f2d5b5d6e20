//! A reasoning item of an answer: its thoughts, in pieces or whole, and the seal on them. The other items are in `output.rs`.

use serde_json::Value;

use crate::delta::{BlockKind, Delta, Part};
use crate::dialect::json::{Object, lenient, text};
use crate::dialect::openai_responses::items::joined;
use crate::dialect::openai_responses::output::begin;
use crate::dialect::openai_responses::types::seal;

/// Thoughts come in two forms: summaries, and, from open models, themselves. A server that gives both gives two blocks.
#[derive(Debug, Default)]
pub(super) struct Thought {
    summary: Channel,
    content: Channel,
}

#[derive(Debug, Default)]
struct Channel {
    block: Option<u32>,
    part: u64,
    sent: bool,
}

/// Which form of thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Summary,
    Content,
}

impl Thought {
    fn channel(&mut self, form: Form) -> &mut Channel {
        match form {
            Form::Summary => &mut self.summary,
            Form::Content => &mut self.content,
        }
    }

    /// A piece of one part.
    pub(super) fn push(&mut self, form: Form, part: u64, more: &str, next_block: &mut u32, deltas: &mut Vec<Delta>) {
        if more.is_empty() {
            return;
        }
        let channel = self.channel(form);
        let block =
            *channel.block.get_or_insert_with(|| begin(next_block, BlockKind::Reasoning { redacted: false }, deltas));
        // Each part is a paragraph of its own.
        let apart = std::mem::replace(&mut channel.part, part) != part && channel.sent;
        channel.sent = true;
        let text = if apart { format!("\n\n{more}") } else { more.to_owned() };
        deltas.push(Delta::BlockDelta { choice: 0, block, part: Part::Text(text) });
    }

    /// Ends the thought; with its whole item, what the pieces left out is added, and the seal.
    pub(super) fn end(mut self, whole: Option<(&str, &Object<'_>)>, next_block: &mut u32, deltas: &mut Vec<Delta>) {
        if let Some((id, fields)) = whole {
            for (form, name) in [(Form::Summary, "summary"), (Form::Content, "content")] {
                let parts: Vec<Value> = lenient(fields.get(name)).unwrap_or_default();
                if !self.channel(form).sent {
                    self.push(form, 0, &joined(&parts), next_block, deltas);
                }
            }
            let encrypted = fields.get("encrypted_content").and_then(text).unwrap_or_default();
            if !encrypted.is_empty() || !id.is_empty() {
                let first = self.summary.block.or(self.content.block);
                let block = first.unwrap_or_else(|| {
                    let block = begin(next_block, BlockKind::Reasoning { redacted: true }, deltas);
                    self.summary.block = Some(block);
                    block
                });
                let part = Part::Signature(seal(id, &encrypted));
                deltas.push(Delta::BlockDelta { choice: 0, block, part });
            }
        }
        let blocks = [self.summary.block, self.content.block];
        deltas.extend(blocks.into_iter().flatten().map(|block| Delta::BlockEnd { choice: 0, block }));
    }
}
