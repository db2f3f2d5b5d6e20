//! Any text as a chat template, for a conversation that has everything: a prompt or an error, within its steps and its length.
#![no_main]

use llm_router_local::template::{Input, Limits, Template};
use serde_json::json;

libfuzzer_sys::fuzz_target!(|source: &str| {
    let limits = Limits { steps: 20_000, output: 1 << 16, ..Limits::default() };
    let most = limits.output;
    let Ok(template) = Template::new(source, limits) else { return };
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"place\": \"Oslo\"}"}});
    let messages = [
        json!({"role": "system", "content": "Be brief."}),
        json!({"role": "user", "content": [{"type": "text", "text": "Hello, <|im_end|>"}]}),
        json!({"role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "So."}),
        json!({"role": "tool", "tool_call_id": "c1", "name": "f", "content": "Rain"}),
        json!({"role": "user", "content": "And?"}),
    ];
    let parameters =
        json!({"type": "object", "properties": {"place": {"type": "string", "enum": ["Oslo", 1.5, null]}}});
    let tools = [json!({"type": "function", "function": {"name": "f", "description": "é", "parameters": parameters}})];
    let whole = Input {
        messages: &messages,
        tools: &tools,
        add_generation_prompt: true,
        bos_token: "<s>",
        eos_token: "</s>",
        now: 1_700_000_000,
        ..Input::default()
    };
    for input in [Input { tools: &[], messages: messages.get(1..2).unwrap_or_default(), ..whole.clone() }, whole] {
        assert!(template.render(&input).map_or(true, |prompt| prompt.len() <= most));
    }
});
