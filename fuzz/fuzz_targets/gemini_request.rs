//! A path and body that are read can be sent on, as received and anew, and mean the same to who reads it next.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::gemini::{Gemini, count};
use llm_router::dialect::{Codec, RequestHead};

fuzz_target!(|input: (&str, &[u8])| {
    let (path, body) = input;
    let _ = Gemini.decode_request(&RequestHead::post(path), body);
    let head = RequestHead::post("/v1beta/models/m:streamGenerateContent");
    let Ok(mut request) = Gemini.decode_request(&head, body) else { return };
    for _ in 0..2 {
        let call = support::call(request.clone());
        if let Ok(sent) = Gemini.encode_request(&call) {
            let head = RequestHead::post(format!("/v1beta{}", sent.path));
            let again = Gemini.decode_request(&head, &sent.body).expect("what is sent can be read");
            assert_eq!(again.model.as_deref(), Some("other/model"));
            assert_eq!(again.stream, request.stream);
            let counted = count::encode_request(&call).expect("what can be asked can be counted");
            let head = RequestHead::post(format!("/v1beta{}", counted.path));
            Gemini.decode_request(&head, &counted.body).expect("what is counted can be read");
        }
        request.origin = None;
    }
});
