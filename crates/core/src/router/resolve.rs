//! From names to a plan: which targets may answer a request, in which order, and why the others may not.
//!
//! Pure and quick: it asks providers only for their description and their availability, neither of which does any I/O. What happens to the plan
//! is `router.rs`'s business. The rules are those of `docs/routing.md`.

use std::sync::Arc;

use super::breaker::Held;
use super::deadlines::{self, Layers};
use super::needs::{lacks, needs};
use crate::config::{RouteSettings, Settings, Timeouts};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ModelName, ProviderId, shorten};
pub use crate::provider::registry::{Automatic, Entry};
use crate::provider::{Availability, Capabilities, Deadlines, DynProvider, Target};
use crate::request::{Request, Substitute};
use crate::trace::Candidate;

/// By which door a request came in: some providers stand behind some doors only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Door {
    /// A program that links this library.
    #[default]
    Library,
    /// The command line.
    Command,
    /// The server's own API.
    NativeApi,
    /// The server's compatible APIs: `model_fallback` does not apply.
    CompatibleApi,
}

impl Door {
    /// Whether the person who asks sits at this machine.
    fn is_here(self) -> bool {
        matches!(self, Self::Library | Self::Command)
    }
}

/// A target of a plan.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The provider to call.
    pub provider: Arc<dyn DynProvider>,
    /// Its id and the model.
    pub target: Target,
    /// How long things may take there. The time for the first event is this target's own; how much of the request's is left for it is known when it is asked.
    pub deadlines: Deadlines,
    /// How long things may take in a call that callers with other deadlines of their own may join.
    pub shared: Deadlines,
    /// Why it cannot be reached, where that turned out on the way: only a stored answer can come from it.
    pub unreached: Option<Error>,
    /// Why it is left alone now, where it is: likewise.
    pub(super) held: Option<Held>,
}

/// The ordered targets of a request.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The targets, the first choice first. Never empty when [`plan`] returns it.
    pub targets: Vec<Planned>,
    /// Everything considered, with reasons: for `explain` and the trace.
    pub candidates: Vec<Candidate>,
    /// Whether nobody was named, by the request or the configuration: one target is as good as another then.
    pub automatic: bool,
}

/// What resolution works on.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The providers, in resolution order.
    pub entries: &'a [Entry],
    /// The settings.
    pub settings: &'a Settings,
    /// By which door the request came.
    pub door: Door,
    /// Whether vectors are asked for: a provider may have another default model for those.
    pub vectors: bool,
    /// Whom to leave out unless nobody else is considered: their key or login was refused lately.
    pub refused: &'a [ProviderId],
}

/// Whether a request names who shall answer: a provider, a model or a route.
pub(super) fn names_somebody(request: &Request) -> bool {
    named_in(request) != (None, None)
}

fn named_in(request: &Request) -> (Option<&ProviderId>, Option<&str>) {
    let provider = request.provider.as_ref().filter(|id| **id != "auto");
    (provider, request.model.as_deref().map(str::trim).filter(|name| !name.is_empty()))
}

/// Makes the plan of a request.
///
/// # Errors
/// `caller_invalid_request` for an unknown provider, `caller_model_unknown` for a model that nobody serves (with the nearest names),
/// `provider_unavailable` when the named provider, or every provider, cannot answer, `policy_forbidden` when privacy leaves nobody.
pub fn plan(request: &Request, scope: Scope<'_>) -> Result<Plan> {
    let choices = match named_in(request) {
        (Some(id), model) => vec![named_provider(id, model, scope)?],
        (None, Some(name)) => named_model(name, scope)?,
        (None, None) => automatic(scope)?,
    };
    admit(choices, request, scope)
}

/// The plan of a request whose caller brought the only provider along. The configuration's sections are for the providers it made: none is for this one.
///
/// # Errors
/// `policy_forbidden` or `provider_unavailable` when it may not or cannot answer.
pub(super) fn plan_via(provider: Arc<dyn DynProvider>, request: &Request, scope: Scope<'_>) -> Result<Plan> {
    let (_, model) = named_in(request);
    let entry = Entry { automatic: Automatic::No, ..Entry::new(provider.describe().id.clone(), provider) };
    let model = model.map(ModelName::new).transpose()?.or_else(|| entry.provider.describe().default_model.clone());
    admit(vec![Choice { foreign: true, ..Choice::new(&entry, model, "handed in with the request") }], request, scope)
}

/// A target before it is known to be usable.
struct Choice<'a> {
    entry: &'a Entry,
    model: Option<ModelName>,
    /// Why it is considered.
    reason: String,
    timeouts: Timeouts,
    /// Whether it is none of the router's own.
    foreign: bool,
}

impl<'a> Choice<'a> {
    fn new(entry: &'a Entry, model: Option<ModelName>, reason: impl Into<String>) -> Self {
        Self { entry, model, reason: reason.into(), timeouts: Timeouts::default(), foreign: false }
    }
}

fn named_provider<'a>(id: &ProviderId, model: Option<&str>, scope: Scope<'a>) -> Result<Choice<'a>> {
    let entry = find(id.as_str(), scope)?;
    let model = model.map(ModelName::new).transpose()?;
    Ok(Choice::new(entry, model.or_else(|| default_model(entry, scope)), "named by the request"))
}

fn find<'a>(id: &str, scope: Scope<'a>) -> Result<&'a Entry> {
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
fn default_model(entry: &Entry, scope: Scope<'_>) -> Option<ModelName> {
    if let Some(model) = entry.provider.describe().embedding_model.as_ref().filter(|_| scope.vectors) {
        return Some(model.clone());
    }
    let router = &scope.settings.router;
    let covered = router.provider.as_ref().is_some_and(|id| entry.is(id.as_str()))
        || ["openrouter", "accelerate", "local_hf"].iter().any(|id| entry.id == **id);
    router.model.clone().filter(|_| covered).or_else(|| entry.provider.describe().default_model.clone())
}

/// A model name without a provider: a route, `provider/model`, an exact name in the providers' lists, or a provider.
fn named_model<'a>(name: &str, scope: Scope<'a>) -> Result<Vec<Choice<'a>>> {
    if let Some(route) = scope.settings.routes.get(name) {
        return route_choices(name, route, scope);
    }
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
        .map(|entry| Choice::new(entry, Some(model.clone()), "it lists the model"));
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

/// A route's targets in order, those of the routes it names among them.
fn route_choices<'a>(name: &str, route: &'a RouteSettings, scope: Scope<'a>) -> Result<Vec<Choice<'a>>> {
    let mut choices = Vec::new();
    // What is left to read, the next one last: routes may nest, and the stack must not be the program's.
    let mut left: Vec<(&str, Timeouts)> = targets(route, route.timeouts);
    let mut read = 0;
    while let Some((target, timeouts)) = left.pop() {
        read += 1;
        if read > MOST_TARGETS {
            return Err(Error::invalid(format!("route {name} leads to more than {MOST_TARGETS} targets"))
                .with_hint("`llm-router config check` shows routes that name each other"));
        }
        if let Some(inner) = scope.settings.routes.get(target) {
            left.extend(targets(inner, inner.timeouts));
            continue;
        }
        let (id, model) = target.split_once('/').map_or((target, None), |(id, rest)| (id, Some(rest)));
        let entry = find(&id.to_ascii_lowercase(), scope)?;
        let model = model.map(ModelName::new).transpose()?.or_else(|| default_model(entry, scope));
        choices.push(Choice { timeouts, ..Choice::new(entry, model, format!("route {name}")) });
    }
    Ok(choices)
}

/// The most targets of one route, nested ones included.
const MOST_TARGETS: usize = 256;

/// The targets of a route, the first one last.
fn targets(route: &RouteSettings, timeouts: Timeouts) -> Vec<(&str, Timeouts)> {
    route.groups.iter().flatten().rev().map(|target| (target.as_str(), timeouts)).collect()
}

fn automatic(scope: Scope<'_>) -> Result<Vec<Choice<'_>>> {
    let router = &scope.settings.router;
    let why = |entry: &Entry| match entry.provider.describe().guess {
        true => "at its default address, if it answers there",
        false => "in resolution order",
    };
    let of = |entry| Choice::new(entry, default_model(entry, scope), why(entry));
    let floor = || scope.entries.iter().filter(|entry| entry.automatic == Automatic::Floor).map(of);
    if let Some(id) = &router.provider {
        let head = configured(id, scope)?;
        let first = Choice::new(head, default_model(head, scope), "it is the configured provider");
        let rest = floor().filter(|choice| router.fallback && choice.entry.id != head.id);
        return Ok(std::iter::once(first).chain(rest).collect());
    }
    Ok(scope.entries.iter().filter(|entry| entry.automatic == Automatic::Yes).map(of).chain(floor()).collect())
}

/// Leaves out what cannot answer, and says why.
fn admit(choices: Vec<Choice<'_>>, request: &Request, scope: Scope<'_>) -> Result<Plan> {
    let only = choices.len() == 1;
    let needs = needs(request);
    let automatic = named_in(request) == (None, None) && scope.settings.router.provider.is_none() && !only;
    let most = choices.len();
    let mut plan = Plan { automatic, targets: Vec::with_capacity(most), candidates: Vec::with_capacity(most) };
    let mut programs: Vec<String> = Vec::new();
    let mut refusal = None;
    for Choice { entry, model, reason, timeouts, foreign } in choices {
        let model = model.map(|model| entry.provider.exact_model(&model));
        let refused = match &entry.program {
            Some(program) if programs.contains(program) => Some(Refusal::same_program(program)),
            _ if !only && scope.refused.contains(&entry.id) => Some(Refusal::refused_lately()),
            _ => refuse(entry, request, needs, only, scope),
        };
        let planned = refused.is_none();
        let why = refused.as_ref().map_or(reason, |refused| refused.reason.clone());
        let hint = refused.as_ref().map_or("", |refused| &refused.hint);
        plan.candidates.push(Candidate::new(entry.id.clone(), model.clone(), planned, why).with_hint(hint));
        if let Some(refused) = refused {
            refusal.get_or_insert((refused, entry.id.clone()));
            continue;
        }
        programs.extend(entry.program.clone());
        let target = Target::new(entry.id.clone(), model);
        let (section, own) = match foreign {
            true => Default::default(),
            false => (provider_timeouts(entry, scope.settings), deadlines::of_model(scope.settings, &target)),
        };
        let layers = Layers { timeouts: &[scope.settings.router.timeouts, section, own, timeouts], automatic };
        plan.targets.push(Planned {
            provider: Arc::clone(&entry.provider),
            target,
            deadlines: layers.own(request, scope.door),
            shared: layers.shared(request),
            unreached: None,
            held: None,
        });
        if request.riders.substitute == Substitute::Never {
            break;
        }
    }
    match refusal {
        _ if !plan.targets.is_empty() => Ok(plan),
        Some((refused, id)) if only => Err(refused.error().at(&id, None)),
        Some(_) | None => Err(nobody(&plan.candidates)),
    }
}

struct Refusal {
    kind: ErrorKind,
    reason: String,
    hint: String,
}

impl Refusal {
    fn new(kind: ErrorKind, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), hint: hint.into() }
    }

    fn same_program(program: &str) -> Self {
        Self::new(ErrorKind::ProviderUnavailable, format!("another target already runs {program}"), "")
    }

    fn refused_lately() -> Self {
        Self::new(ErrorKind::ProviderAuth, "its key or login was refused less than ten minutes ago", "")
    }

    fn error(self) -> Error {
        let error = Error::new(self.kind, self.reason);
        if self.hint.is_empty() { error } else { error.with_hint(self.hint) }
    }
}

fn refuse(entry: &Entry, request: &Request, needs: Capabilities, only: bool, scope: Scope<'_>) -> Option<Refusal> {
    let describe = entry.provider.describe();
    if describe.privacy > request.riders.privacy {
        return Some(too_public(entry, scope.settings));
    }
    if describe.agent && !scope.door.is_here() {
        return Some(Refusal::new(
            ErrorKind::PolicyForbidden,
            "it may use tools on this machine and answers the command and the library only",
            "name another provider",
        ));
    }
    if let Availability::Missing { what, hint } = entry.provider.availability() {
        return Some(Refusal::new(ErrorKind::ProviderUnavailable, what, hint));
    }
    // The only candidate says for itself what it cannot do, and more exactly.
    lacks(describe.capabilities, needs)
        .filter(|_| !only)
        .map(|what| Refusal::new(ErrorKind::CallerUnsupported, format!("it does not take {what}"), ""))
}

/// A provider that more people see than the request allows.
fn too_public(entry: &Entry, settings: &Settings) -> Refusal {
    let id = &entry.id;
    // What a program of the user's own does with a prompt is the user's to know, and nobody's to guess.
    let command = settings.providers.get(id).is_some_and(|own| own.command.is_some() && own.privacy.is_none());
    let (reason, hint) = match command {
        true => (
            "the request's privacy does not allow it: its command may pass the prompt on",
            format!(
                "if it keeps the prompt on this machine, say so with privacy = \"local\" under [providers.{id}]; else "
            ),
        ),
        false => ("the request's privacy does not allow it", String::new()),
    };
    let hint = format!("{hint}name a provider on this machine, or allow more: privacy = \"any\", no --offline");
    Refusal::new(ErrorKind::PolicyForbidden, reason, hint)
}

fn provider_timeouts(entry: &Entry, settings: &Settings) -> Timeouts {
    settings.providers.get(&entry.id).map(|provider| provider.timeouts).unwrap_or_default()
}

fn nobody(candidates: &[Candidate]) -> Error {
    let mut reasons: Vec<String> =
        candidates.iter().map(|candidate| format!("{}: {}", candidate.provider, candidate.reason)).collect();
    reasons.truncate(12);
    let why = if reasons.is_empty() { "none is configured".to_owned() } else { reasons.join("; ") };
    Error::unavailable(format!("no provider can answer ({why})"))
        .with_hint(next_step(candidates).unwrap_or_else(|| DOCTOR.to_owned()))
}

/// Where to look when nothing better is known.
pub(super) const DOCTOR: &str = "`llm-router doctor` says what each provider needs";

/// What would help when nobody answered and the last one considered was left out: it is the one that needs least, the embedded engine as a rule.
pub(super) fn next_step(candidates: &[Candidate]) -> Option<String> {
    let last = candidates.last().filter(|last| !last.planned)?;
    Some(format!("{} (for {}); {DOCTOR}", last.hint.as_ref()?, last.provider))
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
