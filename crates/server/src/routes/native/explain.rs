//! Why: `POST …/explain` says who would answer a request, `GET …/requests/{id}` what happened to one that this server answered lately.

use axum::extract::{Path, Request as HttpRequest, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::RequestId;
use llm_router::router::explain::Explained;
use llm_router::router::resolve::Door;
use schemars::JsonSchema;
use serde::Serialize;

use super::generate::Generate;
use crate::app::{Inner, Server};
use crate::body::json_of;
use crate::door::Caller;
use crate::{body, chat, early, error, riders};

/// A plan.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explanation {
    /// Everyone considered: those that would be asked in their order, those that would not with the reason.
    pub(crate) targets: Vec<Explained>,
}

/// `POST /api/v0/ai/llm/explain`: the plan of what `…/generate` takes. Nothing is sent.
pub(crate) async fn explain(State(server): State<Server>, request: HttpRequest) -> Response {
    let (head, body) = request.into_parts();
    let id = chat::id_of(&server, &head);
    match body::read(body, &head.headers, &server.0.options).await {
        Ok(body) => match explained(&server.0, &head, &body).await {
            Ok(explanation) => json_of(StatusCode::OK, &explanation),
            Err(error) => error::native(&error, Some(&id)),
        },
        Err((error, rest)) => early::answer(error::native(&error, Some(&id)), rest),
    }
}

async fn explained(server: &Inner, head: &Parts, body: &[u8]) -> Result<Explanation> {
    let wanted: Generate = body::parse(body)?;
    let caller = head.extensions.get::<Caller>().cloned().unwrap_or_default();
    let mut request = wanted.into_request()?;
    riders::read(&head.headers, &caller, &mut request)?;
    Ok(Explanation { targets: server.router.explained(&request, Door::NativeApi).await? })
}

/// `GET /api/v0/ai/llm/requests/{id}`: the record of a request, as far as it is kept: of anybody's for administration, or where there are no keys, and of its own for each key. Of a request that
/// is another's no more is said than of one that never was.
pub(crate) async fn request(State(server): State<Server>, Path(id): Path<String>, request: HttpRequest) -> Response {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    let id = match RequestId::parse(&id) {
        Ok(id) => id,
        Err(error) => return error::native(&error, None),
    };
    // A key's name is that of the key it comes from, and a narrower key sees less, not more.
    let derived = caller.holder.as_ref().is_some_and(|holder| holder.is_derived());
    let every = caller.name.is_none() || caller.admin;
    match server.0.router.trace(&id).filter(|trace| every || trace.client == caller.name && !derived) {
        Some(trace) => json_of(StatusCode::OK, &*trace),
        None if every => error::native_absent(
            &Error::invalid(format!("nothing is known of a request {id}"))
                .with_hint("the last few hundred are kept, in memory; their ids are in x-request-id"),
        ),
        None => error::native(
            &Error::new(ErrorKind::PolicyForbidden, format!("nothing is known of a request {id} of this key"))
                .with_hint(
                    "those of others are for administration: show a key with `admin = true` or of the role admin",
                ),
            None,
        ),
    }
}
