//! Broken, shuffled and hostile traffic through the codec: it may be refused, but nothing panics, no law is broken, and what is written can be read.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bytes::{Bytes, BytesMut};
use llm_router::delta::{Delta, Laws};
use llm_router::dialect::gemini::{Gemini, count};
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Codec, Frame, Framing, RequestHead, sse};
use llm_router::ids::ModelName;
use llm_router::request::Request;
use proptest::prelude::*;
use proptest::{collection::vec, sample::Index, sample::select};

use support::call;

const HEAD: &str = "/v1beta/models/m:streamGenerateContent";

/// Every body of one kind under the fixtures.
fn fixtures(file: &str) -> Vec<Vec<u8>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gemini");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join(file));
    let mut bodies: Vec<Vec<u8>> = folders.filter_map(|path| std::fs::read(path).ok()).collect();
    bodies.sort();
    bodies
}

fn frames(stream: &[u8]) -> Vec<Frame> {
    let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
    parser.push(stream, &mut frames).unwrap();
    parser.end(&mut frames);
    frames
}

/// One change to a body.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let words = &[
        "null",
        "[]",
        "{}",
        "\"\"",
        "-1",
        "1e9",
        "true",
        ",",
        "\"x\":",
        "\\u0000",
        "[[[[",
        "\"index\":7,",
        "\"thought\":true,",
    ][..];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (any::<Index>(), select(words)).prop_map(|(at, word)| Change::Insert(at, word)),
    ]
}

fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if body.is_empty() {
            break;
        }
        let len = body.len();
        match change {
            Change::Byte(at, byte) => body[at.index(len)] = *byte,
            Change::Cut(at) => body.truncate(at.index(len)),
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let piece = body[from.min(to)..from.max(to)].to_vec();
                body.splice(from..from, piece);
            }
            Change::Insert(at, word) => {
                let at = at.index(len);
                body.splice(at..at, word.bytes());
            }
        }
    }
    body
}

/// What a conversation says in words, whatever the order of instructions.
fn words(request: &Request) -> Vec<String> {
    let texts = request.messages.iter().flat_map(|message| &message.content).filter_map(|block| block.as_text());
    let mut words: Vec<String> = texts.flat_map(|text| text.split_whitespace().map(str::to_owned)).collect();
    words.sort();
    words
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_refused_or_pass_through(
        which in any::<Index>(), changes in vec(change(), 0..3), anew in any::<bool>(), stream in any::<bool>(),
        model in select(&["gemini-3-pro", "gemini-2.5-flash", "gemini-2.0-flash", "a/b c:d"][..]),
    ) {
        let bodies = fixtures("request.json");
        let body = changed(bodies[which.index(bodies.len())].clone(), &changes);
        let Ok(mut request) = Gemini.decode_request(&RequestHead::post(HEAD), &body) else { return Ok(()) };
        let before = words(&request);
        request.stream = stream;
        if anew {
            request.origin = None;
        }
        let mut call = call(request);
        call.target.model = Some(ModelName::new(model).unwrap());
        let Ok(sent) = Gemini.encode_request(&call) else { return Ok(()) };
        let _: Box<serde_json::value::RawValue> = serde_json::from_slice(&sent.body).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&sent.body))
        });
        let again = Gemini.decode_request(&RequestHead::post(format!("/v1beta{}", sent.path)), &sent.body).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some(model));
        prop_assert_eq!(again.stream, stream);
        if !anew {
            prop_assert_eq!(words(&again), before);
        }
        let counted = count::encode_request(&call).unwrap();
        let head = RequestHead::post(format!("/v1beta{}", counted.path));
        prop_assert!(Gemini.decode_request(&head, &counted.body).is_ok());
    }

    #[test]
    fn requests_of_openai_clients_are_refused_or_readable(
        which in any::<Index>(), changes in vec(change(), 0..2), model in select(&["gemini-3-pro", "gemini-2.0-flash"][..]),
    ) {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openai_chat");
        let mut bodies: Vec<Vec<u8>> = std::fs::read_dir(root).unwrap()
            .filter_map(|entry| std::fs::read(entry.unwrap().path().join("request.json")).ok()).collect();
        bodies.sort();
        let body = changed(bodies[which.index(bodies.len())].clone(), &changes);
        let Ok(request) = OpenaiChat::default().decode_request(&RequestHead::post("/"), &body) else { return Ok(()) };
        let mut call = call(request);
        call.target.model = Some(ModelName::new(model).unwrap());
        let Ok(sent) = Gemini.encode_request(&call) else { return Ok(()) };
        let again = Gemini.decode_request(&RequestHead::post(format!("/v1beta{}", sent.path)), &sent.body);
        prop_assert!(again.is_ok(), "{:?} {}", again, String::from_utf8_lossy(&sent.body));
    }

    #[test]
    fn streams_are_refused_or_lawful(which in any::<Index>(), changes in vec(change(), 0..3), swap in any::<(Index, Index)>()) {
        let bodies = fixtures("answer.sse");
        let mut frames = frames(&changed(bodies[which.index(bodies.len())].clone(), &changes));
        if !frames.is_empty() && swap.0.index(2) == 0 {
            let (a, b) = (swap.0.index(frames.len()), swap.1.index(frames.len()));
            frames.swap(a, b);
        }
        lawful(frames, Framing::Stream);
    }

    #[test]
    fn bodies_are_refused_or_lawful(which in any::<Index>(), changes in vec(change(), 0..3)) {
        let bodies = fixtures("answer.json");
        let data = Bytes::from(changed(bodies[which.index(bodies.len())].clone(), &changes));
        lawful(vec![Frame { name: None, data }], Framing::Whole);
    }

    #[test]
    fn error_bodies_never_panic(status in 100u16..1000, body in vec(any::<u8>(), 0..80), which in any::<Index>(), changes in vec(change(), 0..3)) {
        let rows: Vec<serde_json::Value> = serde_json::from_slice(include_bytes!("fixtures/gemini/errors.json")).unwrap();
        let known = rows[which.index(rows.len())]["body"].as_str().unwrap().as_bytes().to_vec();
        for body in [body, changed(known, &changes)] {
            let error = Gemini.decode_error(http::StatusCode::from_u16(status).unwrap(), &http::HeaderMap::new(), &body);
            prop_assert!(error.message().len() < 2100);
        }
        let _ = count::decode(&changes.iter().map(|_| b'{').collect::<Vec<_>>());
    }

    #[test]
    fn paths_never_panic(path in "(/v1beta|/|)(/models/|/tunedModels/|models)?[a-z%:/.é?]{0,20}") {
        let _ = Gemini.decode_request(&RequestHead::post(path), br#"{"contents":[{"parts":[{"text":"x"}]}]}"#);
    }
}

/// Reads and writes an answer both ways; panics where a law is broken.
fn lawful(frames: Vec<Frame>, framing: Framing) {
    let call = call(Request::new("x"));
    let list = Gemini.decode_request(&RequestHead::post(HEAD), br#"{"contents":[{"parts":[{"text":"x"}]}]}"#).unwrap();
    let mut decoder = Gemini.decoder(&call, framing);
    let mut laws = Laws::default();
    let mut encoders = vec![Gemini.encoder(&list, Framing::Stream)];
    encoders.extend([Framing::Whole, Framing::Stream].map(|framing| Gemini.encoder(&call.request, framing)));
    let mut outs = vec![BytesMut::new(); 3];
    let mut ended = false;
    let mut events: Vec<_> = frames.into_iter().map(|frame| decoder.frame(frame)).collect();
    events.push(decoder.end());
    for event in events {
        let Ok(event) = event else { return };
        event.deltas.iter().for_each(|delta| laws.check(delta).unwrap());
        ended |= event.deltas.iter().any(|delta| matches!(delta, Delta::End));
        encoders.iter_mut().zip(&mut outs).for_each(|(encoder, out)| encoder.event(&event, out).unwrap());
    }
    assert!(ended, "a success without an end");
    let json = |bytes: &[u8]| drop(serde_json::from_slice::<Box<serde_json::value::RawValue>>(bytes).unwrap());
    json(&outs[0]);
    json(&outs[1]);
    self::frames(&outs[2]).iter().for_each(|frame| json(&frame.data));
}
