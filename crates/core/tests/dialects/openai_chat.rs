//! What is particular to `openai_chat` among the laws that hold for every dialect.

use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Dialect, Frame, Framing};
use llm_router::request::BlockBody;
use llm_router::response::{Choice, Response};
use serde_json::json;

use crate::customs::{Customs, asking, json as json_of};
use crate::support::{fold, frame, read};

pub(crate) const CUSTOMS: Customs = Customs {
    path: "/v1/chat/completions",
    // Token counts are asked of every stream.
    added: &["stream_options"],
    settle: |request, again| {
        if request.stream {
            let asked = again.extra[&Dialect::OpenaiChat].get("stream_options").cloned();
            let options = request.extra.entry(Dialect::OpenaiChat).or_default();
            options.extend(asked.map(|raw| ("stream_options".to_owned(), raw)));
        }
    },
    comes_back: |response| response,
    meaning,
    end: |frames| {
        let done = frames.iter().position(|frame| &frame.data[..] == b"[DONE]");
        let finished = || frames.iter().rposition(|frame| json_of(frame)["choices"][0]["finish_reason"].is_string());
        done.or_else(finished).unwrap()
    },
    passed: |mut frames| {
        if frames.iter().all(|frame| &frame.data[..] != b"[DONE]") {
            frames.push(frame(&b"[DONE]"[..]));
        }
        frames
    },
};

/// The dialect has one text and one line of thoughts: what blocks they were cut into is lost.
fn meaning(response: &Response) -> String {
    let choice = |choice: &Choice| {
        let (mut text, mut thoughts, mut refusal, mut rest) = (String::new(), String::new(), String::new(), Vec::new());
        for block in &choice.content {
            match &block.body {
                BlockBody::Text { text: more, annotations, logprobs } => {
                    text.push_str(more);
                    rest.extend(annotations.iter().map(|note| note.to_string()));
                    rest.extend(logprobs.iter().map(|token| format!("{token:?}")));
                }
                BlockBody::Reasoning { text: more, .. } => thoughts.push_str(more),
                BlockBody::Refusal { text } => refusal.push_str(text),
                other => rest.push(format!("{other:?}")),
            }
        }
        rest.sort();
        (choice.index, text, thoughts, refusal, rest, choice.finish)
    };
    let choices: Vec<_> = response.choices.iter().map(choice).collect();
    format!("{:#?}", (&response.id, &response.model, response.created, choices, &response.usage))
}

/// Some servers tell thoughts twice, as text and in details: in one frame or in several, and either may come first.
#[test]
fn thoughts_that_are_told_twice_are_read_once() {
    let text = |words: &str| json!({"reasoning_content": words});
    let details = |words: &str| json!({"reasoning_details": [{"type": "reasoning.text", "text": words}]});
    let both =
        |words: &str| json!({"reasoning": words, "reasoning_details": [{"type": "reasoning.text", "text": words}]});
    for (pieces, thoughts) in [
        (vec![text("one two"), details("one two")], "one two"),
        (vec![details("one two"), text("one two")], "one two"),
        (vec![details("one "), details("two"), text("one two three")], "one two three"),
        (vec![details("one two"), text("one "), text("two"), text(" three")], "one two three"),
        (vec![both("one "), both("two")], "one two"),
        (vec![details("one "), details("two")], "one two"),
        (vec![text("one "), details("one "), text("two"), details("two")], "one two"),
        (vec![details("a summary"), text("the thought itself")], "a summarythe thought itself"),
    ] {
        let mut frames: Vec<Frame> = (pieces.iter())
            .map(|delta| frame(json!({"id": "c", "choices": [{"index": 0, "delta": delta}]}).to_string()))
            .collect();
        frames.push(frame(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string()));
        frames.push(frame(&b"[DONE]"[..]));
        let request = asking(Dialect::OpenaiChat, Framing::Stream);
        let response = fold(&read(&OpenaiChat::default(), &request, Framing::Stream, frames).unwrap());
        let told: String = (response.choices[0].content.iter())
            .filter_map(|block| match &block.body {
                BlockBody::Reasoning { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(told, thoughts, "{pieces:?}");
    }
}
