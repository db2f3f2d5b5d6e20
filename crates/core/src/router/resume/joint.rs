//! Where two answers become one: the second one's text goes on in the first one's block. Pure.
//!
//! The second answer's beginning is taken away: its start, and what it repeats. Thoughts and blocks that only its provider understands are not passed on: to the caller
//! they would belong to the first one.

use std::collections::{BTreeMap, BTreeSet};

use super::sent::Sent;
use crate::delta::{BlockKind, Delta, Part};
use crate::usage::Usage;

/// What the second answer still has to say before it is heard.
#[derive(Debug)]
enum Still {
    /// This, byte for byte.
    Same(String),
    /// Perhaps these blanks: they were cut off what it goes on behind.
    Blanks(String),
    /// Nothing.
    Nothing,
}

/// Between two answers.
#[derive(Debug)]
pub(super) struct Joint {
    still: Still,
    /// Its block → the caller's.
    blocks: BTreeMap<u32, u32>,
    /// Its blocks that are not passed on.
    passed_over: BTreeSet<u32>,
    /// Tokens of the first answer that its own counts do not hold.
    before: u64,
    /// A text block of the caller's that goes on, as long as no other begins.
    open: Option<u32>,
    next: u32,
}

/// What comes of a piece of the second answer.
#[derive(Debug, PartialEq)]
pub(super) enum Joined {
    /// This is given out behind what was said.
    Behind(Vec<Delta>),
    /// It says something else than was said.
    Otherwise,
}

impl Joint {
    /// For an answer that goes on behind what was said.
    pub(super) fn go_on(sent: &Sent) -> Self {
        let text = sent.text();
        let blanks = text.get(text.trim_end().len()..).unwrap_or_default();
        Self { before: crate::router::count::of_text(text), ..Self::new(Still::Blanks(blanks.to_owned()), sent) }
    }

    /// For an answer from the beginning.
    pub(super) fn restart(sent: &Sent) -> Self {
        Self::new(Still::Same(sent.text().to_owned()), sent)
    }

    fn new(still: Still, sent: &Sent) -> Self {
        Self {
            still,
            blocks: BTreeMap::new(),
            passed_over: BTreeSet::new(),
            before: 0,
            open: sent.open(),
            next: sent.next(),
        }
    }

    /// What comes of these.
    pub(super) fn pass(&mut self, deltas: Vec<Delta>) -> Joined {
        let mut out = Vec::with_capacity(deltas.len());
        for delta in deltas {
            if !self.one(delta, &mut out) {
                return Joined::Otherwise;
            }
        }
        Joined::Behind(out)
    }

    /// Adds what comes of one; says whether it still agrees with what was said.
    fn one(&mut self, delta: Delta, out: &mut Vec<Delta>) -> bool {
        let silent = matches!(self.still, Still::Same(_));
        match delta {
            Delta::BlockStart { choice: 0, block, kind: BlockKind::Reasoning { .. } | BlockKind::Provider { .. } } => {
                self.passed_over.insert(block);
            }
            Delta::BlockStart { choice: 0, block, kind: BlockKind::Text } => match self.open {
                Some(open) => drop(self.blocks.insert(block, open)),
                None => self.begin(block, BlockKind::Text, out),
            },
            // Nothing but text was given out.
            Delta::BlockStart { .. } | Delta::Finish { .. } if silent => return false,
            Delta::BlockStart { choice: 0, block, kind } => {
                self.close(out);
                self.begin(block, kind, out);
            }
            Delta::BlockDelta { choice: 0, block, part } => return self.part(block, part, out),
            Delta::BlockEnd { choice: 0, block } => match self.blocks.get(&block) {
                // What was said may stand in one block, and what is said now in two.
                Some(_) if silent => {}
                Some(&ours) => {
                    if self.open == Some(ours) {
                        self.open = None;
                    }
                    out.push(Delta::BlockEnd { choice: 0, block: ours });
                }
                None => {}
            },
            Delta::Usage(usage) => out.push(Delta::Usage(self.with_both(usage))),
            Delta::Finish { choice: 0, .. } => {
                self.close(out);
                out.push(delta);
            }
            Delta::End if silent => return false,
            Delta::End => out.push(delta),
            _ => {}
        }
        true
    }

    fn part(&mut self, block: u32, part: Part, out: &mut Vec<Delta>) -> bool {
        let Some(&ours) = self.blocks.get(&block).filter(|_| !self.passed_over.contains(&block)) else { return true };
        let part = match (part, &mut self.still) {
            (Part::Text(text), Still::Same(_) | Still::Blanks(_)) => match self.heard(text) {
                Some(text) => Part::Text(text),
                None => return false,
            },
            // They tell of text that is not heard again.
            (_, Still::Same(_)) => return true,
            (part, _) => part,
        };
        if !part.is_empty() {
            out.push(Delta::BlockDelta { choice: 0, block: ours, part });
        }
        true
    }

    /// What of a text is new; none where it is another one than was said.
    fn heard(&mut self, text: String) -> Option<String> {
        let (said, exact) = match &mut self.still {
            Still::Nothing => return Some(text),
            Still::Same(said) => (said, true),
            Still::Blanks(said) => (said, false),
        };
        let same = said.bytes().zip(text.bytes()).take_while(|(said, now)| said == now).count();
        if same == said.len() {
            self.still = Still::Nothing;
            return Some(text.get(same..).unwrap_or_default().to_owned());
        }
        if same == text.len() {
            said.drain(..same);
            return Some(String::new());
        }
        // Blanks are repeated as far as they are.
        let new = text.get(same..).map(str::to_owned);
        self.still = Still::Nothing;
        new.filter(|_| !exact)
    }

    fn begin(&mut self, block: u32, kind: BlockKind, out: &mut Vec<Delta>) {
        let ours = self.next;
        self.next = self.next.saturating_add(1);
        self.blocks.insert(block, ours);
        if kind == BlockKind::Text {
            self.open = Some(ours);
        }
        out.push(Delta::BlockStart { choice: 0, block: ours, kind });
    }

    fn close(&mut self, out: &mut Vec<Delta>) {
        if let Some(block) = self.open.take() {
            out.push(Delta::BlockEnd { choice: 0, block });
        }
    }

    /// The counts of both answers: those of the first one's text can only be estimated.
    fn with_both(&self, mut usage: Usage) -> Usage {
        if self.before > 0 {
            usage.output = usage.output.saturating_add(self.before);
            usage.estimated = true;
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::delta::{Event, FinishReason};
    use crate::testing::scripted::text_events;

    fn sent(text: &str) -> Sent {
        let mut sent = Sent::default();
        let begun = text_events(text, None);
        begun.iter().take(begun.len() - 1).for_each(|event| sent.see(event));
        assert!(sent.may_go_on());
        sent
    }

    fn said(joint: &mut Joint, events: Vec<Event>) -> Option<String> {
        let mut text = String::new();
        for event in events {
            let Joined::Behind(deltas) = joint.pass(event.deltas) else { return None };
            text.extend(deltas.iter().filter_map(|delta| match delta {
                Delta::BlockDelta { block: 0, part: Part::Text(text), .. } => Some(text.as_str()),
                _ => None,
            }));
        }
        Some(text)
    }

    #[test]
    fn a_new_answer_is_heard_once_it_has_said_the_same() {
        let whole = "One two three four.";
        for cut in [1, 4, 7, 8] {
            let before = sent(&whole[..cut]);
            assert_eq!(said(&mut Joint::restart(&before), text_events(whole, None)).as_deref(), Some(&whole[cut..]));
        }
        let before = sent("One two");
        for other in ["One too many", "One", "one two three", ""] {
            assert_eq!(said(&mut Joint::restart(&before), text_events(other, None)), None, "{other:?}");
        }
        assert_eq!(said(&mut Joint::restart(&before), text_events("One two", None)).as_deref(), Some(""));
    }

    #[test]
    fn bytes_are_compared_and_characters_given_out() {
        let before = sent("caf\u{e9} ");
        assert_eq!(said(&mut Joint::restart(&before), text_events("caf\u{ea} noir", None)), None);
        assert_eq!(said(&mut Joint::restart(&before), text_events("caf\u{e9} noir", None)).as_deref(), Some("noir"));
    }

    #[test]
    fn who_goes_on_may_repeat_the_blanks_that_were_cut_off() {
        for (tail, next, heard) in
            [(" ", " three", "three"), (" ", "three", "three"), ("\n\n", "\nthree", "three"), ("", " three", " three")]
        {
            let before = sent(&format!("One two{tail}"));
            assert_eq!(said(&mut Joint::go_on(&before), text_events(next, None)).as_deref(), Some(heard), "{tail:?}");
        }
    }

    #[test]
    fn thoughts_are_passed_over_and_a_call_of_a_tool_begins_its_own_block() {
        let mut joint = Joint::go_on(&sent("Let me look"));
        let call = BlockKind::ToolCall { id: "c".into(), name: "f".into() };
        let deltas = vec![
            Delta::Start { id: "2".into(), model: "m".into(), created: None },
            Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Reasoning { redacted: false } },
            Delta::BlockDelta { choice: 0, block: 0, part: Part::Text("hm".into()) },
            Delta::BlockEnd { choice: 0, block: 0 },
            Delta::BlockStart { choice: 0, block: 1, kind: call.clone() },
            Delta::BlockEnd { choice: 0, block: 1 },
            Delta::Finish { choice: 0, reason: FinishReason::ToolCalls, raw_reason: None },
            Delta::Usage(Usage::new(9, 2)),
            Delta::End,
        ];
        let Joined::Behind(deltas) = joint.pass(deltas) else { panic!("it says something else") };
        let [Delta::BlockEnd { block: 0, .. }, Delta::BlockStart { block: 1, kind, .. }, rest @ ..] = deltas.as_slice()
        else {
            panic!("{deltas:?}")
        };
        assert_eq!(*kind, call);
        let [Delta::BlockEnd { block: 1, .. }, Delta::Finish { .. }, Delta::Usage(usage), Delta::End] = rest else {
            panic!("{rest:?}")
        };
        assert_eq!((usage.input, usage.output, usage.estimated), (9, 5, true));
    }
}
