//! Traffic that is broken on purpose, for the hostile tests of every codec.

use bytes::BytesMut;
use llm_router::delta::{Delta, Laws};
use llm_router::dialect::{Codec, Frame, Framing, sse};
use llm_router::request::Request;
use proptest::prelude::*;
use proptest::{sample::Index, sample::select};

use super::support::call;

/// Every body of one kind under a dialect's fixtures.
pub(crate) fn fixtures(dialect: &str, file: &str) -> Vec<Vec<u8>> {
    let root = format!("{}/tests/fixtures/{dialect}", env!("CARGO_MANIFEST_DIR"));
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join(file));
    let mut bodies: Vec<Vec<u8>> = folders.filter_map(|path| std::fs::read(path).ok()).collect();
    bodies.sort();
    bodies
}

pub(crate) fn frames(stream: &[u8]) -> Vec<Frame> {
    let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
    parser.push(stream, &mut frames).unwrap();
    parser.end(&mut frames);
    frames
}

/// One change to a body.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let words = &["null", "[]", "{}", "\"\"", "-1", "1e9", "true", ",", "\"x\":", "\\u0000", "[[[["][..];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (any::<Index>(), select(words)).prop_map(|(at, word)| Change::Insert(at, word)),
    ]
}

pub(crate) fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
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

/// What a conversation says in words, for comparing before and after.
pub(crate) fn words(request: &Request) -> String {
    let texts = request.messages.iter().flat_map(|message| &message.content).filter_map(|block| block.as_text());
    texts.flat_map(|text| text.split_whitespace()).collect::<Vec<_>>().join(" ")
}

/// Reads and writes an answer both ways; panics where a law is broken.
pub(crate) fn lawful(codec: &dyn Codec, frames: Vec<Frame>, framing: Framing) {
    let call = call(Request::new("x"));
    let mut decoder = codec.decoder(&call, framing);
    let mut laws = Laws::default();
    let mut encoders = [Framing::Whole, Framing::Stream].map(|framing| codec.encoder(&call.request, framing));
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
