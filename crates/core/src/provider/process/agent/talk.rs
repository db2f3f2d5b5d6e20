//! A request as a talk with an agent that stays: what is said to it, what it says, and how that becomes an answer.
//!
//! A [`Talk`] knows its agent's messages and nothing of pipes, as a reader knows lines (`answer.rs`); a [`Turn`] carries one out with a server from the
//! pool (`warm.rs`), within the call's deadlines. A turn that ends well gives its server back, and so does one that failed in a way that its agent told, if the talk knows
//! how to clear up after it. One that fails otherwise, or whose reader leaves, ends it: what a server would do with the rest of that turn is no matter of the next
//! one.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Ask;
use super::answer::Answer;
use super::rpc::{Heard, Rpc, Said, Says};
use super::warm::{Pool, Server};
use crate::delta::Event;
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::provider::patience::Patience;

/// Talks with one agent about one request, or greets it.
pub(in super::super) trait Talk: Send {
    /// What is said first.
    ///
    /// # Errors
    /// Where the request cannot be said.
    fn begin(&mut self, says: &mut Says) -> Result<()>;

    /// Hears a message; `Asked` never comes here. The end of the talk, where the server waits for the next one, is `Break`; the answer may be whole before.
    ///
    /// # Errors
    /// What the agent says went wrong, in the words of the error table.
    fn hear(&mut self, heard: Heard, says: &mut Says, answer: &mut Answer) -> Result<ControlFlow<()>>;

    /// After an error that [`Talk::hear`] told: what is said so that the server is ready for another request, and whether anything remains to be heard before (`Continue`).
    /// Nothing where nobody knows what the server does with the rest: then it is ended.
    fn recover(&mut self, _says: &mut Says) -> Result<Option<ControlFlow<()>>> {
        Ok(None)
    }

    /// The answer to what the agent asks; it is refused where there is none.
    fn asked(&mut self, _method: &str, _params: &Said) -> Option<Value> {
        None
    }
}

/// Hears one message on behalf of a talk; `None` is the end of the program's output. Cancel safe.
///
/// # Errors
/// Those of the talk and of the pipes.
pub(super) async fn hear(rpc: &mut Rpc, talk: &mut dyn Talk, answer: &mut Answer) -> Result<Option<ControlFlow<()>>> {
    let Some(heard) = rpc.hear().await? else { return Ok(None) };
    let flow = match heard {
        Heard::Asked(id, method, params) => {
            let said = talk.asked(&method, &params);
            rpc.says().answer(&id, &method, said)?;
            ControlFlow::Continue(())
        }
        heard => talk.hear(heard, rpc.says(), answer)?,
    };
    rpc.send()?;
    Ok(Some(flow))
}

/// A request under way with a server of the pool. Dropping it ends the server.
pub(super) struct Turn {
    pool: Arc<Pool>,
    program: PathBuf,
    ask: Ask,
    patience: Patience,
    answer: Answer,
    waiting_for: String,
    /// The server and the talk with it, until it is given back.
    with: Option<(Server, Box<dyn Talk>)>,
    /// Whether the server may have ended before it heard of this request: then it is asked of another one.
    stale: bool,
}

impl Turn {
    /// Takes a server and begins.
    ///
    /// # Errors
    /// Those of the start, `provider_timeout`, `caller_cancelled`.
    pub(super) async fn begin(
        pool: Arc<Pool>,
        program: PathBuf,
        ask: Ask,
        call: &Call,
        answer: Answer,
    ) -> Result<Self> {
        // Who uses tools is silent for as long as one of them works.
        let mut patience = Patience::new(call, call.request.stream && ask.tools.is_none());
        let name = pool.name();
        let busy = format!("a free place for {name}");
        let place = patience.wait(&busy, async { Ok(pool.place(&program).await) }).await?;
        let waiting_for = format!("the answer of {name}");
        let start = format!("the start of {name}");
        let server = patience.wait(&start, pool.take(&program, place)).await?;
        let stale = server.was_used();
        let mut turn = Self { pool, program, ask, patience, answer, waiting_for, with: None, stale };
        turn.say(server).await?;
        Ok(turn)
    }

    /// Says the request to a server, or to a new one where this has ended while it rested.
    async fn say(&mut self, mut server: Server) -> Result<()> {
        let mut talk = loop {
            match server.work() {
                Some(work) => break (self.pool.served().talk)(&self.ask, work)?,
                None if self.stale => server = self.anew(server).await?,
                None => return Err(server.died(&self.ask.prompt).await),
            }
        };
        server.begin_turn(self.ask.size());
        talk.begin(server.rpc().says())?;
        server.rpc().send()?;
        self.with = Some((server, talk));
        Ok(())
    }

    /// A new server in the place of one that had ended while nobody looked; once for a request.
    async fn anew(&mut self, ended: Server) -> Result<Server> {
        self.stale = false;
        let start = self.pool.start(&self.program, ended.leave());
        self.patience.wait(&self.waiting_for, start).await
    }

    /// Gives the server of a turn that failed back, where its talk knows how. Else it ends with the turn.
    fn recover(&mut self) {
        let Some((mut server, mut talk)) = self.with.take() else { return };
        if let Ok(Some(flow)) = talk.recover(server.rpc().says())
            && server.rpc().send().is_ok()
        {
            self.pool.park(server, flow.is_continue().then_some(talk));
        }
    }

    /// The next event, and whether more will come.
    pub(super) async fn next(&mut self) -> Result<(Event, bool)> {
        loop {
            let Some((server, talk)) = &mut self.with else { return Err(Error::internal("a turn was over twice")) };
            let heard = hear(server.rpc(), &mut **talk, &mut self.answer);
            let heard = self.patience.wait(&self.waiting_for, heard).await;
            let flow = match heard {
                Ok(Some(flow)) => flow,
                Ok(None) if !self.stale => return Err(server.died(&self.ask.prompt).await),
                Ok(None) => {
                    if let Some((ended, _)) = self.with.take() {
                        let server = self.anew(ended).await?;
                        self.say(server).await?;
                    }
                    continue;
                }
                Err(error) => {
                    let error = server.rpc().process().hiding(error);
                    self.recover();
                    return Err(error);
                }
            };
            self.stale = false;
            self.patience.begun();
            let deltas = self.answer.take();
            if self.answer.is_finished() {
                if let Some((server, talk)) = self.with.take() {
                    self.pool.park(server, flow.is_continue().then_some(talk));
                }
                return Ok((deltas.into(), false));
            }
            if flow.is_break() {
                return Err(Error::protocol(format!("{} ended the turn and gave no whole answer", self.pool.name()))
                    .with_hint("run it by hand with the same prompt to see why"));
            }
            if !deltas.is_empty() {
                return Ok((deltas.into(), true));
            }
        }
    }
}

/// How long a server may take to be ready for the next turn once an answer was whole.
pub(super) const TIDY: Duration = Duration::from_secs(5);
