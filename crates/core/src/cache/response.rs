//! The response cache as the router sees it: keys, look-up through the tiers, single-flight and filling.
//!
//! A stored value is the folded response in `native` form with its provenance. What is never stored: errors, answers without an end, filtered or paused
//! ones, and what the request forbids. One that its token limit ended is stored. Tiers know bytes only; which requests are covered at all is decided here.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::canonical::canonical;
use super::cid::{Base, Codec, Sha256Digest};
use super::flight::{Flights, Joined};
use super::key::{Key, KeyStrategy};
use super::{StorageKey, Tier};
use crate::delta::{Delta, DeltaStream, FinishReason};
use crate::deps::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ModelName;
use crate::provider::{Deadlines, Target};
use crate::request::{Hold, Privacy, Request, Substitute};
use crate::response::{Folder, Response};

/// Answers larger than this are not stored.
const LARGEST_VALUE: usize = 16 << 20;

/// The response cache. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ResponseCache(Arc<Inner>);

struct Inner {
    /// The nearest first.
    tiers: Vec<Arc<dyn Tier>>,
    flights: Flights<(StorageKey, Terms)>,
    strategy: KeyStrategy,
    ttl: Option<Duration>,
    /// Whether a request that says nothing is covered.
    by_default: bool,
    /// Tiers that failed before: said once, not at every request.
    failed: Mutex<HashSet<(&'static str, ErrorKind)>>,
    clock: Arc<dyn Clock>,
}

/// The identity of a request at a target: what is stored under, and what is shown.
#[derive(Clone, Debug)]
pub struct CacheKey {
    key: Key,
    printed: String,
}

impl CacheKey {
    /// The key as headers, `explain` and logs show it.
    pub fn printed(&self) -> &str {
        &self.printed
    }
}

/// What a call is made under besides its request. Calls are shared among equal terms only, so that whatever becomes of a call before its first content would
/// have become of each listener's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Whether the upstream is asked for a stream: no call is both.
    pub streamed: bool,
    /// How long things may take in it.
    pub deadlines: Deadlines,
    /// Whether another target could answer instead: then less is tried again.
    pub others: bool,
    /// Who may see the request: a peer passes it on to nobody else.
    pub privacy: Privacy,
    /// What may stand in for what is named, at a peer too.
    pub substitute: Substitute,
    /// Whether nothing of the request may be left out.
    pub strict: bool,
    /// When its answer is given out: one that is held back may be tried again after more than another.
    pub hold: Hold,
}

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stored {
    /// The format's version.
    pub v: u32,
    /// The content identifier of what was said: two answers that say the same have the same, whoever gave them and when.
    pub cid: String,
    /// The answer.
    pub response: Response,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Where a stored answer came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The provider.
    pub provider: String,
    /// The model asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl ResponseCache {
    /// A cache over tiers, the nearest first. `by_default` says whether requests are covered that do not say so themselves.
    pub fn new(tiers: Vec<Arc<dyn Tier>>, strategy: KeyStrategy, clock: Arc<dyn Clock>, by_default: bool) -> Self {
        let (flights, failed) = (Flights::default(), Mutex::default());
        Self(Arc::new(Inner { tiers, flights, strategy, ttl: None, by_default, failed, clock }))
    }

    /// With a time after which answers are no longer used.
    #[must_use]
    pub fn with_ttl(self, ttl: Option<Duration>) -> Self {
        self.changed(|inner| inner.ttl = ttl)
    }

    /// With one more tier, asked last.
    #[must_use]
    pub fn with_tier(self, tier: Arc<dyn Tier>) -> Self {
        self.changed(|inner| inner.tiers.push(tier))
    }

    /// A cache like this one but for a change; calls under way stay with the old one.
    fn changed(self, change: impl FnOnce(&mut Inner)) -> Self {
        let Self(inner) =
            Self::new(self.0.tiers.clone(), self.0.strategy, Arc::clone(&self.0.clock), self.0.by_default);
        let Some(mut inner) = Arc::into_inner(inner) else { return self };
        inner.ttl = self.0.ttl;
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Whether the cache is used for a request.
    pub fn covers(&self, request: &Request) -> bool {
        request.cache.enabled.unwrap_or(self.0.by_default)
    }

    /// The key of a request at a target.
    ///
    /// # Errors
    /// `caller_invalid_request` when the request has no canonical form.
    pub fn key(&self, request: &Request, target: &Target) -> Result<CacheKey> {
        let model = target.model.as_ref().map_or("", ModelName::as_str);
        let key = Key::of(request, &target.provider, model)?;
        Ok(CacheKey { printed: key.print(self.0.strategy), key })
    }

    fn place(key: &CacheKey, request: &Request) -> StorageKey {
        StorageKey { namespace: request.riders.namespace.clone(), digest: key.key.digest() }
    }

    /// The stored answer and the name of the nearest tier that has it; nearer ones are filled on the way. A tier that fails counts as empty.
    pub async fn get(&self, key: &CacheKey, request: &Request) -> Option<(Response, &'static str)> {
        if request.cache.no_cache {
            return None;
        }
        let place = Self::place(key, request);
        for (index, tier) in self.0.tiers.iter().enumerate() {
            let Some(value) = tier.get(&place).await.unwrap_or_else(|error| self.failed(tier.name(), &error)) else {
                continue;
            };
            let Ok(stored) = serde_json::from_slice::<Stored>(&value) else { continue };
            if stored.v != 1 || self.too_old(stored.provenance.at, request) {
                continue;
            }
            for nearer in &self.0.tiers[..index] {
                nearer
                    .put(&place, value.clone(), self.0.ttl)
                    .await
                    .unwrap_or_else(|error| self.failed(nearer.name(), &error));
            }
            return Some((stored.response, tier.name()));
        }
        None
    }

    fn too_old(&self, at: u64, request: &Request) -> bool {
        let age = Duration::from_secs(self.now().saturating_sub(at));
        [self.0.ttl, request.cache.max_age].into_iter().flatten().any(|limit| age > limit)
    }

    fn now(&self) -> u64 {
        self.0.clock.now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Joins the call under way for a key on these terms, or begins it.
    pub fn join(
        &self,
        key: &CacheKey,
        request: &Request,
        terms: Terms,
        begin: impl FnOnce() -> DeltaStream,
    ) -> (DeltaStream, Joined) {
        if request.cache.no_cache {
            return (begin(), Joined::First);
        }
        self.0.flights.join(&(Self::place(key, request), terms), begin)
    }

    /// Passes a stream on and stores its answer when the end comes, before the caller sees the end.
    pub fn fill(&self, key: &CacheKey, request: &Request, target: &Target, events: DeltaStream) -> DeltaStream {
        if request.cache.no_store {
            return events;
        }
        let filling = Filling {
            cache: self.clone(),
            place: Self::place(key, request),
            target: target.clone(),
            folder: Some(Folder::default()),
        };
        DeltaStream::unchecked(stream::unfold((events, filling), |(mut events, mut filling)| async move {
            let event = events.next().await?;
            match &event {
                Ok(event) => filling.take(&event.deltas).await,
                Err(_) => filling.folder = None,
            }
            Some((event, (events, filling)))
        }))
    }

    async fn store(&self, place: &StorageKey, target: &Target, response: Response) {
        let provenance =
            Provenance { provider: target.provider.to_string(), model: target.model.clone(), at: self.now() };
        let Some(cid) = content_cid(&response) else { return };
        let stored = serde_json::to_vec(&Stored { v: 1, cid, response, provenance });
        let Some(value) = stored.ok().and_then(|text| canonical(&text).ok()) else { return };
        if value.len() > LARGEST_VALUE {
            return;
        }
        let value = Bytes::from(value);
        for tier in &self.0.tiers {
            tier.put(place, value.clone(), self.0.ttl).await.unwrap_or_else(|error| self.failed(tier.name(), &error));
        }
    }

    /// A tier that fails makes the router slower, never wrong.
    fn failed<T: Default>(&self, tier: &'static str, error: &Error) -> T {
        let mut failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.insert((tier, error.kind())) {
            tracing::warn!("the {tier} cache does not work, so no answer is stored there: {error}");
        }
        T::default()
    }

    /// The tiers, the nearest first.
    pub fn tiers(&self) -> &[Arc<dyn Tier>] {
        &self.0.tiers
    }

    /// How keys are printed.
    pub fn strategy(&self) -> KeyStrategy {
        self.0.strategy
    }

    /// Waits until what was stored is safe.
    pub async fn flush(&self) {
        for tier in &self.0.tiers {
            tier.flush().await.unwrap_or_else(|error| self.failed(tier.name(), &error));
        }
    }
}

impl std::fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tiers: Vec<_> = self.0.tiers.iter().map(|tier| tier.name()).collect();
        f.debug_struct("ResponseCache").field("tiers", &tiers).finish_non_exhaustive()
    }
}

/// The CIDv1 of an answer's content and finish reasons, over their canonical JSON; ids, counts and times are not part of it.
/// `None` where there is no such JSON.
pub fn content_cid(response: &Response) -> Option<String> {
    let said: Vec<_> = response.choices.iter().map(|choice| (choice.index, &choice.content, choice.finish)).collect();
    let bytes = canonical(&serde_json::to_vec(&said).ok()?).ok()?;
    Some(Sha256Digest::of(&bytes).cid(Codec::Raw, Base::default()))
}

struct Filling {
    cache: ResponseCache,
    place: StorageKey,
    target: Target,
    /// Gone once the answer failed or was stored.
    folder: Option<Folder>,
}

impl Filling {
    async fn take(&mut self, deltas: &[Delta]) {
        let Some(folder) = &mut self.folder else { return };
        deltas.iter().for_each(|delta| folder.push(delta));
        if !deltas.iter().any(|delta| matches!(delta, Delta::End)) {
            return;
        }
        if let Some(Ok(response)) = self.folder.take().map(Folder::finish)
            && is_complete(&response)
        {
            self.cache.store(&self.place, &self.target, response).await;
        }
    }
}

/// Filtered and paused answers are not what the model would say again. A cut by the token limit is: the limit is part of the key.
fn is_complete(response: &Response) -> bool {
    let whole = |reason| {
        matches!(reason, FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls | FinishReason::Refusal)
    };
    !response.choices.is_empty() && response.choices.iter().all(|choice| whole(choice.finish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_has_one_identifier_whoever_said_it() {
        let (one, other) = (Response::of_text("1", "a", "hello"), Response::of_text("2", "b", "hello"));
        assert!(content_cid(&one).is_some_and(|cid| cid.starts_with("bafkrei")));
        assert_eq!(content_cid(&one), content_cid(&other));
        assert_ne!(content_cid(&one), content_cid(&Response::of_text("1", "a", "hello!")));
    }
}
