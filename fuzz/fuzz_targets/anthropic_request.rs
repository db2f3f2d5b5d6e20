//! A body that is read can be sent on, in place and anew, and means the same to who reads it next; and it crosses to `openai_chat` or is refused.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::anthropic::{Anthropic, count};
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::{Codec, RequestHead};

fuzz_target!(|body: &[u8]| {
    let Ok(mut request) = Anthropic.decode_request(&RequestHead::post("/"), body) else { return };
    for _ in 0..2 {
        let call = support::call(request.clone());
        if let Ok(sent) = Anthropic.encode_request(&call) {
            let again =
                Anthropic.decode_request(&RequestHead::post("/"), &sent.body).expect("what is sent can be read");
            assert_eq!(again.model.as_deref(), Some("other/model"));
            assert_eq!(again.stream, request.stream);
            assert!(again.sampling.max_tokens.is_some());
            count::encode_request(&call).expect("what can be sent can be counted");
        }
        request.origin = None;
    }
    let chat = OpenaiChat::default();
    if let Ok(sent) = chat.encode_request(&support::call(request)) {
        chat.decode_request(&RequestHead::post("/"), &sent.body).expect("what is sent can be read");
    }
});
