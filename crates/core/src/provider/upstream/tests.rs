//! The provider against an upstream that misbehaves.
#![allow(clippy::unwrap_used)]

use futures_util::StreamExt;
use serde_json::json;

use super::*;
use crate::config::{Credential, ProviderSettings};
use crate::delta::{Event, Part};
use crate::deps::SystemClock;
use crate::dialect::openai_chat::OpenaiChat;
use crate::dialect::{Dialect, RequestHead};
use crate::ids::{ProviderId, RequestId};
use crate::provider::{Context, Deadlines, http::HttpClient, presets};
use crate::request::{Origin, Privacy};
use crate::secret::Secret;
use crate::testing::conformance::{answers, fails, survives_drops};
use crate::testing::upstream::{Answer, Upstream};

fn settings(url: &str, change: impl FnOnce(&mut ProviderSettings)) -> ProviderSettings {
    let mut settings = ProviderSettings {
        base_url: Some(url.to_owned()),
        credentials: vec![Credential::Value(Secret::new("canary-key-0123456789"))],
        default_model: Some(ModelName::new("m-default").unwrap()),
        ..ProviderSettings::default()
    };
    change(&mut settings);
    settings
}

fn lab(upstream: &Upstream, change: impl FnOnce(&mut ProviderSettings)) -> HttpProvider {
    HttpProvider::new(&ProviderId::new("lab").unwrap(), &settings(&upstream.url("/v1"), change)).unwrap()
}

fn call_with(stream: bool, change: impl FnOnce(&mut Deadlines)) -> Call {
    let request = Request { stream, ..Request::new("hi") };
    let cx = Context::new(HttpClient::new(), Arc::new(SystemClock), RequestId::from_parts(1, 1));
    let mut call = Call::new(Arc::new(request), Target::new(ProviderId::new("lab").unwrap(), None), cx);
    change(&mut call.deadlines);
    call
}

fn call(stream: bool) -> Call {
    call_with(stream, |_| ())
}

fn whole(text: &str) -> Answer {
    let message = json!({"role": "assistant", "content": text});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4});
    let body = json!({"id": "c1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage});
    Answer::json(200, body.to_string())
}

fn message(text: &str) -> Answer {
    let usage = json!({"input_tokens": 3, "output_tokens": 1});
    let content = json!([{"type": "text", "text": text}]);
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": "end_turn", "stop_sequence": null, "usage": usage});
    Answer::json(200, body.to_string())
}

#[tokio::test]
async fn anthropic_is_asked_in_its_own_words() {
    let models = Answer::json(200, r#"{"data":[{"type":"model","id":"claude-haiku-4-5"}],"has_more":false}"#);
    let overloaded =
        Answer::json(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    let upstream = Upstream::serve([message("hello"), models, overloaded]).await;
    let id = ProviderId::new("anthropic").unwrap();
    let provider = HttpProvider::new(&id, &settings(&upstream.url("/v1"), |_| ())).unwrap();
    let response = answers(&provider, call(false)).await.unwrap();
    assert_eq!((response.text().as_str(), response.usage.unwrap().total()), ("hello", 4));
    let sent = upstream.last();
    assert_eq!((sent.target.as_str(), sent.header("x-api-key")), ("/v1/messages", "canary-key-0123456789"));
    assert_eq!(sent.header("anthropic-version"), "2023-06-01");
    assert_eq!(sent.json()["max_tokens"], 8192);
    let cx = call(false).cx;
    assert_eq!(Provider::list_models(&provider, &cx).await.unwrap(), [ModelName::new("claude-haiku-4-5").unwrap()]);
    let sent = upstream.last();
    assert_eq!((sent.target.as_str(), sent.header("anthropic-version")), ("/v1/models?limit=1000", "2023-06-01"));
    let error = Provider::generate(&provider, Arc::new(call(false))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderOverloaded);
}

fn chunk(text: &str) -> String {
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    json!({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}).to_string()
}

fn last_chunk() -> String {
    let choice = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    json!({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}).to_string()
}

fn streamed(words: &[&str]) -> Answer {
    let begun = words.iter().fold(Answer::sse(), |answer, word| answer.event(&chunk(word)));
    begun.event(&last_chunk()).event("[DONE]").end()
}

fn text_of(event: &Event) -> String {
    let text = |delta: &crate::delta::Delta| match delta {
        crate::delta::Delta::BlockDelta { part: Part::Text(text), .. } => Some(text.clone()),
        _ => None,
    };
    event.deltas.iter().filter_map(text).collect()
}

async fn until_text(stream: &mut DeltaStream, wanted: &str) {
    while let Some(event) = stream.next().await {
        if text_of(&event.unwrap()) == wanted {
            return;
        }
    }
    panic!("{wanted:?} never came");
}

#[tokio::test]
async fn a_whole_answer_and_what_was_sent_for_it() {
    let upstream = Upstream::serve([whole("hello")]).await;
    let lab = lab(&upstream, |s| drop(s.headers.insert("X-Team".into(), Secret::new("blue"))));
    let response = answers(&lab, call(false)).await.unwrap();
    assert_eq!((response.text().as_str(), response.usage.unwrap().total()), ("hello", 4));
    let sent = upstream.last();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(sent.header("authorization"), "Bearer canary-key-0123456789");
    assert_eq!((sent.header("x-team"), sent.header("content-type")), ("blue", "application/json"));
    assert_eq!(sent.json()["model"], "m-default");
    assert_eq!(sent.json()["messages"], json!([{"role": "user", "content": "hi"}]));
}

#[tokio::test]
async fn a_streamed_answer_leaves_its_connection_for_the_next() {
    let upstream = Upstream::serve([streamed(&["he", "llo"])]).await;
    let lab = lab(&upstream, |_| ());
    let first = call(true);
    let cx = first.cx.clone();
    assert_eq!(answers(&lab, first).await.unwrap().text(), "hello");
    let mut second = call(true);
    second.cx = cx;
    assert_eq!(answers(&lab, second).await.unwrap().text(), "hello");
    assert_eq!(upstream.last().json()["stream"], true);
    assert_eq!(upstream.seen().connections, 1);
}

#[tokio::test]
async fn every_preset_is_reached_where_its_row_says() {
    for preset in presets::PRESETS {
        let id = ProviderId::new(preset.id).unwrap();
        let how = super::setup::spoken(&settings("http://127.0.0.1:1/base", |_| ()), Some(preset)).preferred.how;
        let (path, answer) = match how.dialect {
            Dialect::OpenaiResponses => ("/responses", response("ok")),
            Dialect::Anthropic => ("/messages", message("ok")),
            // Its path names the model: `tests/gemini_provider.rs`.
            Dialect::Gemini => continue,
            _ => ("/chat/completions", whole("ok")),
        };
        let upstream = Upstream::serve([answer]).await;
        let provider = HttpProvider::new(&id, &settings(&upstream.url("/base"), |_| ())).unwrap();
        answers(&provider, call(false)).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
        let sent = upstream.last();
        assert_eq!(sent.target, format!("/base{}{path}", how.prefix), "{id}");
        let (header, value) = how.auth.header("canary-key-0123456789");
        assert_eq!(sent.header(header.as_str()), value, "{id}");
    }
}

fn response(text: &str) -> Answer {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let message =
        json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content});
    let usage = json!({"input_tokens": 3, "output_tokens": 1, "total_tokens": 4});
    let body = json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [message], "usage": usage});
    Answer::json(200, body.to_string())
}

/// The first dialect that a provider of this preset speaks, wherever it is.
fn first_spoken(id: &str, base_url: Option<&str>) -> Dialect {
    let settings = ProviderSettings { base_url: base_url.map(str::to_owned), ..ProviderSettings::default() };
    super::setup::spoken(&settings, presets::find(id)).preferred.how.dialect
}

#[test]
fn openai_is_asked_in_its_newer_dialect_and_who_stands_in_for_it_in_the_older() {
    assert_eq!(first_spoken("openai", None), Dialect::OpenaiResponses);
    assert_eq!(first_spoken("openai", Some("https://api.openai.com/v1/")), Dialect::OpenaiResponses);
    assert_eq!(first_spoken("openai", Some("http://127.0.0.1:8080/v1")), Dialect::OpenaiChat);
    assert_eq!(first_spoken("azure_openai", Some("https://lab.openai.azure.com")), Dialect::OpenaiResponses);
}

#[tokio::test]
async fn the_newer_dialect_is_asked_for_by_name() {
    let upstream = Upstream::serve([response("hello")]).await;
    let lab = lab(&upstream, |s| s.dialects = vec![Dialect::OpenaiResponses]);
    let answer = answers(&lab, call(false)).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.usage.unwrap().total()), ("hello", 4));
    let sent = upstream.last();
    assert_eq!(sent.target, "/v1/responses");
    assert_eq!(
        sent.json(),
        json!({"model": "m-default", "input": [{"type": "message", "role": "user", "content": "hi"}], "store": false})
    );
}

#[tokio::test]
async fn the_caller_framing_and_the_upstream_framing_may_differ() {
    let upstream = Upstream::serve([streamed(&["he", "llo"]), whole("hello"), whole("all")]).await;
    let provider = lab(&upstream, |s| s.upstream = Some(Framing::Stream));
    assert_eq!(answers(&provider, call(false)).await.unwrap().text(), "hello");
    assert_eq!(upstream.last().json()["stream"], true);
    let provider = lab(&upstream, |s| s.upstream = Some(Framing::Whole));
    assert_eq!(answers(&provider, call(true)).await.unwrap().text(), "hello");
    assert_ne!(upstream.last().json()["stream"], true);
    // Asked for a stream, this one answers whole all the same.
    let provider = lab(&upstream, |_| ());
    assert_eq!(answers(&provider, call(true)).await.unwrap().text(), "all");
}

#[tokio::test]
async fn an_upstream_that_breaks_its_protocol_is_told_by_kind() {
    let head = whole("hello").head_len();
    let page = "<!doctype html><title>Sign in</title>";
    let done = || Answer::sse().event(&chunk("he"));
    for (stream, answer, kind, words) in [
        (false, Answer::new(200, "text/html; charset=utf-8", page), ErrorKind::ProviderProtocol, "HTML"),
        (false, Answer::new(200, "text/plain", page), ErrorKind::ProviderProtocol, "HTML"),
        (true, Answer::new(200, "text/html", page), ErrorKind::ProviderProtocol, "HTML"),
        (false, Answer::json(200, "{\"id\":"), ErrorKind::ProviderProtocol, ""),
        (false, Answer::json(200, "[]"), ErrorKind::ProviderProtocol, ""),
        (false, whole("hello").cut_after(head + 20), ErrorKind::ProviderConnection, "broke"),
        (true, done().close(), ErrorKind::ProviderConnection, "broke"),
        (true, done().end(), ErrorKind::ProviderProtocol, ""),
        (true, done().event("{nonsense").end(), ErrorKind::ProviderProtocol, ""),
        (true, Answer::sse().end(), ErrorKind::ProviderProtocol, ""),
        (
            false,
            Answer::with_headers(200, &[("content-type", "application/json"), ("content-encoding", "gzip")], "x"),
            ErrorKind::ProviderProtocol,
            "compressed",
        ),
    ] {
        let upstream = Upstream::serve([answer]).await;
        let error = fails(&lab(&upstream, |_| ()), call(stream), kind).await;
        assert!(error.message().contains(words), "{error}");
        assert_eq!(error.model().unwrap().as_str(), "m-default");
    }
}

#[tokio::test]
async fn what_was_said_before_an_error_is_given_first() {
    let frames = format!("data: {}\n\ndata: {{nonsense\n\n", chunk("he"));
    let upstream = Upstream::serve([Answer::sse().chunk(&frames).end()]).await;
    let mut stream = Provider::generate(&lab(&upstream, |_| ()), Arc::new(call(true))).await.unwrap();
    until_text(&mut stream, "he").await;
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::ProviderProtocol);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn error_answers_become_errors_of_the_table() {
    let error = |text: &str| json!({"error": {"message": text}}).to_string();
    for (answer, kind, words) in [
        (Answer::json(400, error("bad field")), ErrorKind::ProviderRejected, "bad field"),
        (Answer::json(402, error("pay")), ErrorKind::ProviderBilling, "pay"),
        (Answer::json(500, error("oops")), ErrorKind::ProviderServerError, "oops"),
        (Answer::json(503, error("busy")), ErrorKind::ProviderOverloaded, "busy"),
        (Answer::new(502, "text/html", "<html><b>Bad gateway"), ErrorKind::ProviderServerError, "web page"),
        (Answer::json(500, vec![b'x'; 1 << 20]), ErrorKind::ProviderServerError, ""),
    ] {
        let upstream = Upstream::serve([answer]).await;
        let error = fails(&lab(&upstream, |_| ()), call(false), kind).await;
        assert!(error.message().contains(words) && !error.message().contains("<b>"), "{error}");
        assert!(error.status().is_some());
    }
    let limited = [("retry-after", "7"), ("content-type", "application/json")];
    let upstream = Upstream::serve([Answer::with_headers(429, &limited, error("slow"))]).await;
    let error = fails(&lab(&upstream, |_| ()), call(false), ErrorKind::ProviderRateLimited).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_400_on_the_callers_own_bytes_is_the_callers() {
    let upstream = Upstream::serve([Answer::json(400, "{\"error\":{\"message\":\"bad field\"}}")]).await;
    let body = r#"{"model":"m-default","messages":[{"role":"user","content":"hi"}]}"#;
    let head = RequestHead::post("/v1/chat/completions");
    let mut request = OpenaiChat::default().decode_request(&head, body.as_bytes()).unwrap();
    let origin = Origin::new(Dialect::OpenaiChat, head, body.into());
    request.origin = Some(Arc::new(origin));
    let call = Call { request: Arc::new(request), ..call(false) };
    fails(&lab(&upstream, |_| ()), call, ErrorKind::CallerInvalidRequest).await;
    assert_eq!(upstream.last().body, body);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let upstream = Upstream::serve([Answer::with_headers(307, &[("location", "https://evil.example/x?y")], "")]).await;
    let error = fails(&lab(&upstream, |_| ()), call(false), ErrorKind::ProviderProtocol).await;
    assert!(error.message().contains("the host evil.example"), "{error}");
    assert_eq!(upstream.seen().requests.len(), 1);
}

#[tokio::test]
async fn a_refused_key_is_masked_and_the_next_is_used_from_then_on() {
    let echo = json!({"error": {"message": "Incorrect API key provided: sk-canary0123456789abcdef"}}).to_string();
    let upstream = Upstream::serve([Answer::json(401, echo.clone()), whole("hello")]).await;
    let first = Credential::Value(Secret::new("sk-canary0123456789abcdef"));
    let provider = lab(&upstream, |s| s.credentials.insert(0, first.clone()));
    assert_eq!(answers(&provider, call(false)).await.unwrap().text(), "hello");
    answers(&provider, call(false)).await.unwrap();
    let keys: Vec<String> = upstream.seen().requests.iter().map(|r| r.header("authorization").to_owned()).collect();
    assert_eq!(keys.iter().filter(|key| key.contains("sk-canary")).count(), 1);
    assert_eq!(keys.len(), 3);

    let upstream = Upstream::serve([Answer::json(401, echo)]).await;
    let only = lab(&upstream, |s| s.credentials = vec![first]);
    let error = fails(&only, call(false), ErrorKind::ProviderAuth).await;
    let mark = only.login_mark().unwrap();
    assert!(mark != provider.login_mark().unwrap() && !mark.contains("canary"), "{mark}");
    assert_eq!(lab(&upstream, |s| s.credentials.clear()).login_mark(), None);
    assert!(!format!("{error:?} {error} {:?}", error.hint()).contains("canary"), "{error:?}");
}

#[tokio::test]
async fn each_deadline_is_kept() {
    const SHORT: Duration = Duration::from_millis(60);
    let begun = || Answer::sse().event(&chunk("he"));
    for (stream, answer, change, name) in [
        (false, Answer::raw("").stall(), (|d| d.whole = SHORT) as fn(&mut Deadlines), "whole"),
        (true, Answer::raw("").stall(), |d| d.first_event = SHORT, "first_event"),
        (true, Answer::sse().chunk(": working\n\n").stall(), |d| d.first_event = SHORT, "first_event"),
        (true, Answer::sse().event(&chunk("")).event(&chunk("")).stall(), |d| d.first_event = SHORT, "first_event"),
        (true, begun().stall(), |d| d.idle = SHORT, "idle"),
        (true, begun().stall(), |d| d.total = SHORT, "total"),
    ] {
        let upstream = Upstream::serve([answer]).await;
        let error = fails(&lab(&upstream, |_| ()), call_with(stream, change), ErrorKind::ProviderTimeout).await;
        assert!(error.hint().unwrap().contains(name), "{error:?}");
        upstream.until(|seen| seen.hung_up == 1).await;
    }
}

#[tokio::test]
async fn a_slow_reader_meets_no_deadline() {
    let gate = Arc::new(Semaphore::new(0));
    let answer = Answer::sse().event(&chunk("one")).gate(&gate).event(&chunk("two")).event(&last_chunk());
    let upstream = Upstream::serve([answer.event("[DONE]").end()]).await;
    let short = |d: &mut Deadlines| (d.idle, d.total) = (Duration::from_secs(1), Duration::from_secs(2));
    let mut stream = Provider::generate(&lab(&upstream, |_| ()), Arc::new(call_with(true, short))).await.unwrap();
    until_text(&mut stream, "one").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    gate.add_permits(1);
    until_text(&mut stream, "two").await;
}

#[tokio::test]
async fn dropping_or_cancelling_closes_the_connection_and_frees_the_place() {
    let hanging = || Answer::sse().event(&chunk("he")).stall();
    let upstream = Upstream::serve([hanging(), hanging(), Answer::raw("").stall(), whole("hello")]).await;
    let provider = lab(&upstream, |s| s.max_in_flight = Some(1));
    let mut stream = Provider::generate(&provider, Arc::new(call(true))).await.unwrap();
    until_text(&mut stream, "he").await;
    let error = fails(&provider, call(true), ErrorKind::ProviderOverloaded).await;
    assert!(error.message().contains("max_in_flight"), "{error}");
    drop(stream);
    upstream.until(|seen| seen.hung_up == 1).await;

    let cancelled = call(true);
    let token = cancelled.cx.cancel.clone();
    let mut stream = Provider::generate(&provider, Arc::new(cancelled)).await.unwrap();
    until_text(&mut stream, "he").await;
    token.cancel();
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::CallerCancelled);
    upstream.until(|seen| seen.hung_up == 2).await;

    {
        let waiting = Provider::generate(&provider, Arc::new(call(true)));
        let arrived = upstream.until(|seen| seen.requests.len() == 3);
        tokio::select! {
            _ = waiting => panic!("nobody answered"),
            _ = arrived => {}
        }
    }
    upstream.until(|seen| seen.hung_up == 3).await;
    assert_eq!(answers(&provider, call(false)).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn it_survives_being_dropped() {
    let upstream = Upstream::serve([streamed(&["a", "b"])]).await;
    let provider = lab(&upstream, |s| s.max_in_flight = Some(1));
    survives_drops(&provider, || call(true)).await;
}

#[tokio::test]
async fn the_model_is_the_named_one_with_its_provider_behind() {
    let upstream = Upstream::serve([whole("hello")]).await;
    let provider = lab(&upstream, |s| s.via = Some("together".into()));
    for (asked, sent) in [(None, "m-default:together"), (Some("a/b"), "a/b:together"), (Some("a/b:groq"), "a/b:groq")] {
        let mut call = call(false);
        call.target.model = asked.map(|name| ModelName::new(name).unwrap());
        answers(&provider, call).await.unwrap();
        assert_eq!(upstream.last().json()["model"], sent);
    }
}

#[tokio::test]
async fn a_server_of_ones_own_is_asked_which_model_it_has() {
    let list = Answer::json(200, r#"{"object":"list","data":[{"id":"loaded"},{"id":"other"}]}"#);
    let upstream = Upstream::serve([list, whole("a"), whole("b")]).await;
    let provider = lab(&upstream, |s| s.default_model = None);
    answers(&provider, call(false)).await.unwrap();
    assert_eq!(upstream.seen().requests[0].target, "/v1/models");
    answers(&provider, call(false)).await.unwrap();
    assert_eq!(upstream.last().json()["model"], "loaded");
    assert_eq!(upstream.seen().requests.len(), 3);
}

#[tokio::test]
async fn models_are_listed_on_demand() {
    let upstream = Upstream::serve([Answer::json(200, r#"{"data":[{"id":"a"}]}"#), Answer::json(401, "{}")]).await;
    let provider = lab(&upstream, |s| s.models = vec!["*".into(), "b".into()]);
    assert_eq!(Provider::models(&provider), [ModelName::new("b").unwrap()]);
    let cx = call(false).cx;
    let listed = provider.list_models(&cx).await.unwrap();
    assert_eq!(listed, [ModelName::new("a").unwrap()]);
    assert_eq!(upstream.last().header("authorization"), "Bearer canary-key-0123456789");
    let error = provider.list_models(&cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderAuth);
}

#[tokio::test]
async fn a_guessed_server_that_is_not_there_is_no_attempt_for_a_while() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/v1");
    let mut guess = HttpProvider::new(&ProviderId::new("llama_cpp").unwrap(), &ProviderSettings::default()).unwrap();
    assert!(guess.is_guess() && Provider::availability(&guess).is_ready());
    guess.base_url = Some(url.clone());
    fails(&guess, call(false), ErrorKind::ProviderUnavailable).await;
    let Availability::Missing { what, .. } = Provider::availability(&guess) else { panic!("it is there") };
    assert_eq!(what, format!("no llama_cpp answers at {url}"));
    tokio::time::pause();
    tokio::time::advance(REFUSED_FOR).await;
    assert!(Provider::availability(&guess).is_ready());
    // A configured address is no guess: its failure is one.
    let own = HttpProvider::new(&ProviderId::new("llama_cpp").unwrap(), &settings(&url, |_| ())).unwrap();
    assert!(!own.is_guess());
    tokio::time::resume();
    let error = fails(&own, call(false), ErrorKind::ProviderConnection).await;
    assert!(error.message().contains("refused: is the server running?"), "{error}");
}

#[tokio::test]
async fn a_guessed_server_that_is_something_else_never_sees_the_prompt() {
    for answer in [Answer::new(200, "text/html", "<html>my blog"), Answer::json(404, "{}"), Answer::json(200, "{}")] {
        let upstream = Upstream::serve([answer]).await;
        let mut guess =
            HttpProvider::new(&ProviderId::new("llama_cpp").unwrap(), &ProviderSettings::default()).unwrap();
        guess.base_url = Some(upstream.url("/v1"));
        fails(&guess, call(false), ErrorKind::ProviderUnavailable).await;
        assert!(!Provider::availability(&guess).is_ready());
        let seen = upstream.seen().requests;
        assert_eq!((seen.len(), seen[0].method.as_str()), (1, "GET"));
    }
}

#[test]
fn availability_says_what_is_missing() {
    let provider = |id: &str, change: fn(&mut ProviderSettings)| {
        let mut settings = ProviderSettings::default();
        change(&mut settings);
        HttpProvider::new(&ProviderId::new(id).unwrap(), &settings).unwrap()
    };
    let missing = |id: &str, change| match Provider::availability(&provider(id, change)) {
        Availability::Missing { what, .. } => what,
        Availability::Ready => "ready".into(),
    };
    assert_eq!(missing("openai", |_| ()), "OPENAI_API_KEY is not set");
    assert_eq!(missing("vllm", |_| ()), "no base_url is set");
    assert_eq!(
        missing("openai", |s| s.credentials = vec![Credential::File("/nonexistent".into())]),
        "the key file /nonexistent is not there"
    );
    assert_eq!(missing("openai", |s| s.base_url = Some("http://localhost:8080/v1".into())), "ready");
    assert_eq!(missing("anthropic", |s| s.credentials = vec![Credential::Value(Secret::new("k"))]), "ready");
    assert_eq!(provider("openai", |_| ()).describe.privacy, Privacy::Any);
    assert_eq!(provider("ollama", |_| ()).describe.privacy, Privacy::Local);
    assert_eq!(provider("lab", |s| s.base_url = Some("http://10.0.0.1/v1".into())).describe.privacy, Privacy::Any);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let id = ProviderId::new("lab").unwrap();
    for (change, words) in [
        ((|s| s.preset = Some("vlm".into())) as fn(&mut ProviderSettings), "\"vlm\" is no preset"),
        (|s| s.base_url = Some("lab:9100".into()), "not a usable URL"),
        (|s| s.base_url = Some("http://lab/v1?key=x".into()), "base_url holds a query"),
        (|s| drop(s.headers.insert("a b".into(), Secret::new("x"))), "\"a b\" is not a header's name"),
        (|s| drop(s.headers.insert("a".into(), Secret::new("x\ny"))), "control character"),
    ] {
        let error = HttpProvider::new(&id, &settings("http://127.0.0.1/v1", change)).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_a_token_counter_is_told_from_one_that_fails() {
    let counting = |answer: Answer| async move {
        let upstream = Upstream::serve([answer]).await;
        let id = ProviderId::new("anthropic").unwrap();
        let provider = HttpProvider::new(&id, &settings(&upstream.url("/v1"), |_| ())).unwrap();
        let mut call = call(false);
        call.target.model = Some(ModelName::new("m-1").unwrap());
        Provider::count_tokens(&provider, Arc::new(call)).await
    };
    let said = |kind: &str, text: &str| json!({"type": "error", "error": {"type": kind, "message": text}}).to_string();
    for none in [
        Answer::json(404, r#"{"detail":"Not Found"}"#),
        Answer::new(404, "text/plain", "404 page not found"),
        Answer::json(405, r#"{"detail":"Method Not Allowed"}"#),
        Answer::new(501, "text/html", "<html>"),
    ] {
        let error = counting(none).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
        assert!(error.message().contains("counts no tokens"), "{error}");
    }
    let unknown = counting(Answer::json(404, said("not_found_error", "model: m-1"))).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::CallerModelUnknown, "{unknown}");
    let failed = counting(Answer::json(500, said("api_error", "oops"))).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::ProviderServerError, "{failed}");
    assert_eq!(counting(Answer::json(200, r#"{"input_tokens":9}"#)).await.unwrap(), 9);
}

#[tokio::test]
async fn a_deployment_is_asked_under_its_own_name() {
    let upstream = Upstream::serve([whole("hello")]).await;
    let provider = lab(&upstream, |settings| {
        settings.preset = Some("azure_openai".into());
        settings.dialects = vec![Dialect::OpenaiChat];
        settings.api_version = Some("2024-10-21".into());
        settings.deployment = Some(ModelName::new("team-gpt").unwrap());
    });
    assert_eq!(answers(&provider, call(false)).await.unwrap().text(), "hello");
    let sent = upstream.last();
    assert_eq!(sent.target, "/openai/deployments/team-gpt/chat/completions?api-version=2024-10-21");
    assert_eq!((sent.header("api-key"), &sent.json()["model"]), ("canary-key-0123456789", &json!("team-gpt")));
}
