//! Chat templates: what they say, and where they must run out.
#![allow(clippy::unwrap_used)]

use super::*;

fn run(source: &str, messages: Value) -> Result<String, TemplateError> {
    let messages = messages.as_array().unwrap().clone();
    render(
        Some(source),
        &Input {
            messages: &messages,
            add_generation_prompt: true,
            bos_token: "<s>",
            eos_token: "</s>",
            ..Input::default()
        },
    )
}

fn hello() -> Value {
    json!([{"role": "user", "content": "Hello"}])
}

fn weather() -> Value {
    json!({"type": "function", "function": {"name": "get_weather", "parameters": {}}})
}

#[test]
fn a_model_without_a_template_gets_chatml() {
    let messages = [json!({"role": "user", "content": "Hello"})];
    let prompt = render(None, &Input { messages: &messages, add_generation_prompt: true, ..Input::default() }).unwrap();
    assert_eq!(prompt, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn broken_templates_are_named_with_their_line() {
    for (source, part) in [
        ("{% if %}", "line 1"),
        ("a\nb\n{{ 'x", "line 3"),
        ("{% for m in messages %}", "line 1"),
        ("{{ \u{0} }}", "line 1"),
    ] {
        let Err(TemplateError::Invalid(why)) = run(source, hello()) else { panic!("{source}") };
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn what_a_template_raises_is_said_in_its_words() {
    let error = run("{{ raise_exception('only one turn, please') }}", hello()).unwrap_err();
    assert_eq!(error, TemplateError::Refused("only one turn, please".to_owned()));
    let inside = run("{% macro m() %}{{ raise_exception('deep') }}{% endmacro %}{{ m() }}", hello()).unwrap_err();
    assert_eq!(inside, TemplateError::Refused("deep".to_owned()));
}

#[test]
fn a_template_without_a_system_role_gets_it_from_the_user() {
    let gemma = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]);
    assert_eq!(run(gemma, messages).unwrap(), "[user]Be brief.\n\nHello");
    let alone = json!([{"role": "system", "content": "Be brief."}]);
    assert_eq!(run(gemma, alone).unwrap_err(), TemplateError::Refused("no system".to_owned()));
}

#[test]
fn arguments_are_given_as_the_template_takes_them() {
    let called = |arguments: Value| json!([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]}]);
    let as_object = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";
    let as_text = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}";
    for arguments in [json!({"a": 1}), json!("{\"a\": 1}")] {
        assert_eq!(run(as_object, called(arguments.clone())).unwrap(), "f{\"a\": 1}");
        assert_eq!(run(as_text, called(arguments)).unwrap(), "f{\"a\":1}");
    }
}

#[test]
fn tools_a_template_passes_over_are_an_error_and_not_lost() {
    let messages = [json!({"role": "user", "content": "Hello"})];
    let tools = [weather()];
    let input = Input { messages: &messages, tools: &tools, ..Input::default() };
    assert_eq!(render(None, &input).unwrap_err(), TemplateError::ToolsIgnored);
    let calls = json!([{"role": "assistant", "content": "", "tool_calls": [weather()]}]);
    assert_eq!(run(CHATML, calls).unwrap_err(), TemplateError::ToolsIgnored);
}

/// Each of these would run or grow without end, or ask for gigabytes in one step.
#[test]
fn a_hostile_template_runs_out() {
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'x' * 2000000000 }}",
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(30) %}{% set ns.x = ns.x.replace('x', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(30) %}{% set ns.x = ns.x | replace('x', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(30) %}{% set ns.x = ns.x.join(ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{{ '%999999999d' | format(1) }}",
        "{% for i in range(1000000) %}x{% endfor %}{{ messages | tojson(indent=99999) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ '{:>999999999}'.format(1) }}",
    ] {
        let started = std::time::Instant::now();
        let result = run(source, hello());
        assert!(
            matches!(result, Err(TemplateError::Exhausted(_) | TemplateError::Failed(_))),
            "{source}: {:?}",
            result.map(|text| text.len())
        );
        assert!(started.elapsed().as_secs() < 20, "{source}");
    }
    let wide =
        "{% for i in range(60000) %}0123456789012345678901234567890123456789012345678901234567890123456789{% endfor %}";
    let limits = Limits { output: 1 << 20, ..Limits::default() };
    let messages = [json!({"role": "user", "content": ""})];
    let result = Template::new(wide, limits).unwrap().apply(&Input { messages: &messages, ..Input::default() });
    assert_eq!(result.unwrap_err(), TemplateError::Exhausted("output"));
    assert_eq!(
        Template::new(&"x".repeat(300 << 10), Limits::default()).unwrap_err(),
        TemplateError::Exhausted("length")
    );
}

#[test]
fn a_long_conversation_is_no_hostile_one() {
    let messages: Vec<Value> = (0..2000)
        .map(|turn| json!({"role": if turn % 2 == 0 { "user" } else { "assistant" }, "content": "word ".repeat(200)}))
        .collect();
    let prompt = render(None, &Input { messages: &messages, ..Input::default() }).unwrap();
    assert!(prompt.len() > 2_000_000);
}

#[test]
fn nothing_of_the_machine_is_within_reach() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.__class__.__mro__ }}",
        "{% import 'x' as x %}",
    ] {
        assert!(run(source, hello()).is_err(), "{source}");
    }
}
