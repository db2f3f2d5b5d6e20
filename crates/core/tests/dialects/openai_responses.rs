//! What is particular to `openai_responses` among the laws that hold for every dialect, and two laws of its own.
//!
//! A stream's last event repeats the answer, so that each stream is also a recording of whole and streamed.

use llm_router::dialect::openai_responses::{OpenaiResponses, response_id};
use llm_router::dialect::{Dialect, Frame, Framing};
use llm_router::request::{BlockBody, Request};
use llm_router::response::{Choice, Response};
use serde_json::Value;

use crate::customs::{Customs, asking, json};
use crate::fixtures::{Answer, answers};
use crate::support::{fold, frame, frames, read, without_origin, write};

pub(crate) const CUSTOMS: Customs = Customs {
    path: "/v1/responses",
    added: &[],
    settle,
    comes_back: |mut response| {
        // The dialect's ids begin so; calls without arguments have empty ones.
        response.id = response_id(&response.id);
        for block in response.choices.iter_mut().flat_map(|choice| &mut choice.content) {
            if let BlockBody::ToolCall { arguments, .. } = &mut block.body
                && arguments.is_empty()
            {
                *arguments = "{}".to_owned();
            }
        }
        response
    },
    meaning: |response| {
        format!("{:#?}", (&response.id, &response.model, response.created, &response.choices, &response.usage))
    },
    end: |frames| frames.iter().rposition(not_done).unwrap(),
    passed: |frames| frames.into_iter().filter(not_done).collect(),
};

/// Two things are said that went without saying, since their defaults are this dialect's alone.
fn settle(request: &mut Request, again: &mut Request) {
    let stored = again.extra.get_mut(&Dialect::OpenaiResponses).unwrap().shift_remove("store");
    let given = request.extra.get_mut(&Dialect::OpenaiResponses).and_then(|extra| extra.shift_remove("store"));
    assert_eq!(stored.unwrap().get(), given.map_or("false".to_owned(), |store| store.get().to_owned()));
    again.extra.retain(|_, extra| !extra.is_empty());
    request.extra.retain(|_, extra| !extra.is_empty());
    for tool in request.tools.iter_mut().filter(|tool| !tool.name.is_empty()) {
        tool.strict.get_or_insert(false);
    }
}

fn not_done(frame: &Frame) -> bool {
    &frame.data[..] != b"[DONE]"
}

fn ours(framing: Framing) -> impl Iterator<Item = &'static Answer> {
    let ours = move |answer: &&Answer| answer.dialect == Dialect::OpenaiResponses && answer.framing == framing;
    answers().iter().filter(ours)
}

/// What an answer says but for the seals on its thoughts: OpenAI seals them anew whenever it repeats them.
fn without_seals(response: &Response) -> impl PartialEq + std::fmt::Debug + use<> {
    let choice = |choice: &Choice| {
        let mut blocks: Vec<BlockBody> = choice.content.iter().map(|block| block.body.clone()).collect();
        for block in &mut blocks {
            if let BlockBody::Reasoning { signature, .. } = block {
                *signature = None;
            }
        }
        (choice.index, blocks, choice.finish)
    };
    let choices: Vec<_> = response.choices.iter().map(choice).collect();
    (response.id.clone(), response.model.clone(), response.created, choices, response.usage)
}

/// What a stream told in pieces is what its last event tells whole.
#[test]
fn a_stream_and_the_answer_it_ends_with_are_one() {
    let (mut compared, request) = (0, Request::new("x"));
    for answer in ours(Framing::Stream) {
        let received = answer.frames();
        let whole = json(&received[(CUSTOMS.end)(&received)])["response"].clone();
        if whole["output"].as_array().unwrap().is_empty() {
            continue;
        }
        compared += 1;
        let whole = read(&OpenaiResponses, &request, Framing::Whole, vec![frame(whole.to_string())]).unwrap();
        let (whole, mut streamed) = (fold(&whole), fold(&answer.read(&request, received).unwrap()));
        if streamed.model.is_empty() {
            // llama.cpp's server says with the last event alone which model answers, and when.
            (streamed.model, streamed.created) = (whole.model.clone(), whole.created);
        }
        assert_eq!(without_seals(&streamed), without_seals(&whole), "{}", answer.name);
    }
    assert!(compared > 6);
}

/// Clients count the events and go by their names.
#[test]
fn events_are_numbered_and_named() {
    let request = without_origin(asking(Dialect::OpenaiResponses, Framing::Stream));
    for answer in ours(Framing::Whole).chain(ours(Framing::Stream)) {
        let steps = fold(&answer.events()).to_deltas();
        let stream = write(&OpenaiResponses, &request, Framing::Stream, &[steps.into()]);
        for (at, frame) in frames(&stream, Framing::Stream).iter().enumerate() {
            let event: Value = json(frame);
            assert_eq!(event["sequence_number"], at, "{}", answer.name);
            assert_eq!(event["type"].as_str(), frame.name.as_deref(), "{}", answer.name);
        }
    }
}
