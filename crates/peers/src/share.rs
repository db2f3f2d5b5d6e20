//! What this router shares with peers: which of its providers and models, how much of them each peer gets, and what is kept for its own users.
//!
//! What is not named here no peer reaches: keys that lie in the environment, agents with tools, other peers. Requests of peers enter the router that [`Share::of`] makes, as tenants with
//! [`Share::limits`]; whether one may begin now is [`Share::has_room`].

use std::sync::Arc;

use llm_router::ids::{ProviderId, matches_pattern};
use llm_router::limits::Limits;
use llm_router::router::Router;
use llm_router::router::resolve::Entry;

/// What is shared.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Share {
    /// The providers that peers may use, by id.
    pub providers: Vec<ProviderId>,
    /// The models among theirs: `provider/model` or a model's name, `*` for anything. None is all.
    pub models: Vec<String>,
    /// What one peer may use. What its grant says holds besides.
    pub limits: Limits,
    /// Requests that are answered at once, those of this router's own users counted, past which no peer's begins.
    pub places: u32,
    /// How many of those places are kept free for its own users.
    pub reserve: u32,
}

impl Default for Share {
    /// The embedded model, to each peer two requests at once, of eight places two kept.
    fn default() -> Self {
        let mut limits = Limits::default();
        limits.concurrency = Some(2);
        Self {
            providers: ProviderId::new("local").into_iter().collect(),
            models: Vec::new(),
            limits,
            places: 8,
            reserve: 2,
        }
    }
}

impl Share {
    /// What strangers of the local network get: the embedded model, one request at a time each.
    #[must_use]
    pub fn for_strangers(&self) -> Self {
        let mut limits = self.limits.clone();
        limits.concurrency = Some(limits.concurrency.unwrap_or(1).min(1));
        Self { providers: Self::default().providers, limits, ..self.clone() }
    }

    /// Whether a provider is shared.
    #[must_use]
    pub fn has_provider(&self, id: &str) -> bool {
        self.providers.iter().any(|shared| *shared == *id)
    }

    /// Whether a model of a shared provider is.
    #[must_use]
    pub fn has_model(&self, provider: &str, model: &str) -> bool {
        let named = |pattern: &String| {
            matches_pattern(pattern, model) || matches_pattern(pattern, &format!("{provider}/{model}"))
        };
        self.has_provider(provider) && (self.models.is_empty() || self.models.iter().any(named))
    }

    /// The limits of one peer: what is set for all, and the models that are shared.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = self.limits.clone();
        if limits.models.is_empty() {
            limits.models.clone_from(&self.models);
        }
        limits
    }

    /// Whether another request of a peer may begin beside so many that are under way, of peers and of this router's own users.
    #[must_use]
    pub fn has_room(&self, under_way: u64) -> bool {
        under_way < u64::from(self.places.saturating_sub(self.reserve))
    }

    /// The router as peers see it: with the shared providers alone, and of everything else what the given one is built from. A provider that may use tools on this machine is never among them,
    /// nor are other peers: what is passed on to those is another matter (`hops`).
    #[must_use]
    pub fn of(&self, router: &Router) -> Router {
        let shared = |entry: &&Entry| {
            self.has_provider(entry.id.as_str()) && !entry.provider.describe().agent && entry.id != *"ipfs_peer"
        };
        let entries = router.entries().iter().filter(shared).cloned().collect();
        Router::new(router.deps().clone(), Arc::new(router.settings().clone()), entries)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use llm_router::testing::scripted::Scripted;

    #[test]
    fn what_is_not_named_is_not_shared() {
        let mut share = Share::default();
        share.providers = ["echo", "ipfs_peer"].map(|id| ProviderId::new(id).unwrap()).into();
        share.models = vec!["qwen*".into(), "echo/b".into()];
        assert!(share.has_model("echo", "qwen3") && share.has_model("echo", "b"));
        assert!(!share.has_model("echo", "a") && !share.has_model("other", "qwen3"));
        let router = Router::builder()
            .provider(Scripted::text("echo", "x"))
            .provider(Scripted::text("other", "x"))
            .provider(Scripted::text("ipfs_peer", "x"))
            .build()
            .unwrap();
        let seen = share.of(&router);
        assert_eq!(seen.entries().iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["echo"]);
        assert_eq!(share.limits().models, share.models);
    }

    #[test]
    fn places_are_kept_for_ones_own_users() {
        let share = Share { places: 4, reserve: 1, ..Share::default() };
        assert!(share.has_room(2) && !share.has_room(3));
        assert!(!Share { places: 1, reserve: 2, ..Share::default() }.has_room(0));
        assert_eq!(share.for_strangers().limits.concurrency, Some(1));
    }
}
