//! Chat templates that would run, grow or recurse without end: each must end within bounded time and memory, as an error, and leave the
//! process standing. The bounds asserted here leave room for a busy machine; the figures are in
//! `docs/decisions/templates.md`, made by `LLM_ROUTER_SHOW=1 cargo test --release -p llm-router-local --test hostile_templates -- --nocapture`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stderr)]

use std::time::{Duration, Instant};

use llm_router_local::template::{Input, Limits, Template, TemplateError};
use serde_json::json;

/// More than the promise of 1 s: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);
const MEMORY: u64 = 256 << 20;

/// Each grows what it has, round by round.
const GROWING: &[(&str, &str, &str)] = &[
    ("text", "[]", "ns.x ~ ns.x ~ 'xx'"),
    ("text added", "'xx'", "ns.x + ns.x"),
    ("list", "[1]", "ns.x + ns.x"),
    ("list in itself", "[1]", "[ns.x, ns.x]"),
    ("tuple", "(1,)", "ns.x + ns.x"),
    ("dict in itself", "{'a': 1}", "{'a': ns.x, 'b': ns.x}"),
    ("dict method", "{}", "dict(a=ns.x, b=ns.x)"),
    ("text times", "'xx'", "ns.x * 1000"),
    ("list times", "[1]", "ns.x * 1000"),
    ("replace", "'xx'", "ns.x.replace('x', ns.x)"),
    ("replace filter", "'xx'", "ns.x | replace('x', ns.x)"),
    ("replace nothing", "'xx'", "ns.x | replace('', ns.x)"),
    ("join", "'xx'", "ns.x.join(ns.x | list)"),
    ("join filter", "'xx'", "ns.x | join(ns.x)"),
    ("batch", "[1]", "ns.x | batch(1000, 0) | first"),
    ("batches", "[1]", "ns.x | batch(2, ns.x) | list"),
    ("slice filter", "[1]", "ns.x | slice(1000, 0) | list + ns.x"),
    ("indent", "'\\n\\n'", "ns.x | indent(ns.x)"),
    ("format", "'%s%s'", "(ns.x | format(ns.x, ns.x)).replace('x', '%s')"),
    ("braces", "'{0}{0}'", "ns.x.format(ns.x)"),
    ("center", "'x'", "ns.x | center(2 * (ns.x | length))"),
    ("json", "[1]", "(ns.x | tojson) ~ (ns.x | tojson(indent=64))"),
    ("json of itself", "'\"'", "ns.x | tojson"),
    ("repr", "'\\''", "[ns.x, ns.x] | string"),
    ("escape", "'&'", "ns.x | e | e"),
    ("urlencode", "'%'", "ns.x | urlencode"),
    ("items", "{'a': 1}", "dict(a=ns.x.items() | list, b=ns.x.items() | list)"),
    ("sum", "[[1]]", "[(ns.x + ns.x) | sum(start=[])]"),
    ("map", "[1]", "(ns.x + ns.x) | map('string') | list"),
    ("namespace", "1", "namespace(a=ns.x, b=ns.x)"),
    ("number", "2", "ns.x * ns.x"),
    ("power", "2", "ns.x ** ns.x"),
    ("reverse", "[1]", "[ns.x | reverse | list, ns.x | reverse | list]"),
    ("sort", "[1]", "[ns.x, ns.x] | sort"),
    ("unique", "[1]", "[ns.x | unique | list, ns.x]"),
    ("groupby", "[{'a': 1}]", "(ns.x + ns.x) | groupby('a') | map('last') | first"),
    ("one in one", "[1]", "[ns.x]"),
    ("upper", "'ΐ'", "(ns.x ~ ns.x) | upper"),
];

/// Each is asked again and again, over `s`, a text of 400,000 letters, `l`, a list of 2,000, and `d`, which holds itself 2^20 times over.
const REPEATED: &[&str] = &[
    "s.upper()",
    "s | title",
    "s | replace('x', 'yy')",
    "s | replace('x', '')",
    "s.split('x')",
    "s.split()",
    "s | list",
    "s[::-1]",
    "s[::2]",
    "s[1:]",
    "s[399999]",
    "s[-1]",
    "s | tojson",
    "s ~ s",
    "s == t",
    "s in t",
    "s.count('xx')",
    "s.find('xxxxxxxxxxxxxxxxxy')",
    "s.rfind('yxxxxxxxxxxxxxxxxx')",
    "s.strip('x')",
    "s.strip('abcdefghijklmnopqrstuvwxyz' * 1000)",
    "s | wordcount",
    "s | trim",
    "s.splitlines()",
    "s | int",
    "s | float",
    "'a' | center(400000)",
    "s | indent",
    "s | urlencode",
    "s | e",
    "s.isalpha()",
    "s | length",
    "s | truncate(5)",
    "s | striptags",
    "s.format()",
    "s % ()",
    "s | format",
    "('%s' * 1500) % tuple",
    "s is lower",
    "s | reverse",
    "s | first",
    "s | unique | list",
    "s | batch(2) | list",
    "s | groupby('0') | list",
    "s | map('upper') | list",
    "s.startswith(s)",
    "s.partition('y')",
    "l == k",
    "l + k",
    "l | sort | first",
    "l | sort(reverse=true) | first",
    "l | unique | list",
    "l | sum",
    "l | join",
    "l | tojson",
    "l | string",
    "l | min",
    "l | list",
    "l | reverse | first",
    "l | last",
    "l[::-1]",
    "l[1:]",
    "l.count(1)",
    "7 in l",
    "l | map('string') | list",
    "l | select('odd') | list",
    "l | map('default', *l) | list",
    "l | select('in', l) | list",
    "l | reject('sameas', l) | list",
    "[l, l] == [k, k]",
    "l | batch(3) | list",
    "l | slice(1000) | list",
    "m(*l)",
    "namespace()",
    "loop.changed(l)",
    "loop.changed(*l)",
    "loop.cycle(*l)",
    "dict(a=l)",
    "range(100000)",
    "range(10)",
    "d == e",
    "d | string",
    "d ~ ''",
    "d | tojson",
    "d in [e]",
    "[e] | unique | list == [d]",
    "[d, e] | sort",
    "d | join",
    "d | sum(start=[])",
    "{(d,): 1}",
    "d.count(e)",
    "d | length",
    "[d] | map('string') | list",
    "'%s' % d",
    "'%r' | format(d)",
    "'{}'.format(d)",
    "loop.changed(d)",
    "d is eq(e)",
    "[d, e] | max",
    "{'a': d} | dictsort(by='value')",
    "[{'a': d}] | groupby('a') | list",
    "raise_exception(d) if i > 5",
    "strftime_now('%Y' * 9999)",
    "m()",
    "1 + 1",
    "[]",
    "{}",
    "()",
    "{'a': 1, 'b': 2}",
    "'a' ~ 'b'",
    "'a' | upper",
    "loop.index",
    "[1, 2, 3] == [1, 2, 4]",
    "x.y is defined",
    "1 == 1.0",
    "i | string",
    "i | tojson",
    "-i",
    "not i",
    "i if i else i",
    "{'a': {'b': {'c': 1}}}.a.b.c",
    "'a,b,c'.split(',')",
    "'%d' % i",
    "'{:>9}'.format(i)",
    "i is odd",
    "i | abs",
    "i / 3",
    "1.5 | round(2)",
    "i ** 3",
    "'é' | upper",
    "messages[0].content",
    "messages | tojson",
];

fn looped(body: &str) -> String {
    format!(
        "{{% set s = 'x' * 400000 %}}{{% set t = 'x' * 399999 ~ 'y' %}}{{% set l = range(2000) | list %}}{{% set k = range(2000) | list %}}\
         {{% set tuple = ('a',) * 1500 %}}{{% set ns = namespace(d=[1], e=[1]) %}}\
         {{% for i in range(20) %}}{{% set ns.d = [ns.d, ns.d] %}}{{% set ns.e = [ns.e, ns.e] %}}{{% endfor %}}{{% set d = ns.d %}}{{% set e = ns.e %}}\
         {{% macro m() %}}{{% endmacro %}}\
         {{% for j in range(100000) %}}{{% for i in range(100000) %}}{body}{{% endfor %}}{{% endfor %}}"
    )
}

/// Sources that are hostile by their form.
fn shaped() -> Vec<(&'static str, String)> {
    let times = |text: &str, count: usize| text.repeat(count);
    let nested = |open: &str, inner: &str, close: &str, count: usize| times(open, count) + inner + &times(close, count);
    let (many, deep) = (80_000, 20_000);
    vec![
        ("minus signs", format!("{{{{ {}1 }}}}", times("-", many))),
        ("nots", format!("{{{{ {}1 }}}}", times("not ", 60_000))),
        ("parentheses", format!("{{{{ {} }}}}", nested("(", "1", ")", deep))),
        ("brackets", format!("{{{{ {} }}}}", nested("[", "1", "]", deep))),
        ("braces", format!("{{{{ {} }}}}", nested("{1:", "1", "}", deep))),
        ("a long sum", format!("{{{{ 1{} }}}}", times("+1", many))),
        ("a long concatenation", format!("{{{{ 'a'{} }}}}", times("~'a'", 50_000))),
        ("a long comparison", format!("{{{{ 1{} }}}}", times("<1", many))),
        ("a long or", format!("{{{{ 0{} }}}}", times(" or 0", 40_000))),
        ("attributes", format!("{{{{ a{} }}}}", times(".a", many))),
        ("items", format!("{{{{ a{} }}}}", times("[0]", 60_000))),
        ("calls", format!("{{{{ a{} }}}}", times("()", many))),
        ("filters", format!("{{{{ 'a'{} }}}}", times("|e", many))),
        ("tests", format!("{{{{ 1{} }}}}", times(" is odd", 30_000))),
        ("conditions", format!("{{{{ 1{} }}}}", times(" if 1 else 1", 20_000))),
        ("conditions to the left", format!("{{{{ 1{} }}}}", times(" if 1", 40_000))),
        ("powers", format!("{{{{ 1{} }}}}", times("**1", 60_000))),
        ("ifs", nested("{% if 1 %}", "", "{% endif %}", 10_000)),
        ("elifs", format!("{{% if 0 %}}{}{{% endif %}}", times("{% elif 0 %}", 20_000))),
        ("fors", nested("{% for a in [1] %}", "", "{% endfor %}", 8_000)),
        ("macros", nested("{% macro m() %}", "", "{% endmacro %}", 8_000)),
        ("a long list", format!("{{% for i in range(100000) %}}{{% set x = [{}] %}}{{% endfor %}}", times("1,", 100_000))),
        ("a long dict", format!("{{% for i in range(100000) %}}{{% set x = {{{}}} %}}{{% endfor %}}", times("1:1,", 60_000))),
        ("many arguments", format!("{{% macro m() %}}{{% endmacro %}}{{% for i in range(100000) %}}{{{{ m({}) }}}}{{% endfor %}}", times("1,", 100_000))),
        ("many names", format!("{{% for i in range(100000) %}}{{% set {}a = [0] %}}{{% endfor %}}", times("a,", 100_000))),
        ("opening tags", times("{{", 120_000)),
        ("opening blocks", times("{%", 120_000)),
        ("comments", times("{#", 120_000)),
        ("raw blocks", times("{% raw %}", 28_000)),
        ("a long text", format!("{{% for i in range(100000) %}}{}{{% endfor %}}", times("x", 200_000))),
        ("a macro that calls itself", "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}".to_owned()),
        ("a macro that calls itself deep inside", format!("{{% macro m() %}}{{{{ {} }}}}{{% endmacro %}}{{{{ m() }}}}", nested("[", "m()", "]", 50))),
        ("a macro that calls itself in blocks", format!("{{% macro m() %}}{}{{% endmacro %}}{{{{ m() }}}}", nested("{% if 1 %}{% filter e %}", "{{ m() }}", "{% endfilter %}{% endif %}", 25))),
        ("callers", "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}".to_owned()),
        ("a loop that calls itself", "{% for i in [1] recursive %}{{ loop([1, 2]) }}{% endfor %}".to_owned()),
        ("a namespace in itself", "{% set ns = namespace() %}{% set ns.x = ns %}{% for i in range(100000) %}{{ ns }}{{ ns.x.x.x == ns }}{% endfor %}{% for i in range(100000) %}{% for i in range(100000) %}{% endfor %}{% endfor %}".to_owned()),
        ("a macro that outlives its loop", "{% set ns = namespace() %}{% for i in [1] %}{% macro m() %}{{ i }}{{ ns.m() }}{% endmacro %}{% set ns.m = m %}{% endfor %}{{ ns.m() }}".to_owned()),
        ("captures", "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}".to_owned()),
        ("a filter around itself", "{% set ns = namespace(x='%') %}{% for i in range(90) %}{% set y %}{% filter urlencode | urlencode %}{{ ns.x }}{% endfilter %}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}".to_owned()),
        ("widths", "{{ '%999999999d' | format(1) }}".to_owned()),
        ("widths in braces", "{{ '{:>999999999}'.format(1) }}".to_owned()),
        ("precision", "{{ '%.999999999f' % 1 }}".to_owned()),
        ("a range", "{{ range(0, 99999999999999999999999999999999999999, 1) }}".to_owned()),
        ("an indent", "{{ messages | tojson(indent=99999) }}".to_owned()),
        ("an indent of text", "{{ messages | tojson(indent='x' * 9999999) }}".to_owned()),
        ("separators", "{% for i in range(100000) %}{{ range(2000) | list | tojson(separators=('x' * 10000, '')) }}{% endfor %}".to_owned()),
        ("arguments doubled", "{% macro m() %}{{ m(*(varargs + varargs)) }}{% endmacro %}{{ m(1) }}".to_owned()),
        ("an exception", "{{ raise_exception('x' * 999999999) }}".to_owned()),
    ]
}

/// The highest resident memory since the last call, in bytes; nothing where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: u64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    kilobytes << 10
}

/// Renders, and holds time and memory against their bounds.
fn ends(name: &str, source: &str) -> Result<String, TemplateError> {
    let messages = [json!({ "role": "user", "content": "Hello" })];
    // Without optimisation everything takes ten times as long, so there it gets a tenth of the budget.
    let usual = Limits::default();
    let limits = Limits { steps: if cfg!(debug_assertions) { usual.steps / 10 } else { usual.steps }, ..usual };
    peak();
    let started = Instant::now();
    let result = Template::new(source, limits)
        .and_then(|template| template.render(&Input { messages: &messages, ..Input::default() }));
    let (took, memory) = (started.elapsed(), peak());
    if std::env::var_os("LLM_ROUTER_SHOW").is_some() {
        let end = result
            .as_ref()
            .map_or_else(|error| error.to_string().chars().take(110).collect(), |text| format!("{} bytes", text.len()));
        eprintln!("{:>7.3} s {:>4} MiB  {name}: {end}", took.as_secs_f64(), memory >> 20);
    }
    assert!(took < PATIENCE, "{name} took {took:?}");
    assert!(memory < MEMORY, "{name} took {} MiB", memory >> 20);
    result
}

#[test]
fn what_doubles_runs_out() {
    for (name, first, next) in GROWING {
        let source = format!(
            "{{% set ns = namespace(x={first}) %}}{{% for i in range(100000) %}}{{% set ns.x = {next} %}}{{% endfor %}}\
             {{% for i in range(100000) %}}{{{{ ns.x }}}}{{{{ ns.x == [ns.x] }}}}{{% endfor %}}{{{{ ns.x | string }}}}\
             {{% for i in range(100000) %}}{{% for i in range(100000) %}}{{% endfor %}}{{% endfor %}}"
        );
        let result = ends(name, &source);
        assert!(matches!(result, Err(TemplateError::Exhausted(_) | TemplateError::Failed(_))), "{name}: {result:?}");
    }
}

#[test]
fn what_is_asked_without_end_runs_out() {
    for operation in REPEATED {
        let result = ends(operation, &looped(&format!("{{% set y = {operation} %}}")));
        assert!(
            matches!(result, Err(TemplateError::Exhausted(_) | TemplateError::Failed(_) | TemplateError::Refused(_))),
            "{operation}: {result:?}"
        );
    }
    for body in [
        "{{ s }}",
        "{{ d }}",
        "{{ l }}",
        "{{ i }}",
        "x",
        "{% if 1 %}{% endif %}",
        "{% with %}{% endwith %}",
        "{{ m() }}",
        "{% set ns.d = [ns.d] %}",
    ] {
        let result = ends(body, &looped(body));
        assert!(matches!(result, Err(TemplateError::Exhausted(_) | TemplateError::Failed(_))), "{body}");
    }
}

#[test]
fn a_hostile_form_is_refused_or_runs_out() {
    for (name, source) in shaped() {
        // Some do no harm at all, as a sum of many numbers.
        let result = ends(name, &source);
        assert!(!matches!(result, Err(TemplateError::ToolsIgnored)), "{name}");
    }
}

/// A caller's conversation is not the template's: deep JSON is an error, not a crash.
#[test]
fn a_conversation_that_is_deep_is_an_error() {
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let messages = [json!({ "role": "user", "content": deep })];
    let template = Template::new("{{ messages | tojson }}", Limits::default()).unwrap();
    let result = template.render(&Input { messages: &messages, ..Input::default() });
    assert!(matches!(result, Err(TemplateError::Failed(_))), "{result:?}");
}
