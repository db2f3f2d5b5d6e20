//! Counts of what the router does, in memory: every metric's name, the counters behind it, and what they say.
//!
//! The hot path adds to counters of its own thread's shard and takes no lock: which labels exist is settled when a router is built, from what is configured, and what a
//! client invents is counted as `other`. Nothing here knows requests or providers; labels are texts. `router/record.rs` counts requests, `router/charge.rs` what their calls use.
//! Read next: `telemetry/meters.rs` (how is counted), `telemetry/families.rs` (how it is told), `telemetry/counters.rs` (the numbers themselves).

mod counters;
mod families;
mod meters;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use counters::{BUCKETS, Counters, FINE};
use counters::{OUTCOMES, Series};
pub(crate) use counters::{SHARDS, own_shard};
pub use families::{Family, Histogram, Kind, Point, Value, labels, prometheus};
pub use meters::{Ended, Gaps, InFlight, Meter, Meters};

use crate::trace::Operation;
use crate::usage::Usage;

/// Requests that ended, by `provider`, `model`, `operation` and `outcome`: `ok`, or the kind of the error.
pub const REQUESTS: &str = "llm_router_requests_total";
/// Requests under way.
pub const IN_FLIGHT: &str = "llm_router_requests_in_flight";
/// Seconds from a request's arrival to the end of its answer, by `provider` and `model`.
pub const DURATION: &str = "llm_router_request_duration_seconds";
/// Seconds from a request's arrival to its first content, by `provider` and `model`.
pub const FIRST_CONTENT: &str = "llm_router_first_content_seconds";
/// Seconds until the first content in which no provider was waited for, by `provider` and `model`.
pub const OVERHEAD: &str = "llm_router_overhead_seconds";
/// Seconds that the next event of a streamed answer was waited for, by `provider` and `model`.
pub const GAPS: &str = "llm_router_event_gap_seconds";
/// Tokens of calls to providers, by `provider`, `model` and `direction`: `input`, `output`; `cache_read`, `cache_write` and `reasoning` are parts of them.
pub const TOKENS: &str = "llm_router_tokens_total";
/// Dollars that calls to providers cost, as far as that is known, by `provider` and `model`.
pub const COST: &str = "llm_router_cost_dollars_total";
/// Calls to providers whose cost is not known, by `provider` and `model`.
pub const UNPRICED: &str = "llm_router_unpriced_calls_total";
/// Failed attempts at targets, by `provider`, `model` and `kind` of the error; a request may have several.
pub const FAILED_ATTEMPTS: &str = "llm_router_failed_attempts_total";
/// Attempts beyond the first at the same target, by `provider` and `model`.
pub const RETRIES: &str = "llm_router_retries_total";
/// Retries that were left out because the router's were used up.
pub const RETRIES_REFUSED: &str = "llm_router_retries_refused_total";
/// Times that another target was asked after this one had failed, by `provider` and `model`.
pub const FALLBACKS: &str = "llm_router_fallbacks_total";
/// Targets asked beside one that was late, by `provider`, `model` and `outcome`: `won`, `lost`, `failed`.
pub const HEDGES: &str = "llm_router_hedges_total";
/// Calls to providers under way, by `provider` and `model`.
pub const CALLS: &str = "llm_router_calls_in_flight";
/// Calls that wait for a place at a provider, by `provider`.
pub const QUEUED: &str = "llm_router_queued";
/// Breakers that are not closed, by `provider`, `model`, `scope` (`provider`, `model`, `credential`), `kind` of the last error and `state` (`open`, `half_open`).
pub const BREAKERS: &str = "llm_router_breakers";
/// Requests whose shared limits nobody counted, by `policy`: what held instead, `closed`, `open` or `local`.
pub const UNSHARED: &str = "llm_router_limits_unshared_total";
/// Spans that found no room, or did not reach their collector.
pub const LOST_SPANS: &str = "llm_router_lost_spans_total";
/// Answers by what the response cache did, by `status`.
pub const CACHE: &str = "llm_router_cache_total";
/// Answers that came from the response cache, by `tier`.
pub const CACHE_HITS: &str = "llm_router_cache_hits_total";
/// Requests that ended, by `key`: the name of the client's key.
pub const KEY_REQUESTS: &str = "llm_router_key_requests_total";
/// Tokens, by `key` and `direction`.
pub const KEY_TOKENS: &str = "llm_router_key_tokens_total";
/// Dollars, as far as they are known, by `key`.
pub const KEY_COST: &str = "llm_router_key_cost_dollars_total";

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
    /// All of them, in the order of their numbers.
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
/// The most tiers of a cache with counters of their own.
const MOST_TIERS: usize = 8;

/// What was counted, by everything that shares it. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Touched when a router is built and when somebody reads, never by a request.
    series: Mutex<HashMap<(String, String), Arc<Series>>>,
    /// By the names of keys: touched when a key is first used.
    clients: Mutex<BTreeMap<String, Arc<Client>>>,
    in_flight: Counters<2>,
    cache: Counters<4>,
    retries_refused: Counters<1>,
    unshared: Counters<3>,
    lost_spans: Counters<1>,
    hits: Counters<MOST_TIERS>,
    /// Kinds of outcomes in the order they were met; a request only reads them.
    outcomes: Words<OUTCOMES>,
    tiers: Words<MOST_TIERS>,
}

/// What one client's requests used: how many they were, their tokens by [`DIRECTIONS`], and micro-dollars.
#[derive(Debug, Default)]
pub(crate) struct Client(Counters<7>);

const POLICIES: [&str; 3] = ["closed", "open", "local"];
const DIRECTIONS: [&str; 5] = ["input", "output", "cache_read", "cache_write", "reasoning"];
const CACHE_STATUS: [&str; 4] = ["hit", "miss", "bypass", "coalesced"];

/// Counts by [`DIRECTIONS`].
fn by_direction(usage: &Usage) -> [u64; 5] {
    [usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning]
}

impl Client {
    fn used(&self, usage: &Usage, cost: Option<u64>) {
        let numbers = by_direction(usage).into_iter().chain(cost);
        (1..).zip(numbers).filter(|(_, number)| *number > 0).for_each(|(at, number)| self.0.add(at, number));
    }
}

/// Words in the order in which they were met. The last place is shared by what does not fit.
#[derive(Debug)]
struct Words<const N: usize>([OnceLock<&'static str>; N]);

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<const N: usize> Words<N> {
    fn place(&self, word: &'static str) -> usize {
        self.0.iter().position(|known| *known.get_or_init(|| word) == word).unwrap_or(N - 1)
    }

    fn known(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.0.iter().map_while(OnceLock::get).copied().enumerate()
    }
}

impl Ledger {
    /// Counts a request that begins.
    pub fn begin(&self) {
        self.0.in_flight.add(0, 1);
    }

    /// Counts a retry that was left out because the router's are used up.
    pub fn retry_refused(&self) {
        self.0.retries_refused.add(0, 1);
    }

    /// Requests that began so far.
    pub fn begun(&self) -> u64 {
        self.0.in_flight.sum(0)
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight.sum(0).saturating_sub(self.0.in_flight.sum(1))
    }

    /// Counts a request whose shared limits nobody counted, under what held instead.
    pub fn unshared(&self, policy: &str) {
        if let Some(at) = POLICIES.iter().position(|known| *known == policy) {
            self.0.unshared.add(at, 1);
        }
    }

    /// Counts spans that nobody will see.
    pub fn lost_spans(&self, count: u64) {
        self.0.lost_spans.add(0, count);
    }

    /// The counters of one pair of labels, or those of `other` where there are too many.
    fn series(&self, provider: &str, model: &str) -> Arc<Series> {
        let mut series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        let full = series.len() >= MOST_SERIES;
        let key = (provider.to_owned(), model.to_owned());
        let key = if full && !series.contains_key(&key) { (OTHER.to_owned(), OTHER.to_owned()) } else { key };
        Arc::clone(series.entry(key).or_default())
    }

    /// The counters of a key, or those of `other` where there are too many. For whoever keeps them: it takes a lock.
    pub(crate) fn client(&self, name: &str) -> Arc<Client> {
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let full = clients.len() >= MOST_CLIENTS && !clients.contains_key(name);
        Arc::clone(clients.entry(if full { OTHER } else { name }.to_owned()).or_default())
    }

    /// The place of an outcome.
    fn outcome(&self, failure: Option<&'static str>) -> usize {
        self.0.outcomes.place(failure.unwrap_or("ok"))
    }

    /// Everything that was counted.
    pub fn families(&self) -> Vec<Family> {
        let series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<([String; 2], Arc<Series>)> = series
            .iter()
            .filter(|(_, series)| series.used())
            .map(|((provider, model), series)| ([provider.clone(), model.clone()], Arc::clone(series)))
            .collect();
        drop(series);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let of = |[provider, model]: &[String; 2]| labels([("provider", provider.as_str()), ("model", model)]);
        let counted = |name, help, count: &dyn Fn(&Series) -> u64, always: bool| {
            let points = all.iter().map(|(names, series)| Point::count(of(names), count(series)));
            Family::counter(name, help, points.filter(|point| always || point.value != Value::Count(0)))
        };
        let histogram = |name, help, of_series: fn(&Series) -> Histogram| {
            let points = all.iter().map(|(names, series)| Point::histogram(of(names), of_series(series)));
            Family::histogram(name, help, points)
        };
        // For each series, those numbers of a place that are not zero.
        let numbered = |of_place: &dyn Fn(&Series, usize) -> u64, words: &[(&'static str, usize, &'static str)]| {
            let mut points = Vec::new();
            for (names, series) in &all {
                for (name, at, word) in words {
                    let count = of_place(series, *at);
                    if count > 0 {
                        points.push(Point::count(
                            labels([("provider", names[0].as_str()), ("model", &names[1]), (name, word)]),
                            count,
                        ));
                    }
                }
            }
            points
        };
        let kinds: Vec<_> = self.0.outcomes.known().map(|(at, kind)| ("kind", at, kind)).collect();

        let mut requests = Vec::new();
        for (names, series) in &all {
            for (nth, operation) in Operation::ALL.into_iter().enumerate() {
                for (at, outcome) in self.0.outcomes.known() {
                    let count = series.sum(|shard| &shard.outcomes, nth * OUTCOMES + at);
                    if count > 0 {
                        let labels = [("provider", names[0].as_str()), ("model", &names[1])];
                        let more = [("operation", operation.name()), ("outcome", outcome)];
                        requests.push(Point::count(families::labels(labels.into_iter().chain(more)), count));
                    }
                }
            }
        }
        let mut tokens = Vec::new();
        for (names, series) in &all {
            for (at, direction) in DIRECTIONS.into_iter().enumerate() {
                let labels = [("provider", names[0].as_str()), ("model", &names[1]), ("direction", direction)];
                tokens.push(Point::count(families::labels(labels), series.sum(|shard| &shard.tokens, at)));
            }
        }
        let cost = all.iter().map(|(names, series)| Point::dollars(of(names), series.sum(|shard| &shard.money, 0)));
        let calls = all.iter().map(|(names, series)| {
            let under_way =
                series.sum(|shard| &shard.under_way, 0).saturating_sub(series.sum(|shard| &shard.under_way, 1));
            Point::count(of(names), under_way)
        });
        let mut families = vec![
            Family::counter(REQUESTS, "Requests that ended.", requests),
            Family::gauge(IN_FLIGHT, "Requests under way.", [Point::count(Vec::new(), self.in_flight())]),
            histogram(DURATION, "Seconds from a request's arrival to the end of its answer.", |series| {
                series.histogram(|shard| &shard.total)
            }),
            histogram(FIRST_CONTENT, "Seconds from a request's arrival to its first content.", |series| {
                series.histogram(|shard| &shard.first_content)
            }),
            histogram(OVERHEAD, "Seconds until the first content in which no provider was waited for.", |series| {
                series.histogram(|shard| &shard.overhead)
            }),
            histogram(GAPS, "Seconds that the next event of a streamed answer was waited for.", |series| {
                series.histogram(|shard| &shard.gaps)
            }),
            Family::counter(TOKENS, "Tokens of calls to providers, as they reported them or estimated.", tokens),
            Family::counter(COST, "Dollars that calls to providers cost, as far as that is known.", cost),
            counted(
                UNPRICED,
                "Calls to providers whose cost is not known.",
                &|series| series.sum(|shard| &shard.money, 1),
                true,
            ),
            Family::counter(
                FAILED_ATTEMPTS,
                "Attempts at targets that failed.",
                numbered(&|series, at| series.sum(|shard| &shard.failed, at), &kinds),
            ),
            counted(
                RETRIES,
                "Attempts beyond the first at the same target.",
                &|series| series.sum(|shard| &shard.again, 0),
                true,
            ),
            counted(
                FALLBACKS,
                "Times that another target was asked after this one had failed.",
                &|series| series.sum(|shard| &shard.again, 1),
                true,
            ),
            Family::counter(
                HEDGES,
                "Targets asked beside one that was late, by how they fared.",
                numbered(
                    &|series, at| series.sum(|shard| &shard.again, at),
                    &HedgeOutcome::ALL.map(|outcome| ("outcome", 2 + outcome as usize, outcome.name())),
                ),
            ),
            Family::gauge(CALLS, "Calls to providers under way.", calls),
        ];
        families.extend(self.of_clients());
        let cache = CACHE_STATUS.into_iter().enumerate();
        let cache = cache.map(|(at, status)| Point::count(labels([("status", status)]), self.0.cache.sum(at)));
        families.push(Family::counter(CACHE, "Requests by what the response cache did.", cache));
        let hits = self.0.tiers.known();
        let hits = hits.map(|(at, tier)| Point::count(labels([("tier", tier)]), self.0.hits.sum(at)));
        families.push(Family::counter(CACHE_HITS, "Answers from the response cache.", hits));
        let refused = [Point::count(Vec::new(), self.0.retries_refused.sum(0))];
        families.push(Family::counter(RETRIES_REFUSED, "Retries left out because the router's were used up.", refused));
        let policies = POLICIES.into_iter().enumerate();
        let unshared = policies.map(|(at, policy)| Point::count(labels([("policy", policy)]), self.0.unshared.sum(at)));
        let what = "Requests whose shared limits nobody counted, by what held instead.";
        families.push(Family::counter(UNSHARED, what, unshared));
        let lost = [Point::count(Vec::new(), self.0.lost_spans.sum(0))];
        families.push(Family::counter(LOST_SPANS, "Spans that did not reach their collector.", lost));
        families
    }

    fn of_clients(&self) -> Vec<Family> {
        let clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.is_empty() {
            return Vec::new();
        }
        let key = |name: &String| labels([("key", name.as_str())]);
        let requests = clients.iter().map(|(name, client)| Point::count(key(name), client.0.sum(0)));
        let requests = Family::counter(KEY_REQUESTS, "Requests that ended, by the name of the client's key.", requests);
        let mut tokens = Vec::new();
        for (name, client) in clients.iter() {
            for (at, direction) in (1..).zip(DIRECTIONS) {
                let labels = labels([("key", name.as_str()), ("direction", direction)]);
                tokens.push(Point::count(labels, client.0.sum(at)));
            }
        }
        let tokens = Family::counter(KEY_TOKENS, "Tokens by the name of the client's key.", tokens);
        let cost = clients.iter().map(|(name, client)| Point::dollars(key(name), client.0.sum(6)));
        let cost =
            Family::counter(KEY_COST, "Dollars by the name of the client's key, as far as they are known.", cost);
        vec![requests, tokens, cost]
    }
}

/// How many calls wait for a place, by provider: of those that have a queue or were found to wait.
pub fn queued<'a>(waiting: impl IntoIterator<Item = (&'a str, usize)>) -> Family {
    let points = waiting.into_iter().map(|(provider, waiting)| {
        Point::count(labels([("provider", provider)]), u64::try_from(waiting).unwrap_or(u64::MAX))
    });
    Family::gauge(QUEUED, "Calls that wait for a place at a provider.", points)
}

/// Breakers that are not closed, each by its provider, model, scope, kind and state.
pub fn breakers<'a>(open: impl IntoIterator<Item = [&'a str; 5]>) -> Family {
    let mut counts: BTreeMap<[&str; 5], u64> = BTreeMap::new();
    open.into_iter().for_each(|labels| *counts.entry(labels).or_default() += 1);
    let point = |(names, count)| {
        Point::count(labels(["provider", "model", "scope", "kind", "state"].into_iter().zip(names)), count)
    };
    Family::gauge(BREAKERS, "Breakers that are not closed.", counts.into_iter().map(point))
}

#[cfg(test)]
mod tests;
