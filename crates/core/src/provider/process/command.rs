//! The provider made of a command line: a [`Template`] is filled in, the program runs once, and what it prints is the answer.
//!
//! Plain form only: text in, text out. An answer is whole when the program ends with status 0, whatever it printed before; `transcript.rs` says how a
//! conversation becomes one text, `output.rs` how output becomes deltas, `agents.rs` which coding agents are driven this way.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;

use super::agent::Answer as Said;
use super::output::{Piece, Reader};
use super::{
    Environment, Folder, Job, Limits, Output, Process, Rendered, Resolved, Runner, Template, resolve, transcript,
};
use crate::config::ProviderSettings;
use crate::delta::{DeltaStream, Event, FinishReason};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ModelName, ProviderId};
use crate::provider::patience::Patience;
use crate::provider::{Availability, Call, Describe, Liveness, Provider};
use crate::secret::Secret;

/// What a command provider is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandSettings {
    /// Who it is. An agent that ends well and prints nothing has failed; any other command may answer with nothing.
    pub describe: Describe,
    /// The models it serves, as far as they are known.
    pub models: Vec<ModelName>,
    /// The command line; `None` where the user has to give one first.
    pub command: Option<Template>,
    /// A command line for calls that name the provider, where the program of `command` does not resolve: too slow or too costly to count as available.
    pub named_only: Option<Template>,
    /// The program's whole environment.
    pub environment: Environment,
    /// A variable that tells the program which model to use.
    pub model_variable: Option<String>,
    /// Where it works.
    pub folder: Folder,
    /// How its output is read.
    pub output: Output,
    /// Whether output is given on only when the program has ended well: for programs that print their failures where the answer belongs.
    pub hold: bool,
    /// What it may print.
    pub limits: Limits,
    /// Values that no error repeats, should the program say them.
    pub hidden: Arc<[Secret]>,
    /// What is missing when there is no command, for availability.
    pub absent: (String, String),
    /// The next step when the program does not resolve.
    pub install: String,
}

impl CommandSettings {
    /// A command that streams its answer, in this process's folder. Of `environment`, which is all that was read, it sees the common part and what `passed`
    /// names.
    pub fn new(
        describe: Describe,
        command: Option<Template>,
        environment: &Environment,
        passed: &[impl AsRef<str>],
    ) -> Self {
        // The program sees few of them, and may have read the others elsewhere.
        let hidden = environment.secrets(passed).into();
        let environment = environment.for_program(passed);
        let id = describe.id.clone();
        Self {
            describe,
            models: Vec::new(),
            command,
            named_only: None,
            environment,
            model_variable: None,
            folder: Folder::Inherited,
            output: Output::Text,
            hold: false,
            limits: Limits::default(),
            hidden,
            absent: (format!("{id} has no command"), format!("set command under [providers.{id}]")),
            install: "install it, or name it with its whole path".into(),
        }
    }

    /// Hides the keys that the provider's own settings hold.
    pub(super) fn hide_credentials(&mut self, settings: &ProviderSettings) {
        let keys = settings.credentials.iter().filter_map(|credential| credential.at_hand());
        let keys = keys.chain(settings.headers.values()).cloned();
        self.hidden = self.hidden.iter().cloned().chain(keys).collect();
    }
}

/// The provider of a `[providers.ID]` with a `command`. `environment` is all that was read; the program sees the common part of it and what `pass_env` names.
///
/// # Errors
/// `caller_invalid_request` for a command, a model name or a form of output that cannot be read.
pub fn command_provider(
    id: ProviderId,
    settings: &ProviderSettings,
    environment: &Environment,
    runner: Runner,
) -> Result<CommandProvider> {
    let command = settings.command.as_deref().map(Template::parse).transpose()?;
    let mut made = CommandSettings::new(described(id, settings), command, environment, &settings.pass_env);
    made.models = models(settings)?;
    made.output = Output::of(settings)?;
    made.hide_credentials(settings);
    Ok(CommandProvider::new(made, runner))
}

/// Who a provider is by its settings.
pub(super) fn described(id: ProviderId, settings: &ProviderSettings) -> Describe {
    let mut describe = Describe::new(id);
    describe.default_model = settings.default_model.clone();
    describe.privacy = settings.privacy.unwrap_or_default();
    describe.agent = settings.agent;
    // What a program prints comes when it comes.
    describe.liveness = Liveness::End;
    describe
}

/// The models that settings name; `*` names none.
pub(super) fn models(settings: &ProviderSettings) -> Result<Vec<ModelName>> {
    settings.models.iter().filter(|name| *name != "*").map(ModelName::new).collect()
}

/// A provider that runs a command for each call.
#[derive(Clone, Debug)]
pub struct CommandProvider {
    settings: Arc<CommandSettings>,
    runner: Runner,
}

impl CommandProvider {
    /// A provider that starts its command by `runner`.
    pub fn new(settings: CommandSettings, runner: Runner) -> Self {
        Self { settings: Arc::new(settings), runner }
    }

    /// The executable that would run: two providers with the same one need not both be in a plan.
    pub fn program(&self) -> Option<std::path::PathBuf> {
        self.settings.command.as_ref().and_then(|template| self.resolve(template).found())
    }

    fn resolve(&self, template: &Template) -> Resolved {
        resolve(template.program(), self.settings.environment.get("PATH"))
    }

    /// The command line that a call runs, and its executable.
    fn chosen(&self) -> Result<(&Template, std::path::PathBuf)> {
        let settings = &*self.settings;
        let mut refused = None;
        for template in [&settings.command, &settings.named_only].into_iter().flatten() {
            match self.resolve(template) {
                Resolved::Found(path) => return Ok((template, path)),
                other => refused = refused.or(Some((template, other))),
            }
        }
        Err(match refused {
            Some((template, resolved)) => super::missing(template.program(), &resolved, &settings.install),
            None => Error::unavailable(&settings.absent.0).with_hint(settings.absent.1.as_str()),
        })
    }

    fn model<'a>(&'a self, call: &'a Call, template: &Template) -> Result<Option<&'a ModelName>> {
        let settings = &*self.settings;
        let default = settings.describe.default_model.as_ref();
        match &call.target.model {
            // A name that the config lists is what the command answers as, whether it is told or not.
            Some(model)
                if template.takes_model()
                    || settings.model_variable.is_some()
                    || default == Some(model)
                    || settings.models.contains(model) =>
            {
                Ok(Some(model))
            }
            Some(model) => Err(Error::new(
                ErrorKind::CallerModelUnknown,
                format!(
                    "the command of {} has no place for a model, so {model} cannot be asked for",
                    settings.describe.id
                ),
            )
            .with_hint("put {model} into the command, or name no model")),
            None => Ok(default),
        }
    }

    /// Prepares and starts the program.
    async fn begin(&self, call: &Call) -> Result<Answer> {
        let settings = &*self.settings;
        let (template, program) = self.chosen()?;
        let model = self.model(call, template)?;
        let (prompt, dropped) = transcript::render(&call.request)?;
        let Rendered { args, stdin } = template.render(&prompt, model.map(ModelName::as_str))?;
        call.note_dropped(dropped)?;
        let mut environment = settings.environment.clone();
        if let (Some(name), Some(model)) = (&settings.model_variable, model) {
            environment = environment.with(name, model.as_str());
        }
        let mut job = Job::new(program).with_args(args).with_environment(environment);
        job = job.with_folder(settings.folder.clone()).with_limits(settings.limits);
        job.hidden = settings.hidden.clone();
        let streamed = call.request.stream && !settings.hold;
        // A program promises no rhythm: many print all they have at their end, some a line now and then. So `whole` governs, streamed or not.
        let mut patience = Patience::new(call, false);
        let busy = format!("a free place for {}", template.program());
        let place = patience.wait(&busy, async { Ok(self.runner.place(&job.program).await) }).await?;
        let mut process = self.runner.start(job, place)?;
        process.feed(Bytes::from(stdin));
        let model_said = model.map_or_else(|| settings.describe.id.to_string(), ModelName::to_string);
        Ok(Answer {
            waiting_for: format!("the answer of {}", process.name()),
            reader: settings.output.reader(process.name()),
            process,
            patience,
            streamed,
            said: Said::new(call.cx.id.to_string(), model_said),
            held: String::new(),
            prompt,
            must_speak: settings.describe.agent,
            at: (settings.describe.id.clone(), model.cloned()),
        })
    }
}

impl Provider for CommandProvider {
    fn describe(&self) -> &Describe {
        &self.settings.describe
    }

    fn availability(&self) -> Availability {
        let Some(template) = &self.settings.command else {
            return Availability::missing(&self.settings.absent.0, &self.settings.absent.1);
        };
        match self.resolve(template) {
            Resolved::Found(_) => Availability::Ready,
            other => {
                let (what, hint) = super::failure::missing(template.program(), &other, &self.settings.install);
                Availability::Missing { what, hint }
            }
        }
    }

    fn models(&self) -> Vec<ModelName> {
        self.settings.models.clone()
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let at = |error: Error| error.at(&self.settings.describe.id, call.target.model.as_ref());
        let answer = self.begin(&call).await.map_err(at)?;
        Ok(DeltaStream::new(stream::unfold(Some(answer), |answer| async {
            let mut answer = answer?;
            match answer.next().await {
                Ok((event, true)) => Some((Ok(event), Some(answer))),
                Ok((event, false)) => Some((Ok(event), None)),
                Err(error) => Some((Err(error.at(&answer.at.0, answer.at.1.as_ref())), None)),
            }
        })))
    }
}

/// An answer under way. Dropping it ends the program.
struct Answer {
    process: Process,
    patience: Patience,
    reader: Box<dyn Reader>,
    streamed: bool,
    said: Said,
    /// The text of an answer that is not given on before its end: it may be why there is none.
    held: String,
    /// Kept to be left out of what the program says when it fails.
    prompt: String,
    waiting_for: String,
    must_speak: bool,
    at: (ProviderId, Option<ModelName>),
}

impl Answer {
    /// The next event, and whether more will come.
    async fn next(&mut self) -> Result<(Event, bool)> {
        while let Some(bytes) = self.patience.wait(&self.waiting_for, self.process.chunk()).await? {
            self.patience.begun();
            let pieces = self.reader.push(&bytes).map_err(|error| self.process.hiding(error))?;
            self.say(pieces);
            let deltas = if self.streamed { self.said.take() } else { Vec::new() };
            if !deltas.is_empty() {
                return Ok((deltas.into(), true));
            }
        }
        self.patience.wait(&self.waiting_for, self.process.exit_of(&self.prompt, &self.held)).await?;
        let pieces = self.reader.end().map_err(|error| self.process.hiding(error))?;
        self.say(pieces);
        if self.must_speak && !self.said.has_begun() {
            return Err(Error::protocol(format!("{} ended well and printed no answer", self.process.name()))
                .with_hint("run it by hand with the same prompt to see why"));
        }
        self.said.finish(FinishReason::Stop, None);
        Ok((self.said.take().into(), false))
    }

    fn say(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    if !self.streamed {
                        self.held.push_str(&text);
                    }
                    self.said.text(text);
                }
                Piece::Thoughts(text) => self.said.thoughts(text),
                Piece::Usage(usage) => self.said.usage(usage),
            }
        }
    }
}
