//! Seals across dialects, over a socket: a client of any dialect, a provider of any that made a seal, and another that did not.
//!
//! What holds for each: the seal comes back to its maker as it was made, where the client's dialect can carry one at all; nobody else ever sees it; and neither
//! depends on what the process remembers.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::BytesMut;
use futures_util::StreamExt;
use llm_router::config::{Credential, ProviderSettings, Settings};
use llm_router::dialect::{self, Dialect, Framing, RequestHead};
use llm_router::ids::ProviderId;
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};
use llm_router::secret::Secret;
use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::{Value, json};

/// The seal, as its maker wrote it: base 64, as all are.
const SEAL: &str = "c2VhbC1vZi1pdHMtbWFrZXI=";
const SEALERS: [Dialect; 3] = [Dialect::OpenaiResponses, Dialect::Anthropic, Dialect::Gemini];
const ALL: [Dialect; 4] = [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic, Dialect::Gemini];

/// An answer with a sealed thought.
fn sealed(maker: Dialect) -> Value {
    match maker {
        Dialect::OpenaiResponses => {
            json!({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [
            {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": SEAL},
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]}]})
        }
        Dialect::Anthropic => json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [
            {"type": "thinking", "thinking": "hm", "signature": SEAL}, {"type": "text", "text": "Yes."}],
            "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}}),
        _ => {
            json!({"responseId": "r1", "modelVersion": "m", "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "hm", "thought": true, "thoughtSignature": SEAL}, {"text": "Yes."}]}}]})
        }
    }
}

/// A request of a client for `model`, with the answer that it got before, if it got one.
fn asking(client: Dialect, model: &str, before: Option<&Value>) -> (RequestHead, Value) {
    let first = json!({"role": "user", "content": "Is it?"});
    let then = json!({"role": "user", "content": "Sure?"});
    let turns = |turn: Option<Value>| match turn {
        Some(turn) => json!([first, turn, then]),
        None => json!([first]),
    };
    let body = match client {
        Dialect::OpenaiChat => {
            json!({"model": model, "messages": turns(before.map(|body| body["choices"][0]["message"].clone()))})
        }
        Dialect::OpenaiResponses => {
            let output = before.map(|body| body["output"].as_array().unwrap().clone());
            let input: Vec<Value> = match output {
                Some(output) => [vec![first], output, vec![then]].concat(),
                None => vec![first],
            };
            json!({"model": model, "store": false, "include": ["reasoning.encrypted_content"], "input": input})
        }
        Dialect::Anthropic => {
            let turn = before.map(|body| json!({"role": "assistant", "content": body["content"]}));
            json!({"model": model, "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": turns(turn)})
        }
        _ => {
            let user = |text: &str| json!({"role": "user", "parts": [{"text": text}]});
            let mut contents = vec![user("Is it?")];
            if let Some(body) = before {
                contents.extend([body["candidates"][0]["content"].clone(), user("Sure?")]);
            }
            json!({"contents": contents, "generationConfig": {"thinkingConfig": {"includeThoughts": true}}})
        }
    };
    let path = match client {
        Dialect::Gemini => format!("/v1beta/models/{model}:generateContent"),
        _ => "/v1/x".to_owned(),
    };
    (RequestHead::post(path), body)
}

fn router(providers: &[(&str, Dialect, &Upstream)]) -> Router {
    let mut settings = Settings::default();
    for (id, dialect, upstream) in providers {
        let mut lab = ProviderSettings::default();
        lab.base_url = Some(upstream.url("/v1"));
        lab.dialects = vec![*dialect];
        lab.credentials = vec![Credential::Value(Secret::new("canary-key"))];
        lab.models = vec!["*".into()];
        lab.configured = true;
        settings.providers.insert(ProviderId::new(*id).unwrap(), lab);
    }
    Router::builder().settings(settings).build().unwrap()
}

/// One turn: what the client gets.
async fn turn(router: &Router, client: Dialect, model: &str, before: Option<&Value>) -> Value {
    let codec = dialect::codec(client);
    let (head, body) = asking(client, model, before);
    let request = codec.decode_request(&head, body.to_string().as_bytes()).unwrap();
    let mut encoder = codec.encoder(&request, Framing::Whole);
    let mut answer = router.call(Op::new(request, Door::CompatibleApi)).await.unwrap();
    let mut out = BytesMut::new();
    while let Some(event) = answer.next().await {
        encoder.event(&event.unwrap(), &mut out).unwrap();
    }
    serde_json::from_slice(&out).unwrap()
}

#[tokio::test]
async fn a_seal_comes_back_to_its_maker_and_reaches_nobody_else() {
    let mut table = String::new();
    for maker in SEALERS {
        for client in ALL {
            let made = Upstream::serve([Answer::json(200, sealed(maker).to_string())]).await;
            let mut others = Vec::new();
            for other in SEALERS.into_iter().filter(|other| *other != maker) {
                others.push((other, Upstream::serve([Answer::json(200, sealed(other).to_string())]).await));
            }
            let mut providers = vec![("maker", maker, &made)];
            let names = ["other-1", "other-2"];
            providers.extend(names.iter().zip(&others).map(|(name, (other, upstream))| (*name, *other, upstream)));
            let first = router(&providers);
            let got = turn(&first, client, "maker/m", None).await;
            // One that remembers, and one that was started since.
            for (router, which) in [(&first, "remembered"), (&router(&providers), "restarted")] {
                turn(router, client, "maker/m", Some(&got)).await;
                let back = made.last().json().to_string().contains(SEAL);
                table.push_str(&format!(
                    "{maker} -> {client} -> {maker}, {which}: {}\n",
                    if back { "back" } else { "left out" }
                ));
                for (name, (other, upstream)) in names.iter().zip(&others) {
                    turn(router, client, &format!("{name}/m"), Some(&got)).await;
                    let sent = upstream.last().json().to_string();
                    assert!(sent.contains("Yes."), "{sent}");
                    assert!(
                        !sent.contains("c2VhbC") && !sent.contains("bGxtLXJvdXRlcg"),
                        "{maker} -> {client} -> {other}, {which}: {sent}"
                    );
                }
            }
        }
    }
    insta::assert_snapshot!("seals", table);
}
