//! What `/v1/responses` keeps: an answer is kept under its id, a later request may go on from it, and it can be read and deleted again.
//!
//! Ids are always resolved here and never by a provider, whichever provider answers: a request that names an earlier answer is made whole before it goes to the
//! router, and a provider that keeps answers too (OpenAI does, where `store` says so or says nothing) is not asked for them. So a conversation may go on at another
//! target than it began at. What a request says of a `conversation` or a `prompt` that only OpenAI has goes to OpenAI as it is, and such an answer is not kept
//! here: half of what led to it is unknown. A provider of this dialect may call its answers something else than `resp_…`, and its client knows them by that name: both names are one. How long and how much is kept is `kept.rs`; the items themselves are the codec's business.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response as HttpResponse;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use llm_router::delta::{Delta, Event};
use llm_router::dialect::openai_responses::{self, OpenaiResponses, response_id};
use llm_router::dialect::{Codec, Dialect, Encoder, FieldPath, Framing};
use llm_router::error::{Error, Result};
use llm_router::request::{RawJson, Request};
use llm_router::response::Folder;
use llm_router::trace::Trace;
use serde_json::json;

use crate::app::{Inner, Server};
use crate::body::json as json_answer;
use crate::door::Caller;
use crate::error;
use crate::kept::Answer;

/// A request with the encoder of its answer.
pub(crate) type Continued = (Box<Request>, Box<dyn Encoder>);

/// The request made whole, and an encoder that keeps what it writes; `Err` with an answer of 404 where the caller has no answer of the id that the request names.
///
/// # Errors
/// `caller_invalid_request` when the items cannot stand in one request.
pub(crate) async fn go_on(
    server: &Arc<Inner>,
    caller: &Caller,
    request: &Request,
    framing: Framing,
) -> Result<std::result::Result<Continued, HttpResponse>> {
    let state = openai_responses::state(request);
    let encoder = OpenaiResponses.encoder(request, framing);
    let earlier = match &state.previous_response_id {
        None => None,
        Some(id) => match Box::pin(server.kept.find(caller, &response_id(id))).await {
            Some(answer) => Some(answer.items),
            None => return Ok(Err(unknown("previous_response_id", id))),
        },
    };
    let keeping = state.store && !state.elsewhere;
    let mut items: Vec<RawJson> = Vec::new();
    if keeping {
        items.extend(earlier.iter().flat_map(|earlier| earlier.iter()).cloned());
        items.extend(openai_responses::input_items(request)?);
    }
    let whole = match &earlier {
        Some(earlier) => openai_responses::resume(request, earlier)?,
        None => request.clone(),
    };
    let whole = Box::new(whole);
    if !keeping {
        return Ok(Ok((whole, encoder)));
    }
    let keeper = Keeper {
        encoder,
        object: OpenaiResponses.encoder(request, Framing::Whole),
        folder: Some(Folder::default()),
        items,
        caller: caller.clone(),
        server: Arc::clone(server),
    };
    Ok(Ok((whole, Box::new(keeper))))
}

/// `GET /v1/responses/{id}`: the answer, as its client would have got it whole.
pub(crate) async fn one(State(server): State<Server>, request: HttpRequest) -> HttpResponse {
    let (caller, id) = asked(&request);
    if request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "stream=true")) {
        let error = Error::unsupported("a kept answer is given whole, not streamed").with_hint("leave `stream` out");
        return error::at_path(request.uri().path(), &error, None);
    }
    match server.0.kept.find(&caller, &response_id(id)).await {
        Some(answer) => json_answer(StatusCode::OK, answer.object),
        None => unknown("id", id),
    }
}

/// `DELETE /v1/responses/{id}`: forgets it.
pub(crate) async fn forget(State(server): State<Server>, request: HttpRequest) -> HttpResponse {
    let (caller, id) = asked(&request);
    if !server.0.kept.forget(&caller, &response_id(id)).await {
        return unknown("id", id);
    }
    json_answer(StatusCode::OK, json!({"id": id, "object": "response", "deleted": true}).to_string())
}

fn asked(request: &HttpRequest) -> (Caller, &str) {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    (caller, request.uri().path().rsplit('/').next().unwrap_or_default())
}

/// There is no such answer, or it is somebody else's, which is not told.
fn unknown(param: &str, id: &str) -> HttpResponse {
    let shown: String = id.chars().take(80).collect();
    let code = if param == "id" { "response_not_found" } else { "previous_response_not_found" };
    let message = format!(
        "there is no answer {shown:?} here: it was made with `store: false`, deleted, by another key, or too long ago; send the whole conversation as `input`"
    );
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}})
        .to_string();
    let mut response = json_answer(StatusCode::NOT_FOUND, Body::from(body));
    response.headers_mut().insert("x-should-retry", http::HeaderValue::from_static("false"));
    response
}

/// Writes an answer, and keeps it once it is whole: before its last bytes go out, so that a client that goes on at once finds it.
struct Keeper {
    encoder: Box<dyn Encoder>,
    /// Writes what is kept of it.
    object: Box<dyn Encoder>,
    /// Gone when the answer is over.
    folder: Option<Folder>,
    /// What led to the answer.
    items: Vec<RawJson>,
    caller: Caller,
    server: Arc<Inner>,
}

impl Keeper {
    fn keep(&mut self) -> Result<()> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        let response = folder.finish()?;
        let mut object = BytesMut::new();
        self.object.event(&Event::from(response.to_deltas()), &mut object)?;
        let mut items = std::mem::take(&mut self.items);
        items.extend(openai_responses::output_items(&response));
        let answer = Answer { items: items.into(), object: Bytes::from(object) };
        self.server.kept.keep(&self.caller, &response_id(&response.id), answer);
        Ok(())
    }
}

impl Encoder for Keeper {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<()> {
        if let Some(folder) = &mut self.folder {
            event.deltas.iter().for_each(|delta| folder.push(delta));
            if event.deltas.iter().any(|delta| matches!(delta, Delta::End)) {
                self.keep()?;
            }
        }
        self.encoder.event(event, out)
    }

    fn about(&mut self, trace: &Trace) {
        self.encoder.about(trace);
    }

    fn lost(&self) -> &[FieldPath] {
        self.encoder.lost()
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        self.folder = None;
        self.encoder.error(error, out);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        self.encoder.ping(out);
    }

    fn content_type(&self) -> &'static str {
        self.encoder.content_type()
    }
}

/// Whether a request of this dialect is this file's business.
pub(crate) fn keeps(dialect: Dialect) -> bool {
    dialect == Dialect::OpenaiResponses
}
