//! What an answer cost, where a stream tells it: in its last event of counts, in every dialect, since its head is out by then.

use llm_router::testing::faults::Act;
use serde_json::{Value, json};

use crate::stage::Stage;

const CONFIG: &str = "[prices.\"p/m\"]\ninput = 1\noutput = 10\n";
/// Seven tokens of a prompt, sixty of an answer.
const DOLLARS: f64 = (7.0 + 600.0) / 1e6;

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_translated_stream_ends_with_its_cost() {
    let stage = Stage::new(vec![("p", vec![Act::Answer])], CONFIG).await;
    let user = json!([{"role": "user", "content": "Count."}]);
    let contents = json!([{"role": "user", "parts": [{"text": "Count."}]}]);
    let asked = [
        ("/v1/messages", json!({"model": "p/m", "max_tokens": 99, "stream": true, "messages": user})),
        ("/v1/responses", json!({"model": "p/m", "stream": true, "store": false, "input": "Count."})),
        ("/v1beta/models/p/m:streamGenerateContent?alt=sse", json!({ "contents": contents })),
    ];
    for (path, body) in asked {
        let heard = stage.post(path, body, "").await;
        let events = events(&heard.text());
        let top = |event: &Value| {
            [&event["llm_router"]["cost"], &event["response"]["llm_router"]["cost"]].into_iter().find_map(Value::as_f64)
        };
        let costs: Vec<f64> = events.iter().filter_map(top).collect();
        assert_eq!(costs, [DOLLARS], "{path}: {}", heard.text());
        if path == "/v1/responses" {
            assert_eq!(events.last().unwrap()["response"]["usage"]["cost"], json!(DOLLARS));
        }
    }
    let native = json!({"prompt": "Count.", "provider": "p", "model_name": "m", "stream": true});
    let heard = stage.post("/api/v0/ai/llm/generate", native, "").await;
    assert_eq!(events(&heard.text()).last().unwrap()["cost_micros"], 607, "{}", heard.text());
    // Bytes that go on as they came are the provider's, and a whole answer has a header.
    let chat = stage.ask("p/m").streamed().with("stream_options", json!({"include_usage": true})).answered().await;
    assert!(!chat.text().contains("llm_router"), "{}", chat.text());
    assert_eq!(stage.ask("p/m").answered().await.header("x-llm-router-cost"), "0.000607");
}
