//! Calls of tools in what models write.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn said(words: &str) -> Event {
    Event::Text(words.to_owned())
}

fn called(name: &str, arguments: &str, id: Option<&str>) -> Event {
    Event::Call(Call { name: name.to_owned(), arguments: arguments.to_owned(), id: id.map(str::to_owned) })
}

/// Feeds a text in pieces of so many characters and joins neighbouring texts.
fn read(form: Form, whole: &str, size: usize) -> Vec<Event> {
    let mut parser = Parser::new(form);
    let letters: Vec<char> = whole.chars().collect();
    let mut events = Vec::new();
    let pieces =
        letters.chunks(size).flat_map(|piece| parser.push(&piece.iter().collect::<String>())).collect::<Vec<_>>();
    for event in pieces.into_iter().chain(parser.finish()) {
        match event {
            Event::Text(words) => text(&mut events, &words),
            call => events.push(call),
        }
    }
    events
}

#[track_caller]
fn reads(form: Form, whole: &str, wanted: &[Event]) {
    for size in [1, 2, 3, 7, 270, 1000] {
        assert_eq!(read(form, whole, size), wanted, "in pieces of {size}");
    }
}

#[test]
fn hermes() {
    reads(
        Form::Hermes,
        "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"é </x> }\"}}\n</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>",
        &[said("Let me see."), called("f", r#"{"a":"é </x> }"}"#, None), called("g", "{}", None)],
    );
    reads(Form::Hermes, "a < b <tool> <tool_cal", &[said("a < b <tool> <tool_cal")]);
    reads(Form::Hermes, "<tool_call>no json</tool_call> after", &[said("<tool_call>no json</tool_call> after")]);
    reads(
        Form::Hermes,
        "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}",
        &[called("f", r#"{"a":1}"#, None)],
    );
    reads(Form::Hermes, "x <tool_call>{\"name\":", &[said("x<tool_call>{\"name\":")]);
}

#[test]
fn mistral() {
    reads(
        Form::Mistral,
        r#"[TOOL_CALLS] [{"name": "f", "arguments": {"a": [1]}, "id": "abcdefghi"}, {"name": "g", "arguments": {}}]"#,
        &[called("f", r#"{"a":[1]}"#, Some("abcdefghi")), called("g", "{}", None)],
    );
    reads(
        Form::Mistral,
        r#"Well. [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}"#,
        &[said("Well."), called("f", r#"{"a":1}"#, None), called("g", "{}", Some("x1"))],
    );
    reads(Form::Mistral, "[TOOL_CALLS][1, 2] then", &[said("[TOOL_CALLS][1, 2] then")]);
    reads(Form::Mistral, "an [INST] and [TOOL", &[said("an [INST] and [TOOL")]);
    let (name, long) = ("f".repeat(MAX_HEAD), "f".repeat(MAX_HEAD + 1));
    reads(Form::Mistral, &format!("[TOOL_CALLS]{name}[ARGS]{{}}"), &[called(&name, "{}", None)]);
    let whole = format!("[TOOL_CALLS]{long}[ARGS]{{}}");
    reads(Form::Mistral, &whole, &[said(&whole)]);
}

#[test]
fn llama() {
    reads(Form::Llama, r#"{"name": "f", "parameters": {"a": "}"}}"#, &[called("f", r#"{"a":"}"}"#, None)]);
    reads(
        Form::Llama,
        "\n<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"b\":2}}",
        &[called("f", "{}", None), called("g", r#"{"b":2}"#, None)],
    );
    reads(Form::Llama, "The answer is {\"a\": 1}.", &[said("The answer is {\"a\": 1}.")]);
    reads(Form::Llama, r#"{"answer": 42}"#, &[said(r#"{"answer": 42}"#)]);
    reads(
        Form::Llama,
        "Sure.<|python_tag|>{\"name\": \"f\", \"parameters\": {}}",
        &[said("Sure."), called("f", "{}", None)],
    );
    reads(Form::Llama, "<|python_tag|>print(1)", &[said("<|python_tag|>print(1)")]);
}

#[test]
fn the_form_is_known_by_the_template() {
    for (template, form) in [
        ("… <tool_call> …", Form::Hermes),
        ("[TOOL_CALLS]", Form::Mistral),
        ("<|python_tag|>", Form::Llama),
        ("plain", Form::None),
    ] {
        assert_eq!(Form::of_template(template), form);
    }
    reads(Form::None, "<tool_call>{}</tool_call>", &[said("<tool_call>{}</tool_call>")]);
}

#[test]
fn text_is_not_held_longer_than_needed() {
    let mut parser = Parser::new(Form::Hermes);
    assert_eq!(parser.push("Hello"), [said("Hello")]);
    assert_eq!(parser.push(" <"), []);
    assert_eq!(parser.push("b>"), [said(" <b>")]);
    let mut parser = Parser::new(Form::Hermes);
    assert_eq!(parser.push("<tool_call>"), []);
    let long = "x".repeat(MAX_CALL + 1);
    assert_eq!(parser.push(&long).len(), 1);
}

proptest! {
    /// However a text is cut into pieces, the same is found, and nothing but blanks and calls is lost.
    #[test]
    fn cuts_change_nothing(parts in proptest::collection::vec(prop_oneof![
        "[ a-c<>{}\\[\\]\";]{0,6}", Just("<tool_call>".to_owned()), Just("</tool_call>".to_owned()), Just("[TOOL_CALLS]".to_owned()), Just("[ARGS]".to_owned()),
        Just("<|python_tag|>".to_owned()), Just(r#"{"name":"f","arguments":{"a":1}}"#.to_owned()), Just(r#"[{"name":"f"}]"#.to_owned()),
    ], 0..8), size in 1usize..9) {
        let whole = parts.concat();
        for form in [Form::Hermes, Form::Mistral, Form::Llama, Form::None] {
            let once = read(form, &whole, usize::MAX >> 1);
            prop_assert_eq!(&read(form, &whole, size), &once, "{:?} {:?}", form, whole);
        }
    }
}
