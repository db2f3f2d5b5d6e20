//! An agent in its structured form: the provider that drives the genuine program, started once for a request or kept as a server between requests.
//!
//! What differs between agents is data and a few functions in a [`Driver`]: how a request becomes words, files and variables (`agent/claude.rs` and its
//! neighbours, one an agent), and how what it prints becomes an answer (`agent/answer.rs`). What is the same for all stands here: the private home
//! (`agent/home.rs`), the environment, the place among programs, the deadlines and the end of the group. Servers are talked to in JSON-RPC
//! (`agent/rpc.rs`, `agent/talk.rs`) and kept in `agent/warm.rs`. A command line of the user's own is no business of this file: `command.rs`.

mod answer;
mod claude;
mod codex;
mod copilot;
mod copilot_events;
mod copilot_server;
mod gemini;
mod home;
mod login;
mod rpc;
mod talk;
mod warm;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream;

use self::answer::{Ended, Reader};
use self::home::{Home, Layout};
use self::rpc::Framing;
use self::talk::{Talk, Turn};
use self::warm::Pool;
use super::transcript::{self, Picture, Said};
use super::{
    CommandProvider, Environment, Folder, GRACE, Job, Keep, Limits, Process, Resolved, Runner, failure, resolve,
};
use crate::delta::{DeltaStream, Event};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ModelName;
use crate::provider::patience::Patience;
use crate::provider::{Availability, Call, Capabilities, Describe, Provider};
use crate::request::{JsonSchema, ResponseFormat};
use crate::secret::Secret;

pub(super) use answer::Answer;
pub(super) use claude::CLAUDE;
pub(super) use codex::CODEX;
pub(super) use copilot::COPILOT;
pub(super) use copilot_server::COPILOT_SERVER;
pub(super) use gemini::GEMINI;

/// How one agent is driven.
#[derive(Debug)]
pub(super) struct Driver {
    /// Where it keeps its things.
    layout: Layout,
    /// Variables that hold a key of its own: with one of them the user's login stays out of its home.
    keys: &'static [&'static str],
    /// What it takes besides text.
    pub(super) takes: Capabilities,
    /// Whether it can be told how much to think.
    pub(super) takes_effort: bool,
    /// Whether it can be told how long its answer may be.
    pub(super) takes_max_tokens: bool,
    /// What it may be allowed to do with its tools, in its own words; the first is what is meant where nothing is said.
    pub(super) modes: &'static [&'static str],
    /// How it is run.
    way: Way,
}

/// How a program is run.
#[derive(Debug)]
enum Way {
    /// Anew for each request.
    Once(Once),
    /// As a server that stays for more requests, one at a time.
    Served(Served),
}

/// How an agent that is started for each request is started and read.
#[derive(Debug)]
pub(super) struct Once {
    /// Says how it is started for a request. It may write files into the home.
    launch: fn(&Ask, &Home) -> Result<Launch>,
    /// A reader for its answer.
    reader: fn(&Ask) -> Box<dyn Reader>,
}

/// How an agent that stays is started and talked to.
#[derive(Debug)]
pub(super) struct Served {
    framing: Framing,
    /// Says how it is started, for whatever requests will come. It may write files into the home.
    start: fn(&Setup<'_>, &Home) -> Result<Launch>,
    /// What is said to one that was just started; over when it is ready for a request.
    greet: fn(&Setup<'_>) -> Box<dyn Talk>,
    /// The talk about a request. It may write files into the server's home.
    talk: fn(&Ask, &Home) -> Result<Box<dyn Talk>>,
}

/// What all requests to a provider have in common, and its server is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup<'a> {
    /// Where and how it may use its tools; none at all where this is absent.
    pub(super) tools: Option<&'a Tools>,
    /// Whether it goes by a key of its own instead of the user's login.
    pub(super) has_key: bool,
    /// Its part of the user's environment.
    pub(super) environment: &'a Environment,
}

/// A request in the terms of all agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// Its system prompt. Without one an agent gets a short neutral one: its own speaks of tools that it does not have here.
    pub(super) system: Option<String>,
    /// What is asked.
    pub(super) prompt: String,
    /// Pictures to it.
    pub(super) pictures: Vec<Picture>,
    /// The form that the answer must have.
    pub(super) schema: Option<JsonSchema>,
    /// The model asked for.
    pub(super) model: Option<String>,
    /// How much to think: `none` to `xhigh`.
    pub(super) effort: Option<String>,
    /// The most tokens of its answer.
    pub(super) max_tokens: Option<u32>,
    /// Where and how it may use its tools; none at all where this is absent.
    pub(super) tools: Option<Tools>,
    /// Whether it goes by a key of its own instead of the user's login.
    pub(super) has_key: bool,
    /// Its part of the user's environment.
    pub(super) environment: Environment,
}

/// The folder and the permission that an agent with tools works under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tools {
    /// Where it works.
    pub(super) folder: PathBuf,
    /// One of [`Driver::modes`].
    pub(super) mode: String,
}

/// How a program is started for one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Launch {
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// What it reads on its standard input.
    pub(super) stdin: Bytes,
    /// Variables besides those that it is passed.
    pub(super) variables: Vec<(&'static str, String)>,
    /// A file in which it leaves a report, read when it has ended. A part `*` of the path is the one folder that is there.
    pub(super) report: Option<PathBuf>,
}

/// What the provider of an agent is made of.
#[derive(Clone, Debug)]
pub(super) struct AgentSettings {
    /// Who it is.
    pub(super) describe: Describe,
    /// The models it serves, as far as they are known.
    pub(super) models: Vec<ModelName>,
    /// How it is driven.
    pub(super) driver: &'static Driver,
    /// The executable.
    pub(super) program: &'static str,
    /// Its part of the user's environment.
    pub(super) environment: Environment,
    /// Values that no error repeats.
    pub(super) hidden: Arc<[Secret]>,
    /// Where and how it may use its tools.
    pub(super) tools: Option<Tools>,
    /// How to come by the program.
    pub(super) install: &'static str,
    /// Another command line for calls that name the provider, where the program does not resolve.
    pub(super) named_only: Option<CommandProvider>,
}

/// The provider of a coding agent.
#[derive(Clone, Debug)]
pub struct AgentProvider {
    settings: Arc<AgentSettings>,
    runner: Runner,
    /// The servers of an agent that stays.
    pool: Arc<OnceLock<Arc<Pool>>>,
}

impl AgentProvider {
    pub(super) fn new(settings: AgentSettings, runner: Runner) -> Self {
        Self { settings: Arc::new(settings), runner, pool: Arc::default() }
    }

    /// The executable that would run: two providers with the same one need not both be in a plan.
    pub fn program(&self) -> Option<PathBuf> {
        self.resolve().found()
    }

    fn resolve(&self) -> Resolved {
        resolve(self.settings.program, self.settings.environment.get("PATH"))
    }

    /// The request in an agent's terms.
    fn ask(&self, call: &Call) -> Result<Ask> {
        let AgentSettings { driver, describe, tools, .. } = &*self.settings;
        let request = &call.request;
        let Said { system, prompt, pictures, mut dropped } = transcript::split(request, driver.takes)?;
        let reasoning = request.reasoning.as_ref();
        let effort = reasoning.and_then(|reasoning| reasoning.effort.clone()).filter(|_| driver.takes_effort);
        if reasoning.is_some_and(|reasoning| effort.is_some() && reasoning.budget_tokens.is_none()) {
            dropped.retain(|field| field.0 != "reasoning");
        }
        let max_tokens = request.sampling.max_tokens.filter(|_| driver.takes_max_tokens);
        if max_tokens.is_some() {
            dropped.retain(|field| field.0 != "sampling.max_tokens");
        }
        call.note_dropped(dropped)?;
        let schema = match &request.response_format {
            Some(ResponseFormat::JsonSchema(schema)) => Some(schema.clone()),
            _ => None,
        };
        let model = call.target.model.as_ref().or(describe.default_model.as_ref()).map(ModelName::to_string);
        let system = Some(system.join("\n\n")).filter(|system| !system.is_empty());
        let has_key = self.settings.has_key();
        let (tools, environment) = (tools.clone(), self.settings.environment.clone());
        Ok(Ask { system, prompt, pictures, schema, model, effort, max_tokens, tools, has_key, environment })
    }

    /// Begins a request.
    async fn begin(&self, call: &Call, program: PathBuf) -> Result<Going> {
        let ask = self.ask(call)?;
        let model = ask.model.clone().unwrap_or_else(|| self.settings.describe.id.to_string());
        let answer = Answer::new(call.cx.id.to_string(), model);
        Ok(match (&self.settings.driver.way, &self.pool) {
            (Way::Once(once), _) => Going::Once(Box::new(self.launch(call, program, ask, once, answer).await?)),
            (Way::Served(served), pool) => {
                let pool = pool.get_or_init(|| Arc::new(Pool::new(self.settings.clone(), served, self.runner.clone())));
                Going::Turn(Box::new(Turn::begin(pool.clone(), program, ask, call, answer).await?))
            }
        })
    }

    /// Starts the program for a request.
    async fn launch(&self, call: &Call, program: PathBuf, ask: Ask, once: &Once, answer: Answer) -> Result<Running> {
        let settings = &*self.settings;
        // Who uses tools is silent for as long as one of them works.
        let mut patience = Patience::new(call, call.request.stream && ask.tools.is_none());
        let busy = format!("a free place for {}", settings.program);
        let place = patience.wait(&busy, async { Ok(self.runner.place(&program).await) }).await?;
        let home = Arc::new(Home::new(&settings.driver.layout, &settings.environment, !ask.has_key)?);
        let launch = (once.launch)(&ask, &home)?;
        let (stdin, report) = (launch.stdin.clone(), launch.report.clone());
        let mut job = settings.job(program, launch, &home, ask.tools.as_ref());
        job.keep = Some(Keep::new(home));
        let mut process = self.runner.start(&job, place)?;
        process.feed(stdin);
        Ok(Running {
            waiting_for: format!("the answer of {}", process.name()),
            reader: (once.reader)(&ask),
            answer,
            process,
            patience,
            report,
            prompt: ask.prompt,
            _home: job.keep,
        })
    }
}

impl AgentSettings {
    /// The program as it is started in this home.
    fn job(&self, program: PathBuf, launch: Launch, home: &Home, tools: Option<&Tools>) -> Job {
        let variables = home.variables(&self.driver.layout).into_iter().chain(launch.variables);
        let environment = variables.fold(self.environment.clone(), |all, (name, value)| all.with(name, value));
        let folder = tools.map_or_else(|| home.work(), |tools| tools.folder.clone());
        let mut job = Job::new(program).with_args(launch.args).with_environment(environment);
        job = job.with_folder(Folder::At(folder)).with_limits(Limits::default());
        job.hidden = self.hidden.clone();
        job
    }

    /// Whether the agent goes by a key of its own instead of the user's login.
    fn has_key(&self) -> bool {
        self.driver.keys.iter().any(|name| self.environment.get(name).is_some())
    }
}

impl Provider for AgentProvider {
    fn describe(&self) -> &Describe {
        &self.settings.describe
    }

    fn availability(&self) -> Availability {
        match self.resolve() {
            Resolved::Found(_) => Availability::Ready,
            other => {
                let (what, hint) = failure::missing(self.settings.program, &other, self.settings.install);
                Availability::Missing { what, hint }
            }
        }
    }

    fn models(&self) -> Vec<ModelName> {
        self.settings.models.clone()
    }

    fn login_mark(&self) -> Option<String> {
        let AgentSettings { driver, environment, .. } = &*self.settings;
        let keys: Vec<_> =
            driver.keys.iter().map(|name| environment.get(name).map(|key| Secret::new(key).fingerprint())).collect();
        // Another program, or another login, has its chance at once.
        let program = self.program().and_then(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)));
        Some(format!("{program:?} {keys:?} {:?}", driver.layout.logins(environment)))
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let model = call.target.model.as_ref();
        let at = |error: Error| doubted(error, model).at(&self.settings.describe.id, model);
        let program = match (self.resolve(), &self.settings.named_only) {
            (Resolved::Found(program), _) => program,
            (_, Some(other)) if other.availability().is_ready() => return other.generate(call).await,
            (refused, _) => return Err(at(super::missing(self.settings.program, &refused, self.settings.install))),
        };
        let going = self.begin(&call, program).await.map_err(at)?;
        let (id, model) = (self.settings.describe.id.clone(), call.target.model.clone());
        Ok(DeltaStream::new(stream::unfold(Some(going), move |going| {
            let (id, model) = (id.clone(), model.clone());
            async move {
                let mut going = going?;
                match going.next().await {
                    Ok((event, true)) => Some((Ok(event), Some(going))),
                    Ok((event, false)) => Some((Ok(event), None)),
                    Err(error) => Some((Err(doubted(error, model.as_ref()).at(&id, model.as_ref())), None)),
                }
            }
        })))
    }
}

/// A request under way. Dropping it ends the program that answers.
enum Going {
    Once(Box<Running>),
    Turn(Box<Turn>),
}

impl Going {
    /// The next event, and whether more will come.
    async fn next(&mut self) -> Result<(Event, bool)> {
        match self {
            Self::Once(running) => running.next().await,
            Self::Turn(turn) => turn.next().await,
        }
    }
}

/// An answer under way. Dropping it ends the program.
struct Running {
    process: Process,
    patience: Patience,
    reader: Box<dyn Reader>,
    answer: Answer,
    report: Option<PathBuf>,
    /// Kept to be left out of what the program says when it fails.
    prompt: String,
    waiting_for: String,
    /// Until the report is read; the group holds it as well.
    _home: Option<Keep>,
}

impl Running {
    /// The next event, and whether more will come.
    async fn next(&mut self) -> Result<(Event, bool)> {
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
        let ending = async { Ok(tokio::time::timeout(GRACE, self.process.status()).await) };
        let Ok(status) = self.patience.wait(&self.waiting_for, ending).await? else {
            self.process.end();
            let name = self.process.name();
            return Err(Error::protocol(format!("{name} closed its output without a whole answer, and did not end"))
                .with_hint("run it by hand with the same prompt to see why"));
        };
        let stderr = self.process.last_words(&self.prompt).await;
        let report = self.report.as_ref().and_then(|path| report(path));
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

/// An error that is put down to the account by nothing but the model's own name in it: programs repeat the name, and whoever asks chose it. It closes the account to nobody.
fn doubted(error: Error, model: Option<&ModelName>) -> Error {
    let of_account = matches!(
        error.kind(),
        ErrorKind::ProviderAuth | ErrorKind::ProviderBilling | ErrorKind::ProviderQuotaExhausted
    );
    let only_the_name_tells = |model: &&ModelName| {
        let (said, name) = (error.message().to_lowercase(), model.as_str().to_lowercase());
        failure::tells(&name) && said.contains(&name) && !failure::tells(&said.replace(&name, ""))
    };
    match model.filter(|_| of_account).filter(only_the_name_tells) {
        Some(_) => error.with_kind(ErrorKind::ProviderRejected),
        None => error,
    }
}

/// The most of a report that is read.
const REPORT: u64 = 1 << 20;

/// The end of a report.
fn report(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = PathBuf::new();
    for part in path {
        if part == "*" {
            let folders = std::fs::read_dir(&at).ok()?.flatten().filter(|entry| entry.path().is_dir());
            // What begins with a dot is a program's own business.
            at = folders.map(|entry| entry.path()).find(|path| !path.file_name().is_some_and(hidden))?;
        } else {
            at.push(part);
        }
    }
    let mut file = std::fs::File::open(at).ok()?;
    let over = file.metadata().ok()?.len().saturating_sub(REPORT);
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(over)).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, REPORT), &mut bytes).ok()?;
    Some(bytes)
}

fn hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// What an agent is told where the request has no system prompt: its own speaks of tools that it does not have here.
const NEUTRAL: &str = "You are a helpful assistant.";

/// A line of JSON as what it is known to be; nothing where the line is empty. Whoever reads it ignores what is new in it.
///
/// # Errors
/// `provider_protocol` quoting the beginning of a line that is no JSON, or not what such lines are.
fn known<T: serde::de::DeserializeOwned>(name: &str, line: &[u8]) -> Result<Option<T>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).map_err(|error| {
        let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
        Error::protocol(format!("{name} printed a line that is not understood ({error}): {shown}"))
            .with_hint("its version may be too old or too new: see `llm-router doctor`")
    })
}

/// Words in which programs say that they do not know an option or a command.
const UNKNOWN: &[&str] = &["unexpected argument", "unrecognized subcommand", "unknown option", "unknown command"];

/// An error of a program that ended: one that did not know what it was told is too old for this router.
fn outdated(error: Error, install: &str) -> Error {
    if !UNKNOWN.iter().any(|words| error.message().contains(words)) {
        return error;
    }
    Error::unavailable(format!("this version is too old: {}", error.message())).with_hint(install)
}

/// The error of an agent that says in words of its own what went wrong.
fn failed(name: &str, said: &str, otherwise: ErrorKind) -> Error {
    let said = said.trim();
    failure::of_words(name, said, otherwise, &format!("{name}: {said}"), std::time::SystemTime::now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_model_cannot_be_named_such_that_its_refusal_closes_the_account() {
        let model = ModelName::new("no github oauth token").unwrap();
        let kind = |said: &str| doubted(Error::new(ErrorKind::ProviderAuth, said), Some(&model)).kind();
        assert_eq!(kind("there is no model \"No GitHub OAuth token\""), ErrorKind::ProviderRejected);
        assert_eq!(kind("401 for no github oauth token"), ErrorKind::ProviderAuth);
        assert_eq!(kind("the key is not valid"), ErrorKind::ProviderAuth);
    }
}
