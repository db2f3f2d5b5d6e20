//! The targets of one plan that are left alone for now: looked at for stored answers only, until nobody else is left. Then the soonest of them is waited for.

use tokio::time::Instant;

use super::{Asked, Held};
use crate::error::Error;
use crate::router::Router;
use crate::router::resolve::Planned;

/// What was put aside while a plan is gone through.
#[derive(Debug, Default)]
pub(in crate::router) struct Aside {
    put: Vec<(Instant, Planned, Error)>,
    /// Whether one was waited for: a request waits once.
    waited: bool,
}

impl Aside {
    /// Marks a target that is held back, unless it is the one to wait for, and says whether any target is left behind it that is not held back.
    pub(in crate::router) fn judge(&self, router: &Router, planned: &mut Planned, rest: &[Planned]) -> bool {
        if !self.waited {
            planned.held = held(router, planned);
        }
        rest.iter().any(|other| held(router, other).is_none())
    }

    /// Puts a target aside that had no stored answer, with the error that says when it may be asked.
    pub(in crate::router) fn put(&mut self, planned: Planned, error: Error) {
        let Some(held) = planned.held else { return };
        self.put.push((held.until, planned, error));
    }

    /// Leaves those put aside that may still be asked.
    pub(in crate::router) fn retain(&mut self, keep: impl Fn(&Planned) -> bool) {
        self.put.retain(|(_, planned, _)| keep(planned));
    }

    /// Whether nobody is left to be waited for.
    pub(in crate::router) fn is_empty(&self) -> bool {
        self.put.is_empty()
    }

    /// The one to wait for, at the end of a plan; the errors of the others are failures then.
    pub(in crate::router) fn soonest(&mut self, failures: &mut Vec<Error>) -> Option<Planned> {
        let put = std::mem::take(&mut self.put);
        let at = put.iter().enumerate().min_by_key(|(_, (until, ..))| *until).map(|(at, _)| at)?;
        self.waited = true;
        let mut soonest = None;
        for (place, (_, planned, error)) in put.into_iter().enumerate() {
            if place == at {
                soonest = Some(Planned { held: None, ..planned });
            } else {
                failures.push(error);
            }
        }
        soonest
    }
}

/// Whether a target is held back, and until when.
pub(in crate::router) fn held(router: &Router, planned: &Planned) -> Option<Held> {
    let breakers = router.breakers_of(&planned.provider)?;
    let asked = Asked { provider: &*planned.provider, model: planned.target.model.as_ref() };
    breakers.held(asked, router.deps().clock.instant())
}
