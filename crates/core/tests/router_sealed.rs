//! What only its maker can read goes back to its maker, and to nobody else.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use bytes::Bytes;
use llm_router::config::{RouteSettings, Settings};
use llm_router::delta::{Event, FinishReason};
use llm_router::deps::RouterDeps;
use llm_router::dialect::{Dialect, RequestHead};
use llm_router::ids::ModelName;
use llm_router::provider::{Describe, Provider};
use llm_router::request::{Block, BlockBody, Message, Origin, RawJson, Request};
use llm_router::response::{Choice, Response};
use llm_router::router::Router;
use llm_router::router::resolve::Entry;
use llm_router::testing::scripted::{Scripted, Turn};
use llm_router::{Error, ErrorKind};
use serde_json::json;

/// A thought with a seal on it, one that is all sealed, a provider's own details, and the words.
fn thoughts() -> Vec<Block> {
    let details = json!([{"type": "reasoning.encrypted", "data": "sealed-details", "index": 0}]);
    vec![
        BlockBody::Reasoning { text: "hm".into(), signature: Some("seal-1".into()), redacted: false }.into(),
        BlockBody::Reasoning { text: String::new(), signature: Some("seal-2".into()), redacted: true }.into(),
        BlockBody::Provider { dialect: Dialect::OpenaiChat, kind: "reasoning_details".into(), raw: details }.into(),
        Block::text("words"),
    ]
}

fn answer() -> Turn {
    let mut response = Response::default();
    response.choices = vec![Choice { index: 0, content: thoughts(), finish: FinishReason::Stop, raw_reason: None }];
    Turn::Events(response.to_deltas().into_iter().map(|delta| Ok(Event::from(delta))).collect())
}

fn speaking(describe: Describe) -> Describe {
    describe.with_dialects(vec![Dialect::OpenaiChat])
}

/// `a`, which answers with thoughts, and fails when it is asked again if it `fails`; and `b`, which always answers.
fn providers(fails: bool) -> (Arc<Scripted>, Arc<Scripted>) {
    let down = Turn::Fail(Error::new(ErrorKind::ProviderUnavailable, "down"));
    let turns = if fails { vec![answer(), down] } else { vec![answer()] };
    let a = Arc::new(Scripted::new("a", turns).describing(speaking));
    (a, Arc::new(Scripted::text("b", "other").describing(speaking)))
}

fn router(a: &Arc<Scripted>, b: &Arc<Scripted>) -> Router {
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["a/m".into(), "b/m".into()]];
    let mut settings = Settings::default();
    settings.routes.insert("both".into(), route);
    let entries = [a, b].map(|provider| Entry::new(provider.describe().id.clone(), Arc::clone(provider) as _));
    Router::new(RouterDeps::default(), Arc::new(settings), entries.into())
}

fn naming(model: &str, messages: Vec<Message>) -> Request {
    let mut request = Request::default();
    request.model = Some(model.into());
    request.messages = messages;
    request
}

fn later(model: &str, thoughts: Vec<Block>) -> Request {
    naming(model, vec![Message::user("hi"), Message::assistant(thoughts), Message::user("go on")])
}

fn received(mut request: Request, dialect: Dialect) -> Request {
    let body = Bytes::from_static(b"{}");
    request.origin = Some(Arc::new(Origin::new(dialect, RequestHead::post("/"), body)));
    request
}

/// The blocks of the model's earlier turn, as a provider saw them last.
fn seen(provider: &Scripted) -> Vec<Block> {
    let call = provider.calls().last().unwrap().clone();
    call.request.messages.iter().find(|message| message.content != [Block::text("hi")]).unwrap().content.clone()
}

fn unsealed() -> Vec<Block> {
    vec![BlockBody::Reasoning { text: "hm".into(), signature: None, redacted: false }.into(), Block::text("words")]
}

const NAMES: [&str; 3] = [
    "messages[1].content[0].signature",
    "messages[1].content[1]",
    "messages[1].content[2].openai_chat.reasoning_details",
];

#[tokio::test]
async fn a_seal_goes_back_to_who_made_it() {
    let (a, b) = providers(false);
    let router = router(&a, &b);
    let response = router.generate(naming("both", vec![Message::user("hi")])).await.unwrap();
    let content = response.choices[0].content.clone();
    assert_eq!(content, thoughts());
    // Whatever the caller speaks: this router saw the answer pass.
    let response = router.generate(later("both", content)).await.unwrap();
    assert_eq!(seen(&a), thoughts());
    assert!(response.trace().unwrap().dropped.is_empty());
}

#[tokio::test]
async fn another_target_does_not_see_it_and_the_answer_says_so() {
    let (a, b) = providers(true);
    let router = router(&a, &b);
    let response = router.generate(naming("both", vec![Message::user("hi")])).await.unwrap();
    let request = received(later("both", response.choices[0].content.clone()), Dialect::OpenaiChat);
    let response = router.generate(request).await.unwrap();
    assert_eq!(response.text(), "other");
    assert_eq!(seen(&a), thoughts(), "the first choice made it");
    assert_eq!(seen(&b), unsealed());
    let sent = b.calls()[0].request.clone();
    assert!(sent.origin.is_none(), "the body as received holds the seals");
    let dropped: Vec<String> = response.trace().unwrap().dropped.iter().map(ToString::to_string).collect();
    assert_eq!(dropped, NAMES);
}

#[tokio::test]
async fn another_model_of_the_same_provider_is_another_target() {
    let (a, b) = providers(false);
    let router = router(&a, &b);
    let response = router.generate(naming("a/m", vec![Message::user("hi")])).await.unwrap();
    router.generate(later("a/n", response.choices[0].content.clone())).await.unwrap();
    assert_eq!(a.calls()[1].target.model, Some(ModelName::new("n").unwrap()));
    assert_eq!(seen(&a), unsealed());
}

#[tokio::test]
async fn an_unknown_seal_goes_only_to_the_target_that_is_meant_in_its_own_dialect() {
    for (dialect, kept) in [
        (None, false),
        (Some(Dialect::Anthropic), false),
        (Some(Dialect::Native), false),
        (Some(Dialect::OpenaiChat), true),
    ] {
        let down = [Turn::Fail(Error::new(ErrorKind::ProviderUnavailable, "down"))];
        let a = Arc::new(Scripted::new("a", down).describing(speaking));
        let b = Arc::new(Scripted::text("b", "other").describing(speaking));
        let request = later("both", thoughts());
        let request = match dialect {
            Some(dialect) => received(request, dialect),
            None => request,
        };
        router(&a, &b).generate(request).await.unwrap();
        assert_eq!(seen(&a), if kept { thoughts() } else { unsealed() }, "{dialect:?}");
        assert_eq!(seen(&b), unsealed(), "{dialect:?}: nobody meant the second choice");
    }
}

#[tokio::test]
async fn a_field_beside_the_blocks_is_no_loophole() {
    let (a, b) = providers(false);
    let mut request = later("b/m", vec![Block::text("words")]);
    let fields = [("reasoning_opaque", "\"x\""), ("kind", "\"open\"")];
    let fields = fields.map(|(name, value)| (name.to_owned(), RawJson::parse(value).unwrap()));
    request.messages[1].extra.insert(Dialect::OpenaiChat, fields.into_iter().collect());
    let response = router(&a, &b).generate(request).await.unwrap();
    let sent = b.calls()[0].request.messages[1].extra[&Dialect::OpenaiChat].clone();
    assert_eq!(sent.keys().collect::<Vec<_>>(), ["kind"]);
    let dropped: Vec<String> = response.trace().unwrap().dropped.iter().map(ToString::to_string).collect();
    assert_eq!(dropped, ["messages[1].openai_chat.reasoning_opaque"]);
}

#[tokio::test]
async fn a_turn_that_is_all_sealed_goes_as_a_whole_and_what_is_open_stays_as_received() {
    let (a, b) = providers(false);
    let router = router(&a, &b);
    let sealed = BlockBody::Reasoning { text: String::new(), signature: Some("x".into()), redacted: true };
    router.generate(later("b/m", vec![sealed.into()])).await.unwrap();
    assert_eq!(b.calls()[0].request.messages, [Message::user("hi"), Message::user("go on")]);
    let open = received(later("b/m", unsealed()), Dialect::OpenaiChat);
    router.generate(open.clone()).await.unwrap();
    assert_eq!(*b.calls()[1].request, open);
}
