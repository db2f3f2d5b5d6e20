//! What a server needs that keeps answers and continues them: which answer a request goes on from, whether its own is to be kept, the items to keep, and the
//! request with the kept items put before its own.
//!
//! Nothing is kept here: a codec has no I/O. The server stores `input` and output items under [`response_id`](super::response_id) of the answer, and before it
//! hands a request with [`State::previous_response_id`] to the router it makes it whole with [`resume`].

use bytes::Bytes;

use crate::dialect::json::{Object, Writer, read};
use crate::dialect::openai_responses::response::ResponsesEncoder;
use crate::dialect::openai_responses::types::OURS;
use crate::dialect::openai_responses::{history, request as body};
use crate::dialect::splice::Splice;
use crate::error::{Error, Result};
use crate::request::{RawJson, Request};
use crate::response::Response;

/// What a request says about answers that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// The answer that it goes on from.
    pub previous_response_id: Option<String>,
    /// Whether its own answer is to be kept. The dialect's default is that it is.
    pub store: bool,
    /// Whether it names a conversation or a prompt that only the provider keeps.
    pub elsewhere: bool,
}

/// What a request says about answers that are kept; for a request of another dialect, that there are none.
pub fn state(request: &Request) -> State {
    let ours = request.extra.get(&OURS);
    let given = |name: &str| ours.and_then(|ours| ours.get(name)).map(RawJson::value);
    let ours = request.origin.as_ref().is_some_and(|origin| origin.dialect == OURS);
    State {
        previous_response_id: given("previous_response_id").and_then(|id| id.as_str().map(str::to_owned)),
        store: given("store").map_or(ours, |store| store == true),
        elsewhere: given("conversation").or_else(|| given("prompt")).is_some(),
    }
}

/// The items of a request's `input`, as they came: a text is one user message. Instructions are not among them: they hold for one answer only.
///
/// # Errors
/// `caller_invalid_request` when the body is none of this dialect.
pub fn input_items(request: &Request) -> Result<Vec<RawJson>> {
    let Some(origin) = request.origin.as_ref().filter(|origin| origin.dialect == OURS) else {
        let mut to = Writer::with_capacity(512);
        history::encode(&request.messages, 0, &mut to, &mut Vec::new())?;
        let to = to.finish();
        let items: Vec<&serde_json::value::RawValue> =
            serde_json::from_slice(&to).map_err(|error| Error::internal(error.to_string()))?;
        return Ok(items.into_iter().map(RawJson::from).collect());
    };
    let fields = Object::parse(&origin.body)?;
    match fields.get("input") {
        Some(raw) if raw.get().starts_with('"') => {
            RawJson::parse(&format!(r#"{{"type":"message","role":"user","content":{}}}"#, raw.get()))
                .map(|item| vec![item])
        }
        Some(raw) => {
            Ok(read::<Vec<&serde_json::value::RawValue>>(raw, &"input")?.into_iter().map(RawJson::from).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// The items of an answer, whichever dialect it came in, as they can stand in a later request's `input`.
pub fn output_items(response: &Response) -> Vec<RawJson> {
    let items = ResponsesEncoder::items(&response.to_deltas());
    items.iter().filter_map(|item| RawJson::parse(item).ok()).collect()
}

/// The request with `earlier` items before its own, and on its own feet: it names no earlier answer any more.
///
/// # Errors
/// `caller_invalid_request` when the request did not come in this dialect, or an item is none of it.
pub fn resume(request: &Request, earlier: &[RawJson]) -> Result<Request> {
    let Some(origin) = request.origin.as_ref().filter(|origin| origin.dialect == OURS) else {
        return Err(Error::invalid("previous_response_id: the request is not of this dialect"));
    };
    let items: Vec<String> = earlier.iter().chain(&input_items(request)?).map(|item| item.get().to_owned()).collect();
    let items = format!("[{}]", items.join(","));
    let fields = Object::parse(&origin.body)?;
    let mut splice = Splice::new(&origin.body)?;
    if let Some(raw) = fields.raw("previous_response_id") {
        splice.remove(raw);
    }
    splice.set(&fields, "input", &items);
    let whole: Bytes = splice.finish();
    let mut resumed = body::decode(&origin.head, &whole)?;
    // What the door added after the body was read stays.
    (resumed.provider, resumed.riders) = (request.provider.clone(), request.riders.clone());
    (resumed.cache, resumed.timeout, resumed.timeouts) = (request.cache.clone(), request.timeout, request.timeouts);
    (resumed.model, resumed.stream) = (request.model.clone(), request.stream);
    Ok(resumed)
}

/// Whether the client asked for sealed thoughts.
pub(super) fn wants_seals(request: &Request) -> bool {
    let include = request.extra.get(&OURS).and_then(|ours| ours.get("include"));
    include.is_some_and(|list| list.get().contains("reasoning.encrypted_content"))
}
