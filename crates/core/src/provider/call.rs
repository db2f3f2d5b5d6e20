//! What a provider is given: one attempt at one target, its deadlines, and the little of the router that it may use.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::http;
use crate::deps::Clock;
use crate::dialect::FieldPath;
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId, RequestId};
use crate::request::Request;
use crate::trace::{Late, TraceContext};

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
    /// Until the first content of a streamed answer, or a local program's first sign of life. In a plan: of a target alone; in a call: what the request has left
    /// for it.
    pub first_event: Duration,
    /// Between two events of a streamed answer.
    pub idle: Duration,
    /// A whole answer.
    pub whole: Duration,
    /// The router: all attempts at a target until the first content. A provider: what it waits for in one attempt, until the answer's end.
    pub total: Duration,
    /// The least bytes of a whole answer in each second once it has begun, over any time of `idle`'s length; 0 is none.
    pub min_bytes_per_s: u32,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_event: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            whole: Duration::from_secs(300),
            total: Duration::from_secs(600),
            min_bytes_per_s: 16,
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
        let mut dropped = self.cx.noted.dropped.lock().unwrap_or_else(PoisonError::into_inner);
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
    /// Where the call stands in somebody's trace, for providers that are told.
    pub trace: Option<TraceContext>,
    noted: Arc<Noted>,
}

/// What a provider notes of a call.
#[derive(Debug, Default)]
struct Noted {
    dropped: std::sync::Mutex<Vec<FieldPath>>,
    /// Whether it waits for a place, and nothing was sent.
    queued: AtomicBool,
    /// The peer that is asked, of those behind one provider.
    peer: std::sync::Mutex<Option<String>>,
    /// Its receipt, which comes with the answer's end.
    receipt: Late,
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
        Self { http, clock, id, cancel, trace: None, noted: Arc::default() }
    }

    /// The fields that could not be said, as noted by [`Call::note_dropped`].
    pub fn dropped(&self) -> Vec<FieldPath> {
        self.noted.dropped.lock().map(|fields| fields.clone()).unwrap_or_default()
    }

    /// Notes which peer is asked, by its id: the provider `ipfs_peer` is many. The last one counts.
    pub fn note_peer(&self, id: &str) {
        *self.noted.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }

    /// Notes the receipt of whoever answered, as a word. It may come as late as the answer's end.
    pub fn note_receipt(&self, word: String) {
        self.noted.receipt.set(word);
    }

    /// The peer that was asked, and where its receipt will be.
    pub(crate) fn asked(&self) -> (Option<String>, Late) {
        let peer = self.noted.peer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (peer, self.noted.receipt.clone())
    }

    /// Notes whether the call waits for a place at its provider, so that nobody works on it: time that runs out then says nothing of the provider, and nothing is paid.
    pub fn wait_for_place(&self, waits: bool) {
        self.noted.queued.store(waits, Ordering::Relaxed);
    }

    /// Whether the call waits for a place, so that nobody works on it.
    pub fn waits_for_place(&self) -> bool {
        self.noted.queued.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}
