//! Why, over HTTP: who would answer a request, and what happened to one that was answered.

use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::json;

use crate::support::{Ask, Setting, answer};

#[tokio::test]
async fn a_plan_says_prices_windows_scores_and_why_others_are_left_out() {
    let upstream = Upstream::serve([answer("hi")]).await;
    let serving = Setting::new()
        .lab(upstream.url("/v1"))
        .http("spare", upstream.url("/v1"))
        .set(|settings| {
            let mut route = llm_router::config::RouteSettings::default();
            route.groups = vec![vec!["lab/m".into(), "spare/m".into()]];
            route.weights.insert("spare/m".into(), 3);
            route.context = vec!["lab/large".into()];
            settings.routes.insert("both".into(), route);
            let mut large = llm_router::config::ModelSettings::default();
            large.window = Some(100_000);
            settings.models.insert("lab/large".into(), large);
        })
        .start();
    let ask = || Ask::post("/api/v0/ai/llm/explain", r#"{"prompt": "hi", "model_name": "both"}"#);
    let reply = serving.send(ask()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let targets = reply.json()["targets"].as_array().unwrap().clone();
    let first = &targets[0];
    assert_eq!((&first["provider"], &first["score"]), (&json!("spare"), &json!("weighted: weight 3")));
    assert_eq!(targets[1]["provider"], "lab");
    let last = &targets[2];
    assert_eq!((&last["only_after"], &last["window"]), (&json!("caller_context_length"), &json!(100_000)));
    assert_eq!(upstream.seen().requests.len(), 0, "nothing is sent");

    let cheap = serving.send(ask().header("x-llm-router-max-price", "0.50")).await;
    assert_eq!(cheap.status, 503, "{}", cheap.text());
    assert!(cheap.text().contains("price is unknown"), "{}", cheap.text());
    let odd = serving.send(ask().header("x-llm-router-max-price", "cheap")).await;
    assert_eq!(odd.status, 400);
}

#[tokio::test]
async fn what_happened_is_told_to_who_asked_and_to_administration() {
    let upstream = Upstream::serve([Answer::json(500, "{}"), answer("hi")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).key("ann", "a").key("bob", "b").admin_key("ops", "o").start();
    let reply = serving.send(Ask::chat("lab/m").header("x-api-key", "a")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let path = format!("/api/v0/ai/llm/requests/{}", reply.header("x-request-id"));
    // Of another's request no more is said than of one that never was.
    let never = "/api/v0/ai/llm/requests/req_unknown";
    let (foreign, unknown) = (Ask::get(&path).header("x-api-key", "b"), Ask::get(never).header("x-api-key", "b"));
    let (foreign, unknown) = (serving.send(foreign).await, serving.send(unknown).await);
    assert_eq!((foreign.status, unknown.status), (403, 403));
    assert_eq!(foreign.text().replace(reply.header("x-request-id"), "req_unknown"), unknown.text());
    let own = serving.send(Ask::get(&path).header("x-api-key", "a")).await;
    assert_eq!((own.status, &own.json()["key_name"]), (200, &json!("ann")), "{}", own.text());
    let told = serving.send(Ask::get(&path).header("x-api-key", "o")).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let attempts = told.json()["attempts"].as_array().unwrap().clone();
    assert_eq!((attempts.len(), &attempts[0]["error"]["kind"]), (2, &json!("provider_server_error")));
    let unknown = serving.send(Ask::get("/api/v0/ai/llm/requests/req_unknown").header("x-api-key", "o")).await;
    assert_eq!((unknown.status, unknown.json()["kind"].as_str()), (404, Some("caller_invalid_request")));
    assert!(unknown.json()["hint"].as_str().unwrap().contains("x-request-id"), "{}", unknown.text());
    let unheard = "/api/v0/ai/llm/requests/req_unknown";
    assert_eq!(serving.send(Ask::get(unheard).header("x-api-key", "a")).await.status, 403, "nor whether it is known");
    assert!(unknown.text().contains("nothing is known of a request req_unknown"), "{}", unknown.text());
}
