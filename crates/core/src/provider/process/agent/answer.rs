//! What an agent says, as deltas: the builder that every agent's reader fills, and the reader's contract.
//!
//! A reader knows its agent's lines and nothing of processes; the builder keeps the laws of the stream (`delta.rs`), so no reader has to. Recorded
//! transcripts of the real programs go through readers in tests, byte for byte.

use crate::delta::{BlockKind, Delta, FinishReason, Part};
use crate::error::Result;
use crate::usage::Usage;

/// Reads what one agent prints in answer to one request.
pub(in super::super) trait Reader: Send {
    /// Reads a line of its standard output, without the line's end.
    ///
    /// # Errors
    /// What the agent says went wrong, in the words of the error table; what came of the answer before stays said.
    fn line(&mut self, line: &[u8], answer: &mut Answer) -> Result<()>;

    /// The program has ended. The answer is whole only if [`Answer::finish`] was called before or is now.
    ///
    /// # Errors
    /// Why there is no whole answer, where the agent tells it by how it ended.
    fn end(&mut self, ended: &Ended<'_>, answer: &mut Answer) -> Result<()>;
}

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Ended<'a> {
    /// Its exit status; none where a signal ended it.
    pub(in super::super) status: Option<i32>,
    /// The end of what it wrote to standard error, masked, without what it repeats of the prompt.
    pub(in super::super) stderr: &'a str,
    /// What it left in the file that it was told to leave its report in.
    pub(in super::super) report: Option<&'a [u8]>,
}

/// An answer as it comes.
#[derive(Debug, Default)]
pub(in super::super) struct Answer {
    id: String,
    model: String,
    /// What nobody has taken yet.
    new: Vec<Delta>,
    begun: bool,
    texts: bool,
    /// The block that is open, and whether it is one of thoughts.
    open: Option<bool>,
    blocks: u32,
    usage: Option<Usage>,
    finished: bool,
}

impl Answer {
    /// An answer of this id, from this model as far as anybody knows.
    pub(in super::super) fn new(id: String, model: String) -> Self {
        Self { id, model, ..Self::default() }
    }

    /// The model that answers, in the agent's words. Heard once the answer has begun it comes too late to be told.
    pub(in super::super) fn model(&mut self, model: &str) {
        if !self.begun && !model.is_empty() {
            model.clone_into(&mut self.model);
        }
    }

    /// More text.
    pub(in super::super) fn text(&mut self, text: impl Into<String>) {
        self.push(false, text.into());
    }

    /// More thoughts.
    pub(in super::super) fn thoughts(&mut self, text: impl Into<String>) {
        self.push(true, text.into());
    }

    /// Token counts so far; the last ones hold.
    pub(in super::super) fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// Whether anything was said that a caller may have heard.
    pub(in super::super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether any text was said.
    pub(in super::super) fn has_text(&self) -> bool {
        self.texts
    }

    /// Whether it is whole.
    pub(in super::super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// It is whole, for this reason; `raw` is the agent's own word for it.
    pub(in super::super) fn finish(&mut self, reason: FinishReason, raw: Option<String>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.begin();
        self.close();
        self.new.extend(self.usage.map(Delta::Usage));
        self.new.push(Delta::Finish { choice: 0, reason, raw_reason: raw });
        self.new.push(Delta::End);
    }

    /// The deltas since the last time.
    pub(in super::super) fn take(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.new)
    }

    fn push(&mut self, thoughts: bool, text: String) {
        if text.is_empty() || self.finished {
            return;
        }
        self.begin();
        self.texts |= !thoughts;
        if self.open != Some(thoughts) {
            self.close();
            let kind = if thoughts { BlockKind::Reasoning { redacted: false } } else { BlockKind::Text };
            self.new.push(Delta::BlockStart { choice: 0, block: self.blocks, kind });
            self.open = Some(thoughts);
        }
        self.new.push(Delta::BlockDelta { choice: 0, block: self.blocks, part: Part::Text(text) });
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            let (id, model) = (std::mem::take(&mut self.id), std::mem::take(&mut self.model));
            self.new.push(Delta::Start { id, model, created: None });
        }
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.new.push(Delta::BlockEnd { choice: 0, block: self.blocks });
            self.blocks += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::Laws;

    #[test]
    fn whatever_is_said_in_whatever_order_keeps_the_laws() {
        let mut answer = Answer::new("id".into(), "asked".into());
        answer.model("told");
        answer.thoughts("hm");
        answer.text("a");
        answer.text("");
        answer.text("b");
        answer.model("late");
        answer.usage(Usage::new(3, 2));
        answer.finish(FinishReason::Stop, None);
        answer.finish(FinishReason::Length, None);
        answer.text("after the end");
        let deltas = answer.take();
        let mut laws = Laws::default();
        assert!(deltas.iter().all(|delta| laws.check(delta).is_ok()));
        assert!(matches!(deltas.first(), Some(Delta::Start { model, .. }) if model == "told"));
        assert_eq!(deltas.len(), 11, "{deltas:?}");
        assert!(answer.is_finished() && answer.take().is_empty());
    }
}
