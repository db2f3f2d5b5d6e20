//! Requests of other origins written in this dialect, and answers of other origins written for its clients: what is said, what is dropped by name and
//! what is refused.

use llm_router::Error;
use llm_router::delta::{BlockKind, Delta, Event, FinishReason, Part};
use llm_router::dialect::openai_chat::{History, MaxTokens, OpenaiChat, Quirks, ReasoningField};
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead};
use llm_router::error::ErrorKind;
use llm_router::request::{
    Block, BlockBody, JsonSchema, Message, RawJson, Request, ResponseFormat, Role, Source, Tool, ToolChoice,
};
use llm_router::usage::Usage;
use serde_json::{Value, json};

use crate::support::{call, write};

fn encode(request: Request, quirks: Quirks) -> Result<(Value, Vec<String>), Error> {
    let sent = OpenaiChat::new(quirks).encode_request(&call(request))?;
    let dropped = sent.dropped.into_iter().map(|path| path.0).collect();
    Ok((serde_json::from_slice(&sent.body).unwrap(), dropped))
}

fn user(content: Vec<Block>) -> Request {
    let mut request = Request::default();
    request.messages.push(Message { role: Role::User, content, name: None, extra: Default::default() });
    request
}

fn result(content: Vec<Block>, is_error: bool) -> Block {
    BlockBody::ToolResult { call_id: "c1".into(), content, is_error }.into()
}

fn png() -> Source {
    Source::Base64 { mime: "image/png".into(), data: "iVBO".into() }
}

/// A conversation as the Anthropic dialect would have it: results in the user's turn, sealed thoughts, cache marks.
fn anthropic() -> Request {
    let mut request = Request::new("Weather?");
    let thought = BlockBody::Reasoning { text: "hm".into(), signature: Some("seal".into()), redacted: false };
    let call = BlockBody::ToolCall { id: "c1".into(), name: "weather".into(), arguments: String::new() };
    request.messages.push(Message::assistant(vec![thought.into(), Block::text("Let me see."), call.into()]));
    let mut marked = Block::text("And tomorrow?");
    marked
        .extra
        .insert(Dialect::Anthropic, json!({"cache_control": {"type": "ephemeral"}}).as_object().unwrap().clone());
    let content = vec![marked, result(vec![Block::text("rain"), Block::text("wind")], true)];
    request.messages.push(Message { role: Role::User, content, name: None, extra: Default::default() });
    let fields = [("thinking".to_owned(), RawJson::parse("{\"type\":\"adaptive\"}").unwrap())];
    request.extra.insert(Dialect::Anthropic, fields.into_iter().collect());
    request.sampling.max_tokens = Some(64);
    request.sampling.top_k = Some(5);
    request
}

#[test]
fn another_dialects_conversation_is_said_in_this_one() {
    let (body, dropped) = encode(anthropic(), Quirks::default()).unwrap();
    insta::assert_json_snapshot!(body);
    assert_eq!(
        dropped,
        [
            "messages[1].content[0].signature",
            "messages[2].content[1].is_error",
            "messages[2].content[0].anthropic.cache_control",
            "anthropic.thinking"
        ]
    );
}

#[test]
fn quirks_shape_what_is_written_anew() {
    let mut request = anthropic();
    request.messages.insert(0, Message::text(Role::Developer, "d"));
    request.stream = true;
    let reasoning = request.reasoning.get_or_insert_default();
    (reasoning.effort, reasoning.budget_tokens) = (Some("low".into()), Some(9));
    request.tool_choice = Some(ToolChoice::Required);
    let quirks = Quirks {
        max_tokens: MaxTokens::New,
        reasoning: ReasoningField::Effort,
        history: History::Omit,
        no_developer_role: true,
        no_stream_options: true,
        text_as_string: true,
        tool_choice_any: true,
        unsupported: &["top_k"],
        ..Quirks::default()
    };
    let (body, dropped) = encode(request, quirks).unwrap();
    assert_eq!(body["max_completion_tokens"], 64);
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!(body["messages"][0]["role"], "system");
    assert_eq!(body["messages"][3]["content"], "rain\n\nwind");
    assert_eq!((&body["tool_choice"], &body["stream"]), (&json!("any"), &json!(true)));
    for absent in ["max_tokens", "top_k", "stream_options", "reasoning"] {
        assert!(body.get(absent).is_none(), "{absent}: {body}");
    }
    for name in ["top_k", "reasoning.budget_tokens", "messages[2].reasoning"] {
        assert!(dropped.iter().any(|path| path == name), "{name}: {dropped:?}");
    }
}

#[test]
fn what_must_not_be_lost_is_refused() {
    let image = |source| BlockBody::Image { source, detail: None }.into();
    let mut own_tool = Request::new("x");
    let extra = [(Dialect::Anthropic, Default::default())].into_iter().collect();
    own_tool.tools.push(Tool { name: String::new(), description: None, parameters: None, strict: None, extra });
    let mut drawn = Request::new("x");
    drawn.messages.push(Message::assistant(vec![image(png())]));
    for request in [
        user(vec![result(vec![image(png())], false)]),
        user(vec![image(Source::FileId("f".into()))]),
        user(vec![BlockBody::Audio { source: Source::Url("https://example.com/a.mp3".into()) }.into()]),
        own_tool,
        drawn,
    ] {
        assert_eq!(encode(request, Quirks::default()).unwrap_err().kind(), ErrorKind::CallerUnsupported);
    }
    let unable = Quirks { unsupported: &["tools", "n", "stop", "response_format", "tool_choice"], ..Quirks::default() };
    let mut changes: Vec<fn(&mut Request)> = Vec::new();
    changes.push(|request| request.sampling.n = Some(2));
    changes.push(|request| request.sampling.stop = vec!["x".into()]);
    changes.push(|request| request.tool_choice = Some(ToolChoice::Tool("f".into())));
    changes.push(|request| {
        let schema = RawJson::parse("{}").unwrap();
        let schema = JsonSchema { name: "a".into(), description: None, schema, strict: None };
        request.response_format = Some(ResponseFormat::JsonSchema(schema));
    });
    for change in changes {
        let mut request = Request::new("x");
        change(&mut request);
        assert_eq!(encode(request, unable.clone()).unwrap_err().kind(), ErrorKind::CallerUnsupported);
    }
    let mut harmless = Request::new("x");
    (harmless.sampling.n, harmless.response_format) = (Some(1), Some(ResponseFormat::JsonObject));
    assert_eq!(encode(harmless, unable).unwrap().1, ["n", "response_format"]);
}

#[test]
fn bad_requests_name_the_field() {
    for (body, says) in [
        ("{}", "messages: it is missing"),
        (r#"{"messages":[]}"#, "messages: the list is empty"),
        (r#"{"messages":[{"role":"emperor"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content: it must be"),
        (r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0].text: it is missing"),
        (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id: it is missing"),
        (r#"{"messages":[{"role":"user","content":"x"}],"n":17}"#, "n: 17 is not between 1 and 16"),
        (r#"{"messages":[{"role":"user","content":"x"}],"temperature":"hot"}"#, "temperature: invalid type"),
        (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":1.5}"#, "max_tokens: 1.5 is not a count"),
        (
            r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{}}]}"#,
            "tools[0].function.name",
        ),
        (r#"{"messages":[{"role":"user","content":"x"}],"model":"a","model":"b"}"#, "\"model\" is given twice"),
        (r#"{"messages":[{"role":"user","role":"system","content":"x"}]}"#, "\"role\" is given twice"),
        ("[1]", "the body is not a JSON object"),
    ] {
        let error = OpenaiChat::default().decode_request(&RequestHead::post("/"), body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest, "{body}");
        assert!(error.message().contains(says), "{body}: {error}");
    }
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let error = OpenaiChat::default().decode_request(&RequestHead::post("/"), deep.as_bytes()).unwrap_err();
    assert!(error.message().contains("deeper than 128"), "{error}");
}

/// An answer of another dialect: thoughts, text, a call and counts, as a stream for a client of this one.
fn answer() -> Vec<Event> {
    let delta = |block, part| Delta::BlockDelta { choice: 0, block, part };
    let start = |block, kind| Delta::BlockStart { choice: 0, block, kind };
    let end = |block| Delta::BlockEnd { choice: 0, block };
    let call = BlockKind::ToolCall { id: "c1".into(), name: "f".into() };
    [
        Delta::Start { id: "msg_1".into(), model: "m".into(), created: None },
        start(0, BlockKind::Reasoning { redacted: false }),
        delta(0, Part::Text("hm".into())),
        delta(0, Part::Signature("seal".into())),
        end(0),
        start(1, BlockKind::Text),
        delta(1, Part::Text("Hi".into())),
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

fn written(request: &Request, framing: Framing) -> String {
    String::from_utf8(write(&OpenaiChat::default(), request, framing, &answer())).unwrap()
}

#[test]
fn another_dialects_answer_is_written_for_clients_of_this_one() {
    insta::assert_snapshot!("streamed", written(&Request::new("x"), Framing::Stream));
    insta::assert_snapshot!("whole", written(&Request::new("x"), Framing::Whole));
}

#[test]
fn counts_go_only_to_clients_that_asked() {
    assert!(!written(&Request::new("x"), Framing::Stream).contains("usage"));
    let body = r#"{"messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let asking = OpenaiChat::default().decode_request(&RequestHead::post("/"), body.as_bytes()).unwrap();
    assert!(written(&asking, Framing::Stream).contains(r#""choices":[],"usage":{"prompt_tokens":3"#));
}
