//! What is shared with peers: providers and models, how much of them at once, and what stays here.

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
    /// Requests of all peers together at once: the rest of the machine's power is for its own users.
    pub places: u32,
    /// Whether a request is passed on to further peers.
    pub forward: bool,
    /// Whether answers are signed.
    pub receipts: bool,
}

impl Default for Share {
    fn default() -> Self {
        let mut limits = Limits::default();
        limits.concurrency = Some(4);
        Self {
            providers: vec!["local".to_owned()],
            models: Vec::new(),
            limits,
            places: 8,
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
}
