//! What an upstream is asked, where and with which key: each preset, each dialect, each model.

use super::*;

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

#[tokio::test]
async fn redirects_are_not_followed() {
    let upstream = Upstream::serve([Answer::with_headers(307, &[("location", "https://evil.example/x?y")], "")]).await;
    let error = fails(&lab(&upstream, |_| ()), call(false), ErrorKind::ProviderProtocol).await;
    assert!(error.message().contains("the host evil.example"), "{error}");
    assert_eq!(upstream.seen().requests.len(), 1);
}
