//! A body that is read can be sent on, in place and anew, and means the same to who reads it next.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::openai_chat::{History, MaxTokens, OpenaiChat, Quirks, ReasoningField};
use llm_router::dialect::{Codec, RequestHead};

fuzz_target!(|body: &[u8]| {
    let fussy = Quirks {
        max_tokens: MaxTokens::New,
        reasoning: ReasoningField::Effort,
        history: History::Omit,
        no_developer_role: true,
        strict_alternation: true,
        unsupported: &["seed", "user", "x"],
        ..Quirks::default()
    };
    for quirks in [Quirks::default(), fussy] {
        let codec = OpenaiChat::new(quirks);
        let Ok(mut request) = codec.decode_request(&RequestHead::post("/"), body) else { return };
        for _ in 0..2 {
            if let Ok(sent) = codec.encode_request(&support::call(request.clone())) {
                let again =
                    codec.decode_request(&RequestHead::post("/"), &sent.body).expect("what is sent can be read");
                assert_eq!(again.model.as_deref(), Some("other/model"));
                assert_eq!(again.stream, request.stream);
            }
            request.origin = None;
        }
    }
});
