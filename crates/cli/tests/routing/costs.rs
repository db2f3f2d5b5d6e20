//! What an answer cost, where a stream tells it: in its last event of counts, in every dialect, since its head is out by then.

use llm_router::testing::faults::Act;
use serde_json::{Value, json};

use crate::stage::Stage;

const CONFIG: &str = "[prices.\"p/m\"]\ninput = 1\noutput = 10\n";

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
        // Its provider told no tokens, so this is an estimate: the one of its record.
        let trace = stage.get(&format!("/api/v0/ai/llm/requests/{}", heard.header("x-request-id")), "").await.json();
        let dollars = trace["cost_micros"].as_f64().unwrap() / 1e6;
        assert!((0.000_6..0.000_7).contains(&dollars), "{trace}");
        let top = |event: &Value| {
            [&event["llm_router"]["cost"], &event["response"]["llm_router"]["cost"]].into_iter().find_map(Value::as_f64)
        };
        let costs: Vec<f64> = events.iter().filter_map(top).collect();
        assert_eq!(costs, [dollars], "{path}: {}", heard.text());
    }
    let native = json!({"prompt": "Count.", "provider": "p", "model_name": "m", "stream": true});
    let heard = stage.post("/api/v0/ai/llm/generate", native, "").await;
    let done = events(&heard.text()).pop().unwrap();
    assert!(done["cost_micros"].as_u64().is_some_and(|micros| (600..700).contains(&micros)), "{done}");
    // Bytes that go on as they came are the provider's, and a whole answer has a header.
    let chat = stage.ask("p/m").streamed().with("stream_options", json!({"include_usage": true})).answered().await;
    assert!(!chat.text().contains("llm_router"), "{}", chat.text());
    assert_eq!(stage.ask("p/m").answered().await.header("x-llm-router-cost"), "0.000607");
}
