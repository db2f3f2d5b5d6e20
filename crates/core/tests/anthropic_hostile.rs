//! Broken, shuffled and hostile traffic through the codec: it may be refused, but nothing panics, no law is broken, and what is written can be read.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bytes::{Bytes, BytesMut};
use llm_router::delta::{Delta, Laws};
use llm_router::dialect::anthropic::{Anthropic, count};
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Codec, Frame, Framing, RequestHead, sse};
use llm_router::ids::ModelName;
use llm_router::request::Request;
use proptest::prelude::*;
use proptest::{collection::vec, sample::Index, sample::select};

use support::call;

/// Every body of one kind under the fixtures.
fn fixtures(file: &str) -> Vec<Vec<u8>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anthropic");
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
    let words = &["null", "[]", "{}", "\"\"", "-1", "1e9", "true", ",", "\"x\":", "\\u0000", "[[[["][..];
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

/// A model of each kind, and one that nobody knows.
const MODELS: &[&str] = &["claude-haiku-4-5", "claude-opus-4-6", "claude-sonnet-5", "claude-opus-4-5", "other/model"];

/// What a conversation says in words, for comparing before and after. Their order may change: a system text goes to the front where it must.
fn words(request: &Request) -> Vec<String> {
    let texts = request.messages.iter().flat_map(|message| &message.content).filter_map(|block| block.as_text());
    let mut words: Vec<String> = texts.flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    words.sort();
    words
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_refused_or_pass(
        which in any::<Index>(), changes in vec(change(), 0..3), model in select(MODELS), anew in any::<bool>(), stream in any::<bool>(),
    ) {
        let bodies = fixtures("request.json");
        let body = changed(bodies[which.index(bodies.len())].clone(), &changes);
        let Ok(mut request) = Anthropic.decode_request(&RequestHead::post("/"), &body) else { return Ok(()) };
        let before = words(&request);
        request.stream = stream;
        if anew {
            request.origin = None;
        }
        let mut call = call(request);
        call.target.model = Some(ModelName::new(model).unwrap());
        let _ = count::encode_request(&call);
        let Ok(sent) = Anthropic.encode_request(&call) else { return Ok(()) };
        // Not a `Value`: a number may be larger than any float.
        let _: Box<serde_json::value::RawValue> = serde_json::from_slice(&sent.body).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&sent.body))
        });
        let again = Anthropic.decode_request(&RequestHead::post("/"), &sent.body).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some(model));
        prop_assert_eq!(again.stream, stream);
        prop_assert!(again.sampling.max_tokens.is_some());
        prop_assert_eq!(words(&again), before);
    }

    /// Whatever a client of the one dialect says can be said in the other, or is refused.
    #[test]
    fn requests_cross_to_another_dialect(which in any::<Index>(), changes in vec(change(), 0..2), model in select(MODELS)) {
        let bodies = fixtures("request.json");
        let body = changed(bodies[which.index(bodies.len())].clone(), &changes);
        if let Ok(request) = Anthropic.decode_request(&RequestHead::post("/"), &body)
            && let Ok(sent) = OpenaiChat::default().encode_request(&call(request))
        {
            let mut again = OpenaiChat::default().decode_request(&RequestHead::post("/"), &sent.body).unwrap();
            again.model = Some(model.to_owned());
            if let Ok(back) = Anthropic.encode_request(&call(again)) {
                let _: Box<serde_json::value::RawValue> = serde_json::from_slice(&back.body).unwrap();
            }
        }
    }

    #[test]
    fn streams_are_refused_or_lawful(
        which in any::<Index>(), changes in vec(change(), 0..3), swap in any::<(Index, Index)>(),
    ) {
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
        let errors = include_bytes!("fixtures/anthropic/errors.json");
        let rows: Vec<serde_json::Value> = serde_json::from_slice(errors).unwrap();
        let known = rows[which.index(rows.len())]["body"].as_str().unwrap().as_bytes().to_vec();
        for body in [body, changed(known, &changes)] {
            let error = Anthropic.decode_error(http::StatusCode::from_u16(status).unwrap(), &http::HeaderMap::new(), &body);
            prop_assert!(error.message().len() < 2100);
        }
    }
}

/// Reads and writes an answer both ways; panics where a law is broken.
fn lawful(frames: Vec<Frame>, framing: Framing) {
    let call = call(Request::new("x"));
    let mut decoder = Anthropic.decoder(&call, framing);
    let mut laws = Laws::default();
    let chat = OpenaiChat::default();
    let codecs: [&dyn Codec; 2] = [&Anthropic, &chat];
    let mut encoders: Vec<_> = (codecs.into_iter())
        .flat_map(|codec| [Framing::Whole, Framing::Stream].map(|framing| codec.encoder(&call.request, framing)))
        .collect();
    let mut out = BytesMut::new();
    let mut ended = false;
    for frame in frames {
        let Ok(event) = decoder.frame(frame) else { return };
        event.deltas.iter().for_each(|delta| laws.check(delta).unwrap());
        ended |= event.deltas.iter().any(|delta| matches!(delta, Delta::End));
        encoders.iter_mut().for_each(|encoder| encoder.event(&event, &mut out).unwrap());
    }
    if let Ok(event) = decoder.end() {
        event.deltas.iter().for_each(|delta| laws.check(delta).unwrap());
        ended |= event.deltas.iter().any(|delta| matches!(delta, Delta::End));
        assert!(ended, "a success without an end");
    }
}
