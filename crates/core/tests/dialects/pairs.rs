//! Every ordered pair of dialects: a client of the one, a provider of the other. What is said survives, or its loss is named; nothing goes in silence.
//!
//! The table is small on purpose: text, tools, pictures, thoughts and settings, asked in each dialect and answered in each. What is dropped and refused stands in the
//! snapshots, a line a case, for people to read. What one dialect does in all its detail is in its own tests.

use std::fmt::Write;
use std::sync::Arc;

use llm_router::delta::{Event, FinishReason};
use llm_router::dialect::native::{self, Native};
use llm_router::dialect::{self, Codec, Dialect, Framing, RequestHead};
use llm_router::request::{Block, BlockBody, Request, ResponseFormat, Role, Source};
use llm_router::response::{Choice, Response};
use llm_router::usage::Usage;
use serde_json::{Value, json};

use crate::customs::{asking, head_of};
use crate::fixtures::{DIALECTS, answers as recorded_answers, requests as recorded_requests};
use crate::support::{call, fold, frame, frames, without_origin};

const PNG: &str = "iVBO";

/// What a dialect has no word for in its answers, by the case of the table.
const NO_WORD_FOR: &[(&str, Dialect)] = &[("image", Dialect::Anthropic)];

fn codec(dialect: Dialect) -> Arc<dyn Codec> {
    dialect::codec(dialect)
}

fn head(dialect: Dialect) -> RequestHead {
    head_of(dialect, Framing::Whole)
}

/// The requests of the table: `(case, what is asked in each dialect, in the order of DIALECTS)`.
fn requests() -> Vec<(&'static str, [Value; 4])> {
    let schema = json!({"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]});
    let url = format!("data:image/png;base64,{PNG}");
    let thoughts = ("Why?", "hm", "Because.", "Go on.");
    vec![
        (
            "text",
            [
                json!({"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "So?"}]}),
                json!({"model": "m", "store": false, "instructions": "Be brief.", "input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "So?"}]}),
                json!({"model": "m", "max_tokens": 64, "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "So?"}]}),
                json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}, {"role": "user", "parts": [{"text": "So?"}]}]}),
            ],
        ),
        (
            "tools",
            [
                json!({"model": "m", "tool_choice": "required", "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema}}], "messages": [
                {"role": "user", "content": "Cold?"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"place\":\"Oslo\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "minus nine"}]}),
                json!({"model": "m", "store": false, "tool_choice": "required", "tools": [{"type": "function", "name": "weather", "description": "d", "parameters": schema, "strict": false}], "input": [
                {"role": "user", "content": "Cold?"},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"place\":\"Oslo\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "minus nine"}]}),
                json!({"model": "m", "max_tokens": 64, "tool_choice": {"type": "any"}, "tools": [{"name": "weather", "description": "d", "input_schema": schema}], "messages": [
                {"role": "user", "content": "Cold?"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"place": "Oslo"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "minus nine"}]}]}),
                json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}, "tools": [{"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": schema}]}], "contents": [
                {"role": "user", "parts": [{"text": "Cold?"}]},
                {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": {"place": "Oslo"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "minus nine"}}}]}]}),
            ],
        ),
        (
            "image",
            [
                json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]}]}),
                json!({"model": "m", "store": false, "input": [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url}]}]}),
                json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]}]}),
                json!({"contents": [{"role": "user", "parts": [{"text": "What?"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]}]}),
            ],
        ),
        (
            "reasoning",
            [
                json!({"model": "m", "reasoning_effort": "low", "messages": [{"role": "user", "content": thoughts.0}, {"role": "assistant", "content": thoughts.2, "reasoning_content": thoughts.1}, {"role": "user", "content": thoughts.3}]}),
                json!({"model": "m", "store": false, "reasoning": {"effort": "low"}, "input": [{"role": "user", "content": thoughts.0}, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": thoughts.1}], "encrypted_content": "gAAA"}, {"role": "assistant", "content": thoughts.2}, {"role": "user", "content": thoughts.3}]}),
                json!({"model": "m", "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [{"role": "user", "content": thoughts.0}, {"role": "assistant", "content": [{"type": "thinking", "thinking": thoughts.1, "signature": "EqRk"}, {"type": "text", "text": thoughts.2}]}, {"role": "user", "content": thoughts.3}]}),
                json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": true}}, "contents": [{"role": "user", "parts": [{"text": thoughts.0}]}, {"role": "model", "parts": [{"text": thoughts.1, "thought": true, "thoughtSignature": "Q2lR"}, {"text": thoughts.2}]}, {"role": "user", "parts": [{"text": thoughts.3}]}]}),
            ],
        ),
        (
            "settings",
            [
                json!({"model": "m", "max_completion_tokens": 64, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": 7, "frequency_penalty": 0.1, "n": 2, "messages": [{"role": "user", "content": "Hi"}]}),
                json!({"model": "m", "store": false, "max_output_tokens": 64, "temperature": 0.5, "top_p": 0.9, "truncation": "auto", "input": "Hi"}),
                json!({"model": "m", "max_tokens": 64, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END"], "messages": [{"role": "user", "content": "Hi"}]}),
                json!({"generationConfig": {"maxOutputTokens": 64, "temperature": 0.5, "topP": 0.9, "topK": 5, "stopSequences": ["END"], "seed": 7, "candidateCount": 2}, "contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
            ],
        ),
        (
            "schema",
            [
                json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": true}}}),
                json!({"model": "m", "store": false, "input": "Hi", "text": {"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": true}}}),
                json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
                json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}),
            ],
        ),
    ]
}

/// A block in words that do not depend on a dialect.
fn words(role: &str, block: &Block) -> Option<String> {
    Some(match &block.body {
        BlockBody::Text { text, .. } if text.is_empty() => return None,
        // Where a dialect has no word for it, a refusal is said as text.
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } => format!("{role}: {text}"),
        BlockBody::Reasoning { text, .. } if text.is_empty() => return None,
        BlockBody::Reasoning { text, .. } => format!("thought: {text}"),
        BlockBody::ToolCall { name, arguments, .. } => {
            format!("call {name} {}", serde_json::from_str::<Value>(arguments).unwrap_or_default())
        }
        BlockBody::ToolResult { content, .. } => {
            let said: Vec<String> = content.iter().filter_map(|block| words("result", block)).collect();
            said.join(" ")
        }
        BlockBody::Image { source: Source::Base64 { mime, data }, .. } => format!("image {mime} {data}"),
        BlockBody::Media { mime, data } => format!("media {mime} {data}"),
        other => format!("{other:?}"),
    })
}

/// What a request says.
fn said(request: &Request) -> Vec<String> {
    let mut all = Vec::new();
    for message in &request.messages {
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::Assistant => "model",
            _ => "user",
        };
        all.extend(message.content.iter().filter_map(|block| words(role, block)));
    }
    all.extend(request.tools.iter().map(|tool| format!("tool {}", tool.name)));
    all.extend(request.tool_choice.iter().map(|choice| format!("choice {choice:?}")));
    all.extend(matches!(request.response_format, Some(ResponseFormat::JsonSchema(_))).then(|| "schema".to_owned()));
    let sampling = &request.sampling;
    all.extend(sampling.temperature.map(|value| format!("temperature {value}")));
    all.extend(sampling.top_p.map(|value| format!("top_p {value}")));
    all.extend(sampling.max_tokens.map(|value| format!("max_tokens {value}")));
    all.extend(sampling.seed.map(|value| format!("seed {value}")));
    all.extend(sampling.stop.iter().map(|stop| format!("stop {stop}")));
    all
}

fn lost(before: &[String], after: &[String]) -> Vec<String> {
    before.iter().filter(|word| !after.contains(word)).cloned().collect()
}

#[test]
fn a_request_keeps_what_it_says_or_names_what_it_loses() {
    let mut table = String::new();
    for (case, bodies) in requests() {
        for (from, body) in DIALECTS.into_iter().zip(&bodies) {
            for to in DIALECTS {
                let mut request = codec(from).decode_request(&head(from), body.to_string().as_bytes()).unwrap();
                request.model = Some("gemini-2.5-flash".into());
                let before = said(&request);
                let line = match codec(to).encode_request(&call(request)) {
                    Err(error) => format!("refused: {error}"),
                    Ok(sent) => {
                        let again = codec(to).decode_request(&head(to), &sent.body).unwrap();
                        let lost = lost(&before, &said(&again));
                        let dropped: Vec<String> = sent.dropped.into_iter().map(|path| path.0).collect();
                        assert!(lost.is_empty() || !dropped.is_empty(), "{case}: {from} -> {to}: {lost:?} in silence");
                        assert!(from != to || (lost.is_empty() && dropped.is_empty()), "{case}: {from} to itself");
                        match (lost.as_slice(), dropped.as_slice()) {
                            ([], []) => "kept".to_owned(),
                            ([], _) => format!("kept, but for [{}]", dropped.join(", ")),
                            _ => format!("without {lost:?}, said as [{}]", dropped.join(", ")),
                        }
                    }
                };
                writeln!(table, "{case}: {from} -> {to}: {line}").unwrap();
            }
        }
    }
    insta::assert_snapshot!("requests", table);
}

/// The answers of the table.
fn answers() -> Vec<(&'static str, Response)> {
    let thought = BlockBody::Reasoning { text: "hm".into(), signature: Some("c2VhbA==".into()), redacted: false };
    let ask = |id: &str, place: &str| BlockBody::ToolCall {
        id: id.into(),
        name: "weather".into(),
        arguments: format!("{{\"place\":\"{place}\"}}"),
    };
    let drawn = BlockBody::Media { mime: "image/png".into(), data: PNG.into() };
    let of = |content: Vec<Block>, finish| {
        let mut response = Response::default();
        (response.id, response.model, response.created) = ("resp_1".into(), "m".into(), Some(7));
        response.choices.push(Choice { index: 0, content, finish, raw_reason: None });
        let mut usage = Usage::new(100, 20);
        (usage.cache_read, usage.reasoning) = (40, 5);
        response.usage = Some(usage);
        response
    };
    vec![
        ("text", of(vec![Block::text("Hello, \"world\" – ü")], FinishReason::Stop)),
        ("cut", of(vec![Block::text("Hel")], FinishReason::Length)),
        (
            "tools",
            of(
                vec![Block::text("Let me see."), ask("c1", "Oslo").into(), ask("c2", "Rome").into()],
                FinishReason::ToolCalls,
            ),
        ),
        ("reasoning", of(vec![thought.into(), Block::text("Yes.")], FinishReason::Stop)),
        ("image", of(vec![drawn.into(), Block::text("Here.")], FinishReason::Stop)),
    ]
}

fn write(dialect: Dialect, framing: Framing, events: &[Event]) -> Vec<u8> {
    crate::support::write(&*codec(dialect), &asking(dialect, framing), framing, events)
}

fn read(dialect: Dialect, framing: Framing, bytes: &[u8]) -> Vec<Event> {
    crate::support::read(&*codec(dialect), &asking(dialect, framing), framing, frames(bytes, framing)).unwrap()
}

/// What an answer says: text and thoughts joined, calls, pictures, its end, and counts.
fn meaning(response: &Response) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let [choice] = response.choices.as_slice() else { panic!("{response:?}") };
    let (mut text, mut thoughts) = (String::new(), String::new());
    for block in &choice.content {
        match &block.body {
            BlockBody::Text { text: more, .. } => text.push_str(more),
            BlockBody::Reasoning { text: more, .. } => thoughts.push_str(more),
            BlockBody::ToolCall { id, .. } => all.extend([words("", block).unwrap(), format!("id {id}")]),
            _ => all.extend(words("model", block)),
        }
    }
    all.push(format!("text {text}"));
    all.push(format!("thoughts {thoughts}"));
    all.push(format!("end {:?}", choice.finish));
    let usage = response.usage.unwrap_or_default();
    all.push(format!("tokens {} {}", usage.input, usage.output));
    all.push(format!("cached {}", usage.cache_read));
    all.push(format!("thought tokens {}", usage.reasoning));
    all
}

#[test]
fn an_answer_says_the_same_to_clients_of_every_dialect() {
    let mut table = String::new();
    for (case, answer) in answers() {
        let written: Event = answer.to_deltas().into();
        for from in DIALECTS {
            for to in DIALECTS {
                for framing in [Framing::Whole, Framing::Stream] {
                    // What a provider of `from` would send, and a client of `to` would get.
                    let sent = read(from, framing, &write(from, framing, std::slice::from_ref(&written)));
                    let got = read(to, framing, &write(to, framing, &sent));
                    let lost = lost(&meaning(&fold(&sent)), &meaning(&fold(&got)));
                    let may = from != to && NO_WORD_FOR.contains(&(case, to));
                    assert!(may || lost.is_empty(), "{case}: {from} -> {to}, {framing:?}: {lost:?}");
                    let line = if lost.is_empty() { "kept".to_owned() } else { format!("without {lost:?}") };
                    writeln!(table, "{case}: {from} -> {to}, {framing:?}: {line}").unwrap();
                }
            }
        }
    }
    insta::assert_snapshot!("answers", table);
}

#[test]
fn recorded_requests_can_be_said_in_every_dialect_or_are_refused() {
    let mut silent = Vec::new();
    for fixture in recorded_requests() {
        let (from, name) = (fixture.dialect, &fixture.name);
        for to in DIALECTS.into_iter().filter(|to| *to != from) {
            let mut request = fixture.request();
            request.model = Some("gemini-2.5-flash".into());
            let before = said(&request);
            let Ok(sent) = codec(to).encode_request(&call(request)) else { continue };
            let again = codec(to).decode_request(&head(to), &sent.body);
            let again = again.unwrap_or_else(|error| panic!("{name} -> {to}: {error}"));
            // Texts may be joined, and are looked for in all that was said.
            let all = said(&again).join("\n");
            let lost: Vec<&String> = before
                .iter()
                .filter(|word| {
                    !word
                        .split_once(": ")
                        .map_or(word.as_str(), |(_, text)| text)
                        .lines()
                        .all(|line| all.contains(line))
                })
                .collect();
            if !lost.is_empty() && sent.dropped.is_empty() {
                silent.push(format!("{name} -> {to}: {lost:?}"));
            }
        }
    }
    assert!(silent.is_empty(), "lost in silence:\n{}", silent.join("\n"));
}

#[test]
fn recorded_answers_can_be_told_in_every_dialect() {
    // Where a dialect has no word for it, a refusal is said as text.
    let texts = |events: &[Event]| -> String {
        let response = fold(events);
        let blocks = response.choices.first().map(|choice| choice.content.as_slice()).unwrap_or_default();
        let text = |block: &Block| match &block.body {
            BlockBody::Text { text, .. } | BlockBody::Refusal { text } => Some(text.clone()),
            _ => None,
        };
        blocks.iter().filter_map(text).collect()
    };
    for answer in recorded_answers() {
        let events = answer.events();
        for to in DIALECTS.into_iter().filter(|to| *to != answer.dialect) {
            for framing in [Framing::Whole, Framing::Stream] {
                let told = read(to, framing, &write(to, framing, &events));
                assert_eq!(texts(&told), texts(&events), "{} -> {to}, {framing:?}", answer.name);
            }
        }
    }
}

/// Our own dialect stands between any two, as between two routers: what comes after it is the same as without it.
#[test]
fn native_between_any_two_changes_nothing() {
    for (case, bodies) in requests() {
        for (from, body) in DIALECTS.into_iter().zip(&bodies) {
            let mut request =
                without_origin(codec(from).decode_request(&head(from), body.to_string().as_bytes()).unwrap());
            request.model = Some("gemini-2.5-flash".into());
            let sent = Native.encode_request(&call(request.clone())).unwrap();
            assert!(sent.dropped.is_empty(), "{case}: {from} -> native: {:?}", sent.dropped);
            let passed = without_origin(Native.decode_request(&RequestHead::post("/"), &sent.body).unwrap());
            assert_eq!(passed, request, "{case}: {from} -> native");
            for to in DIALECTS {
                let [direct, by_way] = [&request, &passed].map(|request| {
                    let sent = codec(to).encode_request(&call(request.clone()));
                    sent.map(|sent| (sent.body, sent.dropped)).map_err(|error| error.to_string())
                });
                assert_eq!(direct, by_way, "{case}: {from} -> native -> {to}");
            }
        }
    }
    let request = Request::new("x");
    for (case, answer) in answers() {
        let written: Event = answer.to_deltas().into();
        for from in DIALECTS {
            for framing in [Framing::Whole, Framing::Stream] {
                let sent = read(from, framing, &write(from, framing, std::slice::from_ref(&written)));
                let body = crate::support::write(&Native, &request, framing, &sent);
                // Its streams are lines of JSON, not events.
                let lines = match framing {
                    Framing::Whole => vec![frame(body)],
                    Framing::Stream => {
                        body.split_inclusive(|byte| *byte == b'\n').map(|line| frame(line.to_vec())).collect()
                    }
                };
                let passed = crate::support::read(&Native, &request, framing, lines).unwrap();
                assert_eq!(fold(&passed), fold(&sent), "{case}: {from} -> native, {framing:?}");
                assert_eq!(
                    native::read_response(&native::write_response(&fold(&sent)).unwrap()).unwrap(),
                    fold(&passed)
                );
            }
        }
    }
}
