//! Every folder under `fixtures/openai_responses/` through the codec: what a request and an answer mean (snapshots), and the laws that hold for all of them.
//! See the README there for what is recorded. A stream's last event repeats the answer, so that whole and streamed can be compared.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use llm_router::delta::{Delta, Event, Laws};
use llm_router::dialect::openai_responses::OpenaiResponses;
use llm_router::dialect::{Codec, Dialect, Encoder, Frame, Framing, RequestHead, decode_whole, native, sse};
use llm_router::error::ErrorKind;
use llm_router::request::{BlockBody, Message, Request};
use llm_router::response::{Choice, Folder, Response};
use llm_router::{Error, Result};
use serde_json::Value;

use support::call;

struct Case {
    folder: PathBuf,
    request: Option<Vec<u8>>,
    framing: Framing,
    answer: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openai_responses");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() > 30, "the fixtures are missing");
    folders.into_iter().map(Case::of).collect()
}

fn requests() -> Vec<Case> {
    cases().into_iter().filter(|case| case.request.is_some()).collect()
}

fn answers() -> Vec<Case> {
    cases().into_iter().filter(|case| case.answer.is_some()).collect()
}

impl Case {
    fn of(folder: PathBuf) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).ok();
        assert!(read("origin.txt").is_some(), "{}: where is it from?", folder.display());
        let (sse, json) = (read("answer.sse"), read("answer.json"));
        let framing = Framing::of(sse.is_some());
        Self { request: read("request.json"), framing, answer: sse.or(json), folder }
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn request(&self) -> Request {
        match &self.request {
            Some(body) => decode(body),
            None => {
                let mut request = Request::default();
                request.messages.push(Message::user("x"));
                request.stream = self.framing == Framing::Stream;
                request
            }
        }
    }

    fn snapshot(&self, name: &str, text: &str) {
        insta::with_settings!({snapshot_path => &self.folder, prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, text);
        });
    }

    /// The answer's frames, its bytes cut into pieces of `piece` bytes.
    fn frames(&self, piece: usize) -> Vec<Frame> {
        let answer = self.answer.as_ref().unwrap();
        if self.framing == Framing::Whole {
            return vec![Frame { name: None, data: Bytes::from(answer.clone()) }];
        }
        let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
        answer.chunks(piece).for_each(|bytes| parser.push(bytes, &mut frames).unwrap());
        parser.end(&mut frames);
        frames
    }

    fn events(&self, request: Request, frames: Vec<Frame>) -> Result<Vec<Event>> {
        let call = call(request);
        let mut decoder = OpenaiResponses.decoder(&call, self.framing);
        let mut events = frames.into_iter().map(|frame| decoder.frame(frame)).collect::<Result<Vec<_>>>()?;
        events.push(decoder.end()?);
        Ok(events)
    }
}

fn decode(body: &[u8]) -> Request {
    OpenaiResponses.decode_request(&RequestHead::post("/v1/responses"), body).unwrap()
}

/// A request of this dialect: answers to it are passed on as received.
fn ours(stream: bool) -> Request {
    decode(format!("{{\"model\":\"m\",\"input\":\"x\",\"stream\":{stream}}}").as_bytes())
}

fn without_origin(mut request: Request) -> Request {
    request.origin = None;
    request
}

fn deltas(events: &[Event]) -> Vec<Delta> {
    events.iter().flat_map(|event| event.deltas.iter().cloned()).collect()
}

fn fold(deltas: &[Delta]) -> Response {
    let (mut laws, mut folder) = (Laws::default(), Folder::default());
    for delta in deltas {
        laws.check(delta).unwrap();
        folder.push(delta);
    }
    folder.finish().unwrap()
}

fn encode(encoder: &mut dyn Encoder, events: &[Event]) -> Vec<u8> {
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.event(event, &mut out).unwrap());
    out.to_vec()
}

fn frames_of(body: &[u8]) -> Vec<Frame> {
    let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
    parser.push(body, &mut frames).unwrap();
    parser.end(&mut frames);
    frames
}

/// What an answer says. Left out are the seals on thoughts: OpenAI seals them anew whenever it repeats them.
fn meaning(response: &Response) -> impl PartialEq + std::fmt::Debug + use<> {
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

#[test]
fn requests_mean_what_the_snapshots_say() {
    for case in requests() {
        let request = case.request();
        let value: Value = serde_json::from_slice(&native::write_request(&request).unwrap()).unwrap();
        case.snapshot("request", &serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(native::read_request(&native::write_request(&request).unwrap()).unwrap(), without_origin(request));
    }
}

#[test]
fn requests_of_this_dialect_go_on_byte_for_byte() {
    for case in requests() {
        let sent = OpenaiResponses.encode_request(&call(case.request())).unwrap();
        assert_eq!(sent.body, case.request.clone().unwrap(), "{}", case.name());
        assert!(sent.dropped.is_empty() && sent.path == "/responses");
    }
}

#[test]
fn requests_written_anew_mean_the_same() {
    for case in requests() {
        let mut request = without_origin(case.request());
        let sent = OpenaiResponses.encode_request(&call(request.clone())).unwrap();
        assert!(sent.dropped.is_empty(), "{}: {:?}", case.name(), sent.dropped);
        let mut again = without_origin(decode(&sent.body));
        // Two things are said that went without saying, since their defaults are this dialect's alone.
        let stored = again.extra.get_mut(&Dialect::OpenaiResponses).unwrap().shift_remove("store");
        let given = request.extra.get_mut(&Dialect::OpenaiResponses).and_then(|extra| extra.shift_remove("store"));
        assert_eq!(stored.unwrap().get(), given.map_or("false".to_owned(), |store| store.get().to_owned()));
        again.extra.retain(|_, extra| !extra.is_empty());
        request.extra.retain(|_, extra| !extra.is_empty());
        for tool in request.tools.iter_mut().filter(|tool| !tool.name.is_empty()) {
            tool.strict.get_or_insert(false);
        }
        assert_eq!(again, request, "{}", case.name());
    }
}

#[test]
fn answers_mean_what_the_snapshots_say() {
    for case in answers() {
        let events = case.events(without_origin(case.request()), case.frames(usize::MAX)).unwrap();
        let lines: Vec<String> = deltas(&events).iter().map(|delta| serde_json::to_string(delta).unwrap()).collect();
        case.snapshot("deltas", &lines.join("\n"));
    }
}

#[test]
fn answers_keep_the_laws_and_fold_both_ways() {
    for case in answers() {
        let events = case.events(case.request(), case.frames(usize::MAX)).unwrap();
        let response = fold(&deltas(&events));
        assert_eq!(fold(&response.to_deltas()), response, "{}", case.name());
        assert_eq!(native::read_response(&native::write_response(&response).unwrap()).unwrap(), response);
        for piece in [1, 7, 64] {
            assert_eq!(case.events(case.request(), case.frames(piece)).unwrap(), events, "{} by {piece}", case.name());
        }
    }
}

/// What a stream told in pieces is what its last event tells whole.
#[test]
fn a_stream_and_the_answer_it_ends_with_are_one() {
    let mut compared = 0;
    for case in answers().iter().filter(|case| case.framing == Framing::Stream) {
        let frames = case.frames(usize::MAX);
        let last = frames.iter().rev().find(|frame| &frame.data[..] != b"[DONE]").unwrap();
        let last: Value = serde_json::from_slice(&last.data).unwrap();
        let whole = &last["response"];
        if whole["output"].as_array().unwrap().is_empty() {
            continue;
        }
        compared += 1;
        let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Whole);
        let whole = fold(&decode_whole(&mut *decoder, whole.to_string().into()).unwrap().deltas);
        let streamed = fold(&deltas(&case.events(Request::new("x"), frames).unwrap()));
        assert_eq!(meaning(&streamed), meaning(&whole), "{}", case.name());
    }
    assert!(compared > 6);
}

/// Whole and streamed are one answer: each fixture is written in both forms from its deltas alone, and read back.
#[test]
fn written_whole_and_streamed_it_says_the_same() {
    for case in answers() {
        let asking = decode(br#"{"input":"x","include":["reasoning.encrypted_content"]}"#);
        let events = case.events(without_origin(case.request()), case.frames(usize::MAX)).unwrap();
        let response = fold(&deltas(&events));
        // The dialect's ids begin so, its answers always have a time.
        let mut expected = response.clone();
        expected.id = llm_router::dialect::openai_responses::response_id(&response.id);

        let body = encode(&mut *OpenaiResponses.encoder(&asking, Framing::Whole), &events);
        let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Whole);
        let whole = fold(&decode_whole(&mut *decoder, body.clone().into()).unwrap().deltas);
        // Seals come back as they were.
        assert_eq!(whole.choices, expected.choices.iter().map(written).collect::<Vec<_>>(), "{}", case.name());
        assert_eq!(meaning(&whole), meaning(&with_written(&expected)), "{} whole", case.name());

        let stream = encode(&mut *OpenaiResponses.encoder(&asking, Framing::Stream), &[response.to_deltas().into()]);
        let mut decoder = OpenaiResponses.decoder(&call(Request::new("x")), Framing::Stream);
        let frames = frames_of(&stream);
        for (at, frame) in frames.iter().enumerate() {
            let event: Value = serde_json::from_slice(&frame.data).unwrap();
            assert_eq!(event["sequence_number"], at, "{}", case.name());
            assert_eq!(event["type"].as_str(), frame.name.as_deref());
        }
        let events = frames.into_iter().map(|frame| decoder.frame(frame).unwrap()).collect::<Vec<_>>();
        let streamed = fold(&deltas(&events));
        assert_eq!(streamed.choices, whole.choices, "{} streamed", case.name());
        assert_eq!(meaning(&streamed), meaning(&whole), "{} streamed", case.name());
    }
}

/// A choice as it can be read back: an answer has no word of its own for ends that only other dialects have, and calls without arguments have empty ones.
fn written(choice: &Choice) -> Choice {
    let mut choice = choice.clone();
    for block in &mut choice.content {
        // A reasoning item has an id on the wire, so that thoughts without a seal come back with an empty one.
        if let BlockBody::ToolCall { arguments, .. } = &mut block.body
            && arguments.is_empty()
        {
            *arguments = "{}".to_owned();
        }
    }
    choice
}

fn with_written(response: &Response) -> Response {
    let mut response = response.clone();
    response.choices = response.choices.iter().map(written).collect();
    response
}

/// To a client of this dialect an answer of this dialect is passed on as received.
#[test]
fn answers_of_this_dialect_go_on_as_received() {
    for case in answers() {
        let request = ours(case.framing == Framing::Stream);
        let mut frames = case.frames(usize::MAX);
        let events = case.events(request.clone(), frames.clone()).unwrap();
        let written = encode(&mut *OpenaiResponses.encoder(&request, case.framing), &events);
        match case.framing {
            Framing::Whole => assert_eq!(written, case.answer.clone().unwrap(), "{}", case.name()),
            Framing::Stream => {
                // What comes after the last event is nobody's.
                frames.retain(|frame| &frame.data[..] != b"[DONE]");
                assert_eq!(frames_of(&written), frames, "{}", case.name());
            }
        }
    }
}

#[test]
fn a_cut_answer_is_never_a_success() {
    for case in answers() {
        let mut frames = case.frames(usize::MAX);
        frames.retain(|frame| &frame.data[..] != b"[DONE]");
        for kept in 0..frames.len() {
            let error: Error = case.events(case.request(), frames[..kept].to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{} after {kept}: {error}", case.name());
        }
        if case.framing == Framing::Whole {
            let body = case.answer.as_ref().unwrap().trim_ascii_end();
            let cut = Frame { name: None, data: Bytes::copy_from_slice(&body[..body.len() - 1]) };
            assert_eq!(case.events(case.request(), vec![cut]).unwrap_err().kind(), ErrorKind::ProviderProtocol);
        }
    }
}
