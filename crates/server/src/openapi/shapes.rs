//! Shapes of foreign dialects, as far as this server promises them: their own makers describe them whole.

use schemars::{Schema, json_schema};

use super::Schemas;
use crate::error::Refused;
use crate::routes::models::{AnthropicList, AnthropicModel, GoogleList, GoogleModel, OpenaiList, OpenaiModel};
use crate::routes::tokens::{AnthropicCount, GoogleCount};

pub(super) fn object(_: &mut Schemas) -> Schema {
    json_schema!({ "type": "object" })
}

pub(super) fn anything(_: &mut Schemas) -> Schema {
    json_schema!({ "type": ["object", "array"] })
}

pub(super) fn text(_: &mut Schemas) -> Schema {
    json_schema!({ "type": "string" })
}

/// One of a stream's server-sent events, as readers of the document take such a media type.
pub(super) fn events(_: &mut Schemas) -> Schema {
    json_schema!({
        "type": "object",
        "description": "One server-sent event",
        "required": ["data"],
        "properties": {
            "event": { "type": "string" },
            "data": { "type": "string", "description": "JSON, or the dialect's mark of the end" },
        },
    })
}

fn any_of(shapes: impl IntoIterator<Item = Schema>) -> Schema {
    let shapes: Vec<Schema> = shapes.into_iter().collect();
    json_schema!({ "anyOf": shapes })
}

pub(super) fn models(schemas: &mut Schemas) -> Schema {
    any_of([schemas.written::<OpenaiList>(), schemas.written::<AnthropicList>(), schemas.written::<GoogleList>()])
}

pub(super) fn model(schemas: &mut Schemas) -> Schema {
    any_of([schemas.written::<OpenaiModel>(), schemas.written::<AnthropicModel>(), schemas.written::<GoogleModel>()])
}

pub(super) fn counted(schemas: &mut Schemas) -> Schema {
    schemas.written::<AnthropicCount>()
}

pub(super) fn google_counted(schemas: &mut Schemas) -> Schema {
    schemas.written::<GoogleCount>()
}

/// A request with a list of turns: OpenAI's and Anthropic's.
pub(super) fn messages(_: &mut Schemas) -> Schema {
    let turn = json_schema!({
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": { "enum": ["user", "assistant"] },
            "content": { "type": "string" },
        },
    });
    request("messages", &json_schema!({ "type": "array", "minItems": 1, "items": turn }))
}

/// A request of OpenAI's newer API.
pub(super) fn input(_: &mut Schemas) -> Schema {
    request("input", &json_schema!({ "type": "string" }))
}

/// A request of Google's, whose model stands in the path.
pub(super) fn contents(_: &mut Schemas) -> Schema {
    let part = json_schema!({
        "type": "object",
        "required": ["text"],
        "properties": { "text": { "type": "string" } },
    });
    let turn = json_schema!({
        "type": "object",
        "required": ["parts"],
        "properties": {
            "role": { "enum": ["user", "model"] },
            "parts": { "type": "array", "minItems": 1, "items": part },
        },
    });
    json_schema!({
        "type": "object",
        "required": ["contents"],
        "properties": { "contents": { "type": "array", "minItems": 1, "items": turn } },
    })
}

fn request(field: &str, shape: &Schema) -> Schema {
    json_schema!({
        "type": "object",
        "required": [field, "model"],
        "properties": {
            (field): shape,
            "model": { "type": "string", "description": "A route, `provider/model`, or a name that a provider lists" },
            "stream": { "type": "boolean" },
            "max_tokens": { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u64 },
        },
    })
}

pub(super) fn openai_refusal(_: &mut Schemas) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": { "message": { "type": "string" }, "type": { "type": "string" } },
        } },
    })
}

pub(super) fn anthropic_refusal(_: &mut Schemas) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": { "const": "error" },
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": { "message": { "type": "string" }, "type": { "type": "string" } },
            },
        },
    })
}

pub(super) fn google_refusal(_: &mut Schemas) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["code", "message", "status"],
            "properties": {
                "code": { "type": "integer" },
                "message": { "type": "string" },
                "status": { "type": "string" },
            },
        } },
    })
}

/// `/readyz` says in words that it is draining.
pub(super) fn ready_refusal(schemas: &mut Schemas) -> Schema {
    any_of([text(schemas), openai_refusal(schemas)])
}

/// Paths that several kinds of clients share.
pub(super) fn any_refusal(schemas: &mut Schemas) -> Schema {
    any_of([openai_refusal(schemas), anthropic_refusal(schemas), google_refusal(schemas), schemas.written::<Refused>()])
}

/// A key to be made.
pub(super) fn key(_: &mut Schemas) -> Schema {
    let (text, count) = (json_schema!({ "type": "string" }), json_schema!({ "type": "integer", "minimum": 0 }));
    let texts = json_schema!({ "type": "array", "items": { "type": "string" } });
    let money = json_schema!({
        "description": "A whole number of micro-dollars, or dollars as a text",
        "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "examples": ["2.00"] }],
    });
    let limits = json_schema!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "requests_per_minute": count,
            "tokens_per_minute": count,
            "max_tokens": { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u64 },
            "concurrency": count,
            "models": texts,
            "budget_per_day": money,
            "budget_per_month": money,
            "budget": money,
            "unpriced": { "type": "boolean" },
        },
    });
    json_schema!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": text,
            "role": { "enum": ["user", "admin"] },
            "team": text,
            "tags": texts,
            "expires": { "type": "integer", "minimum": 0, "description": "Seconds since 1970" },
            "limits": limits,
        },
    })
}
