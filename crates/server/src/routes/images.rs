//! `POST /v1/images/generations`: a prompt in, pictures out, as base64 or URLs, whichever the provider gives.
//!
//! The wire is `llm_router::dialect::images`' business, who draws the router's. No URL is fetched here.

use std::time::UNIX_EPOCH;

use axum::extract::{Request, State};
use axum::response::Response;
use llm_router::dialect::{Dialect, images};
use llm_router::error::Result;
use llm_router::image::ImageResponse;

use super::arrived::Arrived;
use crate::app::Server;

/// Answers in OpenAI's way.
pub(crate) async fn generate(State(server): State<Server>, request: Request) -> Response {
    let arrived = match Arrived::read(&server, Dialect::OpenaiChat, request).await {
        Ok(arrived) => arrived,
        Err(refused) => return refused,
    };
    let now = server.0.router.deps().clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let drawn = drawn(&server, &arrived).await;
    arrived.answer(drawn.as_ref().map_err(Clone::clone).map(|drawn| (images::encode_answer(drawn, now), drawn.trace())))
}

async fn drawn(server: &Server, arrived: &Arrived) -> Result<ImageResponse> {
    let mut ask = images::decode_request(&arrived.body)?;
    let said = arrived.said()?;
    (ask.riders, ask.cache) = (said.riders, said.cache);
    (ask.timeout, ask.timeouts) = (said.timeout, said.timeouts);
    server.0.router.image(arrived.op(ask)).await
}
