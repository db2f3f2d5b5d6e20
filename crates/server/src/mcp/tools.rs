//! The tools: their names, what they take and give, and what they do. A row of [`TOOLS`] and an arm of [`call`] each.

use std::sync::Arc;

use llm_router::cache::response::Stored;
use llm_router::cache::{Sha256Digest, StorageKey};
use llm_router::error::{Error, Result};
use llm_router::request::Request;
use llm_router::router::resolve::Door;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use rmcp::service::{RequestContext, RoleServer};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Mcp, generate};
use crate::door::Caller;
use crate::routes::native::explain::Explanation;
use crate::routes::native::generate::Generated;
use crate::routes::native::{Providers, cleared, may_clear};

/// A tool.
pub(super) struct Row {
    pub(super) name: &'static str,
    description: &'static str,
    /// Whether it changes nothing.
    reads: bool,
    input: fn() -> Schema,
    output: fn() -> Schema,
}

/// Every tool.
pub(super) const TOOLS: &[Row] = &[
    Row {
        name: "generate",
        description: "Generate text from a prompt. The answer says which provider and model gave it.",
        reads: true,
        input: taken::<generate::Wanted>,
        output: given::<Generated>,
    },
    Row {
        name: "list_providers",
        description: "List the providers and whether each could answer now. Nobody is asked.",
        reads: true,
        input: taken::<Nothing>,
        output: given::<Providers>,
    },
    Row {
        name: "list_models",
        description: "List the models that `generate` takes.",
        reads: true,
        input: taken::<ModelsOf>,
        output: given::<Models>,
    },
    Row {
        name: "cache_get",
        description: "Look up a stored answer by its key, as `generate` and `explain` print it.",
        reads: true,
        input: taken::<Key>,
        output: given::<Found>,
    },
    Row {
        name: "cache_clear",
        description: "Forget all stored answers.",
        reads: false,
        input: taken::<Nothing>,
        output: given::<Cleared>,
    },
    Row {
        name: "explain",
        description: "Say which providers would answer a prompt, in which order and why. Nothing is sent.",
        reads: true,
        input: taken::<generate::Wanted>,
        output: given::<Explanation>,
    },
];

pub(super) fn find(name: &str) -> Option<&'static Row> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// A tool as the protocol describes it.
pub(super) fn describe(tool: &Row) -> Tool {
    let object = |schema: Schema| match schema.to_value() {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    };
    let annotations = ToolAnnotations::new().read_only(tool.reads).destructive(!tool.reads);
    Tool::new(tool.name, tool.description, object((tool.input)()))
        .with_raw_output_schema(object((tool.output)()))
        .with_annotations(annotations)
}

/// The schema of what is written, where a field that may be left out is not required.
fn given<T: JsonSchema>() -> Schema {
    settings().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// The schema of what is read, where a field with a default is not required.
fn taken<T: JsonSchema>() -> Schema {
    settings().into_generator().into_root_schema_for::<T>()
}

/// Without the names of Rust's number types, which other languages' validators complain of.
fn settings() -> SchemaSettings {
    let plain = |schema: &mut Schema| {
        if schema
            .get("format")
            .is_some_and(|format| format.as_str().is_some_and(|name| name.starts_with(['u', 'i', 'd'])))
        {
            schema.remove("format");
        }
    };
    SchemaSettings::draft2020_12().with_transform(RecursiveTransform(plain))
}

/// No arguments.
#[derive(Debug, Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Debug, Deserialize, JsonSchema)]
struct ModelsOf {
    /// Only this provider's.
    #[serde(default)]
    provider: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Models {
    models: Vec<Model>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Model {
    /// What a request says in `model`.
    id: String,
    /// Who serves it.
    owner: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Key {
    /// The key.
    key: String,
}

/// A stored answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    text: String,
    provider: String,
    model: Option<String>,
    /// When it was stored, seconds since 1970.
    at: u64,
    /// The content identifier of what was said.
    cid: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cleared {
    /// How many answers were forgotten.
    cleared: u64,
}

/// Runs a tool. What goes wrong is the tool's result, for the model that asked to read.
pub(super) async fn call(
    mcp: &Mcp,
    tool: &Row,
    arguments: JsonObject,
    caller: &Caller,
    context: &RequestContext<RoleServer>,
) -> CallToolResult {
    let done = match tool.name {
        "generate" => match read(arguments) {
            Ok(wanted) => generate::run(mcp, wanted, caller, context).await,
            Err(error) => Err(error),
        },
        "list_providers" => {
            read::<Nothing>(arguments).and_then(|Nothing {}| structured(&Providers::of(&mcp.router, caller)))
        }
        "list_models" => match read(arguments) {
            Ok(of) => list_models(mcp, of, caller).await,
            Err(error) => Err(error),
        },
        "cache_get" => match read(arguments) {
            Ok(key) => cache_get(mcp, key, caller).await,
            Err(error) => Err(error),
        },
        "cache_clear" => match may_clear(caller, "caches") {
            Ok(()) => cleared(&mcp.router, caller).await.and_then(|cleared| structured(&Cleared { cleared })),
            Err(error) => Err(error),
        },
        "explain" => match read(arguments) {
            Ok(wanted) => explain(mcp, wanted, caller).await,
            Err(error) => Err(error),
        },
        other => Err(Error::internal(format!("the tool {other} has no code"))),
    };
    done.unwrap_or_else(|error| refused(&error))
}

/// In words alone: clients hold whatever is structured to the tool's schema.
fn refused(error: &Error) -> CallToolResult {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    CallToolResult::error(vec![ContentBlock::text(format!("{}: {error}{hint}", error.kind()))])
}

fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        Error::invalid(if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) })
    })
}

/// A result as JSON, with its text beside for clients that read only that.
pub(super) fn structured(value: &impl Serialize) -> Result<CallToolResult> {
    let value = serde_json::to_value(value)
        .map_err(|error| Error::internal(format!("the result has no JSON form: {error}")))?;
    Ok(CallToolResult::structured(value))
}

async fn list_models(mcp: &Mcp, of: ModelsOf, caller: &Caller) -> Result<CallToolResult> {
    let all = mcp.catalog.all(&mcp.router, caller).await;
    let wanted = all.iter().filter(|model| of.provider.as_ref().is_none_or(|provider| model.owner == *provider));
    let models = wanted.map(|model| Model { id: model.id.clone(), owner: model.owner.clone() }).collect();
    structured(&Models { models })
}

async fn cache_get(mcp: &Mcp, Key { key }: Key, caller: &Caller) -> Result<CallToolResult> {
    let shown: String = key.chars().take(80).collect();
    let digest = Sha256Digest::of_key(&key).ok_or_else(|| {
        Error::invalid(format!("key: {shown:?} is not a key")).with_hint("`generate` and `explain` print them")
    })?;
    let place = StorageKey { namespace: caller.namespace.clone(), digest };
    for tier in mcp.router.deps().cache.iter().flat_map(|cache| cache.tiers()) {
        let Some(value) = tier.get(&place).await? else { continue };
        let Ok(Stored { cid, response, provenance, .. }) = serde_json::from_slice(&value) else { continue };
        let model = provenance.model.map(String::from);
        let found = Found { text: response.text(), provider: provenance.provider, model, at: provenance.at, cid };
        return structured(&found);
    }
    Err(Error::invalid(format!("no answer is stored under {shown:?}"))
        .with_hint("`explain` prints the keys of a prompt"))
}

async fn explain(mcp: &Mcp, wanted: generate::Wanted, caller: &Caller) -> Result<CallToolResult> {
    let mut request: Request = wanted.into_request()?;
    request.riders.namespace.clone_from(&caller.namespace);
    request.riders.key.clone_from(&caller.key);
    structured(&Explanation { targets: mcp.router.explained(&request, Door::NativeApi).await? })
}
