//! The operations of the document, one row each. A route that has no row is found by the tests of `../openapi.rs`, a row
//! that is no route by `tests/surfaces.rs`, and an answer of another shape by `make test-openapi`.

use llm_router::dialect::gemini::embed;
use llm_router::dialect::{embeddings, images};
use schemars::Schema;

use super::{Schemas, shapes};
use crate::error::Refused;
use crate::routes::completions::{Completed, Completion};
use crate::routes::native::explain::Explanation;
use crate::routes::native::generate::{Generate, Generated};
use crate::routes::native::{Components, Done, Health, Info, Providers};

type Shape = fn(&mut Schemas) -> Schema;

/// A row of the document.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) request: Option<Shape>,
    /// Media type → shape of a good answer.
    pub(super) answers: &'static [(&'static str, Shape)],
    pub(super) refused: Shape,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

impl Operation {
    const fn get(path: &'static str, id: &'static str, answers: &'static [(&'static str, Shape)]) -> Self {
        let refused: Shape = Schemas::written::<Refused>;
        Self { method: "get", path, id, tag: "native", summary: "", request: None, answers, refused }
    }

    const fn post(path: &'static str, id: &'static str, answers: &'static [(&'static str, Shape)]) -> Self {
        Self { method: "post", ..Self::get(path, id, answers) }
    }

    const fn delete(path: &'static str, id: &'static str, answers: &'static [(&'static str, Shape)]) -> Self {
        Self { method: "delete", ..Self::get(path, id, answers) }
    }

    const fn patch(path: &'static str, id: &'static str, answers: &'static [(&'static str, Shape)]) -> Self {
        Self { method: "patch", ..Self::get(path, id, answers) }
    }

    const fn about(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn takes(self, request: Shape) -> Self {
        Self { request: Some(request), ..self }
    }

    const fn of(self, tag: &'static str, refused: Shape) -> Self {
        Self { tag, refused, ..self }
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("/api/v0/ai/", "components", &[(JSON, Schemas::written::<Components>)]).about("The parts of the API"),
    Operation::get("/api/v0/ai/llm", "info", &[(JSON, Schemas::written::<Info>)]).about("What the router is"),
    Operation::post(
        "/api/v0/ai/llm/generate",
        "generate",
        &[(JSON, Schemas::written::<Generated>), (EVENTS, shapes::events)],
    )
    .about("Generate text from a prompt; with `stream`, as server-sent events of native deltas, the last one named `done` or `error`")
    .takes(Schemas::read::<Generate>),
    Operation::post("/api/v0/ai/llm/explain", "explain", &[(JSON, Schemas::written::<Explanation>)])
        .about("Who would answer a request, in which order and why, with prices, breakers and the keys of stored answers; nothing is sent")
        .takes(Schemas::read::<Generate>),
    Operation::get("/api/v0/ai/llm/requests/{id}", "request", &[(JSON, shapes::object)])
        .about("What happened to a request of late: who was considered, asked and held back, and how each went: of the key's own requests, of anybody's for administration. 404 where nothing is known of it any more"),
    Operation::get("/api/v0/ai/llm/providers", "providers", &[(JSON, Schemas::written::<Providers>)])
        .about("Who could answer now"),
    Operation::get("/api/v0/ai/llm/health", "health", &[(JSON, Schemas::written::<Health>)])
        .about("Whether anybody could answer"),
    Operation::post("/api/v0/ai/llm/cache/clear", "clear_cache", &[(JSON, Schemas::written::<Done>)])
        .about("Forget the caller's stored answers"),
    Operation::post("/api/v0/ai/llm/breakers/clear", "clear_breakers", &[(JSON, Schemas::written::<Done>)])
        .about("Close all breakers, so that every provider is asked again; for an admin key, or where there are no keys"),
    Operation::get("/api/v0/ai/llm/keys", "keys", &[(JSON, shapes::object)])
        .about("The keys of clients, for administration; nothing that opens anything"),
    Operation::post("/api/v0/ai/llm/keys", "create_key", &[(JSON, shapes::object)])
        .about("Make a key, for administration: it is in this answer and nowhere else")
        .takes(shapes::key),
    Operation::patch("/api/v0/ai/llm/keys/{key}", "update_key", &[(JSON, shapes::object)])
        .about("Change what a key may do, for administration: what is not named stays, `null` takes a limit away")
        .takes(shapes::object),
    Operation::delete("/api/v0/ai/llm/keys/{key}", "revoke_key", &[(JSON, shapes::object)])
        .about("Revoke a key by its name or id, for administration"),
    Operation::get("/api/v0/ai/llm/keys/log", "key_log", &[(JSON, shapes::object)])
        .about("What was done to keys and by whom, for administration"),
    Operation::get("/api/v0/ai/llm/usage", "usage", &[(JSON, shapes::object)])
        .about("What was used and what it cost: of all keys for administration, else of the key that asks; `?by=` names day, key, team, provider or model, several with commas between; `?since=` and `?until=` are days, `?of=` is the name or the id of a key, or both as `by=key` shows them with `%23` for `#`"),
    Operation::get("/v1/models", "models", &[(JSON, shapes::models)])
        .about("The models that can be named, in the shape that the headers ask for")
        .of("models", shapes::any_refusal),
    Operation::get("/v1/models/{model}", "model", &[(JSON, shapes::model)])
        .about("One model; its name may hold slashes")
        .of("models", shapes::any_refusal),
    Operation::get("/v1beta/models", "google_models", &[(JSON, shapes::models)])
        .about("The models that can be named, in Google's shape")
        .of("gemini", shapes::google_refusal),
    Operation::get("/v1beta/models/{model}", "google_model", &[(JSON, shapes::model)])
        .about("One model, in Google's shape")
        .of("gemini", shapes::google_refusal),
    Operation::post("/v1/chat/completions", "chat", &[(JSON, shapes::object), (EVENTS, shapes::events)])
        .about("OpenAI's chat completions")
        .takes(shapes::messages)
        .of("openai", shapes::openai_refusal),
    Operation::post("/v1/completions", "complete", &[(JSON, Schemas::written::<Completed>), (EVENTS, shapes::events)])
        .about("OpenAI's first completions: a prompt is a user's turn")
        .takes(Schemas::read::<Completion>)
        .of("openai", shapes::openai_refusal),
    Operation::post("/v1/embeddings", "embeddings", &[(JSON, Schemas::written::<embeddings::Answer<'static>>)])
        .about("OpenAI's embeddings: numbers, or base64 of four bytes a number")
        .takes(Schemas::read::<embeddings::Asked>)
        .of("openai", shapes::openai_refusal),
    Operation::post("/v1/images/generations", "images", &[(JSON, Schemas::written::<images::Answer<'static>>)])
        .about("OpenAI's pictures: base64 or URLs, as the provider gives them")
        .takes(Schemas::read::<images::Asked>)
        .of("openai", shapes::openai_refusal),
    Operation::post("/v1/responses", "responses", &[(JSON, shapes::object), (EVENTS, shapes::events)])
        .about("OpenAI's responses")
        .takes(shapes::input)
        .of("openai", shapes::openai_refusal),
    Operation::get("/v1/responses/{id}", "response", &[(JSON, shapes::object)])
        .about("An answer that was kept: by `store`, for the key that made it")
        .of("openai", shapes::openai_refusal),
    Operation::delete("/v1/responses/{id}", "forget_response", &[(JSON, shapes::object)])
        .about("Forget an answer that was kept")
        .of("openai", shapes::openai_refusal),
    Operation::post("/v1/messages", "messages", &[(JSON, shapes::object), (EVENTS, shapes::events)])
        .about("Anthropic's messages")
        .takes(shapes::messages)
        .of("anthropic", shapes::anthropic_refusal),
    Operation::post("/v1/messages/count_tokens", "count_tokens", &[(JSON, shapes::counted)])
        .about("How many tokens a request of Anthropic's has; `estimated` where nobody could count them exactly")
        .takes(shapes::messages)
        .of("anthropic", shapes::anthropic_refusal),
    Operation::post(
        "/v1beta/models/{model}:generateContent",
        "generate_content",
        &[(JSON, shapes::object), (EVENTS, shapes::events)],
    )
    .about("Google's generateContent")
    .takes(shapes::contents)
    .of("gemini", shapes::google_refusal),
    Operation::post(
        "/v1beta/models/{model}:streamGenerateContent",
        "stream_generate_content",
        &[(JSON, shapes::anything), (EVENTS, shapes::events)],
    )
    .about("Google's streamGenerateContent; server-sent events with `?alt=sse`")
    .takes(shapes::contents)
    .of("gemini", shapes::google_refusal),
    Operation::post("/v1beta/models/{model}:countTokens", "google_count_tokens", &[(JSON, shapes::google_counted)])
        .about("How many tokens a request of Google's has")
        .takes(shapes::contents)
        .of("gemini", shapes::google_refusal),
    Operation::post("/v1beta/models/{model}:embedContent", "embed_content", &[(JSON, Schemas::written::<embed::Embedded<'static>>)])
        .about("Google's embedding of one text")
        .takes(Schemas::read::<embed::One>)
        .of("gemini", shapes::google_refusal),
    Operation::post("/v1beta/models/{model}:batchEmbedContents", "embed_contents", &[(JSON, Schemas::written::<embed::AllEmbedded<'static>>)])
        .about("Google's embeddings of several texts")
        .takes(Schemas::read::<embed::Batch>)
        .of("gemini", shapes::google_refusal),
    Operation::get("/openapi.json", "openapi", &[(JSON, shapes::object)])
        .about("This document")
        .of("server", shapes::openai_refusal),
    Operation::get("/healthz", "alive", &[("text/plain", shapes::text)])
        .about("Whether the process turns")
        .of("server", shapes::openai_refusal),
    Operation::get("/readyz", "ready", &[("text/plain", shapes::text)])
        .about("Whether the server wants traffic")
        .of("server", shapes::ready_refusal),
];
