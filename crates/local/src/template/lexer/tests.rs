//! Where tags begin and end, and what they do to the space around them.

use super::*;

/// The texts that remain, with a bar for each tag.
fn texts(source: &str) -> String {
    let bar = |token| match token {
        Token::Text(text) => text,
        Token::Open | Token::BlockOpen => "|".to_owned(),
        _ => String::new(),
    };
    tokens(source).map(|tokens| tokens.into_iter().map(|(token, _)| bar(token)).collect()).unwrap_or_default()
}

/// Each pair was asked of Jinja2 3.1 with `trim_blocks` and `lstrip_blocks`.
#[test]
fn blanks_are_kept_and_dropped_as_jinja_does() {
    for (source, wanted) in [
        ("a\n  {% if x %}\n  b\n  {% endif %}\nc\n", "a\n|  b\n|c"),
        ("a  {% if x %}b{% endif %}", "a  |b|"),
        ("  {%+ if x %}\nb{% endif %}", "  |b|"),
        ("a \n {%- if x -%} \n b {%- endif +%}\nc", "a|b|\nc"),
        ("a {{- 1 -}} b {{ 2 }}\n", "a|b |"),
        ("  {{ 1 }}\n\n", "  |\n"),
        ("  {# note #}\nb{#- gone -#}  c", "bc"),
        ("{% raw %}{{ x }} {% endraw %}\nb", "{{ x }} b"),
        ("a\r\nb\r{% if x %}\r\nc{% endif %}", "a\nb\n|c|"),
    ] {
        assert_eq!(texts(source), wanted, "{source:?}");
    }
}

#[test]
fn strings_are_pythons() {
    let string = |source: &str| match tokens(source).map(|tokens| tokens.into_iter().nth(1)) {
        Ok(Some((Token::String(text), _))) => Ok(text),
        other => Err(format!("{other:?}")),
    };
    assert_eq!(string(r#"{{ 'a\n\x41\u00e9\U0001F600\101\q\'"' }}"#).as_deref(), Ok("a\nAé😀A\\q'\""));
    for bad in [r"{{ '\x4' }}", r"{{ '\ud800' }}", r"{{ '\N{DIGIT ONE}' }}", "{{ 'a"] {
        assert!(string(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_closing_brace_inside_brackets_ends_no_tag() {
    assert!(tokens("{{ {'a': {}} }}").is_ok());
    assert_eq!(tokens("a\nb {{ ) }}").map_err(|error| error.line), Err(2));
    assert_eq!(tokens("{{ 99999999999999999999999999999999999999999 }}").map_err(|error| error.line), Err(1));
    assert!(tokens("{{ $ }}").is_err());
}
