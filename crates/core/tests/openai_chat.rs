//! Every folder under `fixtures/openai_chat/` through the codec: what a request and an answer mean (snapshots), and the laws that hold for all of them.
//! See the README there for what is recorded and what is shaped after documentation.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use llm_router::delta::{Delta, Event, Laws};
use llm_router::dialect::openai_chat::{OpenaiChat, Quirks};
use llm_router::dialect::{Codec, Dialect, Encoder, Frame, Framing, RequestHead, decode_whole, native, sse};
use llm_router::error::ErrorKind;
use llm_router::request::{Message, Request};
use llm_router::response::{Folder, Response};
use llm_router::{Error, Result};

use support::call;

struct Case {
    folder: PathBuf,
    codec: OpenaiChat,
    request: Option<Vec<u8>>,
    framing: Framing,
    answer: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openai_chat");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() > 30, "the fixtures are missing");
    folders.into_iter().map(Case::of).collect()
}

impl Case {
    fn of(folder: PathBuf) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).ok();
        let mut quirks = Quirks::default();
        for word in String::from_utf8(read("quirks.txt").unwrap_or_default()).unwrap().split_whitespace() {
            match word {
                "no_done" => quirks.no_done = true,
                other => panic!("{other} is not a quirk that fixtures name"),
            }
        }
        assert!(read("origin.txt").is_some(), "{}: where is it from?", folder.display());
        let (sse, json) = (read("answer.sse"), read("answer.json"));
        let framing = Framing::of(sse.is_some());
        Self { codec: OpenaiChat::new(quirks), request: read("request.json"), framing, answer: sse.or(json), folder }
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn request(&self) -> Request {
        let head = RequestHead::post("/v1/chat/completions");
        match &self.request {
            Some(body) => self.codec.decode_request(&head, body).unwrap(),
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
        let mut decoder = self.codec.decoder(&call, self.framing);
        let mut events = frames.into_iter().map(|frame| decoder.frame(frame)).collect::<Result<Vec<_>>>()?;
        events.push(decoder.end()?);
        Ok(events)
    }
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

/// What an answer says, whatever blocks it was cut into.
fn meaning(response: &Response) -> impl PartialEq + std::fmt::Debug {
    use llm_router::request::BlockBody;
    let choice = |choice: &llm_router::response::Choice| {
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
    (response.id.clone(), response.model.clone(), response.created, choices, response.usage)
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

fn without_origin(mut request: Request) -> Request {
    request.origin = None;
    request
}

#[test]
fn requests_of_this_dialect_go_on_byte_for_byte() {
    for case in cases().iter().filter(|case| case.request.is_some()) {
        let (request, body) = (case.request(), case.request.clone().unwrap());
        if request.stream && !String::from_utf8_lossy(&body).contains("include_usage") {
            // Token counts are asked for: the one thing that is added.
            continue;
        }
        let sent = case.codec.encode_request(&call(request)).unwrap();
        assert_eq!(sent.body, body, "{}", case.name());
        assert!(sent.dropped.is_empty() && sent.path == "/chat/completions");
    }
}

#[test]
fn requests_written_anew_mean_the_same() {
    for case in cases().iter().filter(|case| case.request.is_some()) {
        let mut request = without_origin(case.request());
        let sent = case.codec.encode_request(&call(request.clone())).unwrap();
        assert!(sent.dropped.is_empty(), "{}: {:?}", case.name(), sent.dropped);
        let again = case.codec.decode_request(&RequestHead::post("/"), &sent.body).unwrap();
        if request.stream {
            let options = request.extra.entry(Dialect::OpenaiChat).or_default();
            options.extend(
                again.extra[&Dialect::OpenaiChat]
                    .get("stream_options")
                    .map(|raw| ("stream_options".to_owned(), raw.clone())),
            );
        }
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
        let mut request = without_origin(case.request());
        let asked = serde_json::json!({"stream": true, "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": true}});
        let asking = case.codec.decode_request(&RequestHead::post("/"), asked.to_string().as_bytes()).unwrap();
        request.extra.entry(Dialect::OpenaiChat).or_default().extend(asking.extra[&Dialect::OpenaiChat].clone());
        let events = case.events(request.clone(), case.frames(usize::MAX)).unwrap();
        let response = fold(&deltas(&events));

        let plain = OpenaiChat::default();
        let body = encode(&mut *plain.encoder(&request, Framing::Whole), &events);
        let mut decoder = plain.decoder(&call(request.clone()), Framing::Whole);
        let whole = fold(&decode_whole(&mut *decoder, body.into()).unwrap().deltas);
        assert_eq!(meaning(&whole), meaning(&response), "{} whole", case.name());

        let stream = encode(&mut *plain.encoder(&request, Framing::Stream), &[response.to_deltas().into()]);
        let mut decoder = plain.decoder(&call(request.clone()), Framing::Stream);
        let frames = frames_of(&stream).into_iter().map(|frame| decoder.frame(frame).unwrap()).collect::<Vec<_>>();
        let streamed = fold(&deltas(&frames));
        assert_eq!(meaning(&streamed), meaning(&response), "{} streamed", case.name());
    }
}

/// To a client of this dialect an answer of this dialect is passed on as received.
#[test]
fn answers_of_this_dialect_go_on_as_received() {
    for case in cases().iter().filter(|case| case.answer.is_some() && case.request.is_some()) {
        let request = case.request();
        let frames = case.frames(usize::MAX);
        let events = case.events(request.clone(), frames.clone()).unwrap();
        let written = encode(&mut *case.codec.encoder(&request, case.framing), &events);
        match case.framing {
            Framing::Whole => assert_eq!(written, case.answer.clone().unwrap(), "{}", case.name()),
            Framing::Stream => assert_eq!(frames_of(&written), frames, "{}", case.name()),
        }
    }
}

#[test]
fn a_cut_answer_is_never_a_success() {
    for case in cases().iter().filter(|case| case.answer.is_some() && !case.codec.quirks.no_done) {
        let frames = case.frames(usize::MAX);
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
