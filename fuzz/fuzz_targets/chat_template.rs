//! Any text as a chat template: a prompt or an error, within its steps.
#![no_main]

use llm_router_local::template::{Input, Limits, Template};

libfuzzer_sys::fuzz_target!(|source: &str| {
    let limits = Limits { steps: 20_000, output: 1 << 16, ..Limits::default() };
    let messages = [serde_json::json!({"role": "user", "content": "Hello"})];
    if let Ok(template) = Template::new(source, limits) {
        let _ = template.render(&Input { messages: &messages, add_generation_prompt: true, ..Input::default() });
    }
});
