//! What must hold of every recorded answer: it means what a person accepted, keeps the laws, says the same whole and streamed, and goes on as it came.
//!
//! What must hold of its bytes wherever they are cut is in `cuts.rs`.

use llm_router::delta::Event;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Codec, Dialect, Framing, codec, native};
use llm_router::request::BlockBody;
use llm_router::response::Response;

use crate::customs::asking;
use crate::fixtures::{Fixture, all, answers};
use crate::support::{deltas, fold, frames, read, without_origin, write};

/// The codec that a router writes with, for clients: servers alone have quirks.
fn writer(fixture: &Fixture) -> std::sync::Arc<dyn Codec> {
    match fixture.dialect {
        Dialect::OpenaiChat => std::sync::Arc::new(OpenaiChat::default()),
        other => codec(other),
    }
}

#[test]
fn they_mean_what_the_snapshots_say() {
    for answer in answers() {
        let events = answer.events();
        let lines: Vec<String> = deltas(&events).map(|delta| serde_json::to_string(delta).unwrap()).collect();
        answer.snapshot(answer.snapshot_name(), &lines.join("\n"));
    }
}

#[test]
fn they_keep_the_laws_and_fold_both_ways() {
    for answer in answers() {
        let name = &answer.name;
        let response = fold(&answer.read(&answer.request(), answer.frames()).unwrap());
        assert_eq!(fold(&[response.to_deltas().into()]), response, "{name}");
        assert_eq!(native::read_response(&native::write_response(&response).unwrap()).unwrap(), response, "{name}");
    }
}

/// Where a server was asked the same twice, what it streamed is what it said at once.
#[test]
fn recorded_whole_and_streamed_they_are_one() {
    let mut compared = 0;
    for fixture in all() {
        let told: Vec<String> = (fixture.answers().iter())
            .map(|answer| {
                let mut response = fold(&answer.events());
                // Two answers, two names, two times, other names for what they call; and a server may name its model whole and not streamed.
                (response.id, response.model, response.created) = (String::new(), String::new(), None);
                response.choices.iter_mut().flat_map(|choice| &mut choice.content).for_each(|block| {
                    if let BlockBody::ToolCall { id, arguments, .. } = &mut block.body {
                        // An object in one framing and the model's own text in the other.
                        let value: serde_json::Value = serde_json::from_str(arguments).unwrap();
                        (*id, *arguments) = (String::new(), value.to_string());
                    }
                });
                (fixture.customs().meaning)(&response)
            })
            .collect();
        if let [streamed, whole] = told.as_slice() {
            assert_eq!(streamed, whole, "{}", fixture.name);
            compared += 1;
        }
    }
    assert!(compared > 5, "{compared} recorded in both framings");
}

/// Each is written in both forms from its steps alone, as one event, in the events it came in and step by step, and read back.
#[test]
fn written_whole_and_streamed_they_say_the_same() {
    for answer in answers() {
        let (customs, codec) = (answer.customs(), writer(answer));
        let events = answer.events();
        let response = fold(&events);
        let expected = (customs.meaning)(&(customs.comes_back)(response.clone()));
        let at_once: Event = response.to_deltas().into();
        let steps: Vec<Event> = response.to_deltas().into_iter().map(Event::from).collect();
        for framing in [Framing::Whole, Framing::Stream] {
            // The client that was recorded, and that it wants to be told everything.
            let mut request = without_origin(answer.request());
            for (dialect, fields) in asking(answer.dialect, framing).extra {
                request.extra.entry(dialect).or_default().extend(fields);
            }
            for events in [events.as_slice(), std::slice::from_ref(&at_once), &steps] {
                let body = write(&*codec, &request, framing, events);
                let again: Response = fold(&read(&*codec, &request, framing, frames(&body, framing)).unwrap());
                assert_eq!(
                    (customs.meaning)(&again),
                    expected,
                    "{} {framing:?}: {}",
                    answer.name,
                    String::from_utf8_lossy(&body)
                );
            }
        }
    }
}

/// To a client of this dialect an answer of this dialect is passed on, frame for frame and byte for byte.
#[test]
fn they_go_on_as_received() {
    for answer in answers() {
        let request = match &answer.request {
            Some(_) => answer.request(),
            None => asking(answer.dialect, answer.framing),
        };
        let received = answer.frames();
        let events = answer.read(&request, received.clone()).unwrap();
        let written = write(&*answer.codec, &request, answer.framing, &events);
        match answer.framing {
            // A list of chunks is no whole body: it is put together.
            Framing::Whole if answer.body.starts_with(b"[") => assert!(written.starts_with(b"{"), "{}", answer.name),
            Framing::Whole => assert_eq!(written, answer.body, "{}", answer.name),
            Framing::Stream => {
                let passed = (answer.customs().passed)(received);
                assert_eq!(frames(&written, Framing::Stream), passed, "{}", answer.name);
            }
        }
    }
}
