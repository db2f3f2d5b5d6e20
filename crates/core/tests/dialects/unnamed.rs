//! A server that leaves its model's name out of its answer: clients of the same dialect hear the target's, in every frame that has a place for it; and so do all others.

use llm_router::delta::Delta;
use llm_router::dialect::{Dialect, Framing, codec};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::Target;
use llm_router::request::Request;
use serde_json::{Value, json};

use crate::customs::{asking, json as json_of};
use crate::fixtures::{DIALECTS, all};
use crate::support::{call, deltas, frames, without_origin, write};

const MODEL: &str = "served/model";

/// What the client of `request` gets of an answer, and what the steps in between say the model is.
fn passed(dialect: Dialect, request: &Request, framing: Framing, body: &[u8]) -> (Vec<Value>, String) {
    let target = Target::new(ProviderId::new("upstream").unwrap(), Some(ModelName::new(MODEL).unwrap()));
    let mut call = call(request.clone());
    call.target = target;
    let codec = codec(dialect);
    let mut decoder = codec.decoder(&call, framing);
    let mut events: Vec<_> = frames(body, framing).into_iter().map(|frame| decoder.frame(frame).unwrap()).collect();
    events.push(decoder.end().unwrap());
    let model = deltas(&events).find_map(|delta| match delta {
        Delta::Start { model, .. } => Some(model.clone()),
        _ => None,
    });
    let written = write(&*codec, request, framing, &events);
    (frames(&written, framing).iter().map(json_of).collect(), model.unwrap())
}

/// Every model that is named anywhere in these frames.
fn named(frames: &[Value]) -> Vec<String> {
    let places = ["/model", "/response/model", "/message/model", "/modelVersion"];
    let names = frames.iter().flat_map(|frame| places.iter().filter_map(|place| frame.pointer(place)));
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// An answer in each dialect with the model as given, null for none at all.
fn answer(dialect: Dialect, framing: Framing, model: &Value) -> String {
    let usage = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2});
    let item = json!({"type": "message", "id": "i", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "hi", "annotations": []}]});
    let block = json!({"type": "text", "text": "hi"});
    let mut bodies = match (dialect, framing) {
        (Dialect::OpenaiChat, Framing::Whole) => vec![
            json!({"id": "c", "model": model, "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}),
        ],
        (Dialect::OpenaiChat, Framing::Stream) => vec![
            json!({"id": "c", "model": model, "choices": [{"index": 0, "delta": {"content": "hi"}}]}),
            json!({"id": "c", "model": model, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        ],
        (Dialect::OpenaiResponses, Framing::Whole) => {
            vec![json!({"id": "r", "model": model, "status": "completed", "output": [item], "usage": usage})]
        }
        (Dialect::OpenaiResponses, Framing::Stream) => vec![
            json!({"type": "response.created", "response": {"id": "r", "model": model, "status": "in_progress"}}),
            json!({"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": "hi"}),
            json!({"type": "response.completed", "response": {"id": "r", "model": model, "status": "completed", "output": [item], "usage": usage}}),
        ],
        (Dialect::Anthropic, Framing::Whole) => {
            vec![
                json!({"id": "m", "type": "message", "model": model, "content": [block], "stop_reason": "end_turn", "usage": usage}),
            ]
        }
        (Dialect::Anthropic, Framing::Stream) => vec![
            json!({"type": "message_start", "message": {"id": "m", "type": "message", "model": model, "content": [], "usage": usage}}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
            json!({"type": "message_stop"}),
        ],
        _ => vec![
            json!({"modelVersion": model, "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}),
        ],
    };
    if model.is_null() {
        for body in &mut bodies {
            for place in ["", "/response", "/message"] {
                let Some(fields) = body.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
                fields.retain(|name, _| !name.starts_with("model"));
            }
        }
    }
    match framing {
        Framing::Whole => bodies.remove(0).to_string(),
        Framing::Stream => {
            let events: String = bodies.iter().map(|body| format!("data: {body}\n\n")).collect();
            let end = if dialect == Dialect::OpenaiChat { "data: [DONE]\n\n" } else { "" };
            events + end
        }
    }
}

#[test]
fn the_targets_name_stands_where_the_server_says_none() {
    for dialect in DIALECTS {
        for framing in [Framing::Whole, Framing::Stream] {
            let request = asking(dialect, framing);
            let [own, none, empty] = [json!("own"), json!(null), json!("")].map(|model| {
                let body = answer(dialect, framing, &model);
                let (frames, told) = passed(dialect, &request, framing, body.as_bytes());
                let (_, translated) = passed(dialect, &without_origin(request.clone()), framing, body.as_bytes());
                assert_eq!(told, translated, "{dialect} {framing:?}");
                assert!(body.contains("\"own\"") == (told == "own") && (told == "own" || told == MODEL), "{told}");
                named(&frames)
            });
            assert!(!own.is_empty() && own.iter().all(|name| name == "own"), "{dialect} {framing:?} {own:?}");
            // As often as a server that names its model says it.
            let ours = vec![MODEL.to_owned(); own.len()];
            assert_eq!((&none, &empty), (&ours, &ours), "{dialect} {framing:?}");
        }
    }
}

/// As llama.cpp's server streams, which names its model in whole answers only.
#[test]
fn a_recorded_stream_without_a_name_has_one_for_its_client() {
    let fixture = all().iter().find(|one| one.name == "openai_responses/llamacpp_both_text").unwrap();
    let answers = fixture.answers();
    let streamed = answers.iter().find(|answer| answer.framing == Framing::Stream).unwrap();
    let (frames, model) = passed(Dialect::OpenaiResponses, &fixture.request(), Framing::Stream, &streamed.body);
    assert_eq!(model, MODEL);
    let objects = frames.iter().filter(|frame| frame["response"].is_object()).count();
    assert!(objects > 1);
    for frame in frames.iter().filter(|frame| frame["response"].is_object()) {
        assert!(!frame["response"]["model"].as_str().unwrap().is_empty(), "{frame}");
    }
}
