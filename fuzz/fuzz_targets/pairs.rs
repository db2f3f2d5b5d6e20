//! A request of any dialect, said in any other, can be read there and said again; an answer of any, whole or streamed, written for any, can be read.
//!
//! Each input is tried as all of them: a fixture is the request or the answer of one dialect, and refused at once by the others.
#![no_main]

#[path = "../support.rs"]
mod support;

use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead, codec};
use llm_router::request::Request;

static CODECS: LazyLock<[Arc<dyn Codec>; 4]> =
    LazyLock::new(|| [Dialect::OpenaiChat, Dialect::OpenaiResponses, Dialect::Anthropic, Dialect::Gemini].map(codec));

fn request(from: &dyn Codec, body: &[u8]) {
    let head = RequestHead::post("/v1beta/models/m:generateContent");
    let Ok(request) = from.decode_request(&head, body) else { return };
    for to in &*CODECS {
        let Ok(sent) = to.encode_request(&support::call(request.clone())) else { continue };
        let head = RequestHead::post(format!("/v1beta{}", sent.path));
        let again = to.decode_request(&head, &sent.body).expect("what is sent can be read");
        let mut plain = again.clone();
        plain.origin = None;
        to.encode_request(&support::call(again)).expect("what was said can be said again");
        let _ = to.encode_request(&support::call(plain));
    }
}

fn answer(from: &dyn Codec, framing: Framing, body: &[u8]) {
    let asking = support::call(Request::new("x"));
    let Ok(events) = support::read(from, &asking, framing, body) else { return };
    for to in &*CODECS {
        let (mut encoder, mut out) = (to.encoder(&asking.request, framing), BytesMut::new());
        for event in &events {
            encoder.event(event, &mut out).expect("what was read can be written");
        }
        support::read(&**to, &asking, framing, &out).expect("what was written can be read");
    }
}

fuzz_target!(|body: &[u8]| {
    for from in &*CODECS {
        request(&**from, body);
        answer(&**from, Framing::Whole, body);
        answer(&**from, Framing::Stream, body);
    }
});
