//! Counts of what the router does, in memory: every metric's name, the counters behind it, and their text for Prometheus.
//!
//! The hot path adds to counters of its own thread's shard and takes no lock: which labels exist is settled when a router is built, from what is configured, and what a
//! client invents is counted as `other`. Nothing here knows requests or providers; labels are texts. `router/record.rs` is the one place that counts requests.

mod counters;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use counters::{BUCKETS, Counters};
use counters::{OUTCOMES, Series};
pub(crate) use counters::{SHARDS, own_shard};

/// Requests that ended, by `provider`, `model` and `outcome`: `ok`, or the kind of the error.
pub const REQUESTS: &str = "llm_router_requests_total";
/// Requests under way.
pub const IN_FLIGHT: &str = "llm_router_requests_in_flight";
/// Seconds from a request's arrival to the end of its answer, by `provider` and `model`.
pub const DURATION: &str = "llm_router_request_duration_seconds";
/// Seconds from a request's arrival to its first content, by `provider` and `model`.
pub const FIRST_CONTENT: &str = "llm_router_first_content_seconds";
/// Tokens, by `provider`, `model` and `direction`: `input`, `output`; `cache_read` and `reasoning` are parts of them.
pub const TOKENS: &str = "llm_router_tokens_total";
/// Answers by what the response cache did, by `status`.
pub const CACHE: &str = "llm_router_cache_total";
/// Requests that ended, by `key`: the name of the client's key.
pub const KEY_REQUESTS: &str = "llm_router_key_requests_total";
/// Tokens, by `key` and `direction`.
pub const KEY_TOKENS: &str = "llm_router_key_tokens_total";
/// Failed attempts at targets, by `provider` and `model`; a request may have several.
pub const FAILED_ATTEMPTS: &str = "llm_router_failed_attempts_total";

/// Attempts beyond the first at the same target, by `provider` and `model`.
pub const RETRIES: &str = "llm_router_retries_total";
/// Retries that were left out because the router's were used up.
pub const RETRIES_REFUSED: &str = "llm_router_retries_refused_total";
/// Breakers that are not closed, by `provider`, `model`, `scope` (`provider`, `model`, `credential`), `kind` of the last error and `state` (`open`, `half_open`).
pub const BREAKERS: &str = "llm_router_breakers";

/// Targets asked beside one that was late, by `outcome`: `won`, `lost`, `failed`.
pub const HEDGES: &str = "llm_router_hedges_total";

/// How a target fared that was asked beside one that was late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HedgeOutcome {
    /// It had the first content.
    Won,
    /// The late one had.
    Lost,
    /// It had an error.
    Failed,
}

impl HedgeOutcome {
    const ALL: [Self; 3] = [Self::Won, Self::Lost, Self::Failed];

    /// As labels and traces have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// The label of what nobody configured.
pub const OTHER: &str = "other";
/// The label of a request that no target was tried for.
pub const NONE: &str = "none";

/// The most pairs of provider and model with counters of their own; further ones count as `other`.
const MOST_SERIES: usize = 2048;
/// The most keys with counters of their own; further ones count as `other`.
const MOST_CLIENTS: usize = 1024;
/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub reasoning: u64,
}

/// How one request ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Who answered or was tried last.
    pub provider: Option<&'a str>,
    /// With which model.
    pub model: Option<&'a str>,
    /// The name of the client's key, where clients have keys.
    pub client: Option<&'a str>,
    /// `None` for an answer that came to its end, else the kind of the error.
    pub failure: Option<&'static str>,
    /// What the cache did.
    pub cache: &'static str,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Attempts beyond the first at the same target.
    pub retries: u64,
    /// What it cost.
    pub tokens: Tokens,
    /// Until the first content.
    pub first_content: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

/// What was counted, by everything that shares it. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Touched when a router is built and when somebody reads, never by a request.
    series: Mutex<HashMap<(String, String), Arc<Series>>>,
    /// By the names of keys, which only a configuration makes: touched as rarely.
    clients: Mutex<BTreeMap<String, Arc<Client>>>,
    in_flight: Counters<2>,
    cache: Counters<4>,
    hedges: Counters<3>,
    retries_refused: Counters<1>,
    /// Kinds of outcomes in the order they were met; a request only reads them.
    outcomes: [OnceLock<&'static str>; OUTCOMES],
}

/// What one client's requests cost: how many they were, then their tokens by [`DIRECTIONS`].
type Client = Counters<5>;

const DIRECTIONS: [&str; 4] = ["input", "output", "cache_read", "reasoning"];
const CACHE_STATUS: [&str; 4] = ["hit", "miss", "bypass", "coalesced"];

impl Ledger {
    /// Counts a request that begins.
    pub fn begin(&self) {
        self.0.in_flight.add(0, 1);
    }

    /// Counts a retry that was left out because the router's are used up.
    pub fn retry_refused(&self) {
        self.0.retries_refused.add(0, 1);
    }

    /// Counts a target that was asked beside one that was late.
    pub fn hedged(&self, outcome: HedgeOutcome) {
        self.0.hedges.add(outcome as usize, 1);
    }

    /// Requests that began so far.
    pub fn begun(&self) -> u64 {
        self.0.in_flight.sum(0)
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight.sum(0).saturating_sub(self.0.in_flight.sum(1))
    }

    /// The counters of one pair of labels, or those of `other` where there are too many.
    fn series(&self, provider: &str, model: &str) -> Arc<Series> {
        let mut series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        let full = series.len() >= MOST_SERIES;
        let key = (provider.to_owned(), model.to_owned());
        let key = if full && !series.contains_key(&key) { (OTHER.to_owned(), OTHER.to_owned()) } else { key };
        Arc::clone(series.entry(key).or_default())
    }

    /// The place of an outcome; the last one is shared by what does not fit.
    fn outcome(&self, failure: Option<&'static str>) -> usize {
        let Some(failure) = failure else { return 0 };
        for (at, known) in self.0.outcomes.iter().enumerate().skip(1) {
            if *known.get_or_init(|| failure) == failure {
                return at;
            }
        }
        OUTCOMES - 1
    }

    /// Everything as Prometheus reads it.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut series: Vec<(String, Arc<Series>)> = series
            .iter()
            .filter(|(_, series)| series.used())
            .map(|((provider, model), series)| {
                (format!("provider=\"{}\",model=\"{}\"", escape(provider), escape(model)), Arc::clone(series))
            })
            .collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));

        head(&mut out, REQUESTS, "counter", "Requests that ended.");
        for (labels, series) in &series {
            let outcomes =
                std::iter::once("ok").chain(self.0.outcomes.iter().skip(1).map_while(|at| at.get().copied()));
            for (at, outcome) in outcomes.enumerate() {
                let count = series.sum(|shard| &shard.outcomes, at);
                if count > 0 {
                    let _ = writeln!(out, "{REQUESTS}{{{labels},outcome=\"{outcome}\"}} {count}");
                }
            }
        }
        head(&mut out, IN_FLIGHT, "gauge", "Requests under way.");
        let _ = writeln!(out, "{IN_FLIGHT} {}", self.in_flight());
        head(&mut out, DURATION, "histogram", "Seconds from a request's arrival to the end of its answer.");
        series.iter().for_each(|(labels, series)| series.histogram(&mut out, DURATION, labels, |shard| &shard.total));
        head(&mut out, FIRST_CONTENT, "histogram", "Seconds from a request's arrival to its first content.");
        for (labels, series) in &series {
            series.histogram(&mut out, FIRST_CONTENT, labels, |shard| &shard.first_content);
        }
        head(&mut out, TOKENS, "counter", "Tokens, as providers reported them.");
        for (labels, series) in &series {
            for (at, direction) in DIRECTIONS.into_iter().enumerate() {
                let count = series.sum(|shard| &shard.tokens, at);
                let _ = writeln!(out, "{TOKENS}{{{labels},direction=\"{direction}\"}} {count}");
            }
        }
        head(&mut out, FAILED_ATTEMPTS, "counter", "Attempts at targets that failed.");
        for (labels, series) in &series {
            let _ = writeln!(out, "{FAILED_ATTEMPTS}{{{labels}}} {}", series.sum(|shard| &shard.failed, 0));
        }
        head(&mut out, RETRIES, "counter", "Attempts beyond the first at the same target.");
        for (labels, series) in &series {
            let _ = writeln!(out, "{RETRIES}{{{labels}}} {}", series.sum(|shard| &shard.failed, 1));
        }
        head(&mut out, RETRIES_REFUSED, "counter", "Retries left out because the router's were used up.");
        let _ = writeln!(out, "{RETRIES_REFUSED} {}", self.0.retries_refused.sum(0));
        let clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if !clients.is_empty() {
            head(&mut out, KEY_REQUESTS, "counter", "Requests that ended, by the name of the client's key.");
            for (key, client) in clients.iter() {
                let _ = writeln!(out, "{KEY_REQUESTS}{{key=\"{}\"}} {}", escape(key), client.sum(0));
            }
            head(
                &mut out,
                KEY_TOKENS,
                "counter",
                "Tokens by the name of the client's key, as providers reported them.",
            );
            for (key, client) in clients.iter() {
                for (at, direction) in (1..).zip(DIRECTIONS) {
                    let count = client.sum(at);
                    let _ = writeln!(out, "{KEY_TOKENS}{{key=\"{}\",direction=\"{direction}\"}} {count}", escape(key));
                }
            }
        }
        drop(clients);
        head(&mut out, HEDGES, "counter", "Targets asked beside one that was late, by how they fared.");
        for outcome in HedgeOutcome::ALL {
            let _ = writeln!(out, "{HEDGES}{{outcome=\"{}\"}} {}", outcome.name(), self.0.hedges.sum(outcome as usize));
        }
        head(&mut out, CACHE, "counter", "Requests by what the response cache did.");
        for (at, status) in CACHE_STATUS.into_iter().enumerate() {
            let _ = writeln!(out, "{CACHE}{{status=\"{status}\"}} {}", self.0.cache.sum(at));
        }
        out
    }
}

/// The first lines of a metric.
pub fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Breakers that are not closed, each by its provider, model, scope, kind and state: a gauge for Prometheus.
pub fn breakers<'a>(out: &mut String, open: impl IntoIterator<Item = [&'a str; 5]>) {
    head(out, BREAKERS, "gauge", "Breakers that are not closed.");
    let mut counts: BTreeMap<[&str; 5], u64> = BTreeMap::new();
    open.into_iter().for_each(|labels| *counts.entry(labels).or_default() += 1);
    for ([provider, model, scope, kind, state], count) in counts {
        let (provider, model) = (escape(provider), escape(model));
        let _ = writeln!(
            out,
            "{BREAKERS}{{provider=\"{provider}\",model=\"{model}\",scope=\"{scope}\",kind=\"{kind}\",state=\"{state}\"}} {count}"
        );
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// A ledger as one router sees it: the counters of each provider and model that it knows, found without a lock.
#[derive(Clone, Debug)]
pub struct Meters(Arc<Known>);

#[derive(Debug)]
struct Known {
    ledger: Ledger,
    providers: HashMap<String, Models>,
    none: Arc<Series>,
    clients: HashMap<String, Arc<Client>>,
}

#[derive(Debug)]
struct Models {
    named: HashMap<String, Arc<Series>>,
    none: Arc<Series>,
    other: Arc<Series>,
}

impl Meters {
    /// The counters of these providers and their models.
    pub fn new<'a>(ledger: &Ledger, configured: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> Self {
        let mut providers: HashMap<String, Models> = HashMap::new();
        for (provider, models) in configured {
            let entry = providers.entry(provider.to_owned()).or_insert_with(|| Models {
                named: HashMap::new(),
                none: ledger.series(provider, NONE),
                other: ledger.series(provider, OTHER),
            });
            for model in models {
                let series = ledger.series(provider, &model);
                entry.named.insert(model, series);
            }
        }
        let clients = HashMap::new();
        Self(Arc::new(Known { ledger: ledger.clone(), providers, none: ledger.series(NONE, NONE), clients }))
    }

    /// With counters for the keys of these names; past [`MOST_CLIENTS`] they share one.
    #[must_use]
    pub fn with_clients<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let Known { ledger, providers, none, .. } = match Arc::try_unwrap(self.0) {
            Ok(known) => known,
            // Shared already, and so in use: its counters stay as they are.
            Err(shared) => return Self(shared),
        };
        let mut all = ledger.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clients = HashMap::new();
        for name in names {
            let full = all.len() >= MOST_CLIENTS && !all.contains_key(name);
            let counters = all.entry(if full { OTHER } else { name }.to_owned()).or_default();
            clients.insert(name.to_owned(), Arc::clone(counters));
        }
        drop(all);
        Self(Arc::new(Known { ledger, providers, none, clients }))
    }

    /// Counts a request that begins.
    pub fn begin(&self) {
        self.0.ledger.begin();
    }

    /// Counts a request that ended.
    pub fn end(&self, ended: &Ended<'_>) {
        let ledger = &self.0.ledger.0;
        ledger.in_flight.add(1, 1);
        if let Some(at) = CACHE_STATUS.iter().position(|status| *status == ended.cache) {
            ledger.cache.add(at, 1);
        }
        let shard = self.series(ended.provider, ended.model).shard();
        shard.outcomes.add(self.0.ledger.outcome(ended.failure), 1);
        shard.total.add(ended.total);
        if let Some(first) = ended.first_content {
            shard.first_content.add(first);
        }
        if ended.failed_attempts > 0 {
            shard.failed.add(0, ended.failed_attempts);
            shard.failed.add(1, ended.retries);
        }
        let Tokens { input, output, cache_read, reasoning } = ended.tokens;
        let client = ended.client.and_then(|name| self.0.clients.get(name));
        if let Some(client) = client {
            client.add(0, 1);
        }
        for (at, count) in
            [input, output, cache_read, reasoning].into_iter().enumerate().filter(|(_, count)| *count > 0)
        {
            shard.tokens.add(at, count);
            if let Some(client) = client {
                client.add(at + 1, count);
            }
        }
    }

    /// The label under which a model is counted: its name where it is known, so that no client makes labels.
    pub fn label<'a>(&self, provider: &str, model: Option<&'a str>) -> &'a str {
        let Some(model) = model else { return NONE };
        let known = self.0.providers.get(provider).is_some_and(|models| models.named.contains_key(model));
        if known { model } else { OTHER }
    }

    fn series(&self, provider: Option<&str>, model: Option<&str>) -> &Series {
        let Some(models) = provider.and_then(|provider| self.0.providers.get(provider)) else { return &self.0.none };
        match model {
            None => &models.none,
            Some(model) => {
                // The embedded model's name carries the digest of its file.
                let bare = || models.named.get(model.rsplit_once('@')?.0);
                models.named.get(model).or_else(bare).unwrap_or(&models.other)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ended<'a>(provider: &'a str, model: &'a str) -> Ended<'a> {
        Ended {
            provider: Some(provider),
            model: Some(model),
            client: Some("team"),
            failure: None,
            cache: "bypass",
            failed_attempts: 1,
            retries: 1,
            tokens: Tokens { input: 3, output: 4, ..Tokens::default() },
            first_content: Some(Duration::from_millis(7)),
            total: Duration::from_millis(20),
        }
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
        let text = ledger.prometheus();
        for line in [
            r#"llm_router_requests_total{provider="lab",model="qwen",outcome="ok"} 2"#,
            r#"llm_router_requests_total{provider="lab",model="qwen",outcome="caller_cancelled"} 1"#,
            r#"llm_router_requests_total{provider="lab",model="other",outcome="ok"} 2"#,
            r#"llm_router_tokens_total{provider="lab",model="qwen",direction="output"} 12"#,
            r#"llm_router_request_duration_seconds_bucket{provider="lab",model="qwen",le="0.01"} 0"#,
            r#"llm_router_request_duration_seconds_bucket{provider="lab",model="qwen",le="0.025"} 3"#,
            r#"llm_router_request_duration_seconds_sum{provider="lab",model="qwen"} 0.06"#,
            r#"llm_router_first_content_seconds_count{provider="lab",model="qwen"} 3"#,
            r#"llm_router_cache_total{status="bypass"} 5"#,
            "llm_router_requests_in_flight 1",
            r#"llm_router_retries_total{provider="lab",model="qwen"} 3"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("made-up"));
    }

    #[test]
    fn every_metric_is_explained_to_whoever_watches() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate/runbook.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut text = Ledger::default().prometheus();
        breakers(&mut text, []);
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            assert!(page.contains(&format!("| `{name}`")), "docs/operate/runbook.md has no row for {name}");
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
        meters.end(&ended("lab", "qwen"));
        meters.end(&Ended { client: Some("nobody-configured"), ..ended("lab", "qwen") });
        meters.end(&Ended { client: None, ..ended("lab", "qwen") });
        let text = ledger.prometheus();
        for line in [
            r#"llm_router_key_requests_total{key="team"} 1"#,
            r#"llm_router_key_requests_total{key="silent"} 0"#,
            r#"llm_router_key_tokens_total{key="team",direction="input"} 3"#,
            r#"llm_router_key_tokens_total{key="team",direction="output"} 4"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("nobody-configured"));
    }

    #[test]
    fn labels_are_bounded_and_escaped() {
        let names: Vec<String> = (0..2 * MOST_CLIENTS).map(|n| format!("k{n}")).collect();
        let many = Ledger::default();
        drop(Meters::new(&many, []).with_clients(names.iter().map(String::as_str)));
        assert_eq!(many.0.clients.lock().unwrap().len(), MOST_CLIENTS + 1);
        let ledger = Ledger::default();
        let models = (0..3 * MOST_SERIES).map(|n| format!("m{n}")).chain(["a\"b\\c".to_owned()]).collect();
        Meters::new(&ledger, [("lab", models)]);
        assert!(ledger.0.series.lock().unwrap().len() <= MOST_SERIES + 1);
        assert_eq!(escape("a\"b\\c\n"), "a\\\"b\\\\c\\n");
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
        assert!(ledger.prometheus().contains(r#"model="qwen",outcome="ok"} 16000"#));
    }
}
