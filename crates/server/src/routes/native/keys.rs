//! `/api/v0/ai/llm/keys`: keys of clients, for administration. What a key is and how it is kept is the core's (`limits/keyring.rs`).

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::limits::Keyring;
use llm_router::limits::key::{KeyChange, KeyRecord, KeySpec};
use serde_json::{Value, json};

use crate::app::{Inner, Server};
use crate::body;
use crate::door::Caller;
use crate::{early, error};

/// The most deeds of one answer.
const PAGE: usize = 1000;

/// `GET /api/v0/ai/llm/keys`: all keys, without what opens anything.
pub(crate) async fn list(State(server): State<Server>, request: Request) -> Response {
    let allowed = for_admin(&server.0, &request);
    let listed = async {
        let (keyring, _) = allowed?;
        let keys: Vec<Value> = keyring.list().await?.iter().map(shown).collect();
        Ok(json!({ "keys": keys }))
    };
    answer(StatusCode::OK, listed.await)
}

/// `POST /api/v0/ai/llm/keys`: makes a key, which is in this answer and nowhere else.
pub(crate) async fn create(State(server): State<Server>, request: Request) -> Response {
    let (keyring, by) = match for_admin(&server.0, &request) {
        Ok(allowed) => allowed,
        Err(error) => return early::answer(error::native(&error, None), request.into_body()),
    };
    let (head, from) = request.into_parts();
    let bytes = match body::read(from, &head.headers, &server.0.options).await {
        Ok(bytes) => bytes,
        Err((error, rest)) => return early::answer(error::native(&error, None), rest),
    };
    let made = async {
        let spec: KeySpec = body::parse(&bytes)?;
        let (record, key) = keyring.create(spec, &by).await?;
        let mut made = shown(&record);
        if let Some(fields) = made.as_object_mut() {
            fields.insert("key".to_owned(), key.expose().into());
        }
        Ok(made)
    };
    answer(StatusCode::OK, made.await)
}

/// `PATCH /api/v0/ai/llm/keys/{key}`: changes what a key may do; `null` takes a limit away, what is not named stays.
pub(crate) async fn update(State(server): State<Server>, Path(key): Path<String>, request: Request) -> Response {
    let (keyring, by) = match for_admin(&server.0, &request) {
        Ok(allowed) => allowed,
        Err(error) => return early::answer(error::native(&error, None), request.into_body()),
    };
    let (head, from) = request.into_parts();
    let bytes = match body::read(from, &head.headers, &server.0.options).await {
        Ok(bytes) => bytes,
        Err((error, rest)) => return early::answer(error::native(&error, None), rest),
    };
    let changed = async {
        let change: KeyChange = body::parse(&bytes)?;
        Ok(shown(&keyring.update(&key, &change, &by).await?))
    };
    answer(StatusCode::OK, changed.await)
}

/// `DELETE /api/v0/ai/llm/keys/{key}`: revokes a key, by its name or its id.
pub(crate) async fn revoke(State(server): State<Server>, Path(key): Path<String>, request: Request) -> Response {
    let allowed = for_admin(&server.0, &request);
    let body = request.into_body();
    let revoked = async {
        let (keyring, by) = allowed?;
        Ok(shown(&keyring.revoke(&key, &by).await?))
    };
    let response = answer(StatusCode::OK, revoked.await);
    early::answer(response, body)
}

/// `GET /api/v0/ai/llm/keys/log`: what was done to keys, the oldest first; `?after=` goes on behind a place.
pub(crate) async fn log(State(server): State<Server>, request: Request) -> Response {
    let allowed = for_admin(&server.0, &request);
    let query = request.uri().query().unwrap_or_default();
    let after = query.split('&').find_map(|pair| pair.strip_prefix("after=")).map(str::to_owned);
    let read = async {
        let (keyring, _) = allowed?;
        let deeds = keyring.deeds(after.as_deref(), PAGE).await?;
        let deeds = deeds.into_iter().map(|(place, deed)| {
            let mut shown = serde_json::to_value(deed).unwrap_or_default();
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("place".to_owned(), place.into());
            }
            shown
        });
        Ok(json!({ "log": deeds.collect::<Vec<_>>() }))
    };
    answer(StatusCode::OK, read.await)
}

/// The keyring, and the name of whoever asks.
fn for_admin(server: &Inner, request: &Request) -> Result<(Keyring, String)> {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    server.door.check_admin(&caller)?;
    let keyring = server.door.keys.made().cloned().ok_or_else(|| {
        Error::new(ErrorKind::PolicyForbidden, "this server takes no keys that are made")
            .with_hint("set `virtual_keys = true` under [server]")
    })?;
    Ok((keyring, caller.name.map_or_else(|| "administration's address".to_owned(), |name| name.to_string())))
}

fn answer(status: StatusCode, outcome: Result<Value>) -> Response {
    match outcome {
        Ok(value) => body::json(status, value.to_string()),
        Err(error) => error::native(&error, None),
    }
}

/// A key as anybody who administers may see it.
fn shown(record: &KeyRecord) -> Value {
    let mut shown = json!({ "id": record.id });
    let about = serde_json::to_value(&record.spec.spec).unwrap_or_default();
    if let (Some(fields), Value::Object(about)) = (shown.as_object_mut(), about) {
        fields.extend(about);
        fields.insert("created".to_owned(), record.spec.created.into());
        fields.insert("by".to_owned(), record.spec.by.as_str().into());
        if let Some(revoked) = record.spec.revoked {
            fields.insert("revoked".to_owned(), revoked.into());
        }
    }
    shown
}
