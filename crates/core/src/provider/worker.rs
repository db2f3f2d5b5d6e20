//! Workers: programs that stay and answer many calls at once, over pipes, in JSON lines of the `native` dialect.
//!
//! A worker isolates what may crash or block (an engine in C++, a Python interpreter) in a process of its own. [`Worker`] is the parent's side and a
//! [`Provider`] like any other; [`serve`] is the child's side, for any provider of ours; a worker in another language needs only the lines:
//!
//! ```text
//! worker → {"hello":{"protocol":"llm-router-worker","version":1,"does":["count","embed"]}}   first, once
//! router → {"id":7,"call":{"request":…,"target":…,"attempt":1,…},"credit":64}
//! worker → {"id":7,"event":[delta,…],"dropped":["sampling.top_k"]}          one credit each; `dropped` only where something is
//! router → {"id":7,"credit":32}                                             the reader has taken so many
//! router → {"id":7,"cancel":true}                                           nobody reads any more
//! worker → {"id":7,"end":true} or {"id":7,"error":{"kind":…,"message":…}}   once a call, also after a cancel
//! router → {"id":8,"count":{"request":…,"target":…,"attempt":1,…},"credit":64}   how many tokens has it? only where `does` names it
//! worker → {"id":8,"tokens":12,"end":true}
//! router → {"id":9,"embed":{"request":{"inputs":[…]},"target":…,…},"credit":64}  the same with vectors, some a line, one credit a line
//! worker → {"id":9,"vectors":{"model":"m","vectors":["base64 of f32",…],"usage":{…}}}
//! router → {"stop":true}                                                    finish what runs, then exit; the end of input means: exit now
//! ```
//!
//! `call` is what every worker knows; `does` names the orders that it knows besides. A worker that does not name one is never sent it, and who asks is told
//! so with `caller_unsupported`; a token count is then an estimate that says that it is one.
//!
//! Back-pressure is per call: a worker sends no more events than it has credit for and pauses that call until the reader has taken some, so a slow reader
//! holds back its own answer and nobody else's. What happens to one call happens to it alone, except the end of the worker itself, which ends all calls on it
//! with `provider_connection`; the next call starts it anew. Read next: `worker/session.rs` for one running worker, `worker/serve.rs` for the child.

mod answer;
mod serve;
mod session;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use serve::{serve, stdio};

use self::answer::Answer;
use self::session::{Part, Session, Task};
use super::patience::Patience;
use super::process::{Environment, Folder, GRACE, Job, Limits, Runner};
use super::{Availability, Call, Describe, Provider};
use crate::delta::DeltaStream;
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ModelName, ProviderId};

/// The longest pause before a worker that keeps failing is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The pause after its first failure; it doubles with each.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// What a worker is made of.
#[derive(Clone)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// Who it is: known without starting it.
    pub describe: Describe,
    /// The models it serves, as far as known without starting it.
    pub models: Vec<ModelName>,
    /// Whether it could be started: asked often, so it must cost microseconds.
    pub probe: Arc<dyn Fn() -> Availability + Send + Sync>,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub environment: Environment,
    /// Where it works.
    pub folder: Folder,
    /// How long it may take to say hello.
    pub start: Duration,
    /// How long it is kept without a call.
    pub idle: Duration,
    /// How long it may take to let go of a cancelled call before it is taken for stuck and ended.
    pub release: Duration,
    /// The most calls at once; more wait for a place.
    pub in_flight: usize,
    /// Bytes of one line of it.
    pub line: usize,
}

impl WorkerSettings {
    /// A program with its arguments, and no variables.
    pub fn new(describe: Describe, program: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self {
            describe,
            models: Vec::new(),
            probe: Arc::new(|| Availability::Ready),
            program: program.into(),
            args,
            environment: Environment::default(),
            folder: Folder::default(),
            start: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            release: Duration::from_secs(10),
            in_flight: 64,
            line: 32 << 20,
        }
    }
}

impl fmt::Debug for WorkerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("WorkerSettings");
        out.field("id", &self.describe.id).field("program", &self.program).finish_non_exhaustive()
    }
}

/// The parent's side of a worker: started by the first call, kept for the next ones, ended when idle, stopped or dropped.
#[derive(Debug)]
pub struct Worker {
    settings: Arc<WorkerSettings>,
    runner: Runner,
    slot: Mutex<Slot>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Slot {
    session: Option<Arc<Session>>,
    /// A start under way: it goes on when the call that began it gives up, for the next one.
    starting: Option<AbortOnDropHandle<Result<Arc<Session>>>>,
    /// Starts in a row that led to no answer.
    failures: u32,
    last_start: Option<Instant>,
}

impl Worker {
    /// A worker that is started by `runner` when the first call comes.
    pub fn new(settings: WorkerSettings, runner: Runner) -> Self {
        let places = Arc::new(Semaphore::new(settings.in_flight.max(1)));
        Self { settings: Arc::new(settings), runner, slot: Mutex::default(), places }
    }

    /// Lets running calls finish for `patience` at most, then ends the program. The next call would start it anew.
    pub async fn stop(&self, patience: Duration) {
        // A start under way holds the slot; it ends with the worker itself.
        let Ok(mut slot) = tokio::time::timeout(patience, self.slot.lock()).await else { return };
        slot.starting = None;
        let session = slot.session.take();
        drop(slot);
        if let Some(session) = session {
            session.stop(patience).await;
        }
    }

    /// The process id of the running program, for status pages; `None` also while it starts.
    pub fn process_id(&self) -> Option<u32> {
        let slot = self.slot.try_lock().ok()?;
        slot.session.as_ref().filter(|session| session.is_open()).map(|session| session.process_id())
    }

    /// The running session; starts one where there is none, after a pause when it failed lately.
    async fn session(&self) -> Result<Arc<Session>> {
        let mut slot = self.slot.lock().await;
        match slot.session.take() {
            Some(session) if session.is_open() => {
                slot.session = Some(session.clone());
                return Ok(session);
            }
            Some(ended) if ended.was_useful() => slot.failures = 0,
            Some(_) => slot.failures = slot.failures.saturating_add(1),
            None => {}
        }
        let starting = match slot.starting.take() {
            Some(starting) => starting,
            None => {
                if let Some(last) = slot.last_start {
                    tokio::time::sleep_until(last + pause(slot.failures)).await;
                }
                slot.last_start = Some(Instant::now());
                AbortOnDropHandle::new(tokio::spawn(start(self.settings.clone(), self.runner.clone())))
            }
        };
        // Left in the slot while it is awaited: a caller that gives up must not end what the next one needs.
        let started = slot.starting.insert(starting).await;
        slot.starting = None;
        match started.unwrap_or_else(|error| Err(Error::internal(format!("a worker's start broke off: {error}")))) {
            Ok(session) => {
                slot.session = Some(session.clone());
                Ok(session)
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                Err(error)
            }
        }
    }

    async fn begin(&self, call: &Arc<Call>, task: &Task) -> Result<Answer> {
        let streamed = call.request.stream && matches!(task, Task::Generate);
        let mut patience = Patience::new(call, streamed);
        let id = &self.settings.describe.id;
        let places = self.places.clone();
        let place = patience
            .wait(&format!("a free place of {id}"), async {
                places.acquire_owned().await.map_err(|_| Error::unavailable(format!("{id} is closed")))
            })
            .await?;
        let mut place = Some(place);
        // A session can end between the look and the call: then a new one is there at the next look.
        for _ in 0..3 {
            let session = patience.wait(&format!("the start of {id}"), self.session()).await?;
            match session.call(call, task, &mut place)? {
                Some((number, events)) => return Ok(Answer::new(session, number, events, patience, call.clone())),
                None => continue,
            }
        }
        Err(Error::connection(format!("{id} ended again and again as it was called")))
    }

    async fn counted(&self, call: &Arc<Call>) -> Result<u64> {
        let mut answer = self.begin(call, &Task::Count).await?;
        let mut counted = None;
        while let Some(part) = answer.next().await? {
            match part {
                Part::Tokens(tokens) => counted = Some(tokens),
                Part::Event(..) | Part::Vectors(_) => return Err(unasked(&self.settings.describe.id)),
            }
        }
        counted.ok_or_else(|| Error::protocol("the worker ended a count without a number"))
    }

    async fn embedded(&self, call: &Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        let wanted = ask.inputs.len();
        let mut answer = self.begin(call, &Task::Embed(ask)).await?;
        let mut whole = EmbedResponse::default();
        while let Some(part) = answer.next().await? {
            let Part::Vectors(mut part) = part else { return Err(unasked(&self.settings.describe.id)) };
            whole.vectors.append(&mut part.vectors);
            if whole.vectors.len() > wanted {
                return Err(Error::protocol(format!("the worker made more than {wanted} vectors for as many inputs")));
            }
            whole.model = part.model;
            whole.usage = part.usage.or(whole.usage);
        }
        whole.check(wanted)?;
        Ok(whole)
    }
}

/// The error of a worker that gives one thing for another.
fn unasked(id: &ProviderId) -> Error {
    Error::protocol(format!("the worker {id} sent something else than it was asked for"))
}

async fn start(settings: Arc<WorkerSettings>, runner: Runner) -> Result<Arc<Session>> {
    let mut limits = Limits::default();
    // Counted anew after each line; a piece of the next one may be read with it.
    (limits.line, limits.total) = (settings.line, settings.line as u64 + (64 << 10));
    let mut job = Job::new(&settings.program)
        .with_args(settings.args.iter().cloned())
        .with_environment(settings.environment.clone())
        .with_folder(settings.folder.clone())
        .with_limits(limits);
    job.told = true;
    let place = runner.place(&settings.program).await;
    let process = runner.start(job, place)?;
    Session::open(process, &settings).await
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => SHORTEST_PAUSE.saturating_mul(1 << (n - 1).min(8)).min(LONGEST_PAUSE),
    }
}

impl Provider for Worker {
    fn describe(&self) -> &Describe {
        &self.settings.describe
    }

    fn availability(&self) -> Availability {
        (self.settings.probe)()
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let id = self.settings.describe.id.clone();
        let model = call.target.model.clone();
        let answer = self.begin(&call, &Task::Generate).await.map_err(|error| error.at(&id, model.as_ref()))?;
        Ok(DeltaStream::new(stream::unfold(Some(answer), move |answer| {
            let (id, model) = (id.clone(), model.clone());
            async move {
                let mut answer = answer?;
                match answer.next().await {
                    Ok(Some(Part::Event(event, _))) => Some((Ok(event), Some(answer))),
                    Ok(Some(_)) => Some((Err(unasked(&id).at(&id, model.as_ref())), None)),
                    Ok(None) => None,
                    Err(error) => Some((Err(error.at(&id, model.as_ref())), None)),
                }
            }
        })))
    }

    async fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        let at = |error: Error| error.at(&self.settings.describe.id, call.target.model.as_ref());
        self.embedded(&call, ask).await.map_err(at)
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        let at = |error: Error| error.at(&self.settings.describe.id, call.target.model.as_ref());
        self.counted(&call).await.map_err(at)
    }

    fn models(&self) -> Vec<ModelName> {
        self.settings.models.clone()
    }
}

/// The error of a worker that ended while it was needed.
fn lost(name: &str, how: &str) -> Error {
    Error::new(ErrorKind::ProviderConnection, format!("the worker {name} ended: {how}"))
        .with_hint("ask again: it is started anew")
}

/// How long a program may linger after it closed its output before it is ended.
const LINGER: Duration = GRACE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_short() {
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(1), SHORTEST_PAUSE);
        assert_eq!(pause(3), 4 * SHORTEST_PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
