//! Answers that break off, as clients see them who asked for more than an error: held back, or gone on with, in every dialect.

use std::sync::Arc;

use llm_router::Error;
use llm_router::config::RouteSettings;
use llm_router::dialect::Dialect;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use serde_json::json;

use crate::support::{Ask, Setting, chat, each};

/// Always breaks off behind two words, and goes on behind nothing.
fn breaking() -> Scripted {
    let half = text_events("One two three four.", None).into_iter().take(3).map(Ok);
    Scripted::new("a", [Turn::Events(half.chain([Err(Error::timeout("idle"))]).collect())])
}

fn going_on(text: &str) -> Arc<Scripted> {
    Arc::new(Scripted::text("b", text).describing(|describe| describe.with_prefill(true)))
}

fn setting(next: Arc<Scripted>) -> Setting {
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["a/m".into()], vec!["b/m".into()]];
    let setting = Setting::new().provider(breaking()).shared(next);
    setting.set(|settings| {
        settings.router.breaker = false;
        settings.routes.insert("both".into(), route);
    })
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_gone_on_with_in_every_dialect_and_its_end_names_who_did() {
    for (how, next) in [("continue", "three four."), ("restart", "One two three four.")] {
        let serving = setting(going_on(next)).start();
        for (dialect, mut ask) in each("both", true) {
            if dialect == Dialect::OpenaiChat {
                let mut body = chat("both", true);
                body["stream_options"] = json!({"include_usage": true});
                ask.body = body.to_string().into();
            }
            let reply = serving.send(ask.header("x-llm-router-resume", how)).await;
            let text = reply.text();
            assert_eq!((reply.status, reply.header("x-llm-router-provider")), (200, "a"), "{dialect} {how} {text}");
            for word in ["One ", "two ", "three ", "four."] {
                assert_eq!(text.matches(&format!("\"{word}\"")).count(), 1, "{dialect} {how} {word:?} {text}");
            }
            assert!(text.contains("\"resumed\":\"b/m\""), "{dialect} {how} {text}");
        }
    }
}

#[tokio::test]
async fn without_the_wish_it_is_an_error_in_the_stream_and_a_hold_makes_it_whole() {
    let serving = setting(going_on("One two three four.")).start();
    let broken = serving.send(Ask::stream("both")).await.text();
    assert!(broken.contains("provider_timeout") && !broken.contains("four."), "{broken}");
    let held = serving.send(Ask::stream("both").header("x-llm-router-hold", "whole")).await;
    assert_eq!((held.status, held.header("x-llm-router-provider")), (200, "b"));
    assert!(held.text().contains("four.") && held.text().contains("[DONE]"));
    let refused = serving.send(Ask::stream("both").header("x-llm-router-hold", "for ever")).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn the_native_api_takes_the_same_as_fields() {
    let serving = setting(going_on("three four.")).start();
    let ask = |more: serde_json::Value| {
        let mut body = json!({"prompt": "Count.", "model_name": "both", "stream": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Ask::post("/api/v0/ai/llm/generate", body.to_string())
    };
    let resumed = serving.send(ask(json!({"resume": "continue"}))).await.text();
    assert!(resumed.contains("\"resumed\":\"b/m\"") && resumed.contains("\"attempts\":2"), "{resumed}");
    let held = serving.send(ask(json!({"hold": "whole"}))).await.text();
    assert!(held.contains("\"provider\":\"b\"") && !held.contains("One"), "{held}");
    assert_eq!(serving.send(ask(json!({"hold": "later"}))).await.status, 400);
}
