//! Providers: what turns a call into a delta stream.
//!
//! A provider knows its upstream and nothing of policy: whether it is tried, retried, cached or paid is decided in `router/`.
//! To add an OpenAI-compatible one, add a row to `provider/presets.rs`; for anything else implement [`Provider`].

pub mod absent;
pub mod credential;
pub mod custom;
pub(crate) mod ending;
pub mod http;
pub mod passthrough;
mod patience;
pub mod peer;
pub mod presets;
pub mod process;
pub mod registry;
pub mod upstream;
pub mod worker;

use std::sync::{Arc, PoisonError};
use std::{fmt, future::Future, pin::Pin, time::Duration};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::delta::DeltaStream;
use crate::deps::Clock;
use crate::dialect::{Dialect, FieldPath};
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId, RequestId};
use crate::image::{ImageRequest, ImageResponse};
use crate::request::{Privacy, Request};

use self::passthrough::{Passed, Passthrough};

/// What turns a call into a delta stream.
pub trait Provider: Send + Sync + 'static {
    /// Who it is and what it can do. No I/O.
    fn describe(&self) -> &Describe;

    /// Whether it could answer now, as far as can be told in microseconds: no network, no child, no import.
    fn availability(&self) -> Availability;

    /// Answers a call. Always a stream; a whole answer is a stream of one event. Dropping the future or the stream ends the work.
    ///
    /// # Errors
    /// What keeps the answer from beginning; what breaks it later is an `Err` of the stream.
    fn generate(&self, call: Arc<Call>) -> impl Future<Output = Result<DeltaStream>> + Send;

    /// Makes vectors of texts. The call says where to and how long; its request holds the same texts as messages, for those who plan and watch.
    ///
    /// # Errors
    /// `caller_unsupported` where it makes none; else what keeps them from being made.
    fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> impl Future<Output = Result<EmbedResponse>> + Send {
        let _ = (call, ask);
        std::future::ready(Err(unsupported(self.describe(), "embeddings")))
    }

    /// Draws pictures. The call says where to and how long; its request holds the prompt as a message.
    ///
    /// # Errors
    /// `caller_unsupported` where it draws none; else what keeps them from being drawn.
    fn image(&self, call: Arc<Call>, ask: Arc<ImageRequest>) -> impl Future<Output = Result<ImageResponse>> + Send {
        let _ = (call, ask);
        std::future::ready(Err(unsupported(self.describe(), "pictures")))
    }

    /// Counts the tokens of the call's request. Nothing is generated.
    ///
    /// # Errors
    /// `caller_unsupported` where it cannot count: the router estimates then, and says so.
    fn count_tokens(&self, call: Arc<Call>) -> impl Future<Output = Result<u64>> + Send {
        let _ = call;
        std::future::ready(Err(unsupported(self.describe(), "token counts")))
    }

    /// The names of the models it serves, as far as it knows without asking; empty where only the upstream knows.
    fn models(&self) -> Vec<ModelName> {
        Vec::new()
    }

    /// Whether [`Provider::models`] has this one. Asked for every request, so worth saying without making the list.
    fn has_model(&self, model: &ModelName) -> bool {
        self.models().contains(model)
    }

    /// Asks the upstream for the models it serves.
    ///
    /// # Errors
    /// What the upstream answers with.
    fn list_models(&self, cx: &Context) -> impl Future<Output = Result<Vec<ModelName>>> + Send {
        let _ = cx;
        std::future::ready(Ok(self.models()))
    }

    /// The name under which a model's answers are stored: for a model in a file, with the file's digest behind it.
    fn exact_model(&self, model: &ModelName) -> ModelName {
        model.clone()
    }

    /// Passes a request on as it is, and its answer back: for what is not translated here.
    ///
    /// # Errors
    /// `caller_unsupported` where no HTTP API is behind it; what keeps the answer's head from coming, and `provider_auth` for a refused key. Any other answer of
    /// the upstream is an answer.
    fn pass(&self, cx: &Context, request: Passthrough) -> impl Future<Output = Result<Passed>> + Send {
        let _ = (cx, request);
        std::future::ready(Err(Error::unsupported("it has no HTTP API that a request could be passed to")))
    }

    /// A one-way mark of the key, login or program in use, which changes when that does: a provider that refused it is passed over by automatic plans for
    /// a while. `None` where there is no such thing.
    fn login_mark(&self) -> Option<String> {
        None
    }

    /// Opens a way to where calls would go and sends nothing on it: tells within `limit` whether anything is there. Where no network lies between, there is
    /// nothing to try.
    ///
    /// # Errors
    /// What keeps it from being reached.
    fn reach(&self, cx: &Context, limit: Duration) -> impl Future<Output = Result<()>> + Send {
        let _ = (cx, limit);
        std::future::ready(Ok(()))
    }
}

/// A [`Provider`] behind a pointer: implemented for every provider, named only by the registry and the router.
pub trait DynProvider: Send + Sync + 'static {
    /// See [`Provider::describe`].
    fn describe(&self) -> &Describe;
    /// See [`Provider::availability`].
    fn availability(&self) -> Availability;
    /// See [`Provider::generate`].
    fn generate(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<DeltaStream>> + Send + '_>>;
    /// See [`Provider::embed`].
    fn embed(
        &self,
        call: Arc<Call>,
        ask: Arc<EmbedRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<EmbedResponse>> + Send + '_>>;
    /// See [`Provider::image`].
    fn image(
        &self,
        call: Arc<Call>,
        ask: Arc<ImageRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<ImageResponse>> + Send + '_>>;
    /// See [`Provider::count_tokens`].
    fn count_tokens(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<u64>> + Send + '_>>;
    /// See [`Provider::models`].
    fn models(&self) -> Vec<ModelName>;
    /// See [`Provider::has_model`].
    fn has_model(&self, model: &ModelName) -> bool;
    /// See [`Provider::list_models`].
    fn list_models<'a>(&'a self, cx: &'a Context) -> Pin<Box<dyn Future<Output = Result<Vec<ModelName>>> + Send + 'a>>;
    /// See [`Provider::exact_model`].
    fn exact_model(&self, model: &ModelName) -> ModelName;
    /// See [`Provider::pass`].
    fn pass<'a>(
        &'a self,
        cx: &'a Context,
        request: Passthrough,
    ) -> Pin<Box<dyn Future<Output = Result<Passed>> + Send + 'a>>;
    /// See [`Provider::login_mark`].
    fn login_mark(&self) -> Option<String>;
    /// See [`Provider::reach`].
    fn reach<'a>(&'a self, cx: &'a Context, limit: Duration) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

impl<P: Provider> DynProvider for P {
    fn describe(&self) -> &Describe {
        Provider::describe(self)
    }

    fn availability(&self) -> Availability {
        Provider::availability(self)
    }

    fn generate(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<DeltaStream>> + Send + '_>> {
        Box::pin(Provider::generate(self, call))
    }

    fn embed(
        &self,
        call: Arc<Call>,
        ask: Arc<EmbedRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<EmbedResponse>> + Send + '_>> {
        Box::pin(Provider::embed(self, call, ask))
    }

    fn image(
        &self,
        call: Arc<Call>,
        ask: Arc<ImageRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<ImageResponse>> + Send + '_>> {
        Box::pin(Provider::image(self, call, ask))
    }

    fn count_tokens(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<u64>> + Send + '_>> {
        Box::pin(Provider::count_tokens(self, call))
    }

    fn models(&self) -> Vec<ModelName> {
        Provider::models(self)
    }

    fn has_model(&self, model: &ModelName) -> bool {
        Provider::has_model(self, model)
    }

    fn list_models<'a>(&'a self, cx: &'a Context) -> Pin<Box<dyn Future<Output = Result<Vec<ModelName>>> + Send + 'a>> {
        Box::pin(Provider::list_models(self, cx))
    }

    fn exact_model(&self, model: &ModelName) -> ModelName {
        Provider::exact_model(self, model)
    }

    fn pass<'a>(
        &'a self,
        cx: &'a Context,
        request: Passthrough,
    ) -> Pin<Box<dyn Future<Output = Result<Passed>> + Send + 'a>> {
        Box::pin(Provider::pass(self, cx, request))
    }

    fn login_mark(&self) -> Option<String> {
        Provider::login_mark(self)
    }

    fn reach<'a>(&'a self, cx: &'a Context, limit: Duration) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(Provider::reach(self, cx, limit))
    }
}

/// The error of a provider that does not do this kind of thing.
pub(crate) fn unsupported(describe: &Describe, what: &str) -> Error {
    Error::unsupported(format!("it makes no {what}")).with_hint("name another provider").at(&describe.id, None)
}

impl fmt::Debug for dyn DynProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {}", self.describe().id)
    }
}

/// Who a provider is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Describe {
    /// Its id.
    pub id: ProviderId,
    /// The model it uses when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<ModelName>,
    /// The model that makes its vectors when none is named, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_model: Option<ModelName>,
    /// The dialects it takes, the preferred one first.
    pub dialects: Vec<Dialect>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Who sees what is sent to it.
    pub privacy: Privacy,
    /// Whether it may use tools on this machine: such a provider answers the command and the library only.
    pub agent: bool,
    /// Whether nobody said that it is there: its address is a default one, and only connecting tells.
    #[serde(default)]
    pub guess: bool,
}

impl Describe {
    /// A provider that takes text and is seen by anyone.
    pub fn new(id: ProviderId) -> Self {
        Self {
            id,
            default_model: None,
            embedding_model: None,
            dialects: vec![Dialect::Native],
            capabilities: Capabilities::default(),
            privacy: Privacy::Any,
            agent: false,
            guess: false,
        }
    }

    /// With the model used when none is named.
    #[must_use]
    pub fn with_default_model(mut self, model: ModelName) -> Self {
        self.default_model = Some(model);
        self
    }

    /// With the model that makes its vectors when none is named.
    #[must_use]
    pub fn with_embedding_model(mut self, model: ModelName) -> Self {
        self.embedding_model = Some(model);
        self
    }

    /// With the dialects it takes.
    #[must_use]
    pub fn with_dialects(mut self, dialects: Vec<Dialect>) -> Self {
        self.dialects = dialects;
        self
    }

    /// With what it can do.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// With who sees what is sent to it.
    #[must_use]
    pub fn with_privacy(mut self, privacy: Privacy) -> Self {
        self.privacy = privacy;
        self
    }
}

/// What a provider can do. A plan with a choice leaves out a target that lacks what the request needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Capabilities {
    /// Function calls.
    pub tools: bool,
    /// Pictures as input.
    pub images: bool,
    /// Sound as input.
    pub audio: bool,
    /// Documents as input.
    pub files: bool,
    /// Answers that fit a JSON Schema.
    pub json_schema: bool,
    /// Several answers to one request.
    pub multiple_choices: bool,
}

impl Capabilities {
    /// Everything: for upstreams that judge for themselves.
    pub const ALL: Capabilities =
        Capabilities { tools: true, images: true, audio: true, files: true, json_schema: true, multiple_choices: true };
}

/// Whether a provider could answer now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// It could.
    Ready,
    /// It could not: what is missing and the next step.
    Missing {
        /// What is missing, `OPENAI_API_KEY is not set` for example.
        what: String,
        /// What to do about it.
        hint: String,
    },
}

impl Availability {
    /// It could not, because something is missing.
    pub fn missing(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), hint: hint.into() }
    }

    /// Whether it could.
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Target {
    /// The provider.
    pub provider: ProviderId,
    /// The model, `None` for the provider's default.
    pub model: Option<ModelName>,
}

impl Target {
    /// A provider and a model of it.
    pub fn new(provider: ProviderId, model: Option<ModelName>) -> Self {
        Self { provider, model }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.model {
            Some(model) => write!(f, "{}/{model}", self.provider),
            None => write!(f, "{}", self.provider),
        }
    }
}

/// How long things may take. Each is named from the wire; waiting for a slow reader counts toward none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Deadlines {
    /// Name look-up, TCP and TLS.
    pub connect: Duration,
    /// Until the first content of a streamed answer, or a local program's first sign of life.
    pub first_event: Duration,
    /// Between two events of a streamed answer.
    pub idle: Duration,
    /// A whole answer.
    pub whole: Duration,
    /// The router: all attempts at a target until the first content. A provider: what it waits for in one attempt, until the answer's end.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_event: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(300),
            total: Duration::from_secs(600),
        }
    }
}

/// One attempt at one target: what a provider is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Call {
    /// The request.
    pub request: Arc<Request>,
    /// Where it goes.
    pub target: Target,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// What the provider may use.
    pub cx: Context,
}

impl Call {
    /// An attempt at a target.
    pub fn new(request: Arc<Request>, target: Target, cx: Context) -> Self {
        Self { request, target, attempt: 1, deadlines: Deadlines::default(), cx }
    }

    /// The same attempt with another request.
    pub(crate) fn asking(&self, request: Request) -> Self {
        let (target, cx) = (self.target.clone(), self.cx.clone());
        Self { request: Arc::new(request), target, attempt: self.attempt, deadlines: self.deadlines, cx }
    }

    /// The model to ask for: the target's, in words.
    pub fn model(&self) -> Option<&str> {
        self.target.model.as_ref().map(ModelName::as_str)
    }

    /// Notes that fields cannot be said to this target; the answer and the trace name them. Told before anything goes out, it keeps a request of [`Riders::strict`]
    /// from being sent without them.
    ///
    /// # Errors
    /// `caller_unsupported` naming the fields, where the request allows none to be left out.
    ///
    /// [`Riders::strict`]: crate::request::Riders::strict
    pub fn note_dropped(&self, fields: impl IntoIterator<Item = FieldPath>) -> Result<()> {
        let mut dropped = self.cx.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = dropped.len();
        dropped.extend(fields);
        let new = dropped.get(known..).unwrap_or_default();
        if !self.request.riders.strict || new.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = new.iter().map(|field| field.0.as_str()).collect();
        Err(Error::unsupported(format!(
            "{}: this cannot be said to the provider, and the request is strict",
            names.join(", ")
        ))
        .with_hint("leave it out of the request, or let it be dropped by leaving strict out"))
    }
}

/// What a provider may use: nothing else of the router reaches it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// The HTTP client.
    pub http: http::HttpClient,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The request's id.
    pub id: RequestId,
    /// Cancelled when the caller left or the router shuts down; dropping the stream says the same.
    pub cancel: CancellationToken,
    dropped: Arc<std::sync::Mutex<Vec<FieldPath>>>,
}

impl Context {
    /// What a provider may use for one request.
    pub fn new(http: http::HttpClient, clock: Arc<dyn Clock>, id: RequestId) -> Self {
        Self::until(CancellationToken::new(), http, clock, id)
    }

    /// What a provider may use for one request, until `cancel` is cancelled.
    pub(crate) fn until(
        cancel: CancellationToken,
        http: http::HttpClient,
        clock: Arc<dyn Clock>,
        id: RequestId,
    ) -> Self {
        Self { http, clock, id, cancel, dropped: Arc::default() }
    }

    /// The fields that could not be said, as noted by [`Call::note_dropped`].
    pub fn dropped(&self) -> Vec<FieldPath> {
        self.dropped.lock().map(|fields| fields.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}
