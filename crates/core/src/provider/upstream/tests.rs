//! The provider against an upstream that does as a script says, mostly badly. The steps that the tests share are here.
#![allow(clippy::unwrap_used)]

mod answers;
mod asked;
mod there;

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

fn response(text: &str) -> Answer {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let message =
        json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content});
    let usage = json!({"input_tokens": 3, "output_tokens": 1, "total_tokens": 4});
    let body = json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [message], "usage": usage});
    Answer::json(200, body.to_string())
}
