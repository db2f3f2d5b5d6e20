//! What is counted is told, under labels that nobody outside makes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

fn ended<'a>(provider: &'a str, model: &'a str) -> Ended<'a> {
    Ended {
        provider: Some(provider),
        model: Some(model),
        cache: "bypass",
        first_content: Some(Duration::from_millis(7)),
        overhead: Some(Duration::from_micros(80)),
        total: Duration::from_millis(20),
        ..Ended::default()
    }
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|other| other == line)
}

fn text(ledger: &Ledger) -> String {
    prometheus(&ledger.families())
}

#[test]
fn what_is_counted_is_told_and_what_nobody_configured_is_other() {
    let ledger = Ledger::default();
    let meters = Meters::new(&ledger, [("lab", vec!["qwen".to_owned()])]);
    for model in ["qwen", "qwen", "made-up-by-a-client", "and-another"] {
        meters.begin();
        meters.end(&ended("lab", model));
    }
    meters.begin();
    meters.end(&Ended { failure: Some("caller_cancelled"), ..ended("lab", "qwen") });
    meters.begin();
    meters.end(&Ended { operation: Operation::Embeddings, cache: "hit", tier: Some("disk"), ..ended("lab", "qwen") });
    meters.begin();
    let mut usage = Usage::new(3, 4);
    usage.cache_write = 2;
    let client = ledger.client("team");
    let call = meters.of("lab", Some("qwen")).call();
    call.meter().used(&usage, Some(1_500_000), Some(&client));
    call.meter().used(&usage, None, None);
    let other = meters.of("lab", Some("qwen")).call();
    drop(call);
    meters.failed("lab", Some("qwen"), "provider_timeout");
    meters.followed("lab", Some("qwen"), true);
    meters.followed("lab", Some("qwen"), false);
    meters.hedged("lab", Some("qwen"), HedgeOutcome::Won);
    let text = text(&ledger);
    drop(other);
    for line in [
        r#"llm_router_requests_total{provider="lab",model="qwen",operation="chat",outcome="ok"} 2"#,
        r#"llm_router_requests_total{provider="lab",model="qwen",operation="chat",outcome="caller_cancelled"} 1"#,
        r#"llm_router_requests_total{provider="lab",model="qwen",operation="embeddings",outcome="ok"} 1"#,
        r#"llm_router_requests_total{provider="lab",model="other",operation="chat",outcome="ok"} 2"#,
        r#"llm_router_tokens_total{provider="lab",model="qwen",direction="output"} 8"#,
        r#"llm_router_tokens_total{provider="lab",model="qwen",direction="cache_write"} 4"#,
        r#"llm_router_cost_dollars_total{provider="lab",model="qwen"} 1.5"#,
        r#"llm_router_unpriced_calls_total{provider="lab",model="qwen"} 1"#,
        r#"llm_router_key_cost_dollars_total{key="team"} 1.5"#,
        r#"llm_router_key_tokens_total{key="team",direction="output"} 4"#,
        r#"llm_router_request_duration_seconds_bucket{provider="lab",model="qwen",le="0.01"} 0"#,
        r#"llm_router_request_duration_seconds_bucket{provider="lab",model="qwen",le="0.025"} 4"#,
        r#"llm_router_request_duration_seconds_sum{provider="lab",model="qwen"} 0.08"#,
        r#"llm_router_first_content_seconds_count{provider="lab",model="qwen"} 4"#,
        r#"llm_router_overhead_seconds_bucket{provider="lab",model="qwen",le="0.00005"} 0"#,
        r#"llm_router_overhead_seconds_bucket{provider="lab",model="qwen",le="0.0001"} 4"#,
        r#"llm_router_cache_total{status="bypass"} 5"#,
        r#"llm_router_cache_hits_total{tier="disk"} 1"#,
        "llm_router_requests_in_flight 1",
        r#"llm_router_calls_in_flight{provider="lab",model="qwen"} 1"#,
        r#"llm_router_failed_attempts_total{provider="lab",model="qwen",kind="provider_timeout"} 1"#,
        r#"llm_router_retries_total{provider="lab",model="qwen"} 1"#,
        r#"llm_router_fallbacks_total{provider="lab",model="qwen"} 1"#,
        r#"llm_router_hedges_total{provider="lab",model="qwen",outcome="won"} 1"#,
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
    assert!(!text.contains("made-up"));
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_what_was_waited_for_and_not_what_a_reader_took() {
    let ledger = Ledger::default();
    let meters = Meters::new(&ledger, [("lab", vec!["qwen".to_owned()])]);
    let mut gaps = Gaps::new(meters.of("lab", Some("qwen")));
    let now = tokio::time::Instant::now;
    for (reader, provider) in [(0, 3), (9_000, 0), (0, 40)] {
        tokio::time::advance(Duration::from_millis(reader)).await;
        if provider > 0 {
            gaps.wait(now);
            tokio::time::advance(Duration::from_millis(provider)).await;
            gaps.wait(now);
        }
        gaps.event(now);
    }
    drop(gaps);
    let text = text(&ledger);
    for line in [
        r#"llm_router_event_gap_seconds_bucket{provider="lab",model="qwen",le="0.00005"} 1"#,
        r#"llm_router_event_gap_seconds_bucket{provider="lab",model="qwen",le="0.005"} 2"#,
        r#"llm_router_event_gap_seconds_bucket{provider="lab",model="qwen",le="0.05"} 3"#,
        r#"llm_router_event_gap_seconds_sum{provider="lab",model="qwen"} 0.043"#,
    ] {
        assert!(has(&text, line), "{line}\n{text}");
    }
}

#[test]
fn every_metric_is_explained_to_whoever_watches() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate/telemetry.md");
    let page = std::fs::read_to_string(page).unwrap();
    let ledger = Ledger::default();
    ledger.client("team");
    let families = ledger.families().into_iter().chain([breakers([])]);
    let names: Vec<&str> = families.map(|family| family.name).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("| `{name}`")), "docs/operate/telemetry.md has no row for {name}");
    }
}

#[test]
fn every_kind_of_error_has_a_place_of_its_own() {
    // One place is for `ok`, one for what does not fit.
    assert!(crate::error::ErrorKind::ALL.len() <= OUTCOMES - 2);
}

#[test]
fn each_key_has_counters_under_its_name() {
    let ledger = Ledger::default();
    let meters = Meters::new(&ledger, [("lab", vec!["qwen".to_owned()])]).with_clients(["team", "silent"]);
    Meters::asked(meters.client("team").unwrap());
    assert!(meters.client("nobody-configured").is_none());
    let text = text(&ledger);
    for line in [r#"llm_router_key_requests_total{key="team"} 1"#, r#"llm_router_key_requests_total{key="silent"} 0"#] {
        assert!(has(&text, line), "{line}\n{text}");
    }
}

#[test]
fn labels_are_bounded() {
    let names: Vec<String> = (0..2 * MOST_CLIENTS).map(|n| format!("k{n}")).collect();
    let many = Ledger::default();
    drop(Meters::new(&many, []).with_clients(names.iter().map(String::as_str)));
    assert_eq!(many.0.clients.lock().unwrap().len(), MOST_CLIENTS + 1);
    let ledger = Ledger::default();
    let models = (0..3 * MOST_SERIES).map(|n| format!("m{n}")).chain(["a\"b\\c".to_owned()]).collect();
    Meters::new(&ledger, [("lab", models)]);
    assert!(ledger.0.series.lock().unwrap().len() <= MOST_SERIES + 1);
    let words = Words::<2>::default();
    assert_eq!([words.place("a"), words.place("b"), words.place("c"), words.place("a")], [0, 1, 1, 0]);
}

#[test]
fn threads_count_beside_each_other() {
    let ledger = Ledger::default();
    let meters = Meters::new(&ledger, [("lab", vec!["qwen".to_owned()])]);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..1000).for_each(|_| meters.end(&ended("lab", "qwen"))));
        }
    });
    assert!(text(&ledger).contains(r#"model="qwen",operation="chat",outcome="ok"} 16000"#));
}
