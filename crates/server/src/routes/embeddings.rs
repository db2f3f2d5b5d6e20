//! `POST /v1/embeddings`, and Google's `:embedContent` and `:batchEmbedContents`: texts in, vectors out.
//!
//! The wire is `llm_router::dialect`'s business, who makes the vectors the router's.

use axum::extract::{Request, State};
use axum::response::Response;
use llm_router::dialect::{Dialect, embeddings, gemini};
use llm_router::embedding::{EmbedRequest, EmbedResponse};
use llm_router::error::Result;

use super::arrived::Arrived;
use crate::app::Server;

/// Answers in OpenAI's way.
pub(crate) async fn openai(State(server): State<Server>, request: Request) -> Response {
    let arrived = match Arrived::read(&server, Dialect::OpenaiChat, request).await {
        Ok(arrived) => arrived,
        Err(refused) => return refused,
    };
    let made = match embeddings::decode_request(&arrived.body) {
        Ok((ask, encoding)) => made(&server, &arrived, ask).await.map(|made| (made, encoding)),
        Err(error) => Err(error),
    };
    arrived.answer(
        made.as_ref()
            .map_err(Clone::clone)
            .map(|(made, encoding)| (embeddings::encode_answer(made, *encoding), made.trace())),
    )
}

/// Answers in Google's way.
pub(crate) async fn google(State(server): State<Server>, request: Request) -> Response {
    let arrived = match Arrived::read(&server, Dialect::Gemini, request).await {
        Ok(arrived) => arrived,
        Err(refused) => return refused,
    };
    let made = match gemini::embed::decode_request(&arrived.head, &arrived.body) {
        Ok((ask, form)) => made(&server, &arrived, ask).await.map(|made| (made, form)),
        Err(error) => Err(error),
    };
    arrived.answer(
        made.as_ref()
            .map_err(Clone::clone)
            .map(|(made, form)| (gemini::embed::encode_answer(made, *form), made.trace())),
    )
}

async fn made(server: &Server, arrived: &Arrived, mut ask: EmbedRequest) -> Result<EmbedResponse> {
    let said = arrived.said()?;
    (ask.riders, ask.cache) = (said.riders, said.cache);
    (ask.timeout, ask.timeouts) = (said.timeout, said.timeouts);
    server.0.router.embed(arrived.op(ask)).await
}
