//! Any bytes in any split give the same frames, within the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::Frame;
use llm_router::dialect::lines::Framer;
use llm_router::dialect::{Dialect, sse};

const LIMIT: usize = 512;

fn frames(dialect: Dialect, pieces: &[&[u8]]) -> Option<Vec<Frame>> {
    let (mut framer, mut frames) = (Framer::new(dialect, LIMIT), Vec::new());
    for piece in pieces {
        framer.push(piece, &mut frames).ok()?;
    }
    framer.end(&mut frames);
    assert!(frames.iter().all(|frame| frame.data.len() <= LIMIT));
    Some(frames)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (a, b) = bytes.split_at(usize::from(cut).min(bytes.len()));
    for dialect in [Dialect::OpenaiChat, Dialect::Native] {
        assert_eq!(frames(dialect, &[a, b]), frames(dialect, &[bytes]));
    }
    let mut out = bytes::BytesMut::new();
    sse::write(None, bytes, &mut out);
});
