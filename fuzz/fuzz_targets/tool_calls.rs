//! Any text as an answer with tool calls: cut in two anywhere, the same calls and the same text are found.
#![no_main]

use llm_router_local::tools::{Event, Form, Parser};

/// What is found, with pieces of text that stand beside each other as one.
fn found(form: Form, pieces: &[&str]) -> Vec<Event> {
    let mut parser = Parser::new(form);
    let mut events: Vec<Event> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    events.into_iter().fold(Vec::new(), |mut joined, event| {
        match (joined.last_mut(), event) {
            (Some(Event::Text(before)), Event::Text(more)) => before.push_str(&more),
            (_, event) => joined.push(event),
        }
        joined
    })
}

libfuzzer_sys::fuzz_target!(|input: (&str, u16)| {
    let (text, at) = input;
    let at = (0..=usize::from(at).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (left, right) = text.split_at(at);
    for form in [Form::Hermes, Form::Mistral, Form::Llama] {
        assert_eq!(found(form, &[text]), found(form, &[left, right]));
    }
});
