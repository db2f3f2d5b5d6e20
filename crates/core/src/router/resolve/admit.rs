//! Choices become targets: what cannot answer is left out, and the plan says why. A provider of several keys is a target for each of them.

use std::sync::Arc;

use super::names::Choice;
use super::routes::{Group, Seat};
use super::{Entry, Plan, Planned, Scope, named_in};
use crate::config::{Balance, Settings, Timeouts};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ModelName;
use crate::pricing::dollars;
use crate::provider::{Availability, Capabilities, DynProvider, Target};
use crate::request::{Request, Substitute};
use crate::router::deadlines::{self, Layers};
use crate::router::needs::{lacks, needs};
use crate::router::windows;
use crate::trace::Candidate;

/// Leaves out what cannot answer, and says why.
pub(super) fn admit(choices: Vec<Choice<'_>>, groups: Vec<Group>, request: &Request, scope: Scope<'_>) -> Result<Plan> {
    let only = choices.len() == 1;
    let needs = needs(request);
    let automatic = named_in(request) == (None, None) && scope.settings.router.provider.is_none() && !only;
    let most = choices.len();
    let (targets, candidates) = (Vec::with_capacity(most), Vec::with_capacity(most));
    let mut plan = Plan { automatic, groups, targets, candidates, ..Plan::default() };
    let mut programs: Vec<String> = Vec::new();
    let mut refusal = None;
    for mut choice in choices {
        let entry = choice.entry;
        let provider = answering(&choice);
        choice.model = choice.model.map(|model| entry.provider.exact_model(&model));
        let refused = match &entry.program {
            Some(program) if programs.contains(program) => Some(Refusal::same_program(program)),
            _ if !only && scope.refused.contains(&entry.id) => Some(Refusal::refused_lately()),
            _ => refuse(&choice, &*provider, request, needs, only, scope),
        };
        if let Some(refused) = refused {
            let candidate = Candidate::new(entry.id.clone(), choice.model, false, &*refused.reason);
            plan.candidates.push(candidate.with_hint(&*refused.hint));
            refusal.get_or_insert((refused, entry.id.clone()));
            continue;
        }
        programs.extend(entry.program.clone());
        let target = Target::new(entry.id.clone(), choice.model.take());
        let (section, own) = match choice.foreign {
            true => Default::default(),
            false => (provider_timeouts(entry, scope.settings), deadlines::of_model(scope.settings, &target)),
        };
        let layers = Layers { timeouts: &[scope.settings.router.timeouts, section, own, choice.timeouts], automatic };
        let planned = Planned {
            provider,
            target,
            deadlines: layers.own(request, scope.door),
            shared: layers.shared(request),
            unreached: None,
            key: None,
            held: None,
            seats: std::mem::take(&mut choice.seats),
            gauge: None,
        };
        match entry.keys.as_slice() {
            [] | [_] => plan.put(planned, choice.reason),
            keys => with_each(keys, planned, &choice, &mut plan, scope),
        }
        // Among the members of a group the first one is not known yet.
        if request.riders.substitute == Substitute::Never && plan.groups.is_empty() {
            break;
        }
    }
    windows::leave_large_enough(&mut plan, request, scope.settings);
    match refusal {
        _ if !plan.targets.is_empty() => Ok(plan),
        Some((refused, id)) if only => Err(refused.error().at(&id, None)),
        Some(_) | None => Err(nobody(&plan.candidates)),
    }
}

impl Plan {
    fn put(&mut self, planned: Planned, reason: String) {
        let Target { provider, model } = &planned.target;
        let mut candidate = Candidate::new(provider.clone(), model.clone(), true, reason);
        candidate.key = planned.key;
        self.candidates.push(candidate);
        self.targets.push(planned);
    }
}

/// A target for each key of its provider that is at hand, the keys sharing the load where the provider says so.
fn with_each(keys: &[Arc<dyn DynProvider>], planned: Planned, choice: &Choice<'_>, plan: &mut Plan, scope: Scope<'_>) {
    let id = &choice.entry.id;
    let balance = scope.settings.providers.get(id).and_then(|own| own.balance);
    let group = balance.filter(|balance| *balance != Balance::Order).map(|_| plan.groups.len());
    if group.is_some() {
        plan.groups.push(Group::Keys(id.clone()));
    }
    for (member, (key, provider)) in (1..).zip(keys).enumerate() {
        match provider.availability() {
            Availability::Ready => {
                let seats = planned.seats.iter().copied();
                let seats = seats.chain(group.map(|group| Seat { group, member })).collect();
                let one = Planned { provider: Arc::clone(provider), key: Some(key), seats, ..planned.clone() };
                plan.put(one, format!("{}, key {key} of {}", choice.reason, keys.len()));
            }
            Availability::Missing { what, hint } => {
                let model = planned.target.model.clone();
                let mut candidate = Candidate::new(id.clone(), model, false, what).with_hint(hint);
                candidate.key = Some(key);
                plan.candidates.push(candidate);
            }
        }
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

/// Who answers for a choice: the provider itself, or the one in its place where it was named and is missing.
fn answering(choice: &Choice<'_>) -> Arc<dyn DynProvider> {
    let own = &choice.entry.provider;
    let instead = || Some(own).filter(|_| choice.named).filter(|own| !own.availability().is_ready())?.instead();
    instead().filter(|other| other.availability().is_ready()).unwrap_or_else(|| Arc::clone(own))
}

fn refuse(
    choice: &Choice<'_>,
    provider: &dyn DynProvider,
    request: &Request,
    needs: Capabilities,
    only: bool,
    scope: Scope<'_>,
) -> Option<Refusal> {
    let entry = choice.entry;
    let describe = provider.describe();
    if describe.privacy > request.riders.privacy {
        return Some(too_public(entry, scope.settings));
    }
    if describe.agent
        && !scope.door.is_here()
        && !is_invited(entry.id.as_str(), request.riders.key.as_deref(), scope.settings)
    {
        return Some(Refusal::new(
            ErrorKind::PolicyForbidden,
            "it may use tools on this machine and answers the command and the library only",
            "name another provider",
        ));
    }
    if let Availability::Missing { what, hint } = provider.availability() {
        return Some(Refusal::new(ErrorKind::ProviderUnavailable, what, hint));
    }
    if let Some(most) = request.riders.max_price
        && let Some(refusal) = too_dear(entry, choice.model.as_ref(), most, scope)
    {
        return Some(refusal);
    }
    // The only candidate says for itself what it cannot do, and more exactly.
    lacks(describe.capabilities, needs)
        .filter(|_| !only)
        .map(|what| Refusal::new(ErrorKind::CallerUnsupported, format!("it does not take {what}"), ""))
}

/// Whether the owner of a provider that may use tools on this machine lets a key's requests reach it from elsewhere: `remote` names the key. What was derived from it is another key.
pub fn is_invited(provider: &str, key: Option<&str>, settings: &Settings) -> bool {
    let own = settings.providers.iter().find(|(id, _)| id.as_str() == provider);
    own.zip(key).is_some_and(|((_, own), key)| own.remote.iter().any(|named| named == key))
}

/// A target that costs more than the request allows, or may.
fn too_dear(entry: &Entry, model: Option<&ModelName>, most: u64, scope: Scope<'_>) -> Option<Refusal> {
    let reason = match scope.prices.of(entry.id.as_str(), model.map(ModelName::as_str)) {
        Some(price) if price.input.max(price.output) <= most => return None,
        Some(price) => format!(
            "a million of its tokens cost {}, and the request allows {}",
            dollars(price.input.max(price.output)),
            dollars(most)
        ),
        None => format!("its price is unknown, and the request allows {} for a million tokens", dollars(most)),
    };
    let hint = "allow more with max_price, or set its price: [prices.\"provider/model\"]";
    Some(Refusal::new(ErrorKind::PolicyForbidden, reason, hint))
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
pub(in crate::router) const DOCTOR: &str = "`llm-router doctor` says what each provider needs";

/// What would help when nobody answered and the last one considered was left out: it is the one that needs least, the embedded engine as a rule.
pub(in crate::router) fn next_step(candidates: &[Candidate]) -> Option<String> {
    let last = candidates.last().filter(|last| !last.planned)?;
    Some(format!("{} (for {}); {DOCTOR}", last.hint.as_ref()?, last.provider))
}
