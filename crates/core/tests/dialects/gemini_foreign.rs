//! Requests of other origins written in this dialect, answers of other origins written for its clients, and this dialect's for clients of `openai_chat`: what is said,
//! what is dropped by name and what is refused.

use llm_router::Error;
use llm_router::delta::{BlockKind, Delta, Event, FinishReason, Part};
use llm_router::dialect::gemini::Gemini;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead};
use llm_router::error::ErrorKind;
use llm_router::request::{
    Block, BlockBody, JsonSchema, Message, RawJson, Request, ResponseFormat, Role, Source, Tool, ToolChoice,
};
use llm_router::response::Response;
use llm_router::usage::Usage;
use serde_json::{Value, json};

use crate::fixtures::file;
use crate::support::{call, fold, frame, frames, read, write};

fn encode(mut request: Request, model: &str) -> Result<(Value, Vec<String>), Error> {
    request.model = Some(model.into());
    let sent = Gemini.encode_request(&call(request))?;
    let dropped = sent.dropped.into_iter().map(|path| path.0).collect();
    Ok((serde_json::from_slice(&sent.body).unwrap(), dropped))
}

fn chat(body: &Value) -> Request {
    OpenaiChat::default()
        .decode_request(&RequestHead::post("/v1/chat/completions"), body.to_string().as_bytes())
        .unwrap()
}

fn turn(role: Role, content: Vec<Block>) -> Message {
    Message { role, content, name: None, extra: Default::default() }
}

fn tool(parameters: Value) -> Tool {
    Tool {
        name: "weather".into(),
        description: Some("The weather".into()),
        parameters: Some(RawJson::of(&parameters).unwrap()),
        strict: None,
        extra: Default::default(),
    }
}

fn openai() -> Value {
    json!({
        "model": "x", "max_completion_tokens": 64, "temperature": 0.5, "reasoning_effort": "low", "n": 2, "stop": "END", "seed": 7, "user": "u", "min_p": 0.1,
        "logit_bias": {"1": 2}, "logprobs": true, "top_logprobs": 2, "store": true, "parallel_tool_calls": false,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"place\": \"Oslo\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "cold"},
            {"role": "tool", "tool_call_id": "c2", "content": "{\"degrees\": 20}"},
            {"role": "developer", "content": "Use degrees."},
            {"role": "user", "content": "And now?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "The weather", "strict": true, "parameters": {
            "type": "object", "properties": {"place": {"$ref": "#/$defs/P"}}, "$defs": {"P": {"type": ["string", "null"]}}, "additionalProperties": false}}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"x": {"const": "y"}}}}},
    })
}

#[test]
fn an_openai_conversation_is_said_in_this_dialect() {
    for (model, name) in [
        ("gemini-2.5-flash", "openai_to_2_5"),
        ("gemini-2.0-flash", "openai_to_2_0"),
        ("gemini-3-pro-preview", "openai_to_3"),
    ] {
        let (body, dropped) = encode(chat(&openai()), model).unwrap();
        insta::assert_json_snapshot!(name, json!({"body": body, "dropped": dropped}));
    }
}

#[test]
fn seals_go_back_with_the_part_they_came_with() {
    let thought = |redacted| BlockBody::Reasoning {
        text: if redacted { "" } else { "hm" }.into(),
        signature: Some("c2VhbA==".into()),
        redacted,
    };
    let ask = || BlockBody::ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into() };
    let mut request = Request::new("x");
    request.messages.push(Message::assistant(vec![
        thought(false).into(),
        thought(true).into(),
        ask().into(),
        thought(true).into(),
    ]));
    let (body, dropped) = encode(request.clone(), "gemini-3-pro").unwrap();
    assert_eq!(
        body["contents"][1]["parts"],
        json!([{"text": "hm", "thought": true, "thoughtSignature": "c2VhbA=="},
               {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "c2VhbA=="},
               {"text": "", "thoughtSignature": "c2VhbA=="}])
    );
    assert!(dropped.is_empty());
    // Whose a seal is the router knows; a call without one gets Google's stand-in where the model insists.
    request.messages[1].content.retain(|block| !matches!(block.body, BlockBody::Reasoning { .. }));
    let stand_in = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";
    let (body, _) = encode(request.clone(), "gemini-3-pro").unwrap();
    assert_eq!(body["contents"][1]["parts"][0]["thoughtSignature"], stand_in);
    let (body, _) = encode(request, "gemini-2.5-flash").unwrap();
    assert!(body["contents"][1]["parts"][0].get("thoughtSignature").is_none());
}

#[test]
fn pictures_of_results_stand_where_the_model_takes_them() {
    let image =
        BlockBody::Image { source: Source::Base64 { mime: "image/png".into(), data: "iVBO".into() }, detail: None };
    let mut request = Request::new("x");
    let ask = BlockBody::ToolCall { id: "c1".into(), name: "f".into(), arguments: "[1]".into() };
    request.messages.push(Message::assistant(vec![ask.into()]));
    let result =
        BlockBody::ToolResult { call_id: "c1".into(), content: vec![Block::text("see"), image.into()], is_error: true };
    request.messages.push(turn(Role::User, vec![result.into(), Block::text("And?")]));
    let (new, _) = encode(request.clone(), "gemini-3-flash").unwrap();
    let (old, _) = encode(request, "gemini-2.5-flash").unwrap();
    assert_eq!(new["contents"][1]["parts"][0]["functionCall"]["args"], json!({"arguments": "[1]"}));
    let data = json!({"inlineData": {"mimeType": "image/png", "data": "iVBO"}});
    let response = json!({"id": "c1", "name": "f", "response": {"error": "see"}});
    let mut inside = response.clone();
    inside["parts"] = json!([data]);
    assert_eq!(new["contents"][2]["parts"], json!([{"functionResponse": inside}, {"text": "And?"}]));
    assert_eq!(old["contents"][2]["parts"], json!([{"functionResponse": response}, {"text": "And?"}, data]));
}

#[test]
fn what_must_not_be_lost_is_refused() {
    let image = |source| BlockBody::Image { source, detail: None }.into();
    let mut own_tool = Request::new("x");
    let extra = [(Dialect::Anthropic, Default::default())].into_iter().collect();
    own_tool.tools.push(Tool { name: String::new(), description: None, parameters: None, strict: None, extra });
    let request = |message| {
        let mut request = Request::new("x");
        request.messages.push(message);
        request
    };
    let stray = BlockBody::ToolResult { call_id: "c9".into(), content: vec![Block::text("x")], is_error: false };
    for request in [
        request(turn(Role::System, vec![image(Source::Url("https://example.com/a.png".into()))])),
        request(turn(Role::User, vec![image(Source::FileId("file-1".into()))])),
        request(turn(Role::User, vec![image(Source::Url("data:,x".into()))])),
        request(turn(Role::User, vec![stray.into()])),
        own_tool,
    ] {
        assert_eq!(encode(request, "gemini-2.5-flash").unwrap_err().kind(), ErrorKind::CallerUnsupported);
    }
    let recursive = json!({"$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"});
    let mut tools = Request::new("x");
    tools.tools.push(tool(recursive.clone()));
    let mut format = Request::new("x");
    let schema =
        JsonSchema { name: "a".into(), description: None, schema: RawJson::of(&recursive).unwrap(), strict: None };
    format.response_format = Some(ResponseFormat::JsonSchema(schema));
    for request in [tools, format] {
        assert_eq!(encode(request.clone(), "gemini-2.0-flash").unwrap_err().kind(), ErrorKind::CallerUnsupported);
        assert!(encode(request, "gemini-2.5-flash").is_ok());
    }
    assert_eq!(encode(Request::new("x"), "../v1/x").unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
    assert_eq!(Gemini.encode_request(&call(Request::new("x"))).unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
}

#[test]
fn small_wishes_are_said_or_named() {
    let mut request = Request::new("x");
    request.messages[0].content[0]
        .extra
        .insert(Dialect::Anthropic, json!({"cache_control": {"type": "ephemeral"}}).as_object().unwrap().clone());
    request.sampling.repetition_penalty = Some(1.1);
    request.metadata = Some(RawJson::parse("{}").unwrap());
    request.modalities = vec!["text".into(), "image".into()];
    request.response_format = Some(ResponseFormat::JsonObject);
    request.tool_choice = Some(ToolChoice::Required);
    request.reasoning.get_or_insert_default().budget_tokens = Some(100);
    let (body, dropped) = encode(request.clone(), "gemini-2.5-flash").unwrap();
    assert_eq!(
        body["generationConfig"],
        json!({
        "responseModalities": ["TEXT", "IMAGE"], "responseMimeType": "application/json", "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 100}})
    );
    assert!(body.get("toolConfig").is_none(), "a choice without tools is none");
    assert_eq!(dropped, ["messages[0].content[0].anthropic.cache_control", "sampling.repetition_penalty", "metadata"]);
    request.tools.push(tool(json!({"type": "object", "properties": {}})));
    let (body, _) = encode(request, "gemini-2.0-flash").unwrap();
    assert_eq!(body["toolConfig"], json!({"functionCallingConfig": {"mode": "ANY"}}));
    assert!(body["tools"][0]["functionDeclarations"][0].get("parameters").is_none(), "{body}");
    let mut alone = Request::default();
    alone.messages.push(Message::system("Say pong."));
    assert_eq!(
        encode(alone, "m").unwrap().0,
        json!({"contents": [{"role": "user", "parts": [{"text": "Say pong."}]}]})
    );
}

#[test]
fn bad_requests_name_the_field() {
    let head = RequestHead::post("/v1beta/models/m:generateContent");
    for (body, says) in [
        ("{}", "contents: it is missing"),
        (r#"{"contents":[]}"#, "contents: the list is empty"),
        (r#"{"contents":"x"}"#, "contents: invalid type"),
        (r#"{"contents":[{"role":"system","parts":[{"text":"x"}]}]}"#, "contents[0].role"),
        (r#"{"contents":[{"parts":[{"text":1}]}]}"#, "contents[0].parts[0].text: invalid type"),
        (
            r#"{"contents":[{"parts":[{"inlineData":{"data":"x"}}]}]}"#,
            "contents[0].parts[0].inlineData.mimeType: it is missing",
        ),
        (r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#, "functionCall.name: it is missing"),
        (
            r#"{"contents":[{"parts":{"text":"x"}}],"generationConfig":{"maxOutputTokens":-1}}"#,
            "generationConfig.maxOutputTokens: -1 is not a count",
        ),
        (r#"{"contents":[{"parts":{"text":"x"}}],"generationConfig":{"candidateCount":99}}"#, "candidateCount: 99"),
        (r#"{"contents":[{"parts":{"text":"x"}}],"generation_config":{"top_p":"x"}}"#, "generationConfig.topP"),
        (r#"{"contents":[{"parts":{"text":"x"}}],"generationConfig":{},"generation_config":{}}"#, "given twice"),
        (
            r#"{"contents":[{"parts":{"text":"x"}}],"tools":[{"functionDeclarations":[{}]}]}"#,
            "tools[0].functionDeclarations[0].name: it is missing",
        ),
        (r#"{"contents":[{"parts":{"text":"x"}}],"toolConfig":{"functionCallingConfig":{"mode":"SOME"}}}"#, "mode"),
        (
            r#"{"contents":[{"parts":{"text":"x"}}],"generationConfig":{"thinkingConfig":{"thinkingBudget":"many"}}}"#,
            "thinkingBudget",
        ),
    ] {
        let error = Gemini.decode_request(&head, body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest, "{body}");
        assert!(error.message().contains(says), "{body}: {error}");
    }
    let deep = format!("{{\"contents\":{}{}}}", "[".repeat(500), "]".repeat(500));
    assert!(Gemini.decode_request(&head, deep.as_bytes()).unwrap_err().message().contains("deeper than 128"));
}

/// An answer of another dialect: thoughts, text with a source, a call, one that is malformed, and counts.
fn answer() -> Vec<Event> {
    let delta = |block, part| Delta::BlockDelta { choice: 0, block, part };
    let start = |block, kind| Delta::BlockStart { choice: 0, block, kind };
    let end = |block| Delta::BlockEnd { choice: 0, block };
    let note = json!({"type": "url_citation", "url_citation": {"start_index": 1, "end_index": 2, "url": "https://a", "title": "A"}});
    let mut usage = Usage::new(30, 14);
    (usage.cache_read, usage.reasoning) = (20, 10);
    [
        Delta::Start { id: "msg_1".into(), model: "m".into(), created: Some(5) },
        start(0, BlockKind::Reasoning { redacted: false }),
        delta(0, Part::Text("hm".into())),
        delta(0, Part::Signature("seal!".into())),
        end(0),
        start(1, BlockKind::Text),
        delta(1, Part::Text("Hé".into())),
        delta(1, Part::Text("!".into())),
        delta(1, Part::Annotation(note)),
        end(1),
        start(2, BlockKind::ToolCall { id: "c1".into(), name: "f".into() }),
        delta(2, Part::ToolArguments("{\"a\"".into())),
        delta(2, Part::ToolArguments(": 1}".into())),
        end(2),
        start(3, BlockKind::Provider { dialect: Dialect::Anthropic, kind: "server_tool_use".into() }),
        end(3),
        Delta::Unknown { dialect: Dialect::Anthropic, raw: json!({"x": 1}) },
        Delta::Usage(usage),
        Delta::Finish { choice: 0, reason: FinishReason::ToolCalls, raw_reason: Some("tool_use".into()) },
        Delta::End,
    ]
    .into_iter()
    .map(Event::from)
    .collect()
}

fn written(request: &Request, framing: Framing, events: &[Event]) -> String {
    String::from_utf8(write(&Gemini, request, framing, events)).unwrap()
}

#[test]
fn another_dialects_answer_is_written_for_clients_of_this_one() {
    insta::assert_snapshot!("streamed", written(&Request::new("x"), Framing::Stream, &answer()));
    insta::assert_snapshot!("whole", written(&Request::new("x"), Framing::Whole, &answer()));
}

#[test]
fn thoughts_go_only_to_clients_that_asked() {
    let mut head = RequestHead::post("/v1beta/models/m:streamGenerateContent");
    head.query = Some("alt=sse".into());
    let asking = |config: &str| {
        let body = format!(
            "{{\"contents\":[{{\"parts\":[{{\"text\":\"x\"}}]}}],\"generationConfig\":{{\"thinkingConfig\":{{{config}}}}}}}"
        );
        Gemini.decode_request(&head, body.as_bytes()).unwrap()
    };
    for framing in [Framing::Whole, Framing::Stream] {
        assert!(written(&asking("\"includeThoughts\":true"), framing, &answer()).contains("\"thought\":true"));
        let without = written(&asking("\"thinkingBudget\":5"), framing, &answer());
        // The seal still has to come back with the words that follow.
        assert!(
            !without.contains("\"thought\":true") && without.contains("\"thoughtSignature\":\"c2VhbCE=\""),
            "{without}"
        );
    }
}

#[test]
fn a_call_that_is_no_object_ends_as_google_ends_it() {
    let start = Delta::Start { id: "a".into(), model: "m".into(), created: None };
    let kind = BlockKind::ToolCall { id: "c".into(), name: "f".into() };
    let event: Event = vec![
        start,
        Delta::BlockStart { choice: 0, block: 0, kind },
        Delta::BlockDelta { choice: 0, block: 0, part: Part::ToolArguments("{\"a\":".into()) },
        Delta::BlockEnd { choice: 0, block: 0 },
        Delta::Finish { choice: 0, reason: FinishReason::ToolCalls, raw_reason: None },
        Delta::End,
    ]
    .into();
    let body: Value = serde_json::from_str(&written(&Request::new("x"), Framing::Whole, &[event])).unwrap();
    assert_eq!(body["candidates"][0]["finishReason"], "MALFORMED_FUNCTION_CALL");
    assert_eq!(body["candidates"][0]["finishMessage"], "Malformed function call: f({\"a\":)");
}

/// This dialect's fixtures for a client of `openai_chat`: its words, calls, pictures, sources and counts are all there.
#[test]
fn answers_of_this_dialect_reach_openai_clients() {
    let mut told = serde_json::Map::new();
    for name in ["whole_tool_call", "whole_grounded", "whole_picture", "whole_logprobs", "whole_filtered"] {
        let body = file(Dialect::Gemini, &format!("{name}/answer.json"));
        let mut request = Request::new("x");
        request.model = Some("gemini-2.5-pro".into());
        let events = read(&Gemini, &request, Framing::Whole, vec![frame(body)]).unwrap();
        let out = write(&OpenaiChat::default(), &request, Framing::Whole, &events);
        told.insert(name.into(), serde_json::from_slice(&out).unwrap());
    }
    insta::assert_json_snapshot!("to_openai", told);
}

/// And back: what an OpenAI server answers is the same after a client of this dialect read it.
#[test]
fn answers_of_openai_servers_survive_this_dialect() {
    for name in ["whole_openai_text", "whole_openai_tools", "llamacpp_text", "whole_openrouter_images"] {
        let (request, body) = (Request::new("x"), file(Dialect::OpenaiChat, &format!("{name}/answer.json")));
        let events = read(&OpenaiChat::default(), &request, Framing::Whole, vec![frame(body)]).unwrap();
        let before = meaning(&fold(&events));
        for framing in [Framing::Whole, Framing::Stream] {
            let out = write(&Gemini, &request, framing, &events);
            let again = read(&Gemini, &request, framing, frames(&out, framing)).unwrap();
            assert_eq!(meaning(&fold(&again)), before, "{name} {framing:?}");
        }
    }
}

/// What clients act on: text, calls, pictures, why it ended and what it cost.
fn meaning(response: &Response) -> impl PartialEq + std::fmt::Debug + use<> {
    let choices: Vec<_> = (response.choices.iter())
        .map(|choice| {
            let told: Vec<String> = (choice.content.iter())
                .filter_map(|block| match &block.body {
                    BlockBody::Text { text, .. } if !text.is_empty() => Some(text.clone()),
                    BlockBody::ToolCall { id, name, arguments } => {
                        Some(format!("{id} {name} {}", serde_json::from_str::<Value>(arguments).unwrap()))
                    }
                    BlockBody::Media { mime, data } => Some(format!("{mime} {data}")),
                    _ => None,
                })
                .collect();
            (choice.index, told, choice.finish)
        })
        .collect();
    (
        response.id.clone(),
        response.model.clone(),
        choices,
        response.usage.map(|usage| (usage.input, usage.output, usage.reasoning, usage.cache_read)),
    )
}
