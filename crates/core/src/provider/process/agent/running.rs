//! An agent that was started for one request: its start in a home of its own, the reading of its lines, its end.
//!
//! What its lines mean its reader knows (`answer.rs`). An agent that stays for more requests is `talk.rs`'s.

use std::path::PathBuf;
use std::time::Duration;

use super::answer::{Answer, Ended, Reader};
use super::{AgentProvider, Ask, Once};
use crate::delta::Event;
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::provider::patience::Patience;
use crate::provider::process::{GRACE, Keep, Process};

/// An answer under way. Dropping it ends the program.
pub(super) struct Running {
    process: Process,
    patience: Patience,
    reader: Box<dyn Reader>,
    answer: Answer,
    /// Kept to be left out of what the program says when it fails.
    prompt: String,
    waiting_for: String,
}

/// How long the end may take of a program that closed its output: that of its group, and what is read of its report.
const ENDING: Duration = GRACE;

impl Running {
    /// Starts the program for a request.
    ///
    /// # Errors
    /// What keeps it from being started; `provider_timeout` where no place is free in time, `caller_cancelled`.
    pub(super) async fn start(
        provider: &AgentProvider,
        call: &Call,
        program: PathBuf,
        ask: Ask,
        once: &'static Once,
        answer: Answer,
    ) -> Result<Self> {
        let AgentProvider { settings, runner, .. } = provider;
        // Who uses tools is silent for as long as one of them works.
        let mut patience = Patience::new(call, call.request.stream && ask.tools.is_none());
        let busy = format!("a free place for {}", settings.program);
        let place = patience.wait(&busy, async { Ok(runner.place(&program).await) }).await?;
        let prepared = settings.home(runner, !ask.has_key, move |_, home| Ok(((once.launch)(&ask, home)?, ask)));
        let (home, (mut launch, ask)) = patience.wait("a private home", prepared).await?;
        let stdin = std::mem::take(&mut launch.stdin);
        let mut job = settings.job(program, launch, &home, ask.tools.as_ref());
        // The group's alone: it goes on the thread that waited for the program.
        job.keep = Some(Keep::new(home));
        job.limits = job.limits.repeating(ask.size());
        let mut process = runner.start(job, place)?;
        process.feed(stdin);
        Ok(Self {
            waiting_for: format!("the answer of {}", process.name()),
            reader: (once.reader)(&ask),
            answer,
            process,
            patience,
            prompt: ask.prompt,
        })
    }

    /// The next event, and whether more will come.
    pub(super) async fn next(&mut self) -> Result<(Event, bool)> {
        while let Some(line) = self.patience.wait(&self.waiting_for, self.process.line()).await? {
            // A sign of life is enough: agents say when they ask again, and what they say of it is no content.
            self.patience.begun();
            let read = self.reader.line(&line, &mut self.answer);
            if let Err(error) = read {
                return Err(self.process.hiding(error));
            }
            let deltas = self.answer.take();
            if !deltas.is_empty() {
                let more = !self.answer.is_finished();
                return Ok((deltas.into(), more));
            }
        }
        let ending = async { Ok(tokio::time::timeout(ENDING, self.process.status()).await) };
        let Ok(status) = self.patience.wait(&self.waiting_for, ending).await? else {
            self.process.end();
            let name = self.process.name();
            return Err(Error::protocol(format!("{name} closed its output without a whole answer, and did not end"))
                .with_hint("run it by hand with the same prompt to see why"));
        };
        let stderr = self.process.last_words(&self.prompt).await;
        let report = self.process.report();
        let ended = Ended { status, stderr: &stderr, report: report.as_deref() };
        let read = self.reader.end(&ended, &mut self.answer);
        if let Err(error) = read {
            return Err(self.process.hiding(error));
        }
        if self.answer.is_finished() {
            return Ok((self.answer.take().into(), false));
        }
        let name = self.process.name().to_owned();
        if status == Some(0) {
            return Err(Error::protocol(format!("{name} ended well and gave no whole answer"))
                .with_hint("run it by hand with the same prompt to see why"));
        }
        // What the reader makes nothing of is told by how the program ended.
        self.patience.wait(&self.waiting_for, self.process.exit_of(&self.prompt, "")).await?;
        Err(Error::protocol(format!("{name} gave no whole answer")))
    }
}
