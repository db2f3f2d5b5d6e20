//! The embedded model as a provider: loaded on its first call, kept until dropped.
//!
//! It knows one model file that is there already; finding and fetching files is not its business. `provider/job.rs`
//! turns a request into a [`Job`], `provider/calls.rs` tools into what the model sees of them, `provider/stream.rs`
//! an answer into deltas, `provider/pin.rs` tells whether the file is the one that was named. Read those next. A model that makes vectors is
//! [`embedding`]'s.

mod calls;
pub mod embedding;
mod job;
mod pin;
mod stream;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use llm_router::delta::DeltaStream;
use llm_router::dialect::{Dialect, FieldPath};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::{Availability, Call, Capabilities, Describe, Liveness, Provider};
use llm_router::request::{Privacy, Request};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use self::calls::Offer;
pub use self::embedding::EmbeddingProvider;
use crate::engine::{Engine, EngineError, EngineOptions, Job, Prompt};
use crate::gguf;
use crate::template::{CHATML, Input, Limits, Template};
use crate::tools::{Form, Parser};

/// A GGUF file and the name callers know it by.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called.
    pub name: ModelName,
}

/// The embedded model. Cheap to make: nothing is opened before the first call.
pub struct LocalProvider {
    describe: Describe,
    /// The same for a model that takes tools, which is known once it is loaded.
    with_tools: Describe,
    file: ModelFile,
    options: EngineOptions,
    loaded: OnceCell<Arc<Loaded>>,
    pinned: pin::Pinned,
}

/// What the first call leaves behind.
struct Loaded {
    engine: Engine,
    template: Template,
    /// The template for conversations with tools, where there is another one.
    tool_template: Option<Template>,
    /// How the model writes calls; [`Form::None`] where it takes no tools.
    form: Form,
}

impl fmt::Debug for LocalProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalProvider")
            .field("file", &self.file)
            .field("loaded", &self.loaded.initialized())
            .finish_non_exhaustive()
    }
}

impl LocalProvider {
    /// A provider called `id` for the model in `file`.
    #[must_use]
    pub fn new(id: ProviderId, file: ModelFile, options: EngineOptions) -> Self {
        let mut capabilities = Capabilities::default();
        capabilities.json_schema = true;
        let describe = Describe::new(id)
            .with_default_model(file.name.clone())
            .with_dialects(vec![Dialect::Native])
            .with_capabilities(capabilities)
            .with_liveness(Liveness::Progress)
            .with_prefill(true)
            .with_privacy(Privacy::Local);
        let mut with_tools = describe.clone();
        with_tools.capabilities.tools = true;
        Self { describe, with_tools, file, options, loaded: OnceCell::new(), pinned: pin::Pinned::default() }
    }

    /// Loads the model if no call did so yet: for a server that wants its first caller not to wait.
    ///
    /// # Errors
    /// `router_unavailable` on a processor that cannot run it, `provider_unavailable` for a file that cannot be used.
    pub async fn load(&self) -> Result<()> {
        self.loaded().await.map(|_| ())
    }

    async fn loaded(&self) -> Result<&Arc<Loaded>> {
        self.loaded
            .get_or_try_init(|| async {
                let (path, options) = (self.file.path.clone(), self.options.clone());
                aside(move || load(&path, &options).map(Arc::new)).await
            })
            .await
    }

    async fn start(&self, call: &Call) -> Result<DeltaStream> {
        let name = self.pinned.serve(&self.file, call).await?;
        let begin = |loaded: &Loaded, job| loaded.engine.generate(job).map_err(translate);
        let (answer, form) = self.with_prompt(call, begin).await?;
        let head = stream::Head { id: call.cx.id.to_string(), model: name.to_string(), created: seconds(call) };
        Ok(stream::deltas(head, answer, Parser::new(form), call.cx.clone(), call.request.stream))
    }

    /// The tokens that the model would read: of the same prompt that an answer would begin from.
    async fn counted(&self, call: &Call) -> Result<u64> {
        self.pinned.serve(&self.file, call).await?;
        let count = |loaded: &Loaded, job: Job| loaded.engine.tokenize(&job.prompt).map_err(translate);
        let (tokens, _) = self.with_prompt(call, count).await?;
        Ok(tokens.len() as u64)
    }

    /// What `work` makes of the call's job, and the form in which the model writes calls of tools. Templates, grammars and tokenizers take their time, so all of
    /// it happens off the runtime's own threads.
    async fn with_prompt<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&Loaded, Job) -> Result<T> + Send + 'static,
    ) -> Result<(T, Form)> {
        let request = Arc::clone(&call.request);
        // What no model takes is refused before one is loaded, and so is what a strict request may not lose.
        let job::Plan { messages, offer, prefill, mut job, dropped } = aside(move || job::plan(&request)).await?;
        call.note_dropped(dropped)?;
        let (loaded, now) = (Arc::clone(self.loaded().await?), seconds(call));
        aside(move || {
            let form = prepare(&loaded, (&messages, prefill.as_deref()), &offer, &mut job, now)?;
            Ok((work(&loaded, job)?, form))
        })
        .await
    }
}

/// Completes a job: its prompt written by the template, the beginning of the answer behind it, its grammar where a tool must be called. Gives the form in which the model writes calls.
fn prepare(
    loaded: &Loaded,
    (messages, prefill): (&[Value], Option<&str>),
    offer: &Offer,
    job: &mut Job,
    now: u64,
) -> Result<Form> {
    let info = loaded.engine.model_info();
    let offered = !offer.tools.is_empty();
    if offered && loaded.form == Form::None {
        return Err(calls::unknown_form());
    }
    if let Some(grammar) = offer.grammar(loaded.form)? {
        job.grammar = Some(grammar);
    }
    job.marks = offered;
    let input = Input {
        messages,
        tools: &offer.tools,
        add_generation_prompt: true,
        bos_token: info.bos.as_deref().unwrap_or_default(),
        eos_token: info.eos.as_deref().unwrap_or_default(),
        now: i64::try_from(now).unwrap_or(i64::MAX),
        extra: None,
    };
    let template = loaded.tool_template.as_ref().filter(|_| offered).unwrap_or(&loaded.template);
    let mut prompt =
        template.render(&input).map_err(|error| Error::new(ErrorKind::CallerUnsupported, error.to_string()))?;
    // The template ends where the answer begins.
    prompt.push_str(prefill.unwrap_or_default());
    job.prompt = Prompt::Template(prompt);
    Ok(if offered { loaded.form } else { Form::None })
}

/// Seconds since 1970, as a call has them.
fn seconds(call: &Call) -> u64 {
    call.cx.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Provider for LocalProvider {
    fn describe(&self) -> &Describe {
        match self.loaded.get() {
            Some(loaded) if loaded.form != Form::None => &self.with_tools,
            _ => &self.describe,
        }
    }

    fn availability(&self) -> Availability {
        there(&self.file, self.loaded.initialized())
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        self.start(&call).await.map_err(|error| error.at(&self.describe.id, Some(&self.file.name)))
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        self.counted(&call).await.map_err(|error| error.at(&self.describe.id, Some(&self.file.name)))
    }

    fn models(&self) -> Vec<ModelName> {
        vec![self.file.name.clone()]
    }
}

/// Whether a file's model can be asked.
fn there(file: &ModelFile, loaded: bool) -> Availability {
    if loaded || file.path.is_file() {
        return Availability::Ready;
    }
    let what = format!("the model file {} is missing", file.path.display());
    Availability::missing(what, "fetch it with `llm-router pull`")
}

/// Loads the file, and parses its template: one that cannot be read is found before the first prompt.
fn load(path: &Path, options: &EngineOptions) -> Result<Loaded> {
    let engine = Engine::load(path, options).map_err(translate)?;
    let parse = |source: &str| {
        Template::new(source, Limits::default())
            .map_err(|error| Error::new(ErrorKind::ProviderUnavailable, format!("{}: {error}", path.display())))
    };
    let info = engine.model_info();
    let source = info.template.as_deref().unwrap_or(CHATML);
    let template = parse(source)?;
    let tool_template = info.tool_template.as_deref().map(parse).transpose()?;
    let form = form(info.tool_template.as_deref().unwrap_or(source), tool_template.as_ref().unwrap_or(&template));
    Ok(Loaded { engine, template, tool_template, form })
}

/// How a model with this template writes calls, if the template also shows it the tools.
fn form(source: &str, template: &Template) -> Form {
    let messages = [json!({ "role": "user", "content": "x" })];
    let parameters = json!({ "type": "object", "properties": {} });
    let tools = [json!({
        "type": "function",
        "function": { "name": "a_tool", "description": "", "parameters": parameters },
    })];
    let input = Input { messages: &messages, tools: &tools, add_generation_prompt: true, ..Input::default() };
    match Form::of_template(source) {
        Form::None => Form::None,
        form => template.render(&input).map_or(Form::None, |_| form),
    }
}

/// What of a request no embedded model can be told and would be left out, by name: known without a model, and so before one is fetched, started or loaded.
///
/// # Errors
/// `caller_unsupported` for what would change the answer's meaning if it were left out, `caller_invalid_request` for what makes no sense.
pub async fn unsaid(request: Arc<Request>) -> Result<Vec<FieldPath>> {
    aside(move || job::plan(&request).map(|plan| plan.dropped)).await
}

/// Whether the model in a file takes tools, as its header says. Reads the header: some milliseconds.
#[must_use]
pub fn takes_tools(path: &Path) -> bool {
    let Ok(header) = gguf::check(path) else { return false };
    let Some(source) = header.templates.choose(true) else { return false };
    Template::new(source, Limits::default()).is_ok_and(|template| form(source, &template) != Form::None)
}

/// Runs what takes milliseconds and more off the runtime's own threads, and waits for it.
#[allow(clippy::disallowed_methods)] // awaited on the spot: nobody else owns it
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("the embedded engine's caller ended early: {error}")))?
}

/// The engine's errors in the router's kinds.
fn translate(error: EngineError) -> Error {
    let kind = match &error {
        EngineError::Processor(_) => ErrorKind::RouterUnavailable,
        EngineError::ContextLength { .. } | EngineError::InputLength { .. } => ErrorKind::CallerContextLength,
        EngineError::Invalid { .. } => ErrorKind::CallerInvalidRequest,
        // Another target may well have room: the router's own overload would end the plan here.
        EngineError::Overloaded { .. } => ErrorKind::ProviderOverloaded,
        EngineError::Compute { .. } => ErrorKind::ProviderServerError,
        EngineError::Model { .. } | EngineError::Closed => ErrorKind::ProviderUnavailable,
    };
    let text = Error::new(kind, error.to_string());
    match error {
        EngineError::Overloaded { retry_after, .. } => text.with_retry_after(retry_after),
        other => text.with_source(other),
    }
}
