//! Any stream and any body is refused or keeps the laws, and can be written in every framing.
#![no_main]

#[path = "../support.rs"]
mod support;

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use llm_router::dialect::gemini::Gemini;
use llm_router::dialect::{Codec, Framing, RequestHead};

fuzz_target!(|bytes: &[u8]| {
    support::refused_or_lawful(&Gemini, bytes, || {
        let head = RequestHead::post("/v1beta/models/m:streamGenerateContent");
        let list = Gemini.decode_request(&head, br#"{"contents":[{"parts":[{"text":"x"}]}]}"#).ok()?;
        Some(Gemini.encoder(&list, Framing::Stream))
    });
    assert!(Gemini.decode_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), bytes).message().len() < 2100);
});
