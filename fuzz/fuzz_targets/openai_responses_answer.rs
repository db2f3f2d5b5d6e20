//! Any stream and any body is refused or keeps the laws, and can be written in both framings.
#![no_main]

#[path = "../support.rs"]
mod support;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use llm_router::Result;
use llm_router::delta::{Delta, Event, Laws};
use llm_router::dialect::openai_responses::OpenaiResponses;
use llm_router::dialect::{Codec, Frame, Framing, sse};
use llm_router::request::Request;

fn read(frames: Vec<Frame>, framing: Framing) -> Result<()> {
    let call = support::call(Request::new("x"));
    let mut decoder = OpenaiResponses.decoder(&call, framing);
    let mut encoders = [Framing::Whole, Framing::Stream].map(|framing| OpenaiResponses.encoder(&call.request, framing));
    let (mut laws, mut out, mut ended) = (Laws::default(), BytesMut::new(), false);
    let mut lawful = |event: &Event| {
        event.deltas.iter().for_each(|delta| laws.check(delta).expect("a lawful delta"));
        encoders.iter_mut().for_each(|encoder| encoder.event(event, &mut out).expect("a delta that can be written"));
        ended |= event.deltas.iter().any(|delta| matches!(delta, Delta::End));
    };
    for frame in frames {
        lawful(&decoder.frame(frame)?);
    }
    lawful(&decoder.end()?);
    assert!(ended, "a success without an end");
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let (mut parser, mut frames) = (sse::Parser::new(1 << 16), Vec::new());
    if parser.push(bytes, &mut frames).is_ok() {
        parser.end(&mut frames);
        let _ = read(frames, Framing::Stream);
    }
    let _ = read(vec![Frame { name: None, data: Bytes::copy_from_slice(bytes) }], Framing::Whole);
});
