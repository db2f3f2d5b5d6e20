//! What is particular to `anthropic` among the laws that hold for every dialect, and two laws of its own.

use llm_router::dialect::{Dialect, Framing};
use serde_json::Value;

use crate::customs::{Customs, asking, json};
use crate::fixtures::{answers, requests};
use crate::support::{frames, without_origin, write};

pub(crate) const CUSTOMS: Customs = Customs {
    path: "/v1/messages",
    added: &[],
    // A limit of tokens goes out in any case: the vendor requires it.
    settle: |request, again| request.sampling.max_tokens = again.sampling.max_tokens,
    comes_back: |response| response,
    meaning: |response| {
        let choices = response.choices.iter().map(|choice| (choice.index, &choice.content, choice.finish));
        format!("{:#?}", (&response.id, &response.model, choices.collect::<Vec<_>>(), &response.usage))
    },
    end: |frames| frames.iter().rposition(|frame| json(frame)["type"] == "message_stop").unwrap(),
    // Clients go by the events' names.
    passed: |mut frames| {
        frames.truncate((CUSTOMS.end)(&frames) + 1);
        for frame in &mut frames {
            frame.name = json(frame)["type"].as_str().map(str::to_owned);
        }
        frames
    },
};

/// A whole answer written from its deltas has every field that the vendor's had.
#[test]
fn nothing_of_a_whole_answer_is_lost() {
    let whole = |dialect, framing| dialect == Dialect::Anthropic && framing == Framing::Whole;
    for answer in answers().iter().filter(|answer| whole(answer.dialect, answer.framing)) {
        let body = write(&*answer.codec, &without_origin(answer.request()), Framing::Whole, &answer.events());
        let [written, received] = [&body, &answer.body].map(|body| serde_json::from_slice(body).unwrap());
        assert!(holds(&written, &received), "{}: {written} of {received}", answer.name);
    }
}

/// Whether all that was received stands in what was written, which may say more: counts of nothing.
fn holds(written: &Value, received: &Value) -> bool {
    match (written, received) {
        (Value::Object(written), Value::Object(received)) => (received.iter())
            .all(|(name, value)| value.is_null() || written.get(name).is_some_and(|written| holds(written, value))),
        (written, received) => written == received,
    }
}

/// Clients go by the events' names; a server that leaves them out is helped.
#[test]
fn events_without_a_name_get_theirs() {
    let answer = answers().iter().find(|answer| answer.name == "anthropic/made_bare_server").unwrap();
    let request = asking(Dialect::Anthropic, Framing::Stream);
    let events = answer.read(&request, answer.frames()).unwrap();
    let written = write(&*answer.codec, &request, Framing::Stream, &events);
    let names: Vec<_> = frames(&written, Framing::Stream).into_iter().map(|frame| frame.name.unwrap()).collect();
    assert_eq!(names.first().map(String::as_str), Some("message_start"));
    assert_eq!(names.last().map(String::as_str), Some("message_stop"));
}

/// The two headers that belong to the dialect are recorded with every request.
#[test]
fn every_request_says_its_version() {
    for fixture in requests().filter(|fixture| fixture.dialect == Dialect::Anthropic) {
        assert!(fixture.head.headers.contains_key("anthropic-version"), "{}", fixture.name);
    }
}
