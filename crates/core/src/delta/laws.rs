//! The laws of a delta stream, as a small machine: debug builds run every provider's stream through it, and so does every fixture test.

use std::collections::HashMap;

use super::Delta;
use crate::error::{Error, Result};

/// The grammar of a delta stream as a machine that reads one delta after the other.
#[derive(Debug, Default)]
pub struct Laws {
    started: bool,
    ended: bool,
    /// (choice, block) → whether it is still open.
    blocks: HashMap<(u32, u32), bool>,
    finished: Vec<u32>,
}

impl Laws {
    /// Reads one delta.
    ///
    /// # Errors
    /// `provider_protocol` naming the law that it breaks.
    pub fn check(&mut self, delta: &Delta) -> Result<()> {
        let broken = |law: &str| Err(Error::protocol(format!("the answer's events are out of order: {law}")));
        if self.ended {
            return broken("something came after its end");
        }
        if !self.started && !matches!(delta, Delta::Start { .. } | Delta::Unknown { .. }) {
            return broken("it does not begin with a start");
        }
        match delta {
            Delta::Start { .. } if self.started => return broken("it starts twice"),
            Delta::Start { .. } => self.started = true,
            Delta::BlockStart { choice, block, .. } => {
                if self.finished.contains(choice) {
                    return broken("a block begins after its choice was finished");
                }
                if self.blocks.insert((*choice, *block), true).is_some() {
                    return broken("a block's index is used twice");
                }
            }
            Delta::BlockDelta { choice, block, .. } => match self.blocks.get(&(*choice, *block)) {
                Some(true) => {}
                Some(false) => return broken("a block goes on after its end"),
                None => return broken("a block goes on that never began"),
            },
            Delta::BlockEnd { choice, block } => match self.blocks.insert((*choice, *block), false) {
                Some(true) => {}
                Some(false) => return broken("a block ends twice"),
                None => return broken("a block ends that never began"),
            },
            Delta::Finish { choice, .. } => {
                if self.finished.contains(choice) {
                    return broken("a choice is finished twice");
                }
                if self.blocks.iter().any(|((of, _), open)| of == choice && *open) {
                    return broken("a choice is finished with a block open");
                }
                self.finished.push(*choice);
            }
            Delta::End => {
                if self.blocks.keys().any(|(choice, _)| !self.finished.contains(choice)) {
                    return broken("it ends with a choice unfinished");
                }
                self.ended = true;
            }
            Delta::Usage(_) | Delta::Unknown { .. } => {}
        }
        Ok(())
    }

    /// Whether the end was seen.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::delta::{BlockKind, FinishReason, Part};
    use crate::usage::Usage;

    fn start() -> Delta {
        Delta::Start { id: "1".into(), model: "m".into(), created: None }
    }

    fn block(block: u32) -> Delta {
        Delta::BlockStart { choice: 0, block, kind: BlockKind::Text }
    }

    fn text(block: u32, text: &str) -> Delta {
        Delta::BlockDelta { choice: 0, block, part: Part::Text(text.into()) }
    }

    fn end(block: u32) -> Delta {
        Delta::BlockEnd { choice: 0, block }
    }

    fn finish() -> Delta {
        Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: None }
    }

    fn first_broken(deltas: &[Delta]) -> Option<usize> {
        let mut laws = Laws::default();
        deltas.iter().position(|delta| laws.check(delta).is_err())
    }

    #[test]
    fn a_lawful_answer_passes() {
        let deltas = [
            start(),
            block(0),
            text(0, "a"),
            end(0),
            block(1),
            end(1),
            finish(),
            Delta::Usage(Usage::new(1, 1)),
            Delta::End,
        ];
        assert_eq!(first_broken(&deltas), None);
    }

    #[test]
    fn each_law_is_enforced() {
        for (deltas, at) in [
            (vec![block(0)], 0),
            (vec![start(), start()], 1),
            (vec![start(), text(0, "a")], 1),
            (vec![start(), block(0), end(0), text(0, "a")], 3),
            (vec![start(), block(0), end(0), block(0)], 3),
            (vec![start(), end(0)], 1),
            (vec![start(), block(0), finish()], 2),
            (vec![start(), finish(), finish()], 2),
            (vec![start(), finish(), block(1)], 2),
            (vec![start(), block(0), end(0), Delta::End], 3),
            (vec![start(), Delta::End, Delta::Usage(Usage::default())], 2),
        ] {
            assert_eq!(first_broken(&deltas), Some(at), "{deltas:?}");
        }
    }
}
