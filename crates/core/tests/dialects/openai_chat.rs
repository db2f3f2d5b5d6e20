//! What is particular to `openai_chat` among the laws that hold for every dialect.

use llm_router::dialect::Dialect;
use llm_router::request::{Block, BlockBody};
use llm_router::response::{Choice, Response};

use crate::customs::{Customs, json};
use crate::support::frame;

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
    // Some servers tell thoughts twice, in words and in details that only they read. Told in frames apart, a reader takes the second for more.
    in_steps: |response| {
        let twice =
            |block: &Block| matches!(&block.body, BlockBody::Provider { kind, .. } if kind == "reasoning_details");
        !response.choices.iter().flat_map(|choice| &choice.content).any(twice)
    },
    meaning,
    end: |frames| {
        let done = frames.iter().position(|frame| &frame.data[..] == b"[DONE]");
        let finished = || frames.iter().rposition(|frame| json(frame)["choices"][0]["finish_reason"].is_string());
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
