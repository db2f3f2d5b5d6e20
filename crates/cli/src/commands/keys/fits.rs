//! Whether a pattern of models fits anything that is known here. It may be right all the same (providers have models that nobody listed), so that whoever finds none only warns. What a pattern lets
//! pass is decided in the core (`limits.rs`).

use llm_router::config::names::nearest;
use llm_router::ids::matches_pattern;
use llm_router::router::Router;

/// A warning for a pattern that fits no provider, route or model.
pub(super) fn warning(router: &Router, pattern: &str) -> Option<String> {
    if fits(router, pattern) {
        return None;
    }
    let (head, model) = pattern.split_once('/').map_or((pattern, None), |(head, model)| (head, Some(model)));
    let routes = router.settings().routes.keys().map(String::as_str).filter(|_| model.is_none());
    // A provider's other names are none in a pattern, and lead to the right one here.
    let meant = router.entries().iter().find(|entry| entry.aliases.iter().any(|alias| *alias == *head));
    let meant = meant
        .map(|entry| entry.id.as_str())
        .or_else(|| nearest(head, router.entries().iter().map(|entry| entry.id.as_str()).chain(routes)));
    let meant = meant.map(|name| model.map_or_else(|| name.to_owned(), |model| format!("{name}/{model}")));
    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    Some(format!("warning: --model {pattern:?} fits no provider, route or model that is known here{hint}"))
}

fn fits(router: &Router, pattern: &str) -> bool {
    let fits = |name: &str| matches_pattern(pattern, name);
    let of_provider = |id: &str| {
        // What stands behind a provider's name is for the provider to know.
        fits(id) || pattern.split_once('/').is_some_and(|(head, _)| matches_pattern(head, id))
    };
    let model = |provider: &str, model: &str| fits(model) || fits(&format!("{provider}/{model}"));
    router.settings().routes.keys().any(|route| fits(route))
        || router.entries().iter().any(|entry| {
            let id = entry.id.as_str();
            let default = entry.provider.describe().default_model.as_ref();
            of_provider(id)
                || default.is_some_and(|name| model(id, name.as_str()))
                || entry.provider.models().iter().any(|name| model(id, name.as_str()))
        })
        || router.deps().prices.rows().any(|row| model(&row.provider, &row.model))
}
