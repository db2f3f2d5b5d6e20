//! `/passthrough/{provider}/…`: requests that go to a provider as they are, for what no dialect here translates: audio, files, batches, moderations, reranking.
//!
//! Off unless `server.passthrough` names the provider. The host and the key are the provider's, never the client's; what of the path and the headers may pass is
//! decided in the core (`provider/passthrough.rs`). Bytes stream both ways and are never in memory as a whole. Nothing is retried, cached or translated, and nobody
//! else answers when the provider does not.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::RequestId;
use llm_router::limits::Permit;
use llm_router::provider::DynProvider;
use llm_router::provider::http::{HttpBody, Limits, Upload};
use llm_router::provider::passthrough::{Passed, Passthrough};
use llm_router::router::resolve::is_invited;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::app::{Inner, Server};
use crate::door::Caller;
use crate::{early, error, headers};

/// The most bytes of a request or an answer: the largest file that a provider takes.
const LARGEST: u64 = 512 << 20;
/// The most requests passed through at once. Each holds a connection and what is between two sockets.
const AT_ONCE: usize = 64;
/// Until the answer begins: a large file must be sent first, and a long sound heard.
const HEAD: Duration = Duration::from_secs(1800);
/// The longest silence in an answer.
const IDLE: Duration = Duration::from_secs(300);

/// The places for requests that are passed through.
#[derive(Debug)]
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Passes a request through.
pub(crate) async fn pass(State(server): State<Server>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let id = head.extensions.get::<RequestId>().cloned().unwrap_or_else(|| server.0.router.new_id());
    let path = head.uri.path().to_owned();
    let mut body = Some(body);
    match passed(&server.0, &id, head, &mut body).await {
        Ok(response) => response,
        Err(error) => early::answer(error::at_path(&path, &error, Some(&id)), body.unwrap_or_default()),
    }
}

/// Takes the body only when it goes out.
async fn passed(server: &Arc<Inner>, id: &RequestId, head: Parts, body: &mut Option<Body>) -> Result<Response> {
    let rest = head.uri.path().strip_prefix("/passthrough/").unwrap_or_default();
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    let caller = head.extensions.get::<Caller>().cloned().unwrap_or_default();
    let provider = named(server, name, &caller)?;
    let permit = match &caller.holder {
        Some(holder) if holder.looks_inside() => {
            return Err(Error::new(
                ErrorKind::PolicyForbidden,
                "this key has limits that what passes through unread cannot be held to",
            )
            .with_hint(
                "ask by one of the router's own paths, or for a key without limits on models, tokens and money",
            ));
        }
        Some(holder) => {
            let clock = &server.router.deps().clock;
            Some(holder.enter_all(clock.instant(), clock.now(), 0, &[]).await?)
        }
        None => None,
    };
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > LARGEST) {
        return Err(too_large());
    }
    let mut request = Passthrough::new(head.method, &format!("/{path}"), head.uri.query(), &head.headers)?
        .with_limits(Limits { head: Some(HEAD), idle: Some(IDLE), body: LARGEST, ..Limits::default() });
    let place = Arc::clone(&server.passing.0).try_acquire_owned().map_err(|_| {
        Error::new(ErrorKind::RouterOverloaded, format!("{AT_ONCE} requests are being passed through already"))
    })?;
    let failed = Arc::new(OnceLock::new());
    if let Some(body) = body.take().filter(|body| length != Some(0) && !http_body::Body::is_end_stream(body)) {
        let upload = Uploading::new(body.into_data_stream(), server.options.body_idle, Arc::clone(&failed));
        request = request.with_body(Upload::new(upload, length));
    }
    let cx = server.router.context_of(id.clone());
    let answer = tokio::select! {
        answer = provider.pass(&cx, request) => answer,
        () = cx.cancel.cancelled() => Err(Error::new(ErrorKind::RouterUnavailable, "the server is ending")),
    };
    // What the client did wrong while it sent is not the provider's fault.
    let Passed { status, headers, body, place: slot, .. } =
        answer.map_err(|error| failed.get().cloned().unwrap_or(error))?;
    let mut response = Response::new(Body::from_stream(Answering { body, _places: (place, slot, permit) }));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    headers::set(response.headers_mut(), headers::REQUEST_ID, id.as_str());
    headers::set(response.headers_mut(), headers::PROVIDER, provider.describe().id.as_str());
    Ok(response)
}

/// The provider of a path, if this caller's requests may be passed to it.
fn named(server: &Inner, name: &str, caller: &Caller) -> Result<Arc<dyn DynProvider>> {
    let settings = server.router.settings();
    let entry = server
        .router
        .entries()
        .iter()
        .find(|entry| entry.is(name))
        .filter(|entry| settings.server.passthrough.iter().any(|open| entry.is(open)));
    let Some(entry) = entry else {
        let shown: String = name.chars().take(64).collect();
        return Err(Error::new(ErrorKind::PolicyForbidden, format!("nothing is passed through to {shown:?}"))
            .with_hint("name the provider in `passthrough` under [server]"));
    };
    let describe = entry.provider.describe();
    if describe.privacy > settings.router.privacy {
        return Err(Error::new(
            ErrorKind::PolicyForbidden,
            format!("{name} may not see requests: `privacy` under [router] is stricter than the provider's"),
        ));
    }
    if describe.agent && !is_invited(entry.id.as_str(), caller.key.as_deref(), settings) {
        return Err(Error::new(
            ErrorKind::PolicyForbidden,
            format!("{name} may use tools on this machine and answers the command and the library only"),
        )
        .with_hint("name another provider"));
    }
    Ok(Arc::clone(&entry.provider))
}

fn too_large() -> Error {
    Error::new(ErrorKind::CallerTooLarge, format!("the body is over the limit of {} MiB", LARGEST >> 20))
}

/// A client's body on its way: bounded in bytes and in silence. What is wrong with it is left where the handler finds it.
struct Uploading {
    from: BodyDataStream,
    sent: u64,
    patience: Duration,
    /// Runs only while the client is waited for: the time in which the upstream takes nothing is not the client's.
    silence: Pin<Box<Sleep>>,
    waiting: bool,
    failed: Arc<OnceLock<Error>>,
}

impl Uploading {
    fn new(from: BodyDataStream, patience: Duration, failed: Arc<OnceLock<Error>>) -> Self {
        Self { from, sent: 0, patience, silence: Box::pin(sleep(patience)), waiting: false, failed }
    }

    fn fail(&self, error: Error) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(Some(Err(self.failed.get_or_init(|| error).clone())))
    }
}

impl Stream for Uploading {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.from).poll_next(cx);
        let waited = std::mem::replace(&mut this.waiting, polled.is_pending());
        match polled {
            Poll::Ready(Some(Ok(piece))) => {
                this.sent += piece.len() as u64;
                if this.sent > LARGEST {
                    return this.fail(too_large());
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(_))) => {
                this.fail(Error::new(ErrorKind::CallerCancelled, "the body stopped before its end"))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if !waited {
                    this.silence.as_mut().reset(Instant::now() + this.patience);
                }
                if this.silence.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.fail(Error::new(ErrorKind::CallerCancelled, "the body stopped before its end"))
            }
        }
    }
}

/// An answer on its way, with the places that it takes.
struct Answering {
    body: HttpBody,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>, Option<Permit>),
}

impl Stream for Answering {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
