//! What a request names, as choices: a provider, a model's name, or nobody. Routes are `routes.rs`; whether a choice can answer is `admit.rs`.

use super::routes::Seat;
use super::{Automatic, Entry, Scope};
use crate::config::Timeouts;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ModelName, ProviderId, shorten};

/// A target before it is known to be usable.
#[derive(Clone)]
pub(super) struct Choice<'a> {
    pub(super) entry: &'a Entry,
    pub(super) model: Option<ModelName>,
    /// Why it is considered.
    pub(super) reason: String,
    pub(super) timeouts: Timeouts,
    /// Whether it is none of the router's own.
    pub(super) foreign: bool,
    /// Whether somebody named the provider: in the request, in a route, or in the configuration.
    pub(super) named: bool,
    /// Its places in groups whose members share the load.
    pub(super) seats: Vec<Seat>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(entry: &'a Entry, model: Option<ModelName>, reason: impl Into<String>) -> Self {
        let (timeouts, seats) = (Timeouts::default(), Vec::new());
        Self { entry, model, reason: reason.into(), timeouts, foreign: false, named: true, seats }
    }
}

pub(super) fn named_provider<'a>(id: &ProviderId, model: Option<&str>, scope: Scope<'a>) -> Result<Choice<'a>> {
    let entry = find(id.as_str(), scope)?;
    let model = model.map(ModelName::new).transpose()?;
    Ok(Choice::new(entry, model.or_else(|| default_model(entry, scope)), "named by the request"))
}

pub(super) fn find<'a>(id: &str, scope: Scope<'a>) -> Result<&'a Entry> {
    scope.entries.iter().find(|entry| entry.is(id)).ok_or_else(|| {
        let known = scope.entries.iter().map(|entry| entry.id.as_str());
        Error::invalid(format!("no provider is called {:?}", shorten(id))).with_hint(nearest_hint(
            id,
            known,
            "`llm-router providers` lists them",
        ))
    })
}

/// The provider that the configuration names: who asked did not, and must be told where the name stands.
fn configured<'a>(id: &ProviderId, scope: Scope<'a>) -> Result<&'a Entry> {
    find(id.as_str(), scope).map_err(|error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        Error::invalid(format!("router.provider (or *_LLM_PROVIDER): {}", error.message())).with_hint(hint)
    })
}

/// The model of a provider when the request names none: the environment's where it applies, else the provider's own.
pub(super) fn default_model(entry: &Entry, scope: Scope<'_>) -> Option<ModelName> {
    if let Some(model) = entry.provider.describe().embedding_model.as_ref().filter(|_| scope.vectors) {
        return Some(model.clone());
    }
    let router = &scope.settings.router;
    let covered = router.provider.as_ref().is_some_and(|id| entry.is(id.as_str()))
        || ["openrouter", "accelerate", "local_hf"].iter().any(|id| entry.id == **id);
    router.model.clone().filter(|_| covered).or_else(|| entry.provider.describe().default_model.clone())
}

/// A model name without a provider that is no route: `provider/model`, an exact name in the providers' lists, or a provider.
pub(super) fn named_model<'a>(name: &str, scope: Scope<'a>) -> Result<Vec<Choice<'a>>> {
    if let Some((first, rest)) = name.split_once('/')
        && let Some(entry) = scope.entries.iter().find(|entry| entry.is(&first.to_ascii_lowercase()))
    {
        return Ok(vec![Choice::new(entry, Some(ModelName::new(rest)?), "its id heads the model's name")]);
    }
    let model = ModelName::new(name)?;
    // Nearly always one, and a plan is made for every request.
    let mut listed = Vec::with_capacity(1);
    let all = scope
        .entries
        .iter()
        .filter(|entry| entry.automatic != Automatic::No && lists(entry, &model))
        .map(|entry| Choice { named: false, ..Choice::new(entry, Some(model.clone()), "it lists the model") });
    listed.extend(all);
    if !listed.is_empty() {
        return Ok(listed);
    }
    // As in a route: a provider without a model is asked for its own.
    if let Some(entry) = scope.entries.iter().find(|entry| entry.is(&name.to_ascii_lowercase())) {
        let model = default_model(entry, scope);
        return Ok(vec![Choice::new(entry, model, "the name is its id: its default model")]);
    }
    // Whoever set a provider for everything meant it for this model too, as in the Python projects.
    if let Some(id) = &scope.settings.router.provider {
        return Ok(vec![Choice::new(configured(id, scope)?, Some(model), "it is the configured provider")]);
    }
    Err(unknown_model(name, scope))
}

/// Whether a provider lists a model: by its name, or with a digest behind it, where the provider tells its models apart by that.
fn lists(entry: &Entry, model: &ModelName) -> bool {
    entry.provider.has_model(model)
        || model.as_str().rsplit_once('@').is_some_and(|(name, digest)| {
            digest.len() >= 8
                && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                && entry
                    .provider
                    .models()
                    .iter()
                    .any(|known| known.as_str() == name && entry.provider.exact_model(known) != *known)
        })
}
/// Everybody, where nobody is named.
pub(super) fn automatic(scope: Scope<'_>) -> Result<Vec<Choice<'_>>> {
    let router = &scope.settings.router;
    let why = |entry: &Entry| match entry.provider.describe().guess {
        true => "at its default address, if it answers there",
        false => "in resolution order",
    };
    let of = |entry| Choice { named: false, ..Choice::new(entry, default_model(entry, scope), why(entry)) };
    let floor = || scope.entries.iter().filter(|entry| entry.automatic == Automatic::Floor).map(of);
    if let Some(id) = &router.provider {
        let head = configured(id, scope)?;
        let first = Choice::new(head, default_model(head, scope), "it is the configured provider");
        let rest = floor().filter(|choice| router.fallback && choice.entry.id != head.id);
        return Ok(std::iter::once(first).chain(rest).collect());
    }
    Ok(scope.entries.iter().filter(|entry| entry.automatic == Automatic::Yes).map(of).chain(floor()).collect())
}
fn unknown_model(name: &str, scope: Scope<'_>) -> Error {
    let routes = scope.settings.routes.keys().cloned();
    let models = scope.entries.iter().flat_map(|entry| {
        let id = entry.id.clone();
        entry.provider.models().into_iter().map(move |model| format!("{id}/{model}"))
    });
    let known: Vec<String> = routes.chain(models).take(10_000).collect();
    let message = format!("no provider serves a model called {:?}", shorten(name));
    Error::new(ErrorKind::CallerModelUnknown, message).with_hint(nearest_hint(
        name,
        known.iter().map(String::as_str),
        "name its provider (`--provider`, or `provider/model`); `llm-router models` lists the known ones",
    ))
}

/// "did you mean" for the closest names, and the general advice.
fn nearest_hint<'a>(name: &str, known: impl Iterator<Item = &'a str>, advice: &str) -> String {
    let asked = name.to_ascii_lowercase();
    let likeness = |other: &str| {
        let tail = other.rsplit('/').next().unwrap_or(other);
        strsim::jaro_winkler(&asked, other).max(strsim::jaro_winkler(&asked, tail))
    };
    let mut close: Vec<(f64, &str)> =
        known.map(|other| (likeness(other), other)).filter(|(score, _)| *score > 0.84).collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    match close.as_slice() {
        [] => advice.to_owned(),
        close => {
            let names: Vec<&str> = close.iter().take(3).map(|(_, name)| *name).collect();
            format!("did you mean {}? {advice}", names.join(", "))
        }
    }
}
