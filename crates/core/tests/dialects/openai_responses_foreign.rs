//! Between `openai_responses` and other dialects, `openai_chat` before all: what is said, what is dropped by name, what is refused, and what comes back.

use llm_router::Error;
use llm_router::delta::{BlockKind, Delta, Event, FinishReason, Part};
use llm_router::dialect::openai_chat::{OpenaiChat, Quirks};
use llm_router::dialect::openai_responses::OpenaiResponses;
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead};
use llm_router::error::ErrorKind;
use llm_router::request::{Block, BlockBody, Message, RawJson, Reasoning, Request, Role, Source, Tool};
use llm_router::response::Response;
use llm_router::usage::Usage;
use serde_json::{Value, json};

use crate::support::{call, fold, frame, write};

fn ours(body: Value) -> Request {
    OpenaiResponses.decode_request(&RequestHead::post("/v1/responses"), body.to_string().as_bytes()).unwrap()
}

fn chat(body: Value) -> Request {
    OpenaiChat::default()
        .decode_request(&RequestHead::post("/v1/chat/completions"), body.to_string().as_bytes())
        .unwrap()
}

fn encode(codec: &dyn Codec, request: Request) -> Result<(Value, Vec<String>), Error> {
    let sent = codec.encode_request(&call(request))?;
    let dropped = sent.dropped.into_iter().map(|path| path.0).collect();
    Ok((serde_json::from_slice(&sent.body).unwrap(), dropped))
}

fn to_chat(request: Request) -> (Value, Vec<String>) {
    encode(&OpenaiChat::default(), request).unwrap()
}

fn to_ours(request: Request) -> (Value, Vec<String>) {
    encode(&OpenaiResponses, request).unwrap()
}

fn user(content: Vec<Block>) -> Request {
    let mut request = Request::default();
    request.messages.push(Message { role: Role::User, content, name: None, extra: Default::default() });
    request
}

const PNG: &str = "data:image/png;base64,iVBO";

#[test]
fn a_chat_conversation_is_said_in_this_dialect() {
    let (body, dropped) = to_ours(chat(json!({
        "model": "m", "stream": true, "max_tokens": 64, "temperature": 0.5, "seed": 7, "reasoning_effort": "low", "logprobs": true, "top_logprobs": 2,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}]},
            {"role": "assistant", "content": "Let me see.", "reasoning_content": "hm", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"place\":\"Oslo\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "cold"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "warm"}, {"type": "text", "text": "dry"}]},
            {"role": "assistant", "content": null, "refusal": "No."},
            {"role": "user", "content": "So?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": true}},
    })));
    insta::assert_json_snapshot!(body);
    let mut dropped = dropped;
    dropped.retain(|name| name != "openai_chat.stream_options");
    assert_eq!(dropped, ["messages[1].name", "messages[2].content[0]", "seed"]);
}

#[test]
fn this_dialects_conversation_is_said_in_chat() {
    let (body, dropped) = to_chat(ours(json!({
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 64, "store": false, "truncation": "auto", "reasoning": {"effort": "low"},
        "include": ["message.output_text.logprobs"], "top_logprobs": 2, "tool_choice": "required", "text": {"format": {"type": "json_object"}},
        "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": true}],
        "input": [
            {"type": "message", "role": "user", "id": "msg_0", "content": [
                {"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "weather", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "c1", "output": "cold"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "warm"}]},
            {"role": "developer", "content": "Hurry."}],
    })));
    insta::assert_json_snapshot!(body);
    assert_eq!(dropped, ["messages[2].content[0].signature", "openai_responses.store", "openai_responses.truncation"]);
}

#[test]
fn what_must_not_be_lost_is_refused() {
    let image = |source| BlockBody::Image { source, detail: None }.into();
    let png = || Source::Base64 { mime: "image/png".into(), data: "iVBO".into() };
    let mut drawn = Request::new("x");
    drawn.messages.push(Message::assistant(vec![image(png())]));
    let mut stop = Request::new("x");
    stop.sampling.stop = vec!["END".into()];
    let mut two = Request::new("x");
    two.sampling.n = Some(2);
    let mut own_tool = Request::new("x");
    let extra = [(Dialect::Anthropic, Default::default())].into_iter().collect();
    own_tool.tools.push(Tool { name: String::new(), description: None, parameters: None, strict: None, extra });
    let sound = user(vec![BlockBody::Audio { source: Source::Url("https://example.com/a.mp3".into()) }.into()]);
    for request in [drawn, stop, two, own_tool, sound] {
        assert_eq!(encode(&OpenaiResponses, request).unwrap_err().kind(), ErrorKind::CallerUnsupported);
    }
    // The other way: pictures as a tool's result, tools that run at OpenAI, conversations that are kept elsewhere.
    let result =
        json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": PNG}]});
    for body in [
        json!({"input": [result]}),
        json!({"input": "x", "tools": [{"type": "web_search"}], "tool_choice": "required"}),
        json!({"input": "x", "previous_response_id": "resp_1"}),
    ] {
        let error = encode(&OpenaiChat::new(Quirks::default()), ours(body)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
    }
    let background = br#"{"input":"x","background":true}"#;
    let error = OpenaiResponses.decode_request(&RequestHead::post("/"), background).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported);
}

#[test]
fn nobody_is_kept_who_did_not_ask_for_it() {
    let (body, _) = to_ours(Request::new("x"));
    assert_eq!(body, json!({"input": [{"type": "message", "role": "user", "content": "x"}], "store": false}));
    let mut thinking = Request::new("x");
    let mut reasoning = Reasoning::default();
    reasoning.effort = Some("low".into());
    reasoning.budget_tokens = Some(100);
    thinking.reasoning = Some(reasoning);
    let (body, dropped) = to_ours(thinking);
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!((&body["reasoning"], dropped), (&json!({"effort": "low"}), vec!["reasoning.budget_tokens".to_owned()]));
}

#[test]
fn bad_requests_name_the_field() {
    for (body, says) in [
        ("{}", "input: it is missing"),
        (r#"{"input":7}"#, "input: it must be a text or a list"),
        (r#"{"input":[]}"#, "input: it is missing"),
        (r#"{"input":[{"role":"emperor","content":"x"}]}"#, "input[0].role"),
        (r#"{"input":[{"role":"user","content":7}]}"#, "input[0].content: it must be"),
        (r#"{"input":[{"role":"user"}]}"#, "input[0].content: it is missing"),
        (r#"{"input":[{"role":"user","content":[{"type":"input_text"}]}]}"#, "input[0].content[0].text: it is missing"),
        (r#"{"input":[{"type":"function_call","name":"f"}]}"#, "input[0].call_id: it is missing"),
        (r#"{"input":[{"type":"function_call_output","call_id":"c"}]}"#, "input[0].output: it is missing"),
        (r#"{"input":[{"x":1}]}"#, "input[0].type: it is missing"),
        (r#"{"input":"x","instructions":["y"]}"#, "instructions: invalid type"),
        (r#"{"input":"x","temperature":"hot"}"#, "temperature: invalid type"),
        (r#"{"input":"x","max_output_tokens":1.5}"#, "max_output_tokens: invalid type"),
        (r#"{"input":"x","store":"yes"}"#, "store: invalid type"),
        (r#"{"input":"x","tools":[{"type":"function"}]}"#, "tools[0].name: it is missing"),
        (r#"{"input":"x","tools":[{"name":"f"}]}"#, "tools[0].type: it is missing"),
        (r#"{"input":"x","tool_choice":"maybe"}"#, "tool_choice: \"maybe\" is not a choice"),
        (r#"{"input":"x","text":{"format":{"type":"json_schema","name":"a"}}}"#, "text.format.schema: it is missing"),
        (r#"{"input":"x","model":"a","model":"b"}"#, "\"model\" is given twice"),
        ("[1]", "the body is not a JSON object"),
    ] {
        let error = OpenaiResponses.decode_request(&RequestHead::post("/"), body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest, "{body}");
        assert!(error.message().contains(says), "{body}: {error}");
    }
    let deep = format!("{{\"input\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let error = OpenaiResponses.decode_request(&RequestHead::post("/"), deep.as_bytes()).unwrap_err();
    assert!(error.message().contains("deeper than 128"), "{error}");
}

/// An answer of another dialect: thoughts, text with a citation, a call and counts.
fn answer() -> Vec<Event> {
    let delta = |block, part| Delta::BlockDelta { choice: 0, block, part };
    let start = |block, kind| Delta::BlockStart { choice: 0, block, kind };
    let end = |block| Delta::BlockEnd { choice: 0, block };
    let call = BlockKind::ToolCall { id: "c1".into(), name: "docs__find".into() };
    let note = json!({"type": "url_citation", "url_citation": {"url": "https://example.com", "title": "t", "start_index": 0, "end_index": 2}});
    [
        Delta::Start { id: "msg_1".into(), model: "m".into(), created: None },
        start(0, BlockKind::Reasoning { redacted: false }),
        delta(0, Part::Text("hm".into())),
        delta(0, Part::Signature("seal".into())),
        end(0),
        start(1, BlockKind::Text),
        delta(1, Part::Text("Hi".into())),
        delta(1, Part::Annotation(note)),
        end(1),
        start(2, call),
        delta(2, Part::ToolArguments("{}".into())),
        end(2),
        Delta::Unknown { dialect: Dialect::Anthropic, raw: json!({"x": 1}) },
        Delta::Usage(Usage::new(3, 4)),
        Delta::Finish { choice: 0, reason: FinishReason::ToolCalls, raw_reason: Some("tool_use".into()) },
        Delta::End,
    ]
    .into_iter()
    .map(Event::from)
    .collect()
}

fn asking() -> Request {
    ours(json!({
        "model": "alias", "input": "x", "stream": true, "store": false, "include": ["reasoning.encrypted_content"], "metadata": {"a": "b"},
        "tools": [{"type": "namespace", "name": "docs", "description": "d", "tools": [{"type": "function", "name": "find", "strict": false, "parameters": {}}]}],
    }))
}

fn written(request: &Request, framing: Framing) -> String {
    String::from_utf8(write(&OpenaiResponses, request, framing, &answer())).unwrap()
}

fn read(body: &str) -> Response {
    let frames = vec![frame(body.as_bytes().to_vec())];
    fold(&crate::support::read(&OpenaiResponses, &Request::new("x"), Framing::Whole, frames).unwrap())
}

#[test]
fn another_dialects_answer_is_written_for_clients_of_this_one() {
    insta::assert_snapshot!("streamed", written(&asking(), Framing::Stream));
    insta::assert_snapshot!("whole", written(&asking(), Framing::Whole));
}

#[test]
fn a_seal_comes_back_to_its_maker_and_to_nobody_else() {
    let body: Value = serde_json::from_str(&written(&asking(), Framing::Whole)).unwrap();
    let mut items = vec![json!({"role": "user", "content": "x"})];
    items.extend(body["output"].as_array().unwrap().clone());
    items.push(json!({"type": "function_call_output", "call_id": "c1", "output": "found"}));
    let next = ours(json!({"model": "alias", "store": false, "input": items}));
    let BlockBody::Reasoning { signature, text, .. } = &next.messages[1].content[0].body else { panic!() };
    assert_eq!((signature.as_deref(), text.as_str()), (Some("seal"), "hm"));
    // To OpenAI the thoughts of another are nothing: they are left out, by name, though the rest of the body is passed on.
    let (sent, dropped) = to_ours(next);
    assert_eq!(dropped, ["messages[1].content[0]"]);
    let kinds: Vec<&str> =
        sent["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "message", "function_call", "function_call_output"]);
    assert_eq!((&sent["input"][2]["namespace"], &sent["input"][2]["name"]), (&json!("docs"), &json!("find")));

    // OpenAI's own come back to it as it made them, by way of a client of another dialect, and of this one.
    let openai = json!({"id": "resp_1", "model": "m", "status": "completed", "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA=="},
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}]});
    let response = read(&openai.to_string());
    let mut next = Request::new("x");
    next.messages.push(Message::assistant(response.choices[0].content.clone()));
    let (sent, dropped) = to_ours(next);
    assert_eq!(
        sent["input"][1],
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA=="})
    );
    assert_eq!((&sent["include"], dropped.len()), (&json!(["reasoning.encrypted_content"]), 0));
    let out = write(&OpenaiResponses, &asking(), Framing::Whole, &[response.to_deltas().into()]);
    let told: Value = serde_json::from_slice(&out).unwrap();
    let (sent, _) = to_ours(ours(json!({"input": told["output"]})));
    assert_eq!(
        sent["input"][0],
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA=="})
    );
}

#[test]
fn seals_go_only_to_clients_that_asked() {
    let plain = ours(json!({"input": "x"}));
    assert!(!written(&plain, Framing::Stream).contains("seal"));
    assert!(written(&asking(), Framing::Stream).contains("llm-router:seal"));
}

#[test]
fn a_tool_in_a_namespace_has_one_name_elsewhere_and_both_here() {
    let (body, dropped) = to_chat(asking());
    assert_eq!(body["tools"][0]["function"]["name"], "docs__find");
    assert!(dropped.contains(&"tools.docs__find.openai_responses.namespace".to_owned()));
    let told: Value = serde_json::from_str(&written(&asking(), Framing::Whole)).unwrap();
    let call = &told["output"][2];
    assert_eq!((&call["name"], &call["namespace"]), (&json!("find"), &json!("docs")));
    let mut anew = asking();
    anew.origin = None;
    assert_eq!(
        to_ours(anew).0["tools"],
        serde_json::from_slice::<Value>(&asking().origin.unwrap().body).unwrap()["tools"]
    );
}

#[test]
fn every_end_has_its_status() {
    for (reason, raw, status, why) in [
        (FinishReason::Stop, "stop", "completed", Value::Null),
        (FinishReason::ToolCalls, "tool_use", "completed", Value::Null),
        (FinishReason::Other, "odd", "completed", Value::Null),
        (FinishReason::Length, "length", "incomplete", json!({"reason": "max_output_tokens"})),
        (FinishReason::ContentFilter, "SAFETY", "incomplete", json!({"reason": "content_filter"})),
        (FinishReason::Refusal, "refusal", "incomplete", json!({"reason": "content_filter"})),
        (FinishReason::Pause, "pause_turn", "incomplete", json!({"reason": "pause_turn"})),
    ] {
        for framing in [Framing::Whole, Framing::Stream] {
            let deltas = vec![
                Delta::Start { id: "a".into(), model: "m".into(), created: Some(5) },
                Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
                Delta::BlockDelta { choice: 0, block: 0, part: Part::Text("so".into()) },
                Delta::BlockEnd { choice: 0, block: 0 },
                Delta::Finish { choice: 0, reason, raw_reason: Some(raw.into()) },
                Delta::End,
            ];
            let text = String::from_utf8(write(&OpenaiResponses, &asking(), framing, &[deltas.into()])).unwrap();
            let last = text.trim_end().rsplit("data: ").next().unwrap();
            let last: Value = serde_json::from_str(last).unwrap();
            let object = if framing == Framing::Whole { &last } else { &last["response"] };
            assert_eq!((&object["status"], &object["incomplete_details"]), (&json!(status), &why), "{reason:?}");
            // The message that an answer breaks off in is no more whole than the answer.
            assert_eq!(object["output"][0]["status"], json!(status), "{reason:?}");
        }
    }
}

#[test]
fn what_a_server_keeps_makes_the_next_request_whole() {
    use llm_router::dialect::openai_responses::{input_items, output_items, resume, state};
    let first = ours(
        json!({"model": "m", "input": "What is it?", "instructions": "Be brief.", "include": ["reasoning.encrypted_content"]}),
    );
    let said = state(&first);
    assert_eq!((said.previous_response_id, said.store, said.elsewhere), (None, true, false));
    let mut kept: Vec<RawJson> = input_items(&first).unwrap();
    kept.extend(output_items(&fold(&answer())));
    assert_eq!(kept.len(), 4);

    let body = json!({"model": "m", "previous_response_id": "resp_1", "store": false, "instructions": "Be kind.",
        "input": [{"type": "function_call_output", "call_id": "c1", "output": "found"}]});
    let mut next = ours(body);
    next.riders.privacy = llm_router::request::Privacy::Local;
    let said = state(&next);
    assert_eq!((said.previous_response_id.as_deref(), said.store), (Some("resp_1"), false));
    let whole = resume(&next, &kept).unwrap();
    assert_eq!((state(&whole).previous_response_id, whole.riders.privacy), (None, next.riders.privacy));
    // Instructions hold for one answer.
    assert_eq!(whole.messages[0], Message::system("Be kind."));
    let roles: Vec<Role> = whole.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    // To any dialect it is now a request like another; the thoughts go back to who thought them.
    let (sent, _) = to_chat(whole.clone());
    assert_eq!(sent["messages"][2]["tool_calls"][0]["id"], "c1");
    assert_eq!(sent["messages"][2]["reasoning_content"], "hm");
    let (sent, dropped) = to_ours(whole);
    assert_eq!((sent["input"].as_array().unwrap().len(), dropped.len()), (4, 1));
    assert!(sent.get("previous_response_id").is_none());
    assert!(resume(&Request::new("x"), &kept).is_err());
}
