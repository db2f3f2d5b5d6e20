//! A request of any dialect, said in any other, can be read there and said again; an answer of any, written for any, can be read.
#![no_main]

#[path = "../support.rs"]
mod support;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead, codec, decode_whole};
use std::sync::Arc;

const DIALECTS: [Dialect; 4] = [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic, Dialect::Gemini];

fn pair(which: u8) -> (Arc<dyn Codec>, Arc<dyn Codec>) {
    let of = |at: u8| codec(DIALECTS[usize::from(at % 4)]).expect("every dialect has a codec");
    (of(which), of(which / 4))
}

fn head() -> RequestHead {
    RequestHead::post("/v1beta/models/m:generateContent")
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (which, answer, body) = input;
    let (from, to) = pair(which);
    if !answer {
        let Ok(request) = from.decode_request(&head(), body) else { return };
        let Ok(sent) = to.encode_request(&support::call(request)) else { return };
        let head = RequestHead::post(format!("/v1beta{}", sent.path));
        let again = to.decode_request(&head, &sent.body).expect("what is sent can be read");
        let mut plain = again.clone();
        plain.origin = None;
        to.encode_request(&support::call(again)).expect("what was said can be said again");
        let _ = to.encode_request(&support::call(plain));
        return;
    }
    let asking = support::call(llm_router::request::Request::new("x"));
    let mut decoder = from.decoder(&asking, Framing::Whole);
    let Ok(event) = decode_whole(&mut *decoder, Bytes::copy_from_slice(body)) else { return };
    let mut out = BytesMut::new();
    let mut encoder = to.encoder(&asking.request, Framing::Whole);
    encoder.event(&event, &mut out).expect("what was read can be written");
    let mut reader = to.decoder(&asking, Framing::Whole);
    decode_whole(&mut *reader, out.freeze()).expect("what was written can be read");
});
