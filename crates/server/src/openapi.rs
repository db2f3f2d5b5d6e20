//! `GET /openapi.json`: what this server answers, as an OpenAPI 3.1 document made from the types that are read and written.
//!
//! Schemas come from `schemars`, which the MCP SDK brings along and which speaks JSON Schema 2020-12, the schema language of OpenAPI 3.1; a second generator would
//! describe the same types in other words. Requests of foreign dialects are described as far as this router depends on them: their makers' documents say the
//! rest, and unknown fields pass. To add an operation: a row in `openapi/operations.rs`.

mod operations;
mod shapes;

use std::sync::OnceLock;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use self::operations::{OPERATIONS, Operation};
use crate::body;

/// Where schemas of named types stand.
const COMPONENTS: &str = "/components/schemas";

/// `GET /openapi.json`.
pub(crate) async fn document() -> Response {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    body::json(StatusCode::OK, DOCUMENT.get_or_init(|| Bytes::from(write().to_string())).clone())
}

/// What collects the schemas of a document.
pub(crate) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = COMPONENTS.into());
        Self { read: settings().into_generator(), written: settings().for_serialize().into_generator() }
    }

    /// The schema of what is read: a field with a default is not required.
    pub(crate) fn read<T: JsonSchema>(&mut self) -> Schema {
        self.read.subschema_for::<T>()
    }

    /// The schema of what is written: a field that may be left out is not required.
    pub(crate) fn written<T: JsonSchema>(&mut self) -> Schema {
        self.written.subschema_for::<T>()
    }

    fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        all.extend(self.written.take_definitions(true));
        all
    }
}

/// The document.
pub(crate) fn write() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let described = describe(operation, &mut schemas);
        if let Value::Object(methods) = paths.entry(operation.path).or_insert_with(|| json!({})) {
            methods.insert(operation.method.to_owned(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ipfs-llm-router",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One router for text generation. Requests in several dialects, one answer shape for each; every error in the shape of the dialect asked in.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_components(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "x-goog-api-key": { "type": "apiKey", "in": "header", "name": "x-goog-api-key" },
            },
        },
        // A server without keys asks for none.
        "security": [{}, { "bearer": [] }, { "x-api-key": [] }, { "x-goog-api-key": [] }],
    })
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = Map::new();
    described.insert("operationId".to_owned(), json!(operation.id));
    described.insert("summary".to_owned(), json!(operation.summary));
    described.insert("tags".to_owned(), json!([operation.tag]));
    let inner = operation.path.match_indices('{').filter_map(|(at, _)| operation.path.get(at + 1..)?.split('}').next());
    let parameters: Vec<Value> = inner
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }))
        .collect();
    if !parameters.is_empty() {
        described.insert("parameters".to_owned(), json!(parameters));
    }
    if let Some(request) = operation.request {
        let content = json!({ "application/json": { "schema": request(schemas) } });
        described.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    let mut content = Map::new();
    for (media, shape) in operation.answers {
        content.insert((*media).to_owned(), json!({ "schema": shape(schemas) }));
    }
    let refused = json!({ "application/json": { "schema": (operation.refused)(schemas) } });
    let refusal = |what: &str| json!({ "description": what, "content": refused });
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "The answer", "content": content }));
    responses.insert("4XX".to_owned(), refusal("The request, or a rule of this server, does not allow it"));
    responses.insert("5XX".to_owned(), refusal("Nobody could answer"));
    described.insert("responses".to_owned(), Value::Object(responses));
    Value::Object(described)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every `$ref` of a document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = write();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    /// What is no part of the document, with the reason.
    const UNDESCRIBED: &[(&str, &str)] = &[
        ("/", "a page for people"),
        ("/metrics", "Prometheus's text, for the owner"),
        ("/docs", "this document as a page, for the owner"),
        ("/mcp", "a protocol of its own, which describes itself"),
        ("/passthrough/{*rest}", "what the provider's own documents describe"),
        ("/api/v0/ai", "the same as with a slash at its end"),
        ("/api/v0/ai/llm/", "the same as without the slash"),
    ];

    /// The paths of `app.rs`, as they stand there.
    fn routes() -> Vec<&'static str> {
        let source = include_str!("app.rs");
        let calls = source.split(".route").skip(1);
        let literals =
            calls.filter_map(|rest| rest.split('(').nth(1)?.trim_start().strip_prefix('"')?.split('"').next());
        literals.collect()
    }

    #[test]
    fn every_route_is_described_and_on_the_page_of_the_surfaces() {
        let page = include_str!("../../../docs/http.md");
        let routes = routes();
        assert!(routes.len() > 20 && routes.contains(&"/v1/responses"), "{routes:?}");
        for route in routes {
            // What stands for the rest of a path there is a parameter here.
            let begin = route.split('{').next().unwrap();
            let described =
                OPERATIONS.iter().any(|row| row.path == route || (begin != route && row.path.starts_with(begin)));
            let left_out = UNDESCRIBED.iter().any(|(path, _)| *path == route);
            assert!(described != left_out, "{route} needs a row in openapi/operations.rs, or a reason in UNDESCRIBED");
            let named = begin.trim_end_matches('/');
            let on_the_page = ["`", " "].iter().any(|before| page.contains(&format!("{before}{named}")));
            assert!(on_the_page, "docs/http.md does not name {route}");
        }
    }

    #[test]
    fn what_may_be_left_out_is_not_required() {
        let document = write();
        let required = |name: &str| document["components"]["schemas"][name]["required"].to_string();
        assert_eq!(required("Generate"), r#"["prompt"]"#);
        assert!(required("Generated").contains("cached") && !required("Generated").contains("dropped"));
    }
}
