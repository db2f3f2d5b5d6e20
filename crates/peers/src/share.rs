//! What this router shares with peers: which of its providers and models, how much of them each peer gets, and what is kept for its own users.
//!
//! What is not named here no peer reaches: keys that lie in the environment, agents with tools. Whether a request of a peer may begin now, beside those of this router's own users, is
//! [`Share::has_room`].

use llm_router::ids::matches_pattern;
use llm_router::limits::Limits;

/// What is shared with peers. By default the embedded model alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Share {
    /// Providers whose models peers may ask, by id; `*` stands for anything. None of them ever gets an agent's tools.
    pub providers: Vec<String>,
    /// Of those the models, as `provider/model` or the model's name; none is all.
    pub models: Vec<String>,
    /// What each peer may use; a grant may narrow it further.
    pub limits: Limits,
    /// Requests that are answered at once, those of this router's own users counted, past which no peer's begins.
    pub places: u32,
    /// How many of those places are kept free for its own users.
    pub reserve: u32,
    /// Whether a request is passed on to further peers.
    pub forward: bool,
    /// Whether answers are signed.
    pub receipts: bool,
}

impl Default for Share {
    fn default() -> Self {
        let mut limits = Limits::default();
        limits.concurrency = Some(2);
        Self {
            providers: vec!["local".to_owned()],
            models: Vec::new(),
            limits,
            places: 8,
            reserve: 2,
            forward: false,
            receipts: true,
        }
    }
}

impl Share {
    /// Whether peers may ask anything of a provider.
    #[must_use]
    pub fn has_provider(&self, provider: &str) -> bool {
        self.providers.iter().any(|pattern| matches_pattern(pattern, provider))
    }

    /// Whether peers may ask a model of a provider.
    #[must_use]
    pub fn has(&self, provider: &str, model: &str) -> bool {
        let whole = format!("{provider}/{model}");
        let named = |pattern: &String| matches_pattern(pattern, model) || matches_pattern(pattern, &whole);
        self.has_provider(provider) && (self.models.is_empty() || self.models.iter().any(named))
    }

    /// How many requests of one peer may run at once.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        self.limits.concurrency.unwrap_or(self.places).min(self.places)
    }

    /// Whether another request of a peer may begin beside so many that are under way, of peers and of this router's own users.
    #[must_use]
    pub fn has_room(&self, under_way: u64) -> bool {
        under_way < u64::from(self.places.saturating_sub(self.reserve))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_not_shared() {
        let share = Share {
            providers: vec!["echo".into(), "lab".into()],
            models: vec!["qwen*".into(), "echo/b".into()],
            ..Share::default()
        };
        assert!(share.has("echo", "qwen3") && share.has("echo", "b") && share.has_provider("lab"));
        assert!(!share.has("echo", "a") && !share.has("lab", "b") && !share.has("other", "qwen3"));
        assert!(Share::default().has("local", "any") && !Share::default().has_provider("openai"));
    }

    #[test]
    fn places_are_kept_for_ones_own_users() {
        let share = Share { places: 4, reserve: 1, ..Share::default() };
        assert!(share.has_room(2) && !share.has_room(3) && share.concurrency() == 2);
        assert!(!Share { places: 1, reserve: 2, ..Share::default() }.has_room(0));
    }
}
