//! The models that clients of this server can name: routes, and each provider's as `provider/model`.
//!
//! A provider that knows its list says it at once; one that does not is asked, all of them at the same time and none for long, and what they said is kept for a
//! minute. How a list is written is `routes/models.rs`'s business.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use llm_router::ids::ModelName;
use llm_router::provider::Describe;
use llm_router::provider::registry::{Automatic, Entry};
use llm_router::router::Router;
use llm_router::router::resolve::is_invited;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::door::Caller;

/// How long a list is used.
const KEPT: Duration = Duration::from_secs(60);
/// How long a provider may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most models of one provider.
const MOST: usize = 2_000;

/// A model that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// What a request says in `model`.
    pub(crate) id: String,
    /// Who serves it: a provider, or this router for a route.
    pub(crate) owner: String,
    /// Whether it makes vectors and no text.
    pub(crate) embeds: bool,
    /// Whether only those see it whose keys its provider names.
    pub(crate) invites: bool,
}

/// The list, as it was a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    kept: Mutex<Option<(Instant, Arc<Vec<Listed>>)>>,
}

impl Catalog {
    /// All models that this caller can name.
    pub(crate) async fn all(&self, router: &Router, caller: &Caller) -> Arc<Vec<Listed>> {
        let all = self.list(router).await;
        if all.iter().all(|model| model.is_for(router, caller)) {
            return all;
        }
        Arc::new(all.iter().filter(|model| model.is_for(router, caller)).cloned().collect())
    }

    /// What anybody could name. Who asks while others are being asked waits for the same list.
    async fn list(&self, router: &Router) -> Arc<Vec<Listed>> {
        let mut kept = self.kept.lock().await;
        if let Some((since, list)) = kept.as_ref().filter(|(since, _)| since.elapsed() < KEPT) {
            let _ = since;
            return Arc::clone(list);
        }
        let list = Arc::new(list(router).await);
        *kept = Some((Instant::now(), Arc::clone(&list)));
        list
    }

    /// Asks everybody anew next time.
    pub(crate) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// The model of an id as listed, or of a provider's own name for it where only one has that name.
    pub(crate) async fn find(&self, router: &Router, asked: &str, caller: &Caller) -> Option<Listed> {
        let all = self.all(router, caller).await;
        let named = |model: &&Listed| model.id.split_once('/').is_some_and(|(_, name)| name == asked);
        let exact = all.iter().find(|model| model.id == asked);
        // A provider's name alone is its default model's.
        let alone = || {
            let entry = router
                .entries()
                .iter()
                .find(|entry| entry.is(&asked.to_ascii_lowercase()) && answers_clients(entry))?;
            let alone =
                Listed { id: String::new(), owner: entry.id.to_string(), embeds: false, invites: invites(entry) };
            Some(alone).filter(|alone| alone.is_for(router, caller))
        };
        let found = exact.or_else(|| all.iter().find(named)).cloned().or_else(alone)?;
        Some(Listed { id: asked.to_owned(), ..found })
    }
}

async fn list(router: &Router) -> Vec<Listed> {
    let routes = router.settings().routes.keys();
    let mut all: Vec<Listed> = routes
        .map(|route| Listed {
            id: route.clone(),
            owner: "llm-router".to_owned(),
            embeds: says_embeddings(route),
            invites: false,
        })
        .collect();
    let entries = router.entries().iter().filter(|entry| answers_clients(entry));
    let asked = join_all(entries.map(|entry| async move { (entry, models_of(router, entry).await) })).await;
    for (entry, models) in asked {
        let Describe { default_model, embedding_model, .. } = entry.provider.describe();
        let mut seen = HashSet::new();
        let models = default_model.iter().cloned().chain(models).filter(|model| seen.insert(model.clone())).take(MOST);
        all.extend(models.map(|model| Listed {
            id: format!("{}/{model}", entry.id),
            owner: entry.id.to_string(),
            embeds: embedding_model.as_ref() == Some(&model) || says_embeddings(model.as_str()),
            invites: invites(entry),
        }));
    }
    all
}

/// Whether a model's name says what it is for: lists of names are all that most vendors give, and nearly all of them name it so.
fn says_embeddings(model: &str) -> bool {
    model.to_ascii_lowercase().contains("embed")
}

impl Listed {
    /// Whether a caller's requests reach it.
    fn is_for(&self, router: &Router, caller: &Caller) -> bool {
        !self.invites || is_invited(&self.owner, caller.key.as_deref(), router.settings())
    }
}

/// Whether only some of this server's clients can reach a provider: it may use tools on this machine.
fn invites(entry: &Entry) -> bool {
    entry.provider.describe().agent
}

/// Whether a provider is one that clients of this server can reach. Nothing is said for a server that may not even be there.
fn answers_clients(entry: &Entry) -> bool {
    let guess = entry.provider.describe().guess;
    entry.automatic != Automatic::No && !guess && entry.provider.availability().is_ready()
}

async fn models_of(router: &Router, entry: &Entry) -> Vec<ModelName> {
    let known = entry.provider.models();
    if !known.is_empty() {
        return known;
    }
    let cx = router.context();
    match timeout(PATIENCE, entry.provider.list_models(&cx)).await {
        Ok(Ok(models)) => models,
        // A provider that cannot say what it serves may serve it all the same.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}
