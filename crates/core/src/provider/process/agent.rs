//! An agent in its structured form: the provider that starts the genuine program once for a request and reads what it prints, line by line.
//!
//! What differs between agents is data and two functions in a [`Driver`]: how a request becomes words, files and variables (`agent/claude.rs` and its
//! neighbours, one an agent), and how its lines become an answer (`agent/answer.rs`). What is the same for all stands here: the private home
//! (`agent/home.rs`), the environment, the place among programs, the deadlines and the end of the group. A command line of the user's own is no
//! business of this file: `command.rs`.

mod answer;
mod claude;
mod home;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;

use self::answer::{Answer, Ended, Reader};
use self::home::{Home, Layout};
use super::transcript::{self, Picture, Said};
use super::{CommandProvider, Environment, Folder, Job, Keep, Limits, Process, Resolved, Runner, failure, resolve};
use crate::delta::{DeltaStream, Event};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ModelName, ProviderId};
use crate::provider::patience::Patience;
use crate::provider::{Availability, Call, Capabilities, Describe, Provider};
use crate::request::{JsonSchema, ResponseFormat};
use crate::secret::Secret;

pub(super) use claude::CLAUDE;

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
    /// What it may be allowed to do with its tools, in its own words; the first is what is meant where nothing is said.
    pub(super) modes: &'static [&'static str],
    /// Says how it is started for a request. It may write files into the home.
    launch: fn(&Ask, &Home) -> Result<Launch>,
    /// A reader for its answer.
    reader: fn(&Ask) -> Box<dyn Reader>,
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
    /// Where and how it may use its tools; none at all where this is absent.
    pub(super) tools: Option<Tools>,
    /// Whether it goes by a key of its own instead of the user's login.
    pub(super) has_key: bool,
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
    /// A file in which it leaves a report, read when it has ended.
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
}

impl AgentProvider {
    pub(super) fn new(settings: AgentSettings, runner: Runner) -> Self {
        Self { settings: Arc::new(settings), runner }
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
        let AgentSettings { driver, describe, environment, tools, .. } = &*self.settings;
        let request = &call.request;
        let Said { system, prompt, pictures, mut dropped } = transcript::split(request, driver.takes)?;
        let reasoning = request.reasoning.as_ref();
        let effort = reasoning.and_then(|reasoning| reasoning.effort.clone()).filter(|_| driver.takes_effort);
        if reasoning.is_some_and(|reasoning| effort.is_some() && reasoning.budget_tokens.is_none()) {
            dropped.retain(|field| field.0 != "reasoning");
        }
        call.note_dropped(dropped)?;
        let schema = match &request.response_format {
            Some(ResponseFormat::JsonSchema(schema)) => Some(schema.clone()),
            _ => None,
        };
        let model = call.target.model.as_ref().or(describe.default_model.as_ref()).map(ModelName::to_string);
        let system = Some(system.join("\n\n")).filter(|system| !system.is_empty());
        let has_key = driver.keys.iter().any(|name| environment.get(name).is_some());
        Ok(Ask { system, prompt, pictures, schema, model, effort, tools: tools.clone(), has_key })
    }

    /// Starts the program for a request.
    async fn begin(&self, call: &Call, program: PathBuf) -> Result<Running> {
        let settings = &*self.settings;
        let ask = self.ask(call)?;
        let mut patience = Patience::new(call, call.request.stream);
        let busy = format!("a free place for {}", settings.program);
        let place = patience.wait(&busy, async { Ok(self.runner.place(&program).await) }).await?;
        let home = Arc::new(Home::new(&settings.driver.layout, &settings.environment, !ask.has_key)?);
        let launch = (settings.driver.launch)(&ask, &home)?;
        let variables = home.variables(&settings.driver.layout).into_iter().chain(launch.variables);
        let environment = variables.fold(settings.environment.clone(), |all, (name, value)| all.with(name, value));
        let folder = ask.tools.as_ref().map_or_else(|| home.work(), |tools| tools.folder.clone());
        let mut job = Job::new(program).with_args(launch.args).with_environment(environment);
        job = job.with_folder(Folder::At(folder)).with_limits(Limits::default());
        job.hidden = settings.hidden.clone();
        job.keep = Some(Keep::new(home));
        let mut process = self.runner.start(&job, place)?;
        process.feed(launch.stdin);
        let model = ask.model.clone().unwrap_or_else(|| settings.describe.id.to_string());
        Ok(Running {
            waiting_for: format!("the answer of {}", process.name()),
            reader: (settings.driver.reader)(&ask),
            answer: Answer::new(call.cx.id.to_string(), model),
            process,
            patience,
            report: launch.report,
            prompt: ask.prompt,
            at: (settings.describe.id.clone(), call.target.model.clone()),
            _home: job.keep,
        })
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

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let at = |error: Error| error.at(&self.settings.describe.id, call.target.model.as_ref());
        let program = match (self.resolve(), &self.settings.named_only) {
            (Resolved::Found(program), _) => program,
            (_, Some(other)) if other.availability().is_ready() => return other.generate(call).await,
            (refused, _) => return Err(at(super::missing(self.settings.program, &refused, self.settings.install))),
        };
        let running = self.begin(&call, program).await.map_err(at)?;
        Ok(DeltaStream::new(stream::unfold(Some(running), |running| async {
            let mut running = running?;
            match running.next().await {
                Ok((event, true)) => Some((Ok(event), Some(running))),
                Ok((event, false)) => Some((Ok(event), None)),
                Err(error) => Some((Err(error.at(&running.at.0, running.at.1.as_ref())), None)),
            }
        })))
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
    at: (ProviderId, Option<ModelName>),
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
        let status = self.patience.wait(&self.waiting_for, async { Ok(self.process.status().await) }).await?;
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

/// The most of a report that is read.
const REPORT: u64 = 1 << 20;

fn report(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, REPORT), &mut bytes).ok()?;
    Some(bytes)
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

/// The error of an agent that says in words of its own what went wrong.
fn failed(name: &str, said: &str, otherwise: ErrorKind) -> Error {
    let said = said.trim();
    failure::of_words(name, said, otherwise, &format!("{name}: {said}"), std::time::SystemTime::now())
}
