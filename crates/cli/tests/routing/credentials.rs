//! Several keys of one provider: a dead one and a limited one are told apart, and the provider goes on with what it has.

use llm_router::testing::faults::Act;
use llm_router::testing::voice::Refusal;
use serde_json::json;

use crate::stage::Stage;

fn keys(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[providers.lab.credentials]]\napi_key = \"{name}\"\n")).collect()
}

fn script() -> Vec<Act> {
    let dead = ("dead".to_owned(), Act::Refuse(Refusal::Key, None));
    let limited = ("limited".to_owned(), Act::Refuse(Refusal::RateLimited, Some(60)));
    vec![Act::ByKey(vec![dead, limited])]
}

fn counts(stage: &Stage) -> [usize; 3] {
    let asked = stage.asked("lab");
    ["dead", "limited", "good"].map(|key| asked.with_key(key))
}

#[tokio::test]
async fn a_dead_key_and_a_limited_one_are_told_apart() {
    let models = "[routes.other]\ngroups = [[\"lab/other\"]]\n[server]\nadmin = \"127.0.0.1:0\"\n";
    let config = models.to_owned() + &keys(&["dead", "limited", "good"]);
    let stage = Stage::new(vec![("lab", script())], &config).await;
    let answer = stage.ask("lab/m").answered().await;
    assert_eq!(counts(&stage), [1, 1, 1], "each in its order");
    let trace = stage.get(&format!("/api/v0/ai/llm/requests/{}", answer.header("x-request-id")), "").await.json();
    let tried: Vec<_> = trace["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tried| (&tried["credential"], &tried["error"]["kind"]))
        .collect();
    let null = json!(null);
    assert_eq!(
        tried,
        [(&json!(1), &json!("provider_auth")), (&json!(2), &json!("provider_rate_limited")), (&json!(3), &null)]
    );
    // From then on only the good one is asked.
    for _ in 0..3 {
        stage.ask("lab/m").answered().await;
    }
    assert_eq!(counts(&stage), [1, 1, 4]);
    // For another model the refused key is as dead; the limit was this model's.
    stage.ask("other").answered().await;
    assert_eq!(counts(&stage), [1, 2, 5]);
    let plan = stage.post("/api/v0/ai/llm/explain", json!({"prompt": "hi", "model_name": "lab/m"}), "").await.json();
    let of = |key: u32| {
        let targets = plan["targets"].as_array().unwrap();
        targets.iter().find(|target| target["credential"] == key).unwrap()["breakers"].to_string()
    };
    assert!(of(1).contains("provider_auth"), "{plan}");
    assert!(of(2).contains("provider_rate_limited"), "{plan}");
    assert_eq!(of(3), "[]", "{plan}");
}

#[tokio::test]
async fn keys_share_the_load_and_the_rest_of_them_goes_on() {
    let config = keys(&["good", "dead", "better"]);
    let stage = Stage::over(vec![("lab", script())], &config, "balance = \"round_robin\"\n").await;
    for _ in 0..5 {
        stage.ask("lab/m").answered().await;
    }
    let asked = stage.asked("lab");
    assert_eq!(["good", "dead", "better"].map(|key| asked.with_key(key)), [3, 1, 2], "{asked:?}");
}

#[tokio::test]
async fn where_every_key_is_dead_or_limited_the_next_target_answers_and_alone_the_error_says_which() {
    let config = keys(&["dead", "limited"]) + "[routes.r]\ngroups = [[\"lab/m\"], [\"spare/m\"]]\n";
    let stage = Stage::new(vec![("lab", script()), ("spare", vec![Act::Answer])], &config).await;
    assert_eq!(stage.answered_by("r", 2).await, ["spare", "spare"]);
    assert_eq!((stage.asked("lab").requests, stage.asked("spare").requests), (2, 2), "nobody is asked again");
    let alone = stage.ask("lab/m").heard().await;
    // Why each is left alone, and when the first of them is not: the limit's end, not the refusal's.
    assert_eq!(alone.status, 503, "{}", alone.text());
    assert!(
        alone.text().contains("provider_auth") && alone.text().contains("provider_rate_limited"),
        "{}",
        alone.text()
    );
    let wait: u64 = alone.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}
