//! Every folder under `fixtures/gemini/` through the codec: what a request and an answer mean (snapshots), and the laws that hold for all of them.
//! See the README there for what is recorded and from where.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use llm_router::delta::{Delta, Event, Laws};
use llm_router::dialect::gemini::{Gemini, count};
use llm_router::dialect::{Codec, Dialect, Encoder, Frame, Framing, RequestHead, decode_whole, native, sse};
use llm_router::error::ErrorKind;
use llm_router::request::{Message, Request};
use llm_router::response::{Folder, Response};
use llm_router::{Error, Result};

use support::call;

struct Case {
    folder: PathBuf,
    request: Option<Vec<u8>>,
    head: RequestHead,
    framing: Framing,
    answer: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemini");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() > 35, "the fixtures are missing");
    folders.into_iter().map(Case::of).collect()
}

fn head(target: &str) -> RequestHead {
    let (path, query) = target.trim().split_once('?').unwrap_or((target.trim(), ""));
    let mut head = RequestHead::post(path);
    head.query = Some(query.to_owned()).filter(|query| !query.is_empty());
    head
}

impl Case {
    fn of(folder: PathBuf) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).ok();
        assert!(read("origin.txt").is_some(), "{}: where is it from?", folder.display());
        let (sse, json) = (read("answer.sse"), read("answer.json"));
        let framing = Framing::of(sse.is_some());
        let target = read("target.txt").map(|target| String::from_utf8(target).unwrap());
        let head = head(&target.unwrap_or_default());
        Self { request: read("request.json"), head, framing, answer: sse.or(json), folder }
    }

    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn request(&self) -> Request {
        match &self.request {
            Some(body) => Gemini.decode_request(&self.head, body).unwrap(),
            None => {
                let mut request = Request::default();
                request.messages.push(Message::user("x"));
                request.model = Some("gemini-2.5-flash".into());
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
        events(request, self.framing, frames)
    }
}

fn events(request: Request, framing: Framing, frames: Vec<Frame>) -> Result<Vec<Event>> {
    let call = call(request);
    let mut decoder = Gemini.decoder(&call, framing);
    let mut events = frames.into_iter().map(|frame| decoder.frame(frame)).collect::<Result<Vec<_>>>()?;
    events.push(decoder.end()?);
    Ok(events)
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
        let request = case.request();
        let counted = count::asks(&case.head);
        let sent = match counted {
            true => count::encode_request(&call(request.clone())).unwrap(),
            false => Gemini.encode_request(&call(request.clone())).unwrap(),
        };
        assert_eq!(sent.body, case.request.clone().unwrap(), "{}", case.name());
        assert!(sent.dropped.is_empty());
        let target = format!("{}{}", sent.path, sent.query.map(|query| format!("?{query}")).unwrap_or_default());
        let asked = format!(
            "{}{}",
            case.head.path,
            case.head.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default()
        );
        assert!(asked.ends_with(&target), "{asked} {target}");
    }
}

#[test]
fn requests_written_anew_mean_the_same() {
    for case in cases().iter().filter(|case| case.request.is_some()) {
        let request = without_origin(case.request());
        let sent = Gemini.encode_request(&call(request.clone())).unwrap();
        assert!(sent.dropped.is_empty(), "{}: {:?}", case.name(), sent.dropped);
        let target = format!("/v1beta{}?{}", sent.path, sent.query.unwrap_or_default());
        let again = Gemini.decode_request(&head(&target), &sent.body).unwrap();
        assert_eq!(without_origin(again), request, "{}", case.name());
        let counted = count::encode_request(&call(request.clone())).unwrap();
        let mut again = Gemini.decode_request(&head(&counted.path), &counted.body).unwrap();
        again.stream = request.stream;
        assert_eq!(without_origin(again), request, "{} counted", case.name());
    }
}

#[test]
fn answers_mean_what_the_snapshots_say() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let events = case.events(case.request(), case.frames(usize::MAX)).unwrap();
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

/// Whole and streamed are one answer: each fixture is written in all three forms from its deltas alone, and read back.
#[test]
fn whole_and_streamed_say_the_same() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let request = case.request();
        let read = case.events(request.clone(), case.frames(usize::MAX)).unwrap();
        let mut response = fold(&deltas(&read));
        // A body without a reason becomes one with the word for "no known reason".
        for choice in response.choices.iter_mut().filter(|choice| choice.raw_reason.is_none()) {
            choice.raw_reason = Some("OTHER".into());
        }
        // What stands beside a candidate comes back joined and in another order.
        let known = std::mem::take(&mut response.unknown);
        let told = |mut response: Response| {
            let unknown = std::mem::take(&mut response.unknown);
            let words = |unknown: &[(Dialect, serde_json::Value)]| {
                let mut words: Vec<String> = unknown.iter().flat_map(|(_, raw)| leaves(raw)).collect();
                words.sort();
                words
            };
            // Parts of parts have no place to go back to.
            let (told, known) = (words(&unknown), words(&known));
            assert!(known.iter().all(|word| told.contains(word)), "{}: {told:?} {known:?}", case.name());
            response
        };

        let body = encode(&mut *Gemini.encoder(&request, Framing::Whole), &read);
        let mut decoder = Gemini.decoder(&call(request.clone()), Framing::Whole);
        let whole = fold(&decode_whole(&mut *decoder, body.into()).unwrap().deltas);
        assert_eq!(told(whole), response, "{} whole", case.name());

        let stream = encode(&mut *Gemini.encoder(&request, Framing::Stream), &read);
        let streamed = events(request.clone(), Framing::Stream, frames_of(&stream)).unwrap();
        assert_eq!(told(fold(&deltas(&streamed))), response, "{} streamed", case.name());

        // A client that asks for a stream but not for events gets one list.
        let listing = head("/v1beta/models/gemini-2.5-flash:streamGenerateContent");
        let body = br#"{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}"#;
        let listing = Gemini.decode_request(&listing, body).unwrap();
        let mut encoder = Gemini.encoder(&listing, Framing::Stream);
        assert_eq!(encoder.content_type(), "application/json");
        let list = encode(&mut *encoder, &read);
        assert!(serde_json::from_slice::<Vec<serde_json::Value>>(&list).is_ok(), "{}", String::from_utf8_lossy(&list));
        let listed = events(request.clone(), Framing::Whole, vec![Frame { name: None, data: list.into() }]).unwrap();
        assert_eq!(told(fold(&deltas(&listed))), response, "{} listed", case.name());
    }
}

/// Every plain value with the name it stands under.
fn leaves(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "index")
            .flat_map(|(name, value)| leaves(value).into_iter().map(move |leaf| format!("{name}:{leaf}")))
            .collect(),
        serde_json::Value::Array(list) => list.iter().flat_map(leaves).collect(),
        plain => vec![plain.to_string()],
    }
}

/// To a client of this dialect an answer of this dialect is passed on as received.
#[test]
fn answers_of_this_dialect_go_on_as_received() {
    let body = br#"{"contents":[{"parts":[{"text":"x"}]}]}"#;
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let verb = if case.framing == Framing::Stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let request = Gemini.decode_request(&head(&format!("/v1beta/models/gemini-2.5-pro:{verb}")), body).unwrap();
        let frames = case.frames(usize::MAX);
        let read = case.events(request.clone(), frames.clone()).unwrap();
        let written = encode(&mut *Gemini.encoder(&request, case.framing), &read);
        match case.framing {
            // A list of chunks is no whole body: it is put together.
            Framing::Whole if case.name().contains("list") => assert!(written.starts_with(b"{")),
            Framing::Whole => assert_eq!(written, case.answer.clone().unwrap(), "{}", case.name()),
            Framing::Stream => assert_eq!(frames_of(&written), frames, "{}", case.name()),
        }
    }
}

#[test]
fn a_cut_answer_is_never_a_success() {
    for case in cases().iter().filter(|case| case.answer.is_some()) {
        let frames = case.frames(usize::MAX);
        for kept in 0..frames.len() {
            // A reason may be followed by more: only code that runs at the provider does so.
            if case.name() == "stream_code" && kept > 3 {
                continue;
            }
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

#[test]
fn counts_of_tokens_go_both_ways() {
    assert_eq!(count::decode(&count::encode(42)).unwrap(), 42);
    let recorded = b"{\n  \"totalTokens\": 10,\n  \"promptTokensDetails\": [\n    {\n      \"modality\": \"TEXT\",\n      \"tokenCount\": 10\n    }\n  ]\n}\n";
    assert_eq!(count::decode(recorded).unwrap(), 10);
    assert_eq!(count::decode(b"{}").unwrap_err().kind(), ErrorKind::ProviderProtocol);
    let mut request = Request::new("hi");
    request.model = Some("gemini-2.5-flash".into());
    let sent = count::encode_request(&call(request)).unwrap();
    assert_eq!(sent.path, "/models/gemini-2.5-flash:countTokens");
    let body = r#"{"generateContentRequest":{"model":"models/gemini-2.5-flash","contents":[{"role":"user","parts":[{"text":"hi"}]}]}}"#;
    assert_eq!(sent.body, body);
}
