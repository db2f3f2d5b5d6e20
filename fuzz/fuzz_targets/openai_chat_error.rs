//! Any error answer becomes an error with a bounded message.
#![no_main]

use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use llm_router::dialect::Codec;
use llm_router::dialect::openai_chat::OpenaiChat;

fuzz_target!(|input: (u16, &[u8], &[u8])| {
    let (status, header, body) = input;
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert("retry-after", value.clone());
        headers.insert("x-ratelimit-reset-tokens", value);
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("0"));
    }
    let status = StatusCode::from_u16(status % 900 + 100).expect("a status of three digits");
    let error = OpenaiChat::default().decode_error(status, &headers, body);
    assert!(error.message().len() < 2100);
});
