//! Which provider instance has which breakers: kept with the instance, so that a router made anew of unchanged settings knows what the one before it learnt.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Asked, Breakers, State};
use crate::deps::RouterDeps;
use crate::error::Error;
use crate::ids::ModelName;
use crate::provider::DynProvider;
use crate::router::Router;
use crate::router::resolve::Entry;
use crate::telemetry::{self, Family};

/// The breakers of all provider instances that are alive.
#[derive(Debug, Default)]
pub(in crate::router) struct Instances(Mutex<Vec<Known>>);

/// An instance, which may be gone, and its breakers.
type Known = (Weak<dyn DynProvider>, Arc<Breakers>);

impl Instances {
    /// Those of these entries, in their order, shared by all routers of the same dependencies.
    pub(in crate::router) fn of_all(deps: &RouterDeps, entries: &[Entry]) -> Vec<Arc<Breakers>> {
        let instances = deps.get_or_create("breakers", || Ok(Self::default())).unwrap_or_default();
        entries.iter().map(|entry| instances.of(&entry.provider)).collect()
    }

    /// The breakers of an instance: its own, or new ones.
    pub(in crate::router) fn of(&self, provider: &Arc<dyn DynProvider>) -> Arc<Breakers> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(instance, _)| instance.strong_count() > 0);
        // An address is never that of another instance while this one is alive.
        let same = |instance: &Weak<dyn DynProvider>| std::ptr::addr_eq(instance.as_ptr(), Arc::as_ptr(provider));
        if let Some((_, breakers)) = known.iter().find(|(instance, _)| same(instance)) {
            return Arc::clone(breakers);
        }
        let breakers = Arc::new(Breakers::default());
        known.push((Arc::downgrade(provider), Arc::clone(&breakers)));
        breakers
    }
}

impl Router {
    /// The breakers that are not closed, in the order of the providers.
    pub fn breakers(&self) -> Vec<State> {
        let now = self.deps().clock.instant();
        let states = |(entry, breakers): (&Entry, &Arc<Breakers>)| {
            let mut states = breakers.states(&entry.id, now);
            for state in states.iter_mut().filter(|state| state.mark.is_some()) {
                let key = (1..).zip(&entry.keys).find(|(_, key)| key.login_mark() == state.mark);
                state.key = key.map(|(number, _)| number);
            }
            states
        };
        self.entries().iter().zip(&self.0.breakers).flat_map(states).collect()
    }

    /// Everything that is counted, and the state of the breakers.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.deps().ledger.families();
        let open = self.breakers();
        families.push(telemetry::breakers(open.iter().map(|state| {
            let provider = state.provider.as_str();
            let model = self.0.meters.label(provider, state.model.as_ref().map(|model| model.as_str()));
            [provider, model, state.scope, state.kind.name(), state.name()]
        })));
        families
            .push(telemetry::queued(self.entries().iter().map(|entry| (entry.id.as_str(), entry.provider.waiting()))));
        families
    }

    /// The same as Prometheus reads it.
    pub fn prometheus(&self) -> String {
        telemetry::prometheus(&self.families())
    }

    /// The same for as long as the router is there, for whoever must not keep it.
    pub fn watched(&self) -> impl Fn() -> Option<Vec<Family>> + Send + Sync + 'static {
        let router = Arc::downgrade(&self.0);
        move || Some(Self(router.upgrade()?).families())
    }

    /// Closes all breakers, so that everyone is asked again; says how many held something back.
    pub fn close_breakers(&self) -> usize {
        self.0.breakers.iter().map(|breakers| breakers.clear()).sum()
    }

    /// Tells the breakers how an answer went on that had begun: to its end, or until an error.
    pub(in crate::router) fn tell_breakers(
        &self,
        provider: &Arc<dyn DynProvider>,
        model: Option<&ModelName>,
        error: Option<&Error>,
    ) {
        let Some(breakers) = self.breakers_of(provider) else { return };
        let (asked, now) = (Asked { provider: &**provider, model }, self.deps().clock.instant());
        match error {
            None => breakers.answered(asked, now),
            Some(error) => breakers.failed(asked, error, now, self.deps().ids.jitter()),
        }
    }

    /// The breakers of a provider of this router; none where they are turned off.
    pub(in crate::router) fn breakers_of(&self, provider: &Arc<dyn DynProvider>) -> Option<&Breakers> {
        let of =
            |entry: &Entry| std::iter::once(&entry.provider).chain(&entry.keys).any(|one| Arc::ptr_eq(one, provider));
        let at = self.entries().iter().position(of)?;
        self.0.breakers.get(at).map(Arc::as_ref).filter(|_| self.settings().router.breaker)
    }
}
