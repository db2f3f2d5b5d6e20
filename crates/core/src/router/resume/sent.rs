//! What was given out of an answer: its text, and whether there is nothing else. Pure.

use crate::delta::{BlockKind, Delta, Event, Part};

/// The longest text that is remembered: a longer answer is not gone on with.
const LONGEST: usize = 8 << 20;

/// What was given out of one answer.
#[derive(Debug, Default)]
pub(super) struct Sent {
    text: String,
    /// The text block that goes on.
    open: Option<u32>,
    /// The first index that no block has.
    next: u32,
    /// Whether something else was given out than the text of one choice, or its end.
    other: bool,
}

impl Sent {
    /// Notes what is given out.
    pub(super) fn see(&mut self, event: &Event) {
        event.deltas.iter().for_each(|delta| self.note(delta));
    }

    fn note(&mut self, delta: &Delta) {
        match delta {
            Delta::Start { .. } | Delta::Usage(_) | Delta::Unknown { .. } => {}
            Delta::BlockStart { choice: 0, block, kind: BlockKind::Text } => {
                self.open = Some(*block);
                self.next = self.next.max(block.saturating_add(1));
            }
            Delta::BlockDelta { choice: 0, part: Part::Text(text), .. }
                if self.text.len().saturating_add(text.len()) <= LONGEST =>
            {
                self.text.push_str(text);
            }
            Delta::BlockDelta { choice: 0, part, .. } if part.is_empty() => {}
            Delta::BlockEnd { choice: 0, .. } => self.open = None,
            _ => self.other = true,
        }
    }

    /// Whether somebody else could go on with it.
    pub(super) fn may_go_on(&self) -> bool {
        !self.other
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text block that goes on.
    pub(super) fn open(&self) -> Option<u32> {
        self.open
    }

    /// The first index that no block has.
    pub(super) fn next(&self) -> u32 {
        self.next
    }
}
