//! Checks the whole of a configuration at once: the relations that no single value shows.
//!
//! The one form of a key, providers that nothing makes, routes that lead nowhere or in a circle, and what is worth a warning. What
//! several keys describe together is put together in `validate/described.rs`. Values and precedence are settled before, in `value.rs` and `join.rs`.

mod described;
mod peers;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexSet;

use super::Settings;
use super::env::Environment;
use super::file::{Layer, Read, Spot};
use super::keys::key_at;
use super::names::{BUILTIN, Sort, builtin, nearest};
use super::origin::{Origin, Problem, Warning};
use super::value::Value;
use super::variables::PREFIXES;
use crate::ids::ProviderId;
use crate::request::Substitute;

/// The ways to give one key; a stronger source that uses one of them replaces whichever a weaker source used.
const FORMS_OF_A_KEY: &[&str] = &["api_key", "api_key_env", "api_key_file", "api_key_command"];
/// Hexadecimal digits of the id of a key that was made (`limits/grant.rs`).
const KEY_ID: usize = 16;
const CLIENT_KEYS: &str = "server.api_keys.[]";
const CREDENTIALS: &str = "providers.*.credentials.[]";
const FORMS_OF_A_CLIENT_KEY: &[&str] = &["key", "key_env", "key_file"];
const STORE: &str = "store";
const FORMS_OF_AN_ADDRESS: &[&str] = &["url", "url_env", "url_file"];

/// The forms of the key that the keys below `above` describe.
fn forms_below(above: &str) -> &'static [&'static str] {
    match above {
        CLIENT_KEYS => FORMS_OF_A_CLIENT_KEY,
        STORE => FORMS_OF_AN_ADDRESS,
        _ => FORMS_OF_A_KEY,
    }
}

/// For a place that is one form of a key: the path above it, and all the forms.
pub(super) fn above_form(spot: &Spot) -> Option<(&'static str, &'static [&'static str])> {
    let (above, last) = spot.key.path.rsplit_once('.')?;
    let forms = forms_below(above);
    forms.contains(&last).then_some((above, forms))
}

/// Tells where one source gives the same key in two forms.
pub(super) fn one_form_of_each_key(layer: &Layer, problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<(&str, &[String]), &Spot> = BTreeMap::new();
    for (spot, (_, origin)) in layer {
        let Some((above, _)) = above_form(spot) else { continue };
        match first.get(&(above, spot.names.as_slice())) {
            None => drop(first.insert((above, &spot.names), spot)),
            Some(other) => {
                let message = format!("{} gives the key already: keep one of them", other.shown());
                problems.push(Problem::new(origin.clone(), spot.shown(), message));
            }
        }
    }
}

/// The checks, over what was read and joined. Each adds to the problems and warnings of `read`.
pub(super) struct Check<'a> {
    environment: &'a Environment,
    layer: &'a Layer,
    read: &'a mut Read,
    settings: &'a mut Settings,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        environment: &'a Environment,
        layer: &'a Layer,
        read: &'a mut Read,
        settings: &'a mut Settings,
    ) -> Self {
        Self { environment, layer, read, settings }
    }

    /// All of them. `by_hand` are the providers that flags set something of, `registered` those that the program brings.
    pub(super) fn all(&mut self, by_hand: &BTreeSet<String>, registered: &[ProviderId]) {
        self.sections(by_hand);
        self.credentials();
        self.client_keys();
        self.settings.store.url = self.credential(STORE, &[]);
        self.providers(registered);
        self.configured_provider(registered);
        self.unusable();
        self.routes(registered);
        self.prices();
        self.peers();
        self.silences();
        self.warn();
    }

    fn problem(&mut self, origin: Origin, key: String, message: impl Into<String>, meant: Option<&str>) {
        self.read.problems.push(Problem::new(origin, key, message).meant(meant.map(str::to_owned)));
    }

    fn get(&self, path: &str, names: &[String]) -> Option<&(Value, Origin)> {
        self.layer.get(&Spot { key: key_at(path)?, names: names.to_vec() })
    }

    /// Gives every section an entry, empty ones too, and marks what a person chose.
    fn sections(&mut self, by_hand: &BTreeSet<String>) {
        let sections = self.read.sections.keys().map(|(section, name)| (*section, name.clone()));
        for (section, name) in
            sections.chain(by_hand.iter().map(|name| ("providers", name.clone()))).collect::<Vec<_>>()
        {
            match (section, ProviderId::new(&name)) {
                ("providers", Ok(id)) => self.settings.providers.entry(id).or_default().configured = true,
                ("routes", _) => drop(self.settings.routes.entry(name).or_default()),
                ("models", _) => drop(self.settings.models.entry(name).or_default()),
                ("prices", _) => drop(self.settings.prices.entry(name).or_default()),
                ("teams", _) => drop(self.settings.teams.entry(name).or_default()),
                _ => {}
            }
        }
        for name in self
            .layer
            .keys()
            .filter(|spot| spot.key.path.starts_with("providers."))
            .filter_map(|spot| spot.names.first())
        {
            if let Ok(id) = ProviderId::new(name) {
                self.settings.providers.entry(id).or_default();
            }
        }
        self.head();
        // The file's own order, which its reader expects in listings; what only the environment names comes after.
        let order = |name: &str| self.read.sections.get(&("providers", name.to_owned())).cloned();
        self.settings.providers.sort_by_cached_key(|id, _| (order(id.as_str()).is_none(), order(id.as_str())));
        let order = |name: &str| self.read.sections.get(&("routes", name.to_owned())).cloned();
        self.settings.routes.sort_by_cached_key(|name, _| order(name));
        let order = |name: &str| self.read.sections.get(&("models", name.to_owned())).cloned();
        self.settings.models.sort_by_cached_key(|name, _| order(name));
        // The first price that fits holds.
        let order = |name: &str| self.read.sections.get(&("prices", name.to_owned())).cloned();
        self.settings.prices.sort_by_cached_key(|name, _| order(name));
    }

    /// Gives the provider that heads the plan its id, where an alias was written, and marks it.
    fn head(&mut self) {
        let Some(head) = self.settings.head().cloned() else { return };
        let own = self.settings.providers.contains_key(&head);
        let id = builtin(head.as_str()).filter(|_| !own).and_then(|row| ProviderId::new(row.id).ok()).unwrap_or(head);
        if let Some(provider) = self.settings.providers.get_mut(&id) {
            provider.configured = true;
        }
        self.settings.router.provider = Some(id);
    }

    /// A price without one of its halves would make half of each answer free.
    fn prices(&mut self) {
        for name in self.settings.prices.keys().cloned().collect::<Vec<_>>() {
            for half in ["input", "output"] {
                if self.get(&format!("prices.*.{half}"), std::slice::from_ref(&name)).is_none() {
                    let origin = self.section("prices", &name);
                    self.problem(
                        origin,
                        format!("prices.{name:?}.{half}"),
                        "a price needs input and output; \"0\" is free",
                        None,
                    );
                }
            }
        }
    }

    /// A sign of life that comes too late lets a quiet stream's connection be taken for a forgotten one.
    fn silences(&mut self) {
        let (ping, idle) = (self.settings.server.ping_after, self.settings.server.idle_timeout);
        let set = ["server.ping_after", "server.idle_timeout"].into_iter();
        let set = set.filter_map(|path| Some((path, self.get(path, &[])?.1.clone()))).next();
        if let Some((path, origin)) = set.filter(|_| ping >= idle) {
            let message = format!(
                "ping_after ({ping:?}) must be shorter than idle_timeout ({idle:?}): quiet streams would be cut"
            );
            self.problem(origin, path.to_owned(), message, None);
        }
    }

    /// Where a section begins, or the first value that made it.
    fn section(&self, section: &'static str, name: &str) -> Origin {
        let value = || {
            self.layer
                .iter()
                .find(|(spot, _)| spot.key.path.starts_with(section) && spot.names.first().is_some_and(|n| n == name))
        };
        let begins = self.read.sections.get(&(section, name.to_owned())).cloned();
        begins.or_else(|| value().map(|(_, (_, origin))| origin.clone())).unwrap_or(Origin::Default)
    }

    /// Tells of settings that the provider they stand under cannot use.
    fn unusable(&mut self) {
        for (spot, (_, origin)) in self.layer {
            let Some(id) = spot.names.first().filter(|_| spot.key.path.starts_with("providers.")) else { continue };
            let Some(provider) = self.settings.providers.get(id.as_str()) else { continue };
            let runs = provider.command.is_some() || builtin(id).is_some_and(|row| row.sort == Sort::Agent);
            let message = match spot.key.path.trim_start_matches("providers.*.") {
                "pass_env" if !runs => "it is for a program: give command, or remove it",
                "ca_file" if runs => "it is for an HTTP API: a program brings its own certificates",
                _ => continue,
            };
            self.read.problems.push(Problem::new(origin.clone(), spot.shown(), message));
        }
    }

    fn providers(&mut self, registered: &[ProviderId]) {
        let found: Vec<_> = self
            .settings
            .providers
            .iter()
            .map(|(id, p)| (id.clone(), p.base_url.is_some() || p.preset.is_some(), p.command.is_some()))
            .collect();
        for (id, http, command) in found {
            let origin = self.section("providers", id.as_str());
            let key = format!("providers.{id}");
            let misread = self.read.problems.iter().any(|p| p.key.as_ref().is_some_and(|at| at.starts_with(&key)));
            if http && command {
                self.problem(
                    origin,
                    key,
                    "a provider is either an HTTP API (base_url, preset) or a program (command), not both",
                    None,
                );
            } else if !http && !command && builtin(id.as_str()).is_none() && !registered.contains(&id) && !misread {
                let meant = nearest(id.as_str(), BUILTIN.iter().map(|row| row.id));
                let message =
                    "no built-in provider has this name, and nothing says what it is: give base_url, preset or command";
                self.problem(origin, key, message, meant);
            }
        }
    }

    /// The provider that heads every automatic plan must be one.
    fn configured_provider(&mut self, registered: &[ProviderId]) {
        let Some(id) = self.settings.router.provider.clone() else { return };
        // What is wrong with a section is told of the section.
        let own = self.settings.providers.contains_key(&id);
        if own || builtin(id.as_str()).is_some() || registered.contains(&id) {
            return;
        }
        let Some(origin) = self.get("router.provider", &[]).map(|(_, origin)| origin.clone()) else { return };
        let names = || BUILTIN.iter().flat_map(|row| row.aliases.iter().copied().chain([row.id]));
        let meant = nearest(id.as_str(), self.settings.providers.keys().map(ProviderId::as_str).chain(names()));
        let (meant, message) = (meant.map(str::to_owned), format!("no provider is called `{id}`"));
        self.problem(origin, "router.provider".into(), message, meant.as_deref());
    }

    fn routes(&mut self, registered: &[ProviderId]) {
        let routes: BTreeSet<String> = self.settings.routes.keys().cloned().collect();
        let providers: BTreeSet<String> =
            self.settings.providers.keys().chain(registered).map(ProviderId::to_string).collect();
        let is_provider = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            providers.contains(&name) || builtin(&name).is_some()
        };
        let mut leads: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let chains: Vec<_> = self.settings.routes.iter().map(|(name, route)| (name.clone(), route.clone())).collect();
        for (name, route) in &chains {
            let groups = &route.groups;
            let begins = self.section("routes", name);
            let key = format!("routes.{name}.groups");
            let told = |p: &Problem| {
                p.key.as_ref().is_some_and(|at| *at == key || key.strip_suffix(".groups") == Some(at.as_str()))
            };
            let misread = self.read.problems.iter().any(told);
            if groups.is_empty() && !misread {
                self.problem(
                    begins.clone(),
                    format!("routes.{name}"),
                    "a route needs groups, [[\"local\"]] for example",
                    None,
                );
            }
            if is_provider(name) {
                let message = "a provider has this name: a route needs one of its own";
                self.problem(begins.clone(), format!("routes.{name}"), message, None);
            }
            let origin =
                self.get("routes.*.groups", std::slice::from_ref(name)).map_or(begins, |(_, origin)| origin.clone());
            for weighed in route.weights.keys().filter(|name| !groups.iter().flatten().any(|target| target == *name)) {
                let spot = [name.clone(), weighed.clone()];
                let origin = self.get("routes.*.weights.*", &spot).map_or(&origin, |(_, origin)| origin).clone();
                let meant = nearest(weighed, groups.iter().flatten().map(String::as_str)).map(str::to_owned);
                let key = format!("routes.{name}.weights");
                let message = format!("{:?} is in none of the route's groups", crate::ids::shorten(weighed));
                self.problem(origin, key, message, meant.as_deref());
            }
            let named = ["groups", "context", "content_filter"];
            let lists = [
                groups.iter().flatten().collect::<Vec<_>>(),
                route.context.iter().collect(),
                route.content_filter.iter().collect(),
            ];
            for (list, target) in
                named.iter().zip(&lists).flat_map(|(list, all)| all.iter().map(move |one| (*list, *one)))
            {
                let key = format!("routes.{name}.{list}");
                let spot = std::slice::from_ref(name);
                let origin = self.get(&format!("routes.*.{list}"), spot).map_or(&origin, |(_, origin)| origin).clone();
                if let Some(route) = routes.get(target).filter(|route| !is_provider(route)) {
                    // Chains are not followed further: none of them makes a circle.
                    if list == "groups" {
                        leads.entry(name).or_default().push(route);
                    }
                    continue;
                }
                let provider = target.split_once('/').map_or(target.as_str(), |(provider, _)| provider);
                if target.ends_with('/') || !is_provider(provider) {
                    let known = providers
                        .iter()
                        .map(String::as_str)
                        .chain(BUILTIN.iter().flat_map(|row| row.aliases.iter().copied().chain([row.id])));
                    let meant = nearest(provider, known.chain(routes.iter().map(String::as_str))).map(str::to_owned);
                    let message = format!("{:?} names no provider and no route", crate::ids::shorten(target));
                    self.problem(origin.clone(), key.clone(), message, meant.as_deref());
                }
            }
        }
        for circle in circles(&leads) {
            let first = circle.first().copied().unwrap_or_default();
            let origin = self.section("routes", first);
            let path = circle.iter().chain(circle.first()).copied().collect::<Vec<_>>().join(" → ");
            self.problem(origin, format!("routes.{first}"), format!("routes lead in a circle: {path}"), None);
        }
    }

    fn warn(&mut self) {
        let mut warnings = self.later();
        for (spot, (value, origin)) in self.layer {
            if let Some(message) = self.caution(spot, value) {
                warnings.push(Warning::new(origin.clone(), &spot.shown(), message));
            }
        }
        warnings.sort_by(|a, b| a.origin.cmp(&b.origin));
        self.read.warnings.extend(warnings);
    }

    /// What has no effect yet: one warning for each reason of each section.
    fn later(&self) -> Vec<Warning> {
        let mut groups: BTreeMap<(&str, &str), (Origin, Vec<String>)> = BTreeMap::new();
        for (spot, (_, origin)) in self.layer.iter().filter(|(spot, _)| !spot.key.active()) {
            // A well-known variable is set for other programs too; that it does nothing here is no news.
            if matches!(origin, Origin::Variable(name) if !PREFIXES.iter().any(|prefix| name.starts_with(prefix))) {
                continue;
            }
            let section = spot.key.path.split('.').next().unwrap_or_default();
            let group = groups.entry((section, spot.key.later)).or_insert_with(|| (origin.clone(), Vec::new()));
            if origin < &group.0 {
                group.0 = origin.clone();
            }
            group.1.push(spot.shown());
        }
        let tell = |((section, why), (origin, keys)): ((&str, &str), (Origin, Vec<String>))| {
            let what = if keys.len() > 3 { format!("{} keys of [{section}]", keys.len()) } else { keys.join(", ") };
            Warning::new(origin, &what, format!("read, not active yet: {why}"))
        };
        groups.into_iter().map(tell).collect()
    }

    /// What its owner would want to know of one value.
    fn caution(&self, spot: &Spot, value: &Value) -> Option<String> {
        let path = spot.key.path;
        if let Some(idle) = self.idle(path, value) {
            return Some(idle.to_owned());
        }
        if path == "providers.*.pass_env" {
            let unset = |name: &&String| self.environment.get(name).is_none();
            let unset: Vec<_> = value.list()?.iter().filter(unset).cloned().collect();
            let verb = if unset.len() == 1 { "is" } else { "are" };
            return (!unset.is_empty()).then(|| format!("{} {verb} not set", unset.join(", ")));
        }
        if path == "providers.*.remote" {
            return self.nobody(spot, &value.list()?);
        }
        let text = value.text()?;
        let provider = |name: &str| ProviderId::new(name).ok().and_then(|id| self.settings.providers.get(&id));
        if path.ends_with("key_env") {
            return self.environment.get(&text).is_none().then(|| format!("{text} is not set"));
        }
        if path == "providers.*.base_url" {
            let sends_key =
                spot.names.first().and_then(|name| provider(name)).is_some_and(|p| !p.credentials.is_empty());
            let open = text.strip_prefix("http://").is_some_and(leaves_the_network);
            return (sends_key && open).then(|| "a key goes over the network unencrypted: use https".to_owned());
        }
        None
    }

    /// Whom `remote` names in vain. Which keys were made is in the state store, and not known here; what their ids look like is.
    fn nobody(&self, spot: &Spot, named: &[String]) -> Option<String> {
        let id = ProviderId::new(spot.names.first()?).ok()?;
        let server = &self.settings.server;
        if !self.settings.providers.get(&id).is_some_and(|provider| provider.agent || provider.command.is_some()) {
            return Some("it has no effect: without `agent = true` it has no tools, and answers everybody".to_owned());
        }
        let made = |name: &str| server.virtual_keys && is_key_id(name);
        let nobody = |name: &&String| !made(name) && server.api_keys.iter().all(|key| key.name != **name);
        let nobody: Vec<_> = named.iter().filter(nobody).cloned().collect();
        let hint = "give the id of a key that `llm-router keys ls` shows, or the name of one of `server.api_keys`";
        (!nobody.is_empty()).then(|| format!("no key is called {}: {hint}", nobody.join(", ")))
    }

    /// What has no effect beside what the other keys of the router say.
    fn idle(&self, path: &str, value: &Value) -> Option<&'static str> {
        let router = &self.settings.router;
        let most = router.substitute;
        match (path, value.flag()) {
            ("router.fallback", Some(false)) if router.provider.is_none() => Some(
                "it has no effect: no router.provider heads the plan, and without one all providers follow each other",
            ),
            ("router.model_fallback", Some(true)) if most != Substitute::Any => {
                Some("it has no effect: router.substitute lets no other model answer")
            }
            _ => None,
        }
    }
}

/// Whether a text has the form of a made key's id.
fn is_key_id(text: &str) -> bool {
    text.len() == KEY_ID && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether an address after `http://` is neither of this machine nor of a private network.
fn leaves_the_network(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.parse::<http::uri::Authority>().map_or_else(|_| authority.to_owned(), |a| a.host().to_owned());
    let host = host.trim_matches(['[', ']']);
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified())
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
        // A name without a dot, or one of the local endings, is not found outside.
        Err(_) => {
            host.contains('.') && ![".local", ".lan", ".internal", ".localhost"].iter().any(|end| host.ends_with(end))
        }
    }
}

/// The circles of a graph, each once and from its alphabetically first member.
fn circles<'a>(leads: &BTreeMap<&'a str, Vec<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut found: BTreeSet<Vec<&str>> = BTreeSet::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in leads.keys() {
        // A walk with its own stack: a config may chain as many routes as its size allows.
        let mut path: IndexSet<&str> = IndexSet::new();
        let mut stack = vec![(*start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                if let Some(at) = path.get_index_of(node) {
                    let mut circle: Vec<&str> = path.iter().skip(at).copied().collect();
                    let first = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
                    circle.rotate_left(first);
                    found.insert(circle);
                    continue;
                }
                if done.contains(node) {
                    continue;
                }
                path.insert(node);
            }
            match leads.get(node).and_then(|targets| targets.get(next)) {
                Some(target) => {
                    stack.push((node, next + 1));
                    stack.push((target, 0));
                }
                None => {
                    path.pop();
                    done.insert(node);
                }
            }
        }
    }
    found.into_iter().collect()
}
