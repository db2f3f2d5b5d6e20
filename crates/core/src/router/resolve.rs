//! From names to a plan: which targets may answer a request, in which order, and why the others may not.
//!
//! Pure and quick: it asks providers only for their description and their availability, neither of which does any I/O. Names become choices in
//! `resolve/names.rs` and `resolve/routes.rs`, choices become targets in `resolve/admit.rs`. What happens to the plan is `router.rs`'s business, and in which order
//! the members of a group stand `balance.rs`'s. The rules are those of `docs/routing.md`.

mod admit;
mod names;
mod routes;

use std::sync::Arc;

pub use self::admit::is_invited;
pub(super) use self::admit::{DOCTOR, next_step};
use self::names::Choice;
pub(super) use self::routes::{Chain, Group, Seat, chain};
use super::balance::Gauge;
use super::breaker::Held;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId};
use crate::pricing::Prices;
pub use crate::provider::registry::{Automatic, Entry};
use crate::provider::{Deadlines, DynProvider, Target};
use crate::request::Request;
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
    /// Which of the provider's keys it is asked with, from 1, where there are several.
    pub key: Option<u32>,
    /// Why it is left alone now, where it is: likewise.
    pub(super) held: Option<Held>,
    /// Its places in groups whose members share the load, the outermost first.
    pub(super) seats: Vec<Seat>,
    /// Where its load and its times are watched, if somebody wants to know them.
    pub(super) gauge: Option<Arc<Gauge>>,
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
    /// The groups whose members share the load, an outer one before those within it.
    pub(super) groups: Vec<Group>,
    /// Whether another target may be asked beside one that is late.
    pub(super) hedged: bool,
    /// The chains of the route that were added to the targets after an error.
    pub(super) begun: Vec<Chain>,
}

/// What resolution works on.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The providers, in resolution order.
    pub entries: &'a [Entry],
    /// The settings.
    pub settings: &'a Settings,
    /// What models cost.
    pub prices: &'a Prices,
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

/// The name of the route that a request asks, where it asks one.
pub(super) fn route_of<'a>(request: &'a Request, settings: &Settings) -> Option<&'a str> {
    let (None, Some(name)) = named_in(request) else { return None };
    settings.routes.contains_key(name).then_some(name)
}

/// Makes the plan of a request.
///
/// # Errors
/// `caller_invalid_request` for an unknown provider, `caller_model_unknown` for a model that nobody serves (with the nearest names),
/// `provider_unavailable` when the named provider, or every provider, cannot answer, `policy_forbidden` when privacy or the highest price leaves nobody.
pub fn plan(request: &Request, scope: Scope<'_>) -> Result<Plan> {
    let mut groups = Vec::new();
    let choices = match named_in(request) {
        (Some(id), model) => vec![names::named_provider(id, model, scope)?],
        (None, Some(name)) => match scope.settings.routes.get(name) {
            Some(route) => routes::choices(name, route, &mut groups, scope)?,
            None => names::named_model(name, scope)?,
        },
        (None, None) => names::automatic(scope)?,
    };
    admit::admit(choices, groups, request, scope)
}

/// The plan of a request whose caller brought the only provider along. The configuration's sections are for the providers it made: none is for this one.
///
/// # Errors
/// `policy_forbidden` or `provider_unavailable` when it may not or cannot answer.
pub(super) fn plan_via(provider: Arc<dyn DynProvider>, request: &Request, scope: Scope<'_>) -> Result<Plan> {
    let (_, model) = named_in(request);
    let entry = Entry { automatic: Automatic::No, ..Entry::new(provider.describe().id.clone(), provider) };
    let model = model.map(ModelName::new).transpose()?.or_else(|| entry.provider.describe().default_model.clone());
    let choice = Choice { foreign: true, ..Choice::new(&entry, model, "handed in with the request") };
    admit::admit(vec![choice], Vec::new(), request, scope)
}
