//! The embedded model through the provider's door, with the default model (`common/mod.rs`).
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use futures_util::StreamExt;
use llm_router::ErrorKind;
use llm_router::delta::{Delta, Event, FinishReason};
use llm_router::deps::SystemClock;
use llm_router::error::Result;
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::{Call, Context, Provider, Target};
use llm_router::request::{Message, Request, ResponseFormat, Role};
use llm_router::response::{Folder, Response};
use llm_router_local::provider::{LocalProvider, ModelFile};

fn provider() -> LocalProvider {
    let file = ModelFile { path: common::model(), name: ModelName::new("smollm2-135m-instruct").unwrap() };
    LocalProvider::new(ProviderId::new("local").unwrap(), file, common::options(1))
}

fn call(request: Request, model: Option<&str>) -> Arc<Call> {
    let target = Target::new(ProviderId::new("local").unwrap(), model.map(|name| ModelName::new(name).unwrap()));
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    Arc::new(Call::new(Arc::new(request), target, cx))
}

fn question(stream: bool) -> Request {
    let mut request = Request::new("What is 2+2?");
    request.sampling.temperature = Some(0.0);
    request.stream = stream;
    request
}

async fn events(provider: &LocalProvider, call: Arc<Call>) -> Result<Vec<Event>> {
    let mut stream = Provider::generate(provider, call).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

fn fold(events: &[Event]) -> Response {
    let mut folder = Folder::default();
    events.iter().flat_map(|event| &event.deltas).for_each(|delta| folder.push(delta));
    folder.finish().unwrap()
}

#[tokio::test]
async fn what_a_strict_request_may_not_lose_is_refused_before_the_file_is_opened() {
    let file = ModelFile { path: "/nowhere/at-all.gguf".into(), name: ModelName::new("m").unwrap() };
    let provider = LocalProvider::new(ProviderId::new("local").unwrap(), file, common::options(1));
    let mut request = question(false);
    request.modalities = vec!["audio".into()];
    request.riders.strict = true;
    let error = events(&provider, call(request.clone(), None)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::CallerUnsupported && error.message().contains("modalities"), "{error}");
    request.riders.strict = false;
    let lenient = call(request, None);
    let error = events(&provider, Arc::clone(&lenient)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{error}");
    assert_eq!(lenient.cx.dropped(), ["modalities".into()]);
}

#[tokio::test]
async fn streamed_and_whole_say_the_same() {
    let provider = provider();
    assert!(provider.availability().is_ready());
    let streamed = events(&provider, call(question(true), None)).await.unwrap();
    let whole = events(&provider, call(question(false), Some("smollm2-135m-instruct"))).await.unwrap();
    assert!(streamed.len() > 5, "text comes as it is made");
    assert_eq!(whole.len(), 1, "whole stays whole");
    let (streamed, whole) = (fold(&streamed), fold(&whole));
    assert_eq!(streamed.text(), "The answer to this classic math problem is 4.");
    assert_eq!(whole.text(), streamed.text());
    assert_eq!(whole.model, "smollm2-135m-instruct");
    assert_eq!(whole.choices[0].finish, FinishReason::Stop);
    let (first, second) = (streamed.usage.unwrap(), whole.usage.unwrap());
    assert_eq!((first.cache_read, first.output), (0, 11));
    assert!(second.cache_read > 0, "the second prompt is not computed again");
}

#[tokio::test]
async fn it_goes_on_behind_the_beginning_of_an_answer() {
    let provider = provider();
    assert!(provider.describe().prefill);
    let mut begun = question(true);
    begun.messages.push(Message::text(Role::Assistant, "The answer to this classic"));
    begun.prefill = true;
    let response = fold(&events(&provider, call(begun.clone(), None)).await.unwrap());
    assert_eq!(response.text(), " math problem is 4.");
    begun.response_format = Some(ResponseFormat::JsonObject);
    let error = events(&provider, call(begun, None)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::CallerUnsupported && error.message().contains("beginning"), "{error}");
}

#[tokio::test]
async fn a_count_is_what_an_answer_to_the_same_says_it_read() {
    let provider = provider();
    let counted = Provider::count_tokens(&provider, call(question(false), None)).await.unwrap();
    let answered = fold(&events(&provider, call(question(false), None)).await.unwrap());
    assert_eq!(counted, answered.usage.unwrap().input);
    let error = Provider::count_tokens(&provider, call(question(false), Some("another"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown);
}

#[tokio::test]
async fn an_answer_can_be_bound_to_json() {
    let provider = provider();
    let mut request = Request::new("Describe a cat as JSON with name and age.");
    request.response_format = Some(ResponseFormat::JsonObject);
    request.sampling.temperature = Some(0.0);
    request.sampling.max_tokens = Some(80);
    let response = fold(&events(&provider, call(request, None)).await.unwrap());
    assert_eq!(response.choices[0].finish, FinishReason::Stop, "{}", response.text());
    assert!(serde_json::from_str::<serde_json::Value>(&response.text()).unwrap().is_object());
}

#[tokio::test]
async fn an_answer_can_be_bound_to_a_schema() {
    let provider = provider();
    let mut request = Request::new("Describe a cat.");
    let schema = r#"{"type":"object","properties":{"age":{"type":"integer","minimum":1,"maximum":20},"colour":{"enum":["black","red"]}},"required":["age","colour"]}"#;
    let schema = format!(r#"{{"name":"cat","schema":{schema}}}"#);
    request.response_format = Some(ResponseFormat::JsonSchema(serde_json::from_str(&schema).unwrap()));
    request.sampling.temperature = Some(1.0);
    request.sampling.seed = Some(5);
    let text = fold(&events(&provider, call(request, None)).await.unwrap()).text();
    let cat: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!((1..=20).contains(&cat["age"].as_i64().unwrap()), "{text}");
    assert!(["black", "red"].contains(&cat["colour"].as_str().unwrap()), "{text}");
}

#[tokio::test]
async fn log_probabilities_name_their_tokens() {
    let provider = provider();
    let mut request = question(true);
    request.sampling.top_logprobs = Some(2);
    let deltas: Vec<_> =
        events(&provider, call(request, None)).await.unwrap().into_iter().flat_map(|event| event.deltas).collect();
    let tokens: Vec<_> = deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::BlockDelta { part: llm_router::delta::Part::Logprobs(tokens), .. } => Some(tokens),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(tokens.len(), 11);
    assert!(tokens.iter().all(|token| token.top.len() == 2 && token.bytes.is_none()));
}

#[tokio::test]
async fn errors_have_their_kind_and_say_where() {
    let provider = provider();
    let mut long = question(true);
    long.messages.push(Message::user("word ".repeat(2000)));
    let mut grammar = question(true);
    let fields = grammar.extra.entry(llm_router::dialect::Dialect::OpenaiChat).or_default();
    fields.insert("grammar".into(), llm_router::request::RawJson::parse("\"root ::= (\"").unwrap());
    for (request, model, kind, what) in [
        (long, None, ErrorKind::CallerContextLength, "1024"),
        (grammar, None, ErrorKind::CallerInvalidRequest, "grammar"),
        (question(true), Some("other"), ErrorKind::CallerModelUnknown, "other"),
    ] {
        let error = events(&provider, call(request, model)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(what), "{error}");
        assert_eq!(error.provider().map(ProviderId::as_str), Some("local"));
    }
}

#[tokio::test]
async fn a_cancelled_call_ends_and_the_next_one_runs() {
    let provider = provider();
    let mut request = question(true);
    request.sampling.max_tokens = Some(900);
    request.sampling.logit_bias.extend([("0".to_owned(), -100.0), ("2".to_owned(), -100.0)]);
    let cancelled = call(request, None);
    let mut stream = Provider::generate(&provider, Arc::clone(&cancelled)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    cancelled.cx.cancel.cancel();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    assert_eq!(last.unwrap().unwrap_err().kind(), ErrorKind::CallerCancelled);
    assert_eq!(fold(&events(&provider, call(question(false), None)).await.unwrap()).choices.len(), 1);
}

#[tokio::test]
async fn a_missing_file_is_said_without_opening_anything() {
    let file = ModelFile { path: "/nowhere/model.gguf".into(), name: ModelName::new("m").unwrap() };
    let provider = LocalProvider::new(ProviderId::new("local").unwrap(), file, common::options(1));
    assert!(!provider.availability().is_ready());
    let error = events(&provider, call(question(true), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
    assert!(error.message().contains("/nowhere/model.gguf"), "{error}");
}
