//! Whether there is one to ask, what it has and what it can: lists, guesses, settings that cannot be used.

use super::*;

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
