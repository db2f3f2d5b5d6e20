//! The provider behind an HTTP API: a row of `presets.rs` and a section of the config, made into something that answers calls.
//!
//! It picks a dialect and a key, sends what the codec wrote, and hands the answer's frames to the codec's decoder. It decides nothing about retries or
//! other targets; only among its own keys it goes on to the next when one is refused. Read next: `upstream/answer.rs` (the answer's
//! stream), `upstream/refusal.rs` (an answer that is none), `upstream/whole.rs` (embeddings, pictures, counts), `upstream/place.rs` (URLs), `upstream/pass.rs` (what is
//! passed through untranslated).

mod answer;
mod models;
mod pass;
mod place;
mod refusal;
mod setup;
mod slots;
#[cfg(test)]
mod tests;
mod traced;
mod whole;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::time::Instant;

use self::slots::Slots;
use super::credential::{Credentials, Key, Tried};
use super::http::{Certificates, HttpClient, HttpRequest, HttpResponse, Limits, parse_url};
use super::passthrough::{Passed, Passthrough};
use super::patience::Patience;
use super::presets::{Auth, Speaks};
use super::{Availability, Call, Context, Describe, Provider, Target};
use crate::delta::DeltaStream;
use crate::dialect::{Codec, Framing, HttpCall};
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::ids::ModelName;
use crate::image::{ImageRequest, ImageResponse};
use crate::request::Request;
use crate::secret::Secret;

/// The most bytes of a whole answer, and of all bytes of a streamed one.
const LARGEST_ANSWER: u64 = 32 << 20;
/// How long a refused connection to a default address is remembered: nothing is tried there meanwhile.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// A provider that is an HTTP API.
pub struct HttpProvider {
    describe: Describe,
    /// Without a trailing `/`.
    base_url: Option<String>,
    spoken: Tongues,
    credentials: Credentials,
    /// The variables that would hold a key, where one is needed.
    key_names: Vec<String>,
    models: Vec<ModelName>,
    headers: HeaderMap,
    upstream: Option<Framing>,
    /// Appended to each model: the provider behind an aggregator.
    via: Option<String>,
    /// What is asked for instead of any model: a deployment of Azure's.
    deployment: Option<ModelName>,
    version: Option<place::Version>,
    /// Certificates that only this provider's servers have.
    trusts: Option<Certificates>,
    /// The client that trusts them, made at the first call.
    own_client: OnceLock<HttpClient>,
    slots: Option<Slots>,
    refused: Mutex<Option<Instant>>,
    first_model: OnceCell<ModelName>,
}

/// What is spoken: one dialect at least.
struct Tongues {
    preferred: Spoken,
    others: Vec<Spoken>,
}

impl Tongues {
    /// All, the preferred first.
    fn iter(&self) -> impl Iterator<Item = &Spoken> {
        std::iter::once(&self.preferred).chain(&self.others)
    }
}

/// A dialect that is spoken, with its codec.
#[derive(Clone)]
struct Spoken {
    how: Speaks,
    codec: Arc<dyn Codec>,
    /// A path and its address, see [`HttpProvider::address`].
    known: OnceLock<(String, Uri)>,
}

impl HttpProvider {
    /// Whether its address is a guess, tried just before the local floor: then a refused connection means that the server is not installed.
    pub fn is_guess(&self) -> bool {
        self.describe.guess
    }

    /// The client that reaches its server: the common one, or its own where its server's certificate needs one.
    fn client<'a>(&'a self, common: &'a HttpClient) -> &'a HttpClient {
        self.trusts.as_ref().map_or(common, |trusts| self.own_client.get_or_init(|| common.trusting(trusts)))
    }

    /// The dialect for a request: the caller's own where it is spoken, else the preferred one.
    fn choose(&self, request: &Request) -> &Spoken {
        let origin = request.origin.as_ref().map(|origin| origin.dialect);
        let same = self.spoken.iter().find(|one| Some(one.how.dialect) == origin);
        same.unwrap_or(&self.spoken.preferred)
    }

    /// A place among the calls that may run at once, where they are counted.
    async fn place(&self, cx: &Context, model: Option<&ModelName>) -> Result<Option<OwnedSemaphorePermit>> {
        let Some(slots) = &self.slots else { return Ok(None) };
        cx.wait_for_place(true);
        let place = slots.take().await.map_err(|error| error.at(&self.describe.id, model))?;
        cx.wait_for_place(false);
        Ok(Some(place))
    }

    /// The call as it goes out: with a model by its full name, and streamed or whole as the settings want it.
    async fn prepared(&self, call: &Arc<Call>) -> Result<Arc<Call>> {
        let model = match (&self.deployment, &call.target.model, &self.describe.default_model) {
            (Some(model), ..) | (None, Some(model), _) | (None, None, Some(model)) => model.clone(),
            (None, None, None) => Box::pin(self.first_model(call)).await?,
        };
        let model = match &self.via {
            // A colon in the last part already says who is to serve it.
            Some(via) if !model.as_str().rsplit('/').next().is_some_and(|last| last.contains(':')) => {
                ModelName::new(format!("{model}:{via}"))?
            }
            _ => model,
        };
        let stream = self.upstream.map_or(call.request.stream, |framing| framing == Framing::Stream);
        if call.target.model.as_ref() == Some(&model) && stream == call.request.stream {
            return Ok(call.clone());
        }
        let mut request = call.request.clone();
        if stream != request.stream {
            Arc::make_mut(&mut request).stream = stream;
        }
        let mut prepared = Call::new(request, Target::new(call.target.provider.clone(), Some(model)), call.cx.clone());
        (prepared.attempt, prepared.deadlines) = (call.attempt, call.deadlines);
        Ok(Arc::new(prepared))
    }

    /// Sends a request with one key after the other until one is not refused.
    async fn send(
        &self,
        call: &Call,
        spoken: &Spoken,
        request: &mut HttpRequest,
        patience: &mut Patience,
    ) -> Result<(HttpResponse, Option<Key>)> {
        let mut tried = Tried::default();
        let mut last = None;
        traced::in_trace(&mut request.headers, call.cx.trace.as_ref());
        loop {
            let key = match patience.wait("the key", self.credentials.next(&mut tried)).await {
                Ok(key) => key,
                Err(error) => return Err(last.unwrap_or(error)),
            };
            if key.is_none() && (last.is_some() || !self.credentials.is_empty()) {
                return Err(last.unwrap_or_else(|| Error::new(ErrorKind::ProviderAuth, "no key can be used")));
            }
            sign(request, spoken.how.auth, key.as_ref())?;
            let answer = patience.wait("the answer", self.client(&call.cx.http).send(&*request)).await;
            let answer = answer.map_err(|error| self.not_reached(error))?;
            if answer.status.is_success() {
                if let Some(key) = &key {
                    self.credentials.accept(key);
                }
                return Ok((answer, key));
            }
            let model = call.target.model.as_ref();
            let read = Box::pin(async { Ok(refusal::read(spoken.codec.as_ref(), answer, model).await) });
            let error = patience.wait("the error", read).await?;
            let error = self.without_secrets(error, key.as_ref());
            match (error.kind(), key) {
                (ErrorKind::ProviderAuth | ErrorKind::ProviderBilling, Some(key)) => {
                    self.credentials.refuse(&key);
                    last = Some(error);
                }
                _ => return Err(error),
            }
        }
    }

    /// Takes the key and the configured headers out of what the server said.
    fn without_secrets(&self, error: Error, key: Option<&Key>) -> Error {
        self.secrets(key).iter().map(Secret::expose).fold(error, Error::without)
    }

    /// What the server was sent and may repeat: the key and the configured headers.
    fn secrets(&self, key: Option<&Key>) -> Vec<Secret> {
        let headers = self.headers.values().filter_map(|value| value.to_str().ok()).map(Secret::new);
        key.map(|key| key.secret.clone()).into_iter().chain(headers).collect()
    }

    /// A failure to reach the server; of a guessed address it says that nothing is there.
    fn not_reached(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::ProviderConnection { self.not_there(error) } else { error }
    }

    /// Where the address is a guess, remembers for a while that it was a wrong one.
    fn not_there(&self, error: Error) -> Error {
        if !self.is_guess() || error.fault() == Fault::Caller {
            return error;
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        error.with_kind(ErrorKind::ProviderUnavailable)
    }

    /// A call in the words of a dialect, and how its answer comes.
    fn outgoing(&self, spoken: &Spoken, call: &Call) -> Result<(HttpRequest, Framing)> {
        let mut encoded = spoken.codec.encode_request(call)?;
        let request = self.request(spoken, &mut encoded, call.target.model.as_ref(), call.deadlines.connect)?;
        call.note_dropped(encoded.dropped)?;
        Ok((request, encoded.framing))
    }

    fn request(
        &self,
        spoken: &Spoken,
        call: &mut HttpCall,
        model: Option<&ModelName>,
        connect: Duration,
    ) -> Result<HttpRequest> {
        let mut request = HttpRequest::to(Method::POST, self.address(spoken, call, model)?, call.body.clone());
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers.extend(std::mem::take(&mut call.headers));
        request.headers.extend(self.headers.clone());
        Ok(request.with_limits(Limits { connect, head: None, idle: None, body: LARGEST_ANSWER }))
    }

    /// Where a call of a dialect goes. The first address is remembered: nearly all calls of a provider go to one path.
    fn address(&self, spoken: &Spoken, call: &HttpCall, model: Option<&ModelName>) -> Result<Uri> {
        let fixed = call.query.is_none() && self.version.is_none();
        if let Some((_, known)) = spoken.known.get().filter(|(path, _)| fixed && *path == call.path) {
            return Ok(known.clone());
        }
        let address = parse_url(&self.url(spoken.how.prefix, &call.path, call.query.as_deref(), model)?)?;
        if fixed {
            let _ = spoken.known.set((call.path.clone(), address.clone()));
        }
        Ok(address)
    }

    /// Where a path of a dialect is; `model` where one model answers there.
    fn url(&self, prefix: &str, path: &str, query: Option<&str>, model: Option<&ModelName>) -> Result<String> {
        let model = model.map(ModelName::as_str);
        Ok(place::url(self.base_url()?, prefix, path, query, self.version.as_ref(), model))
    }

    fn base_url(&self) -> Result<&str> {
        self.base_url.as_deref().ok_or_else(|| Error::unavailable("no base_url is set"))
    }
}

impl Provider for HttpProvider {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        let id = &self.describe.id;
        if self.base_url.is_none() {
            return Availability::missing("no base_url is set", format!("add base_url to [providers.{id}]"));
        }
        let hint = || format!("set it, or add api_key, api_key_env or api_key_file to [providers.{id}]");
        if let (true, [first, ..]) = (self.credentials.is_empty(), self.key_names.as_slice()) {
            return Availability::missing(format!("{first} is not set"), hint());
        }
        if let Some(what) = self.credentials.missing() {
            return Availability::missing(what, hint());
        }
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_some_and(|at| at.elapsed() < REFUSED_FOR) {
            let at = self.base_url.as_deref().unwrap_or_default();
            return Availability::missing(
                format!("no {id} answers at {at}"),
                format!("start {id}, or set its base_url"),
            );
        }
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let id = &self.describe.id;
        let permit = self.place(&call.cx, call.target.model.as_ref()).await?;
        let asked = Framing::of(call.request.stream);
        let call = self.prepared(&call).await.map_err(|error| error.at(id, None))?;
        let model = call.target.model.clone();
        let at = |error: Error| error.at(id, model.as_ref());
        let spoken = self.choose(&call.request);
        let (mut request, framing) = self.outgoing(spoken, &call).map_err(at)?;
        let mut patience = Patience::new(&call, framing == Framing::Stream);
        let sent = self.send(&call, spoken, &mut request, &mut patience).await;
        // A 400 on the caller's very own bytes is the caller's; on a body that was translated or changed here it may be ours.
        let theirs = || call.request.origin.as_ref().is_some_and(|origin| origin.body == request.body);
        let (answer, key) = sent.map_err(|error| match error.kind() {
            ErrorKind::CallerInvalidRequest if error.status().is_some() && !theirs() => {
                at(error.with_kind(ErrorKind::ProviderRejected))
            }
            _ => at(error),
        })?;
        tracing::debug!(provider = %id, status = answer.status.as_u16(), media = &*answer.media_type(), "answered");
        let secrets = self.secrets(key.as_ref());
        let reading = answer::Reading { asked, framing, patience, _permit: permit, at: id.clone(), secrets };
        answer::read(&call, spoken.codec.as_ref(), answer, reading).map_err(at)
    }

    async fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        self.embedded(call, &ask).await
    }

    async fn image(&self, call: Arc<Call>, ask: Arc<ImageRequest>) -> Result<ImageResponse> {
        self.drawn(call, &ask).await
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        self.counted(call).await
    }

    fn models(&self) -> Vec<ModelName> {
        self.models.clone()
    }

    fn has_model(&self, model: &ModelName) -> bool {
        self.models.contains(model)
    }

    async fn list_models(&self, cx: &Context) -> Result<Vec<ModelName>> {
        self.listed(&cx.http, Limits::default()).await
    }

    async fn reach(&self, cx: &Context, limit: Duration) -> Result<()> {
        let at = parse_url(self.base_url()?)?;
        cx.http.connect(&at, limit).await.map_err(|error| self.not_reached(error).at(&self.describe.id, None))
    }

    async fn pass(&self, cx: &Context, request: Passthrough) -> Result<Passed> {
        self.pass_through(cx, request).await
    }

    fn waiting(&self) -> usize {
        self.slots.as_ref().map_or(0, Slots::waiting)
    }

    fn is_full(&self) -> bool {
        self.slots.as_ref().is_some_and(Slots::is_full)
    }

    fn login_mark(&self) -> Option<String> {
        let keys = self.credentials.mark()?;
        Some(format!("{} {} {keys}", self.describe.id, self.base_url.as_deref().unwrap_or_default()))
    }
}

impl std::fmt::Debug for HttpProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpProvider")
            .field("id", &self.describe.id)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

fn sign(request: &mut HttpRequest, auth: Auth, key: Option<&Key>) -> Result<()> {
    let Some(key) = key else { return Ok(()) };
    let (name, value) = auth.header(key.secret.expose());
    request.set_secret(name, &value)
}
