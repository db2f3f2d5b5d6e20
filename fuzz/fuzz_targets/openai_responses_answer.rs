//! Any stream and any body is refused or keeps the laws, and can be written in both framings.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::openai_responses::OpenaiResponses;

fuzz_target!(|bytes: &[u8]| support::refused_or_lawful(&OpenaiResponses, bytes, || None));
