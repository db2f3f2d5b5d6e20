//! An agent in its structured form: the provider that drives the genuine program, started once for a request or kept as a server between requests.
//!
//! What differs between agents is data and a few functions in a [`Driver`]: how a request becomes words, files and variables (`agent/claude.rs` and its
//! neighbours, one an agent), and how what it prints becomes an answer (`agent/answer.rs`). What is the same for all stands here: how a request is put, the
//! private home (`agent/home.rs`), the environment. One that is started for a request goes on in `agent/running.rs`; servers are talked to in JSON-RPC
//! (`agent/rpc.rs`, `agent/talk.rs`) and kept in `agent/warm.rs`. A command line of the user's own is no business of this file: `command.rs`.

mod answer;
mod claude;
mod codex;
mod copilot;
mod copilot_events;
mod copilot_server;
mod gemini;
mod home;
mod left;
mod login;
mod report;
mod rpc;
mod running;
mod talk;
mod warm;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream;

use self::answer::Reader;
use self::home::{Home, Layout, Seen};
use self::rpc::Framing;
use self::running::Running;
use self::talk::{Talk, Turn};
use self::warm::Pool;
use super::transcript::{self, Picture, Said};
use super::{CommandProvider, Environment, Folder, Job, Limits, Report, Resolved, Runner, failure, resolve};
use crate::delta::{DeltaStream, Event};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ModelName;
use crate::provider::{Availability, Call, Capabilities, Describe, DynProvider, Provider};
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
    /// The talk about a request with a server that works in this empty folder.
    talk: fn(&Ask, &Path) -> Result<Box<dyn Talk>>,
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

impl Ask {
    /// Its bytes, as far as an agent may repeat them.
    fn size(&self) -> usize {
        let pictures = self.pictures.iter().map(|picture| picture.data.len());
        let schema = self.schema.as_ref().map_or(0, |schema| schema.schema.get().len());
        self.system.as_ref().map_or(0, String::len) + self.prompt.len() + schema + pictures.sum::<usize>()
    }
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
    /// The report that it leaves, read when it has ended.
    pub(super) report: Option<Report>,
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
            (Way::Once(once), _) => {
                let running = Running::start(self, call, program, ask, once, answer);
                Going::Once(Box::new(running.await?))
            }
            (Way::Served(served), pool) => {
                let pool = pool.get_or_init(|| Arc::new(Pool::new(self.settings.clone(), served, self.runner.clone())));
                Going::Turn(Box::new(Turn::begin(pool.clone(), program, ask, call, answer).await?))
            }
        })
    }
}

impl AgentSettings {
    /// A new home with what it takes to start the program there. What it writes and reads is done on a thread that may wait; who leaves meanwhile leaves nothing.
    async fn home<T: Send + 'static>(
        self: &Arc<Self>,
        runner: &Runner,
        login: bool,
        prepare: impl FnOnce(&Self, &Home) -> Result<T> + Send + 'static,
    ) -> Result<(Arc<Home>, T)> {
        let (settings, runner) = (self.clone(), runner.clone());
        let made = tokio::task::spawn_blocking(move || {
            let (layout, environment) = (&settings.driver.layout, &settings.environment);
            let below = Path::new(environment.get("TMPDIR").unwrap_or("/tmp"));
            runner.sweep(below, layout.folder, |folder| left::clear(folder, layout, environment));
            let home = Home::new(layout, environment, login)?;
            let prepared = prepare(&settings, &home)?;
            Ok((Arc::new(home), prepared))
        });
        made.await.unwrap_or_else(|error| Err(Error::internal(format!("no private home could be made: {error}"))))
    }

    /// The program as it is started in this home.
    fn job(&self, program: PathBuf, launch: Launch, home: &Home, tools: Option<&Tools>) -> Job {
        let variables = home.variables(&self.driver.layout).into_iter().chain(launch.variables);
        let environment = variables.fold(self.environment.clone(), |all, (name, value)| all.with(name, value));
        let folder = tools.map_or_else(|| home.work(), |tools| tools.folder.clone());
        let mut job = Job::new(program).with_args(launch.args).with_environment(environment);
        job = job.with_folder(Folder::At(folder)).with_limits(Limits::default());
        job.hidden = self.hidden.clone();
        job.report = launch.report;
        // Its own programs have no reason to leave its group; what its tools start may have one.
        job.marker = tools.map(|_| home.mark());
        job
    }

    /// What its server is started with.
    fn setup(&self) -> Setup<'_> {
        Setup { tools: self.tools.as_ref(), has_key: self.has_key(), environment: &self.environment }
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
        // Another program, another login or another variable of its own has its chance at once.
        let program = self.program().map(|path| (Seen::of(&path), path));
        let (whose, logins) = (driver.layout.original(environment), driver.layout.logins(environment));
        let all = format!("{program:?} {} {whose:?} {logins:?}", environment.own_mark());
        Some(Secret::new(all).fingerprint())
    }

    fn instead(&self) -> Option<Arc<dyn DynProvider>> {
        let other = self.settings.named_only.as_ref()?;
        // One that is there and may not be run is to be mended, not gone round.
        (self.resolve() == Resolved::NotFound).then(|| Arc::new(other.clone()) as Arc<dyn DynProvider>)
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let model = call.target.model.as_ref();
        let at = |error: Error| doubted(error, model).at(&self.settings.describe.id, model);
        let program = match self.resolve() {
            Resolved::Found(program) => program,
            refused => return Err(at(super::missing(self.settings.program, &refused, self.settings.install))),
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
