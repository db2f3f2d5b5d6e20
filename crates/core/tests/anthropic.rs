//! Every folder under `fixtures/anthropic/` through the codec: what a request and an answer mean (snapshots), and the laws that hold for all of them.
//! See the README there for what is recorded and what is made up.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use llm_router::delta::{Delta, Event, Laws};
use llm_router::dialect::anthropic::{Anthropic, count};
use llm_router::dialect::{Codec, Encoder, Frame, Framing, RequestHead, decode_whole, native, sse};
use llm_router::error::ErrorKind;
use llm_router::request::{Message, Request};
use llm_router::response::{Folder, Response};
use llm_router::{Error, Result};

use support::call;

struct Case {
    folder: PathBuf,
    head: RequestHead,
    request: Option<Vec<u8>>,
    framing: Framing,
    answer: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/anthropic");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() > 30, "the fixtures are missing");
    folders.into_iter().map(Case::of).collect()
}

impl Case {
    fn of(folder: PathBuf) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).ok();
        assert!(read("origin.txt").is_some(), "{}: where is it from?", folder.display());
        let (sse, json) = (read("answer.sse"), read("answer.json"));
        let head = String::from_utf8(read("head.txt").unwrap_or_default()).unwrap();
        let framing = Framing::of(sse.is_some());
        Self { head: head_of(&head), request: read("request.json"), framing, answer: sse.or(json), folder }
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn request(&self) -> Request {
        match &self.request {
            Some(body) => Anthropic.decode_request(&self.head, body).unwrap(),
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
        let mut decoder = Anthropic.decoder(&call, self.framing);
        let mut events = frames.into_iter().map(|frame| decoder.frame(frame)).collect::<Result<Vec<_>>>()?;
        events.push(decoder.end()?);
        Ok(events)
    }
}

/// Path and query in the first line, a header in each of the others.
fn head_of(text: &str) -> RequestHead {
    let mut lines = text.lines();
    let target = lines.next().unwrap_or("/v1/messages");
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    let mut head = RequestHead::post(path);
    head.query = query;
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        head.headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    head
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

fn without_origin(mut request: Request) -> Request {
    request.origin = None;
    request
}

/// What an answer says, wherever it was said that something of it is not known.
fn meaning(response: &Response) -> impl PartialEq + std::fmt::Debug {
    let choices = response.choices.iter().map(|choice| (choice.index, choice.content.clone(), choice.finish));
    (response.id.clone(), response.model.clone(), choices.collect::<Vec<_>>(), response.usage)
}

#[test]
fn requests_mean_what_the_snapshots_say() {
    for case in cases().iter().filter(|case| case.request.is_some()) {
        let request = case.request();
        let value: serde_json::Value = serde_json::from_slice(&native::write_request(&request).unwrap()).unwrap();
        case.snapshot("request", &serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(native::read_request(&native::write_request(&request).unwrap()).unwrap(), without_origin(request));
    }
}

#[test]
fn requests_of_this_dialect_go_on_byte_for_byte() {
    for case in cases().iter().filter(|case| case.request.is_some()) {
        let (request, body) = (case.request(), case.request.clone().unwrap());
        let sent = match case.head.path.ends_with("count_tokens") {
            true => count::encode_request(&call(request)).unwrap(),
            false => Anthropic.encode_request(&call(request)).unwrap(),
        };
        assert_eq!(sent.body, body, "{}", case.name());
        assert!(sent.dropped.is_empty() && case.head.path.ends_with(&sent.path));
        for name in ["anthropic-version", "anthropic-beta"] {
            assert_eq!(sent.headers.get(name), case.head.headers.get(name), "{}", case.name());
        }
        assert_eq!(sent.query, case.head.query);
    }
}

#[test]
fn requests_written_anew_mean_the_same() {
    for case in cases().iter().filter(|case| case.request.is_some()) {
        let mut request = without_origin(case.request());
        let sent = Anthropic.encode_request(&call(request.clone())).unwrap();
        assert!(sent.dropped.is_empty(), "{}: {:?}", case.name(), sent.dropped);
        let again = Anthropic.decode_request(&RequestHead::post("/"), &sent.body).unwrap();
        // A limit of tokens goes out in any case: the vendor requires it.
        request.sampling.max_tokens = again.sampling.max_tokens;
        assert_eq!(without_origin(again), request, "{}", case.name());
    }
}

#[test]
fn answers_mean_what_the_snapshots_say() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let events = case.events(without_origin(case.request()), case.frames(usize::MAX)).unwrap();
        let lines: Vec<String> = deltas(&events).iter().map(|delta| serde_json::to_string(delta).unwrap()).collect();
        case.snapshot("deltas", &lines.join("\n"));
    }
}

#[test]
fn answers_keep_the_laws_and_fold_both_ways() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let events = case.events(case.request(), case.frames(usize::MAX)).unwrap();
        let response = fold(&deltas(&events));
        assert_eq!(fold(&response.to_deltas()), response, "{}", case.name());
        assert_eq!(native::read_response(&native::write_response(&response).unwrap()).unwrap(), response);
        for piece in [1, 7, 64] {
            assert_eq!(case.events(case.request(), case.frames(piece)).unwrap(), events, "{} by {piece}", case.name());
        }
    }
}

/// Whole and streamed are one answer: each fixture is written in both forms from its deltas alone, and read back.
#[test]
fn whole_and_streamed_say_the_same() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let request = without_origin(case.request());
        let events = case.events(request.clone(), case.frames(usize::MAX)).unwrap();
        let response = fold(&deltas(&events));

        let body = encode(&mut *Anthropic.encoder(&request, Framing::Whole), &events);
        let mut decoder = Anthropic.decoder(&call(request.clone()), Framing::Whole);
        let whole = fold(&decode_whole(&mut *decoder, body.into()).unwrap().deltas);
        assert_eq!(meaning(&whole), meaning(&response), "{} whole", case.name());

        for events in [vec![response.to_deltas().into()], response.to_deltas().into_iter().map(Event::from).collect()] {
            let stream = encode(&mut *Anthropic.encoder(&request, Framing::Stream), &events);
            let mut decoder = Anthropic.decoder(&call(request.clone()), Framing::Stream);
            let frames = frames_of(&stream).into_iter().map(|frame| decoder.frame(frame).unwrap()).collect::<Vec<_>>();
            let streamed = fold(&deltas(&frames));
            assert_eq!(meaning(&streamed), meaning(&response), "{} streamed", case.name());
        }
    }
}

/// A whole answer written from its deltas has every field that the vendor's had.
#[test]
fn nothing_of_a_whole_answer_is_lost() {
    for case in cases().iter().filter(|case| case.answer.is_some() && case.framing == Framing::Whole) {
        let request = without_origin(case.request());
        let events = case.events(request.clone(), case.frames(usize::MAX)).unwrap();
        let body = encode(&mut *Anthropic.encoder(&request, Framing::Whole), &events);
        let [mut written, mut received] = [&body, case.answer.as_ref().unwrap()]
            .map(|body| serde_json::from_slice::<serde_json::Value>(body).unwrap());
        for side in [&mut written, &mut received] {
            side.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        }
        assert_eq!(written, received, "{}", case.name());
    }
}

/// To a client of this dialect an answer of this dialect is passed on as received.
#[test]
fn answers_of_this_dialect_go_on_as_received() {
    for case in cases().iter().filter(|case| case.answer.is_some() && case.request.is_some()) {
        let request = case.request();
        let frames = case.frames(usize::MAX);
        let events = case.events(request.clone(), frames.clone()).unwrap();
        let written = encode(&mut *Anthropic.encoder(&request, case.framing), &events);
        match case.framing {
            Framing::Whole => assert_eq!(written, case.answer.clone().unwrap(), "{}", case.name()),
            Framing::Stream => assert_eq!(frames_of(&written), frames, "{}", case.name()),
        }
    }
}

/// Clients go by the events' names; a server that leaves them out is helped.
#[test]
fn events_without_a_name_get_theirs() {
    let body = br#"{"model":"m","max_tokens":1,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let request = Anthropic.decode_request(&RequestHead::post("/v1/messages"), body).unwrap();
    let case = cases().into_iter().find(|case| case.name() == "made_bare_server").unwrap();
    let events = case.events(request.clone(), case.frames(usize::MAX)).unwrap();
    let written = encode(&mut *Anthropic.encoder(&request, Framing::Stream), &events);
    let names: Vec<_> = frames_of(&written).into_iter().map(|frame| frame.name.unwrap()).collect();
    assert_eq!(names.first().map(String::as_str), Some("message_start"));
    assert_eq!(names.last().map(String::as_str), Some("message_stop"));
}

#[test]
fn a_cut_answer_is_never_a_success() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let frames = case.frames(usize::MAX);
        let last = frames.iter().rposition(|frame| frame.data.starts_with(b"{\"type\":\"message_stop\"")).unwrap_or(0);
        for kept in 0..=last {
            let error: Error = match case.events(case.request(), frames[..kept].to_vec()) {
                Err(error) => error,
                Ok(_) => panic!("{} after {kept}", case.name()),
            };
            assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{} after {kept}: {error}", case.name());
        }
        if case.framing == Framing::Whole {
            let body = case.answer.as_ref().unwrap().trim_ascii_end();
            let cut = Frame { name: None, data: Bytes::copy_from_slice(&body[..body.len() - 1]) };
            assert_eq!(case.events(case.request(), vec![cut]).unwrap_err().kind(), ErrorKind::ProviderProtocol);
        }
    }
}
