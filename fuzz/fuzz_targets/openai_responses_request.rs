//! A body that is read can be sent on, in place and anew, and means the same to who reads it next; and to another dialect it is said or refused.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::openai_responses::{OpenaiResponses, input_items, resume};
use llm_router::dialect::{Codec, RequestHead};

fuzz_target!(|body: &[u8]| {
    let Ok(mut request) = OpenaiResponses.decode_request(&RequestHead::post("/"), body) else { return };
    let items = input_items(&request).expect("what was read has items");
    if !items.is_empty() {
        resume(&request, &items).expect("its own items can stand before it");
    }
    for _ in 0..2 {
        let call = support::call(request.clone());
        let _ = OpenaiChat::default().encode_request(&call);
        if let Ok(sent) = OpenaiResponses.encode_request(&call) {
            let again = OpenaiResponses.decode_request(&RequestHead::post("/"), &sent.body);
            let again = again.expect("what is sent can be read");
            assert_eq!(again.model.as_deref(), Some("other/model"));
            assert_eq!(again.stream, request.stream);
        }
        request.origin = None;
    }
});
