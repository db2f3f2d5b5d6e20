//! The one handler behind every dialect: codec in, router, codec out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use llm_router::dialect::{Codec, Dialect, Encoder, FieldPath, Framing, RequestHead, codec};
use llm_router::error::Result;
use llm_router::ids::RequestId;
use llm_router::pricing::dollars;
use llm_router::router::resolve::Door;
use llm_router::router::{Answer, Op};
use llm_router::trace::Trace;

use crate::app::{Inner, Server};
use crate::body;
use crate::door::Caller;
use crate::relay::{Broken, Relay, tell_at_end};
use crate::routes::responses;
use crate::{early, error, headers, riders};

/// As many headers as an answer has, those that HTTP adds included.
const HEADERS: usize = 13;

/// Answers a request of this dialect that came by the table of routes.
pub(crate) async fn routed(State(server): State<Server>, dialect: Dialect, request: Request) -> Response {
    let caller = request.extensions().get().cloned().unwrap_or_default();
    let (head, body) = request.into_parts();
    answer(&server, dialect, caller, Box::new(head), body).await
}

/// Answers a request of this dialect.
pub(crate) async fn answer(
    server: &Server,
    dialect: Dialect,
    caller: Caller,
    head: Box<Parts>,
    body: Body,
) -> Response {
    let codec = codec(dialect);
    let id = id_of(server, &head);
    let body = match body::read(body, &head.headers, &server.0.options).await {
        Ok(body) => body,
        Err((error, rest)) => return early::answer(error::response(codec.as_ref(), &error, Some(&id)), rest),
    };
    let answered = match heard(server, codec.as_ref(), &caller, *head, &body) {
        Ok(heard) => {
            // It is a part of the connection's read buffer, which is free again while the answer is awaited.
            drop(body);
            // In a box, which the next request takes over, warm: every connection keeps room for the future of its request.
            Box::pin(converse(&server.0, codec.as_ref(), &id, caller, heard)).await
        }
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| error::response(codec.as_ref(), &error, Some(&id)))
}

/// The id of a request: the access log gave it one already, where there is a log.
pub(crate) fn id_of(server: &Server, head: &Parts) -> RequestId {
    head.extensions.get::<RequestId>().cloned().unwrap_or_else(|| server.0.router.new_id())
}

/// What a request asks for, and who hears when its answer breaks. Not a part of any future, which would keep room for all that is moved here.
fn heard(
    server: &Server,
    codec: &dyn Codec,
    caller: &Caller,
    head: Parts,
    body: &Bytes,
) -> Result<(Box<Op>, Option<Broken>)> {
    let began = server.0.router.deps().clock.instant();
    let broken = head.extensions.get::<Broken>().cloned();
    let head = RequestHead {
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        headers: Arc::new(head.headers),
    };
    let mut request = codec.decode_request(&head, body)?;
    riders::read(&head.headers, caller, &mut request)?;
    let mut op = Box::new(Op::new(request, Door::CompatibleApi));
    op.context = riders::context(&head.headers);
    op.arrived = Some(began);
    Ok((op, broken))
}

async fn converse(
    server: &Arc<Inner>,
    codec: &dyn Codec,
    id: &RequestId,
    caller: Caller,
    (mut op, broken): (Box<Op>, Option<Broken>),
) -> Result<Response> {
    if let Some(fetcher) = &server.fetcher {
        Box::pin(fetcher.inline(&mut op.request)).await?;
    }
    let framing = Framing::of(op.request.stream);
    let encoder = if responses::keeps(codec.dialect()) {
        match Box::pin(responses::go_on(server, &caller, &op.request, framing)).await? {
            Ok((whole, encoder)) => {
                op.request = *whole;
                encoder
            }
            Err(unknown) => return Ok(unknown),
        }
    } else {
        codec.encoder(&op.request, framing)
    };
    (op.client, op.team, op.holder) = (caller.name, caller.team, caller.holder);
    respond(server, id, op, encoder, broken).await
}

/// Asks the router, and answers with what the encoder makes of it: every surface that generates text ends here.
pub(crate) async fn respond(
    server: &Arc<Inner>,
    id: &RequestId,
    mut op: Box<Op>,
    mut encoder: Box<dyn Encoder>,
    broken: Option<Broken>,
) -> Result<Response> {
    let framing = Framing::of(op.request.stream);
    let router = server.router.clone();
    op.id = Some(id.clone());
    match framing {
        Framing::Whole => {
            let mut answer = router.call(op).await?;
            let mut out = BytesMut::new();
            while let Some(event) = answer.next().await {
                let event = event?;
                tell_at_end(&answer, &event, encoder.as_mut());
                encoder.event(&event, &mut out)?;
            }
            let mut response = Response::new(Body::from(out.freeze()));
            // Room for all that will stand in it, so that it does not grow step by step.
            *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
            describe(&answer, response.headers_mut(), encoder.lost());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoder.content_type()));
            Ok(response)
        }
        Framing::Stream => {
            let mut answering = Box::pin(async move { router.call(op).await });
            let kind = HeaderValue::from_static(encoder.content_type());
            let ping_after = server.options.ping_after;
            let mut response = match tokio::time::timeout(server.options.head_after, &mut answering).await {
                Ok(answer) => {
                    let answer = answer?;
                    let mut headers = HeaderMap::with_capacity(HEADERS);
                    describe(&answer, &mut headers, &[]);
                    let mut response =
                        Response::new(Body::new(Relay::flowing(answer, encoder, ping_after).telling(broken)));
                    *response.headers_mut() = headers;
                    response
                }
                Err(_) => {
                    let mut response =
                        Response::new(Body::new(Relay::waiting(answering, encoder, ping_after).telling(broken)));
                    headers::set(response.headers_mut(), headers::REQUEST_ID, id.as_str());
                    response
                }
            };
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, kind);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(headers::ACCEL_BUFFERING, HeaderValue::from_static("no"));
            *response.status_mut() = StatusCode::OK;
            Ok(response)
        }
    }
}

/// Says in headers how the answer came about, as far as it is known now, and what of it the client's dialect has no word for.
fn describe(answer: &Answer, headers: &mut HeaderMap, lost: &[FieldPath]) {
    answer.look(|trace| {
        describe_as(trace, headers);
        name_dropped(trace.dropped.iter().chain(lost), headers);
    });
}

/// The most bytes of names in a header: clients refuse heads that are too long, and the names are as many as a request has fields.
const NAMES: usize = 2048;

/// Names what was left out.
pub(crate) fn name_dropped<'a>(fields: impl Iterator<Item = &'a FieldPath>, headers: &mut HeaderMap) {
    let (mut names, mut more) = (String::new(), 0_usize);
    for field in fields {
        if names.len() + field.0.len() > NAMES {
            more += 1;
            continue;
        }
        if !names.is_empty() {
            names.push(',');
        }
        // Names hold those of tools and media types, which others chose.
        names.extend(field.0.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }));
    }
    if more > 0 {
        names.push_str(&format!(",and {more} more"));
    }
    if !names.is_empty() {
        headers::set(headers, headers::DROPPED, names.trim_start_matches(','));
    }
}

/// Says in headers what a record holds.
pub(crate) fn describe_as(trace: &Trace, headers: &mut HeaderMap) {
    headers::set(headers, headers::REQUEST_ID, trace.id.as_str());
    if let Some(served) = &trace.served {
        headers::set(headers, headers::PROVIDER, served.provider.as_str());
        if let Some(model) = &served.model {
            headers::set(headers, headers::MODEL, model.as_str());
        }
        if let Some(substituted) = &served.substituted {
            headers::set(headers, headers::SUBSTITUTED, substituted);
        }
    }
    if let Some(resumed) = trace.resumed_by() {
        headers::set(headers, headers::RESUMED, &resumed);
    }
    headers.insert(headers::ATTEMPTS, HeaderValue::from(trace.attempts.len()));
    headers.insert(headers::CACHE, HeaderValue::from_static(trace.cache.as_str()));
    if let Some(micros) = trace.cost() {
        headers::set(headers, headers::COST, dollars(micros).trim_start_matches('$'));
    }
    if let Some(key) = &trace.key {
        headers::set(headers, headers::KEY, key);
    }
    if let Some(limits) = &trace.limits {
        headers::set(headers, headers::LIMITS, limits);
    }
}
