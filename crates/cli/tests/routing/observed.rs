//! The dashboard and the alerts against what `/metrics` really says: a program that did everything that is counted, scraped once, has a line for each query with each label that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use llm_router::testing::faults::Act;
use llm_router::testing::voice::Refusal;
use serde_json::Value;

use crate::stage::{Stage, gate};

const CONFIG: &str = r#"
[[server.api_keys]]
name = "ops"
key = "the-admin-key"
admin = true
[cache]
responses = true
[routes.hedged]
groups = [["late/m"], ["quick/m"]]
hedge = true
hedge_after = "20ms"
hedge_percent = 100
[routes.falls]
groups = [["limited/m"], ["quick/m"]]
[prices."quick/m"]
input = 1
output = 2
"#;
const KEY: &str = "the-admin-key";

/// Labels that Prometheus adds itself.
const ADDED: [&str; 2] = ["instance", "job"];

/// The labels of each sample, by the metric's name; of a histogram under the names of its parts.
type Samples = BTreeMap<String, Vec<BTreeMap<String, String>>>;

async fn scraped() -> Samples {
    let scripts = vec![
        ("late", vec![Act::Gated(gate())]),
        ("quick", vec![Act::Answer]),
        ("limited", vec![Act::Refuse(Refusal::RateLimited, None)]),
        ("dead", vec![Act::Refuse(Refusal::Key, None)]),
        ("stumbles", vec![Act::Reset, Act::Answer]),
    ];
    let log = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}[server]\naccess_log = \"{}\"\n", log.path().join("access.jsonl").display());
    let stage = Stage::new(scripts, &config).await;
    let ask = |model: &str| stage.ask(model).header("x-api-key", KEY);
    for _ in 0..2 {
        // Answered, then from the cache.
        ask("quick/m").answered().await;
    }
    for model in ["hedged", "falls", "stumbles/m"] {
        ask(model).streamed().answered().await;
    }
    assert_eq!(ask("dead/m").heard().await.status, 502);
    assert_eq!(stage.ask("quick/m").heard().await.status, 401, "without a key");
    let text = stage.get("/metrics", KEY).await.text();
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
        let labels = pairs.map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned())).collect();
        samples.entry(name.to_owned()).or_default().push(labels);
    }
    samples
}

/// One place of an expression that names a metric, and what it asks of its labels.
#[derive(Debug)]
struct Selector<'a> {
    metric: &'a str,
    /// Label, operator, value.
    matchers: Vec<(&'a str, &'a str, &'a str)>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = ["llm_router_", "process_"].iter().filter_map(|begin| rest.find(begin)).min() {
        rest = &rest[at..];
        let (metric, behind) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let within = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
        let pairs = within.map_or("", |(within, _)| within).split("\",").filter(|pair| !pair.is_empty());
        let matcher = |pair: &'_ str| -> (usize, usize) {
            let name = pair.find(|c| !is_word(c)).unwrap();
            (name, pair.find('"').unwrap())
        };
        let matchers = pairs.map(|pair| {
            let (name, quote) = matcher(pair);
            (&pair[..name], &pair[name..quote], pair[quote + 1..].trim_end_matches('"'))
        });
        found.push(Selector { metric, matchers: matchers.collect() });
        rest = behind;
    }
    found
}

/// The labels that results are put together by.
fn grouped(expression: &str) -> BTreeSet<&str> {
    let lists = expression.split("by (").skip(1).filter_map(|behind| behind.split(')').next());
    lists.flat_map(|list| list.split(',').map(str::trim)).collect()
}

/// Whether a value is one that a pattern means, of those patterns that are in use: alternatives with a common end left open.
fn means(pattern: &str, value: &str) -> bool {
    pattern.split('|').any(|one| match one.strip_suffix(".+") {
        Some(begin) => value.len() > begin.len() && value.starts_with(begin),
        None => value == one,
    })
}

/// What is wrong with an expression, whose results are named by these labels.
fn wrong(expression: &str, named: &[&str], samples: &Samples) -> Option<String> {
    let by = grouped(expression);
    for Selector { metric, matchers } in selectors(expression) {
        let Some(series) = samples.get(metric) else { return Some(format!("{metric} has no sample")) };
        let own = |label: &str| ADDED.contains(&label) || series.iter().any(|labels| labels.contains_key(label));
        if let Some(label) =
            matchers.iter().map(|(label, ..)| *label).chain(by.iter().copied()).find(|label| !own(label))
        {
            return Some(format!("{metric} has no label {label}"));
        }
        // A word that no sample has may be one that nothing came to here; one that no outcome, state or direction could be is told by `known`.
        for (label, operator, value) in matchers.iter().filter(|(label, ..)| !ADDED.contains(label)) {
            let seen: BTreeSet<&str> = series.iter().map(|labels| labels[*label].as_str()).collect();
            let fits = |one: &&str| if operator.contains('~') { means(value, one) } else { value == one };
            let known = seen.iter().any(fits) || value.split('|').all(|one| known(label, one));
            if !known {
                return Some(format!("{metric}: {label}{operator}{value:?} is nothing that it says: {seen:?}"));
            }
        }
    }
    let unnamed = named.iter().find(|label| !(by.contains(*label) || by.is_empty() && ADDED.contains(label)));
    unnamed.map(|label| format!("its results have no {label}"))
}

/// Whether a label could have this value, or one that begins so: kinds of errors are in one table.
fn known(label: &str, value: &str) -> bool {
    let begin = value.strip_suffix(".+");
    let kinds = llm_router::ErrorKind::ALL.iter().map(|kind| kind.name());
    let mut kinds = kinds.filter(|kind| begin.map_or(*kind == value, |begin| kind.starts_with(begin)));
    ["outcome", "kind"].contains(&label) && kinds.next().is_some()
}

/// `{{label}}` of a legend, `{{ $labels.label }}` of an alert.
fn names(text: &str) -> Vec<&str> {
    let within = text.split("{{").skip(1).filter_map(|behind| Some(behind.split_once("}}")?.0.trim()));
    within.filter(|name| !name.starts_with("$value")).map(|name| name.trim_start_matches("$labels.")).collect()
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate").join(name);
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_the_alerts_finds_what_it_asks_for() {
    let samples = scraped().await;
    let dashboard: Value = serde_json::from_str(&page("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut queries, mut faults) = (0, Vec::new());
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten()) {
        let expression = target["expr"].as_str().unwrap();
        let named = names(target["legendFormat"].as_str().unwrap_or_default());
        faults.extend(wrong(expression, &named, &samples).map(|what| format!("{expression}: {what}")));
        queries += 1;
    }
    assert!(queries > 25, "{queries}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        faults.extend(wrong(query, &[], &samples).map(|what| format!("{query}: {what}")));
    }
    let alerts = page("alerts.yml");
    let rules: Vec<&str> = alerts.split("- alert:").skip(1).collect();
    for rule in &rules {
        let behind = rule.split_once("expr:").unwrap().1;
        let end = ["\n        for:", "\n        labels:"].iter().filter_map(|next| behind.find(next)).min().unwrap();
        let (expression, rest) = behind.split_at(end);
        faults.extend(wrong(expression, &names(rest), &samples).map(|what| format!("{}: {what}", expression.trim())));
    }
    assert!(rules.len() > 8, "{}", rules.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_query_that_asks_for_what_there_is_not_is_found_out() {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let samples =
        Samples::from([("llm_router_a_total".to_owned(), vec![labels(&[("provider", "x"), ("outcome", "ok")])])]);
    let wrong = |expression: &str, named: &[&str]| wrong(expression, named, &samples);
    let good = "sum by (provider) (rate(llm_router_a_total{instance=~\"$i\",outcome=~\"ok|router_.+\"}[5m])) / sum(llm_router_a_total)";
    assert_eq!(wrong(good, &["provider"]), None);
    for (expression, what) in [
        ("sum(llm_router_b_total)", "no sample"),
        ("sum by (model) (llm_router_a_total)", "no label model"),
        ("llm_router_a_total{code=\"1\"}", "no label code"),
        ("llm_router_a_total{outcome=\"fine\"}", "nothing that it says"),
        ("sum by (outcome) (llm_router_a_total)", "have no provider"),
    ] {
        assert!(wrong(expression, &["provider"]).unwrap().contains(what), "{expression}");
    }
}
