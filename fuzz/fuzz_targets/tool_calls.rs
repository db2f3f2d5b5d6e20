//! Any text as an answer with tool calls: cut in two anywhere, the same calls are found.
#![no_main]

use llm_router_local::tools::{Event, Form, Parser};

fn calls(form: Form, pieces: &[&str]) -> Vec<Event> {
    let mut parser = Parser::new(form);
    let mut events: Vec<Event> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    events.retain(|event| matches!(event, Event::Call(_)));
    events
}

libfuzzer_sys::fuzz_target!(|input: (&str, u16)| {
    let (text, at) = input;
    let at = (0..=usize::from(at).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (left, right) = text.split_at(at);
    for form in [Form::Hermes, Form::Mistral, Form::Llama] {
        assert_eq!(calls(form, &[text]), calls(form, &[left, right]));
    }
});
