//! Tools through the provider's door, with tiny models of random weights: what they say is noise, so a call can only come of the grammar.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use llm_router::ErrorKind;
use llm_router::delta::{Delta, FinishReason};
use llm_router::deps::SystemClock;
use llm_router::error::Result;
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::{Call, Context, Provider, Target};
use llm_router::request::{BlockBody, Message, Request, Role, ToolChoice};
use llm_router::response::{Folder, Response};
use llm_router_local::engine::EngineOptions;
use llm_router_local::provider::{LocalProvider, ModelFile, takes_tools};
use llm_router_local::testing::tiny::{self, Family};
use serde_json::{Value, json};

fn provider(path: &Path) -> LocalProvider {
    let file = ModelFile { path: path.to_owned(), name: ModelName::new("tiny").unwrap() };
    LocalProvider::new(ProviderId::new("local").unwrap(), file, EngineOptions::single())
}

async fn answer(provider: &LocalProvider, request: Request) -> Result<(Response, Vec<Delta>)> {
    let target = Target::new(ProviderId::new("local").unwrap(), None);
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    let mut stream = Provider::generate(provider, Arc::new(Call::new(Arc::new(request), target, cx))).await?;
    let mut deltas = Vec::new();
    while let Some(event) = stream.next().await {
        deltas.extend(event?.deltas);
    }
    let mut folder = Folder::default();
    deltas.iter().for_each(|delta| folder.push(delta));
    Ok((folder.finish().unwrap(), deltas))
}

fn weather(choice: ToolChoice, stream: bool) -> Request {
    let mut request = Request::new("Weather?");
    request.tools = serde_json::from_value(json!([
        { "name": "weather", "parameters": {
            "type": "object",
            "properties": { "where": { "$ref": "#/$defs/place" }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
            "required": ["where", "days"],
            "$defs": { "place": { "enum": ["Bonn", "Rome"] } },
        } },
        { "name": "time" },
    ]))
    .unwrap();
    request.tool_choice = Some(choice);
    request.stream = stream;
    request.sampling.seed = Some(1);
    request
}

#[tokio::test]
async fn a_forced_call_comes_even_of_noise() {
    let folder = tempfile::tempdir().unwrap();
    let shown = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    for (mark, file) in [("<tool_call>", "hermes"), ("[TOOL_CALLS]", "mistral"), ("<|python_tag|>", "llama")] {
        let path = folder.path().join(file).with_extension("gguf");
        let template = format!("{shown}{{# {mark} #}}");
        std::fs::write(&path, tiny::file(Family::Qwen, 7).set("tokenizer.chat_template", template.as_str()).bytes())
            .unwrap();
        assert!(takes_tools(&path));
        let provider = provider(&path);
        assert!(!provider.describe().capabilities.tools, "not known before it is loaded");
        for (choice, stream) in [(ToolChoice::Tool("weather".into()), true), (ToolChoice::Required, false)] {
            let forced_one = choice != ToolChoice::Required;
            let (response, deltas) = answer(&provider, weather(choice, stream)).await.unwrap();
            let choice = &response.choices[0];
            assert_eq!(choice.finish, FinishReason::ToolCalls, "{file}: {:?}", choice.content);
            let [block] = choice.content.as_slice() else { panic!("{file}: {:?}", choice.content) };
            let BlockBody::ToolCall { id, name, arguments } = &block.body else { panic!("{file}: {block:?}") };
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert!(id.len() == 9 && (name == "weather" || !forced_one), "{file}: {id} {name}");
            if name == "weather" {
                assert!(["Bonn", "Rome"].contains(&arguments["where"].as_str().unwrap()), "{file}: {arguments}");
                assert!((1..=9).contains(&arguments["days"].as_i64().unwrap()), "{file}: {arguments}");
            }
            assert_eq!(deltas.last(), Some(&Delta::End));
        }
        assert!(provider.describe().capabilities.tools, "known now");
    }
}

#[tokio::test]
async fn a_model_without_a_place_for_tools_refuses_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny::write(folder.path(), Family::Llama, 7).unwrap();
    assert!(!takes_tools(&path) && !takes_tools(&folder.path().join("missing.gguf")));
    let provider = provider(&path);
    let error = answer(&provider, weather(ToolChoice::Auto, true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported);
    assert!(error.message().contains("tools"), "{error}");
    let ignored = answer(&provider, weather(ToolChoice::None, true)).await.unwrap().0;
    assert_ne!(ignored.choices[0].finish, FinishReason::ToolCalls);
    assert!(!provider.describe().capabilities.tools);
}

#[tokio::test]
async fn calls_and_their_results_go_through_the_models_template() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(&tiny::write(folder.path(), Family::Qwen, 7).unwrap());
    let mut request = weather(ToolChoice::Auto, false);
    request.sampling.max_tokens = Some(8);
    let call =
        BlockBody::ToolCall { id: "c1".into(), name: "weather".into(), arguments: "{\"where\":\"Bonn\"}".into() };
    request.messages.push(Message::assistant(vec![call.into()]));
    let short = answer(&provider, request.clone()).await.unwrap().0.usage.unwrap();
    let result = BlockBody::ToolResult {
        call_id: "c1".into(),
        content: vec![llm_router::request::Block::text("sunny")],
        is_error: false,
    };
    request.messages.push(Message { role: Role::Tool, content: vec![result.into()], ..Message::user("") });
    let long = answer(&provider, request).await.unwrap().0.usage.unwrap();
    assert!(long.input > short.input + 5, "{short:?} {long:?}");
}
