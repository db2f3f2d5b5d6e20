//! `POST /v1/messages/count_tokens` and `:countTokens`: how many tokens a request has, without answering it.
//!
//! Exact where the target can count, else a guess from the length: then the answer has `"estimated": true` and the header `x-llm-router-estimated: true`. Counting
//! itself is the router's business.

use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use llm_router::dialect::{Codec, Dialect, RequestHead, codec};
use llm_router::error::Result;
use llm_router::ids::RequestId;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, TokenCount};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{Inner, Server};
use crate::body::{self, json_of};
use crate::{chat, early, error, headers, riders};

/// A count as Anthropic's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AnthropicCount {
    input_tokens: u64,
    /// Whether it is a guess.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

/// A count as Google's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoogleCount {
    total_tokens: u64,
    /// Whether it is a guess.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

/// Counts for a client of this dialect.
pub(crate) async fn count(State(server): State<Server>, dialect: Dialect, request: HttpRequest) -> Response {
    let (head, body) = request.into_parts();
    let codec = codec(dialect);
    let id = chat::id_of(&server, &head);
    let body = match body::read(body, &head.headers, &server.0.options).await {
        Ok(body) => body,
        Err((error, rest)) => return early::answer(error::response(codec.as_ref(), &error, Some(&id)), rest),
    };
    match counted(&server.0, codec.as_ref(), &id, head, &body).await {
        Ok(count) => written(dialect, &count, &id),
        Err(error) => error::response(codec.as_ref(), &error, Some(&id)),
    }
}

async fn counted(server: &Inner, codec: &dyn Codec, id: &RequestId, head: Parts, body: &[u8]) -> Result<TokenCount> {
    let caller = head.extensions.get().cloned().unwrap_or_default();
    let path = head.uri.path();
    // The same request without the last word is one for an answer, which the codec reads.
    let path = path.strip_suffix("/count_tokens").unwrap_or(path).replace(":countTokens", ":generateContent");
    let head = RequestHead { path, query: None, method: head.method, headers: head.headers.into() };
    let mut request = codec.decode_request(&head, body)?;
    riders::read(&head.headers, &caller, &mut request)?;
    let op = Op::new(request, Door::CompatibleApi)
        .with_id(id.clone())
        .for_client(caller.name)
        .of_team(caller.team)
        .within(caller.holder);
    server.router.count_tokens(op).await
}

fn written(dialect: Dialect, count: &TokenCount, id: &RequestId) -> Response {
    let TokenCount { tokens, estimated, target, .. } = count;
    let (tokens, estimated) = (*tokens, *estimated);
    let mut response = match dialect {
        Dialect::Gemini => json_of(StatusCode::OK, &GoogleCount { total_tokens: tokens, estimated }),
        _ => json_of(StatusCode::OK, &AnthropicCount { input_tokens: tokens, estimated }),
    };
    let headers = response.headers_mut();
    headers::set(headers, headers::REQUEST_ID, id.as_str());
    headers::set(headers, headers::PROVIDER, target.provider.as_str());
    if let Some(model) = &target.model {
        headers::set(headers, headers::MODEL, model.as_str());
    }
    if estimated {
        headers::set(headers, headers::ESTIMATED, "true");
    }
    response
}
