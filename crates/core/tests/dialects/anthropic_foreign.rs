//! Requests of other origins written in this dialect, and answers of other origins written for its clients: what is said, what is dropped by name and
//! what is refused. And the way back: what clients of this dialect say, to a server of `openai_chat`.

use llm_router::Error;
use llm_router::delta::{BlockKind, Delta, Event, FinishReason, Part};
use llm_router::dialect::anthropic::Anthropic;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead};
use llm_router::error::ErrorKind;
use llm_router::request::{BlockBody, Request, Role, Source, Tool};
use llm_router::response::Response;
use serde_json::{Value, json};

use crate::fixtures::{answers, requests};
use crate::support::{call, fold, frames, read, write};

/// A chat body through both codecs: what goes out, and what was dropped.
fn from_chat(body: &Value) -> Result<(Value, Vec<String>), Error> {
    let request = OpenaiChat::default().decode_request(&RequestHead::post("/"), body.to_string().as_bytes())?;
    encode(request)
}

fn encode(request: Request) -> Result<(Value, Vec<String>), Error> {
    let sent = Anthropic.encode_request(&call(request))?;
    assert_eq!(sent.headers["anthropic-version"], "2023-06-01");
    let dropped = sent.dropped.into_iter().map(|path| path.0).collect();
    Ok((serde_json::from_slice(&sent.body).unwrap(), dropped))
}

fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgo=";

#[test]
fn a_conversation_of_chat_is_said_in_this_dialect() {
    let weather = json!({"type": "function", "function": {"name": "weather", "description": "d", "strict": true,
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"], "additionalProperties": false}}});
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]});
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}});
    let body = chat(
        "claude-haiku-4-5",
        json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Use tools."}]},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
                {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}]},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call("call.1", "{\"place\": \"Oslo\"}"), call("call_2", "oops")]},
            {"role": "tool", "tool_call_id": "call.1", "content": "cold"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "warm"}]},
            {"role": "user", "content": "And?"},
            {"role": "system", "content": "Hurry."},
            {"role": "assistant", "content": null, "refusal": "No."},
            {"role": "user", "content": "Please."}],
        "tools": [weather, {"type": "function", "function": {"name": "noop"}}],
        "tool_choice": "required", "parallel_tool_calls": false, "max_completion_tokens": 4096, "temperature": 1.5, "top_p": 0.9, "top_k": 5,
        "stop": ["END"], "seed": 7, "presence_penalty": 0, "frequency_penalty": 0.5, "logprobs": false, "n": 1, "user": "u-1",
        "metadata": {"team": "a"}, "service_tier": "flex", "stream": true, "stream_options": {"include_usage": true},
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "description": "what", "schema": schema, "strict": true}}}),
    );
    let (sent, dropped) = from_chat(&body).unwrap();
    insta::assert_json_snapshot!("chat_conversation", json!({"sent": sent, "dropped": dropped}));
}

/// Every recorded request of chat's clients goes out, or is refused for a reason that its caller can read.
#[test]
fn recorded_chat_requests_cross() {
    let mut lines = Vec::new();
    for fixture in requests().filter(|fixture| fixture.dialect == Dialect::OpenaiChat) {
        let mut request = fixture.request();
        request.model = Some("claude-sonnet-4-6".into());
        let name = fixture.name.split_once('/').unwrap().1;
        lines.push(match encode(request) {
            Ok((_, dropped)) => format!("{name}: dropped {}", dropped.join(", ")),
            Err(error) => format!("{name}: {}: {error}", error.kind()),
        });
    }
    insta::assert_snapshot!("chat_requests", lines.join("\n"));
}

/// And the other way round.
#[test]
fn recorded_requests_cross_to_chat() {
    let mut lines = Vec::new();
    for fixture in requests().filter(|fixture| fixture.dialect == Dialect::Anthropic) {
        let name = fixture.name.split_once('/').unwrap().1;
        lines.push(match OpenaiChat::default().encode_request(&call(fixture.request())) {
            Ok(sent) => {
                let dropped: Vec<String> = sent.dropped.into_iter().map(|path| path.0).collect();
                format!("{name}: dropped {}\n    {}", dropped.join(", "), String::from_utf8_lossy(&sent.body))
            }
            Err(error) => format!("{name}: {}: {error}", error.kind()),
        });
    }
    insta::assert_snapshot!("requests_to_chat", lines.join("\n"));
}

#[test]
fn limits_and_settings_follow_the_model() {
    for (model, limit, default) in [
        ("claude-haiku-4-5", 64_000, 64_000),
        ("claude-3-5-haiku-latest", 8192, 8192),
        ("claude-opus-4-1", 32_000, 32_000),
        ("claude-sonnet-5", 128_000, 128_000),
        ("some-model", 1_000_000, 8192),
    ] {
        assert_eq!(from_chat(&chat(model, json!({}))).unwrap().0["max_tokens"], default, "{model}");
        assert_eq!(
            from_chat(&chat(model, json!({"max_tokens": 1_000_000}))).unwrap().0["max_tokens"],
            limit,
            "{model}"
        );
    }
    let settings = json!({"temperature": 0.2, "top_p": 0.5, "top_k": 3});
    for (model, wanted) in [
        ("claude-sonnet-5", &["temperature", "top_p", "top_k"][..]),
        ("claude-haiku-4-5", &["top_p"]),
        ("claude-3-7-sonnet-latest", &[]),
        ("deepseek-chat", &[]),
    ] {
        assert_eq!(from_chat(&chat(model, settings.clone())).unwrap().1, wanted, "{model}");
    }
    let (sent, dropped) =
        from_chat(&chat("claude-haiku-4-5", json!({"reasoning_effort": "high", "temperature": 0.2}))).unwrap();
    assert_eq!(sent["thinking"], json!({"type": "enabled", "budget_tokens": 16_384}));
    assert_eq!((dropped, &sent["max_tokens"]), (vec!["temperature".to_owned()], &json!(64_000)));
    let (sent, _) = from_chat(&chat("claude-opus-5", json!({"reasoning_effort": "low"}))).unwrap();
    assert_eq!((&sent["thinking"]["type"], &sent["output_config"]["effort"]), (&json!("adaptive"), &json!("low")));
}

#[test]
fn what_must_not_be_lost_is_refused() {
    let content = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    for (model, more) in [
        ("claude-opus-5", json!({"n": 2})),
        ("claude-opus-5", json!({"stop": ["\n"]})),
        (
            "claude-opus-5",
            content(json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}})),
        ),
        ("claude-opus-5", content(json!({"type": "file", "file": {"file_id": "file-1"}}))),
        ("claude-opus-5", content(json!({"type": "file", "file": {"file_data": "data:application/zip;base64,UEs="}}))),
        ("claude-opus-5", json!({"tools": [{"type": "custom", "custom": {"name": "code"}}]})),
        ("claude-3-opus-latest", json!({"response_format": schema})),
        (
            "claude-fable-5-1",
            json!({"tool_choice": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}),
        ),
    ] {
        let error = from_chat(&chat(model, more.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{more}: {error}");
    }
    let mut foreign = Request::new("x");
    let extra = [(Dialect::Gemini, Default::default())].into_iter().collect();
    foreign.tools.push(Tool { name: String::new(), description: None, parameters: None, strict: None, extra });
    assert_eq!(encode(foreign).unwrap_err().kind(), ErrorKind::CallerUnsupported);
    let mut drawn = Request::new("x");
    drawn.messages[0].role = Role::Assistant;
    drawn.messages[0].content =
        vec![BlockBody::Image { source: Source::Url("https://e.x/a".into()), detail: None }.into()];
    assert_eq!(encode(drawn).unwrap_err().kind(), ErrorKind::CallerUnsupported);
}

#[test]
fn instructions_alone_are_a_users_turn() {
    let (body, _) =
        from_chat(&json!({"model": "m", "messages": [{"role": "system", "content": "Be brief."}]})).unwrap();
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Be brief."}]));
    assert!(body.get("system").is_none());
}

#[test]
fn bad_requests_name_the_field() {
    for (body, says) in [
        ("{}", "messages: it is missing"),
        (r#"{"messages":[]}"#, "messages: the list is empty"),
        (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"user"}]}"#, "messages[0].content: it is missing"),
        (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content: it must be"),
        (r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0].type: it is missing"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image"}]}]}"#,
            "messages[0].content[0].source: it is missing",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"x"}}]}]}"#,
            "messages[0].content[0].source.media_type: it is missing",
        ),
        (r#"{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}"#, "tool_use_id: it is missing"),
        (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":"many"}"#, "max_tokens: invalid type"),
        (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":-1}"#, "max_tokens: invalid value"),
        (
            r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"input_schema":{}}]}"#,
            "tools[0].name: it is missing",
        ),
        (r#"{"messages":[{"role":"user","content":"x"}],"tool_choice":"auto"}"#, "tool_choice: invalid type"),
        (r#"{"messages":[{"role":"user","content":"x"}],"tool_choice":{"type":"all"}}"#, "\"all\" is not a choice"),
        (r#"{"messages":[{"role":"user","content":"x"}],"model":"a","model":"b"}"#, "\"model\" is given twice"),
        ("[1]", "the body is not a JSON object"),
    ] {
        let error = Anthropic.decode_request(&RequestHead::post("/"), body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest, "{body}");
        assert!(error.message().contains(says), "{body}: {error}");
    }
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let error = Anthropic.decode_request(&RequestHead::post("/"), deep.as_bytes()).unwrap_err();
    assert!(error.message().contains("deeper than 128"), "{error}");
}

/// Two calls that another dialect streams side by side, after thoughts and text, with the counts behind everything.
fn interleaved() -> Vec<Event> {
    let delta = |block, part| Delta::BlockDelta { choice: 0, block, part };
    let start = |block, kind| Delta::BlockStart { choice: 0, block, kind };
    let end = |block| Delta::BlockEnd { choice: 0, block };
    let call = |id: &str| BlockKind::ToolCall { id: id.into(), name: "f".into() };
    let mut usage = llm_router::usage::Usage::new(30, 9);
    (usage.cache_read, usage.reasoning) = (20, 4);
    [
        Delta::Start { id: "chatcmpl-1".into(), model: "m".into(), created: Some(1) },
        start(0, BlockKind::Reasoning { redacted: false }),
        delta(0, Part::Text("hm".into())),
        end(0),
        start(1, BlockKind::Text),
        delta(1, Part::Text("Hi".into())),
        delta(1, Part::Annotation(json!({"type": "url_citation"}))),
        end(1),
        start(2, call("a.1")),
        start(3, call("b")),
        delta(3, Part::ToolArguments("{\"b\":".into())),
        delta(2, Part::ToolArguments("{}".into())),
        start(4, BlockKind::Provider { dialect: Dialect::OpenaiChat, kind: "audio".into() }),
        delta(3, Part::ToolArguments("2}".into())),
        end(4),
        end(2),
        end(3),
        Delta::Unknown { dialect: Dialect::OpenaiChat, raw: json!({"x": 1}) },
        Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: Some("stop".into()) },
        Delta::Usage(usage),
        Delta::End,
    ]
    .into_iter()
    .map(Event::from)
    .collect()
}

fn written(framing: Framing) -> String {
    String::from_utf8(write(&Anthropic, &Request::new("x"), framing, &interleaved())).unwrap()
}

#[test]
fn another_dialects_answer_is_written_one_block_after_the_other() {
    insta::assert_snapshot!("streamed", written(Framing::Stream));
    insta::assert_snapshot!("whole", written(Framing::Whole));
}

/// Every recorded answer of chat's servers, written for a client of this dialect and read back: text, thoughts, calls and counts are there.
#[test]
fn recorded_chat_answers_cross() {
    let request = Request::new("x");
    for answer in answers().iter().filter(|answer| answer.dialect == Dialect::OpenaiChat) {
        let events = answer.events();
        let original = gist(&fold(&events));
        for framing in [Framing::Whole, Framing::Stream] {
            let body = write(&Anthropic, &request, framing, &events);
            let again = read(&Anthropic, &request, framing, frames(&body, framing)).unwrap();
            assert_eq!(gist(&fold(&again)), original, "{} {framing:?}", answer.name);
        }
    }
}

/// What must cross: the first answer's text, thoughts and calls, and the counts.
fn gist(response: &Response) -> (String, String, Vec<(String, Value)>, u64, u64) {
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for block in response.choices.first().map(|choice| choice.content.as_slice()).unwrap_or_default() {
        match &block.body {
            BlockBody::Text { text: more, .. } | BlockBody::Refusal { text: more } => text.push_str(more),
            BlockBody::Reasoning { text: more, .. } => thoughts.push_str(more),
            BlockBody::ToolCall { name, arguments, .. } => {
                calls.push((name.clone(), serde_json::from_str(arguments).unwrap_or(json!({}))));
            }
            _ => {}
        }
    }
    let usage = response.usage.unwrap_or_default();
    (text, thoughts, calls, usage.input, usage.output)
}
