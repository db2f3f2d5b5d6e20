//! Context windows: how many tokens a model takes, prompt and answer together, as far as that is known.
//!
//! Known are those that the configuration names (`models."PROVIDER/MODEL".window`) and those of the table `pricing/windows.toml`. Of others nothing is assumed. What is counted of a prompt is an
//! estimate (`count.rs`), so nobody is left out who is the only one.

use super::count::estimate;
use super::deadlines::model_settings;
use super::resolve::{Plan, Planned};
use crate::config::Settings;
use crate::pricing::windows;
use crate::provider::Target;
use crate::request::Request;

/// The window of a target, in tokens.
pub(super) fn of(target: &Target, settings: &Settings) -> Option<u64> {
    let own = model_settings(settings, target).and_then(|model| model.window);
    own.or_else(|| windows::of(target.provider.as_str(), target.model.as_ref()?.as_str()))
}

/// The tokens that a request may take: roughly those of its prompt, and those that its answer may have.
pub(super) fn needed(request: &Request) -> u64 {
    estimate(request).saturating_add(request.sampling.max_tokens.map_or(0, u64::from))
}

/// The smallest window that is worth a look: what fits in it fits everywhere.
const SMALL: u64 = 2048;

/// Leaves out the targets whose window is known to be too small, while another one remains.
pub(super) fn leave_large_enough(plan: &mut Plan, request: &Request, settings: &Settings) {
    if plan.targets.len() < 2 {
        return;
    }
    let needed = needed(request);
    if needed <= SMALL {
        return;
    }
    let window = |planned: &Planned| of(&planned.target, settings);
    let fits = |planned: &Planned| window(planned).is_none_or(|window| needed <= window);
    if plan.targets.iter().all(fits) || !plan.targets.iter().any(fits) {
        return;
    }
    for candidate in plan.candidates.iter_mut().filter(|candidate| candidate.planned) {
        let target = Target::new(candidate.provider.clone(), candidate.model.clone());
        if let Some(window) = of(&target, settings).filter(|window| needed > *window) {
            candidate.planned = false;
            candidate.reason = format!("its window of {window} tokens is too small for about {needed}");
        }
    }
    plan.targets.retain(fits);
}
