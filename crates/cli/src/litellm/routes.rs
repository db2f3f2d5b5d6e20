//! Model groups as routes: the deployments of one name share its load, and the names that it falls back to follow, each with its own deployments.
//!
//! Fallbacks are written out and not named: two names may fall back to each other there, and routes must not lead in a circle here.

use super::Notes;
use super::deployment::{Deployment, Deployments};
use super::toml::{self, Toml};
use super::yaml::Node;

/// LiteLLM's words for how a group shares its load.
const STRATEGIES: &[(&str, &str)] = &[
    ("simple-shuffle", "random"),
    ("least-busy", "least_busy"),
    ("latency-based-routing", "latency"),
    ("cost-based-routing", "cost"),
    ("usage-based-routing", "least_busy"),
    ("usage-based-routing-v2", "least_busy"),
];

/// Writes a route for each name, and one for each alias.
pub(super) fn write(deployments: &Deployments, library: &Node, router: &Node, toml: &mut Toml, notes: &mut Notes) {
    let strategy = router.at("routing_strategy");
    let balance = strategy.text().map(|word| {
        let known = STRATEGIES.iter().find(|(name, _)| *name == word);
        if known.is_none_or(|(name, _)| name.starts_with("usage-")) {
            notes.add(
                strategy,
                "router_settings.routing_strategy",
                format!("{word}: taken for {}", known.map_or("random", |(_, ours)| ours)),
            );
        }
        known.map_or("random", |(_, ours)| ours)
    });
    let balance = balance.unwrap_or("random");
    let chains = Chains { deployments, library, router };
    let mut names: Vec<&str> = Vec::new();
    for one in &deployments.all {
        if !names.contains(&one.name.as_str()) {
            names.push(&one.name);
        }
    }
    for name in names {
        let line = deployments.all.iter().find(|one| one.name == name).map_or(0, |one| one.line);
        let at = Node { line, ..Node::default() };
        if is_taken(name, deployments) {
            let targets: Vec<&str> = of(deployments, name).iter().map(|one| one.target.as_str()).collect();
            let why = format!(
                "{name:?} is a provider's name here: ask for {} instead, or name the group otherwise",
                targets.join(" or ")
            );
            notes.add(&at, "model_name", why);
            continue;
        }
        let groups = std::iter::once(name).chain(chains.after("fallbacks", name, notes));
        let groups: Vec<Vec<&Deployment>> = groups.map(|name| of(deployments, name)).collect();
        let (context, filtered) = (
            chains.after("context_window_fallbacks", name, notes),
            chains.after("content_policy_fallbacks", name, notes),
        );
        let section = format!("routes.{}", toml::name(name));
        let written = groups.iter().map(|group| toml::list(group.iter().map(|one| one.target.as_str())));
        toml.set(&section, "groups", format!("[{}]", written.collect::<Vec<_>>().join(", ")));
        if groups.iter().any(|group| group.len() > 1) {
            let mut weighed: Vec<&Deployment> = Vec::new();
            for group in groups.iter().filter(|group| group.iter().any(|one| one.weight.is_some())) {
                weighed.extend(
                    group
                        .iter()
                        .filter(|one| !weighed.iter().any(|other| other.target == one.target))
                        .collect::<Vec<_>>(),
                );
            }
            if balance == "random" && !weighed.is_empty() {
                // Who has no share among those that have one is asked last, as there.
                let share = |one: &&Deployment| format!("{} = {}", toml::text(&one.target), one.weight.unwrap_or(0));
                toml.set(&section, "balance", "\"weighted\"");
                toml.set(
                    &section,
                    "weights",
                    format!("{{ {} }}", weighed.iter().map(share).collect::<Vec<_>>().join(", ")),
                );
            } else {
                toml.set(&section, "balance", toml::text(balance));
            }
        }
        for (key, names) in [("context", context), ("content_filter", filtered)] {
            let targets: Vec<&str> =
                names.iter().flat_map(|name| of(deployments, name)).map(|one| one.target.as_str()).collect();
            if !targets.is_empty() {
                toml.set(&section, key, toml::list(targets));
            }
        }
    }
    for (alias, node) in router.at("model_group_alias").entries() {
        let meant = node.text().or(node.at("model").text()).unwrap_or_default();
        if of(deployments, meant).is_empty()
            || is_taken(meant, deployments)
            || is_taken(alias, deployments)
            || !of(deployments, alias).is_empty()
        {
            notes.add(
                node,
                format!("router_settings.model_group_alias.{alias}"),
                "no route here has the name that it stands for",
            );
        } else {
            toml.set(&format!("routes.{}", toml::name(alias)), "groups", format!("[{}]", toml::list([meant])));
        }
    }
}

/// The deployments of a name, each target once.
fn of<'a>(deployments: &'a Deployments, name: &str) -> Vec<&'a Deployment> {
    let mut found: Vec<&Deployment> = Vec::new();
    for one in deployments.all.iter().filter(|one| one.name == name) {
        if !found.iter().any(|other| other.target == one.target) {
            found.push(one);
        }
    }
    found
}

/// Whether a name is a provider's: a route needs one of its own.
fn is_taken(name: &str, deployments: &Deployments) -> bool {
    let lower = name.trim().to_ascii_lowercase();
    llm_router::config::names::builtin(&lower).is_some() || deployments.has_provider(&lower)
}

/// The fallbacks of both sections that may hold them.
struct Chains<'a> {
    deployments: &'a Deployments,
    library: &'a Node,
    router: &'a Node,
}

impl<'a> Chains<'a> {
    /// The names that follow a name, as far as there are such.
    fn after(&self, kind: &str, name: &str, notes: &mut Notes) -> Vec<&'a str> {
        let sections = [(self.router, "router_settings"), (self.library, "litellm_settings")];
        let own = |(section, above): (&'a Node, &'static str)| {
            let lists = section.at(kind).items().iter().flat_map(Node::entries);
            let lists: Vec<_> =
                lists.filter(|(of, _)| *of == name || *of == "*").map(|(_, list)| (list, above)).collect();
            lists
        };
        let mut lists: Vec<(&'a Node, &str)> = sections.into_iter().flat_map(own).collect();
        if lists.is_empty() && kind == "fallbacks" {
            lists = sections.map(|(section, above)| (section.at("default_fallbacks"), above)).to_vec();
        }
        let mut names: Vec<&'a str> = Vec::new();
        for (node, above) in
            lists.into_iter().flat_map(|(list, above)| list.items().iter().map(move |node| (node, above)))
        {
            let Some(next) = node.text() else { continue };
            if of(self.deployments, next).is_empty() {
                let why = format!("no deployment that could be converted is called {next:?}");
                notes.add(node, format!("{above}.{kind}"), why);
            } else if next != name && !names.contains(&next) {
                names.push(next);
            }
        }
        names
    }
}
