//! The end of a request's record: counted, put into the books, shown to the hooks, kept for a while. What it holds until then is `../record.rs`.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Record, Taken, lock};
use crate::books::{Day, Tally};
use crate::config::Settings;
use crate::deps::RouterDeps;
use crate::error::ErrorKind;
use crate::router::charge::Payer;
use crate::router::resolve::Entry;
use crate::telemetry::{Ended, Meters};
use crate::trace::{Attempt, CacheStatus, Trace};

impl Drop for Record {
    fn drop(&mut self) {
        if lock(&self.trace).served.is_none() {
            self.left();
        }
        let took = self.since(self.began);
        let record = self.trace.get_mut().unwrap_or_else(PoisonError::into_inner);
        let empty = Trace::new(record.id.clone(), SystemTime::UNIX_EPOCH);
        let mut trace = std::mem::replace(record, empty);
        trace.total.get_or_insert(took);
        let taken = *lock(&self.taken);
        if let Some(permit) = self.permit.get_mut()
            && let Some(tokens) = tokens_taken(&trace, taken)
        {
            permit.took(tokens);
        }
        let trace = Arc::new(trace);
        let payer = self.payer();
        self.post(&trace, &payer);
        if let Some(client) = &payer.counters {
            Meters::asked(client);
        }
        count(&self.router.0.meters, &trace, self.tier.get().copied());
        let deps = self.router.deps();
        if let Some(watch) =
            deps.watch.as_ref().filter(|_| trace.span.as_ref().is_some_and(|span| span.context.sampled))
        {
            watch.finished(&trace);
        }
        deps.hooks.iter().for_each(|hook| hook.on_finish(&trace));
        self.router.0.recent.push(trace);
    }
}

impl Record {
    /// Puts the request into the books; what its calls used is there already.
    fn post(&self, trace: &Trace, payer: &Payer) {
        let Some(books) = self.router.deps().books.as_ref().filter(|_| self.kept) else { return };
        let (provider, model) = match (&trace.served, trace.attempts.last()) {
            (Some(served), _) => (served.provider.as_str(), served.model.as_ref().map(|model| model.as_str())),
            // What a client invented is no account.
            (None, Some(tried)) => {
                let (provider, model) = (tried.provider.as_str(), tried.model.as_ref().map(|model| model.as_str()));
                (provider, model.map(|model| self.router.0.meters.label(provider, Some(model))))
            }
            (None, None) => ("", None),
        };
        let tally = Tally {
            requests: 1,
            failed: u64::from(trace.error.is_some()),
            cached: u64::from(trace.cache == CacheStatus::Hit),
            coalesced: u64::from(trace.cache == CacheStatus::Coalesced),
            ..Tally::default()
        };
        books.post(payer.entry(Day::at(trace.at), provider, model), &tally);
    }
}

/// The counters of a router's providers. Counted under their own names are the models that a provider lists, its default ones, and those that routes name.
pub(crate) fn meters(deps: &RouterDeps, settings: &Settings, entries: &[Entry]) -> Meters {
    let models = |entry: &Entry| -> Vec<String> {
        let listed = entry.provider.models().into_iter().chain(entry.provider.describe().default_model.clone());
        let set = settings.default_model(&entry.id).cloned();
        let routed = settings.routes.values().flat_map(|route| route.targets()).filter_map(|target| {
            let (id, model) = target.split_once('/')?;
            entry.is(&id.to_ascii_lowercase()).then(|| model.to_owned())
        });
        listed.chain(set).map(|model| model.as_str().to_owned()).chain(routed).collect()
    };
    let clients = settings.server.api_keys.iter().map(|key| key.name.as_str());
    Meters::new(&deps.ledger, entries.iter().map(|entry| (entry.id.as_str(), models(entry)))).with_clients(clients)
}

/// How many tokens a request took that ended: all its calls together. None where nobody can tell, and what was thought of it stands.
fn tokens_taken(trace: &Trace, taken: Taken) -> Option<u64> {
    let left = trace.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::CallerCancelled);
    let elsewhere = matches!(trace.cache, CacheStatus::Hit | CacheStatus::Coalesced);
    // Who left a call to others does not hear what becomes of it.
    let unknown = left && !taken.settled && !elsewhere;
    (!unknown).then_some(taken.known)
}

/// Counts a request that ended under whoever answered, or was tried last, and what failed on the way under whom it failed.
fn count(meters: &Meters, trace: &Trace, tier: Option<&'static str>) {
    let served = trace.served.as_ref().map(|served| (&served.provider, served.model.as_ref()));
    let tried = || trace.attempts.last().map(|attempt| (&attempt.provider, attempt.model.as_ref()));
    let (provider, model) = served.or_else(tried).map_or((None, None), |(id, model)| (Some(id.as_str()), model));
    meters.end(&Ended {
        provider,
        model: model.map(|model| model.as_str()),
        operation: trace.operation,
        failure: trace.error.as_ref().map(|error| error.kind().name()),
        cache: trace.cache.as_str(),
        tier,
        first_content: trace.first_content,
        overhead: overhead(trace),
        total: trace.total.unwrap_or_default(),
    });
    for (at, attempt) in trace.attempts.iter().enumerate() {
        let (provider, model) = target(attempt);
        if let Some(error) = &attempt.error {
            meters.failed(provider, model, error.kind().name());
        }
        if let Some(next) = trace.attempts.get(at + 1) {
            meters.followed(provider, model, target(next) == (provider, model));
        }
    }
}

fn target(attempt: &Attempt) -> (&str, Option<&str>) {
    (attempt.provider.as_str(), attempt.model.as_ref().map(|model| model.as_str()))
}

/// What of the time until the first content was the router's own: of a request that was answered at its first attempt, and waited for nothing before it.
fn overhead(trace: &Trace) -> Option<Duration> {
    let ([attempt], true) = (trace.attempts.as_slice(), trace.held.is_empty()) else { return None };
    if attempt.error.is_some() || matches!(trace.cache, CacheStatus::Hit | CacheStatus::Coalesced) {
        return None;
    }
    trace.first_content?.checked_sub(attempt.took?)
}
