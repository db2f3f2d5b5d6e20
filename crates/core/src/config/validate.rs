//! Joins what file, environment and flags say, checks the whole at once, and makes [`Settings`] of it.
//!
//! Each value was checked where it was read (`value.rs`); here are the relations between them: precedence, the one form of a key, providers that nothing
//! makes, routes that lead nowhere or in a circle, and what is worth a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::env::Environment;
use super::file::{self, Layer, Read, Spot};
use super::keys::{KEY_LIFETIME, KEYS, Key};
use super::names::{BUILTIN, builtin, nearest};
use super::origin::{Entry, Loaded, Origin, Problem, Problems, Warning, default_value};
use super::value::{Base, Raw, Value, azure_endpoint, ollama_host};
use super::variables::{Rule, VARIABLES, names_for};
use super::{ClientKey, Credential, Settings};
use crate::ids::ProviderId;
use crate::secret::Secret;

/// What the command line, or a program that uses the library, sets over file and environment.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    config: Option<PathBuf>,
    no_file: bool,
    values: Vec<(Origin, String, String)>,
    registered: Vec<ProviderId>,
}

impl Flags {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// `--config`: the file to read instead of the user's.
    #[must_use]
    pub fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Reads no config file at all.
    #[must_use]
    pub fn without_file(mut self) -> Self {
        self.no_file = true;
        self
    }

    /// Sets a key (`server.port`) for a flag (`--port`).
    #[must_use]
    pub fn set(mut self, flag: impl Into<String>, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.push((Origin::Flag(flag.into()), key.into(), value.into()));
        self
    }

    /// Sets a key for one request only: above every flag.
    #[must_use]
    pub fn set_by_request(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.push((Origin::Request, key.into(), value.into()));
        self
    }

    /// Tells of a provider that the program registers itself, so that routes may name it.
    #[must_use]
    pub fn registered(mut self, provider: ProviderId) -> Self {
        self.registered.push(provider);
        self
    }
}

pub(super) fn load(environment: &Environment, flags: &Flags) -> Result<Loaded, Problems> {
    let chosen = file::chosen(flags.config.as_deref(), environment).filter(|_| !flags.no_file);
    let read = chosen.as_ref().and_then(|(path, required)| file::open(path, *required, environment.home()));
    let file = chosen.map(|(path, _)| path).filter(|_| read.is_some());
    let mut read = read.unwrap_or_default();

    let variables = from_environment(environment, &mut read.problems);
    let (mut flagged, mut requested) = (Layer::new(), Layer::new());
    for (origin, key, text) in &flags.values {
        let layer = if *origin == Origin::Request { &mut requested } else { &mut flagged };
        from_flag(origin, key, text, environment, layer, &mut read.problems);
    }
    one_form_of_each_key(&read.layer, &mut read.problems);
    let chosen_by_hand: BTreeSet<String> = flagged
        .keys()
        .chain(requested.keys())
        .filter(|spot| spot.key.path.starts_with("providers.*"))
        .filter_map(|spot| spot.names.first().cloned())
        .collect();
    let layer = merge([std::mem::take(&mut read.layer), variables, flagged, requested]);

    let mut settings = Settings::default();
    for (spot, (value, _)) in &layer {
        (spot.key.apply)(&mut settings, &spot.names, value);
    }
    let mut check = Check { environment, layer: &layer, read: &mut read, settings: &mut settings };
    check.sections(&chosen_by_hand);
    check.credentials();
    check.client_keys();
    check.providers();
    check.routes(&flags.registered);
    check.warn(&flags.registered);
    if !read.problems.is_empty() {
        return Err(Problems(read.problems));
    }
    let entries = entries(&layer, &settings);
    Ok(Loaded { settings, entries, warnings: read.warnings, file, places: environment.places() })
}

/// The values of the variables: for each key the first name that is set.
fn from_environment(environment: &Environment, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::new();
    let paths: Vec<&str> = VARIABLES.iter().flat_map(|variable| variable.sets.iter().copied()).collect();
    let mut seen = BTreeSet::new();
    for path in paths.into_iter().filter(|path| seen.insert(*path)) {
        let Some((key, names)) = Key::find(path) else { continue };
        for full in names_for(path) {
            let origin = Origin::Variable(full.clone());
            if environment.is_unreadable(&full) {
                problems.push(Problem::new(origin, None, "the value is not UTF-8"));
                break;
            }
            let Some(text) = environment.get(&full) else { continue };
            match from_variable(key, path, &full, text, environment) {
                Ok(Some(value)) => {
                    layer.insert(Spot { key, names }, (value, origin));
                    break;
                }
                Ok(None) => continue,
                Err(refusal) => {
                    problems.push(Problem::new(origin, None, refusal.why).meant(refusal.nearest));
                    break;
                }
            }
        }
    }
    layer
}

fn from_variable(
    key: &Key,
    path: &str,
    full: &str,
    text: &str,
    environment: &Environment,
) -> Result<Option<Value>, super::value::Refusal> {
    let is_it = |variable: &&super::variables::Variable| {
        variable.sets.contains(&path)
            && full.ends_with(variable.name)
            && variable.names().iter().any(|name| name == full)
    };
    let rule = VARIABLES.iter().find(is_it).map_or(Rule::Plain, |variable| variable.rule);
    let base = Base { folder: None, home: environment.home() };
    Ok(match rule {
        Rule::OllamaHost => Some(Value::Text(ollama_host(text)?)),
        Rule::AzureEndpoint => Some(Value::Text(azure_endpoint(text)?)),
        Rule::OnlyOn => {
            Some(key.kind.read(&Raw::Untyped(text.into()), base)?).filter(|value| *value == Value::Flag(true))
        }
        Rule::Plain | Rule::Asked => Some(key.kind.read(&Raw::Untyped(text.into()), base)?),
    })
}

fn from_flag(
    origin: &Origin,
    path: &str,
    text: &str,
    environment: &Environment,
    layer: &mut Layer,
    problems: &mut Vec<Problem>,
) {
    let Some((key, names)) = Key::find(path) else {
        let meant = nearest(path, KEYS.iter().map(|key| key.path)).map(str::to_owned);
        return problems.push(Problem::new(origin.clone(), None, format!("unknown key {path:?}")).meant(meant));
    };
    if let ("providers", Some(Err(error))) =
        (key.path.split('.').next().unwrap_or_default(), names.first().map(ProviderId::new))
    {
        return problems.push(Problem::new(origin.clone(), None, error.message()));
    }
    let base = Base { folder: None, home: environment.home() };
    match key.kind.read(&Raw::Untyped(text.into()), base) {
        Ok(value) => drop(layer.insert(Spot { key, names }, (value, origin.clone()))),
        Err(refusal) => {
            problems.push(Problem::new(origin.clone(), path.to_owned(), refusal.why).meant(refusal.nearest))
        }
    }
}

/// The ways to give one key; a stronger source that uses one of them replaces whichever a weaker source used.
const FORMS_OF_A_KEY: &[&str] = &["api_key", "api_key_env", "api_key_file", "api_key_command"];
const FORMS_OF_A_CLIENT_KEY: &[&str] = &["key", "key_env", "key_file"];

/// The path above a form of a key, for the keys that are one.
fn above_form(spot: &Spot) -> Option<&'static str> {
    let (above, last) = spot.key.path.rsplit_once('.')?;
    let forms = if above == "server.api_keys.[]" { FORMS_OF_A_CLIENT_KEY } else { FORMS_OF_A_KEY };
    (forms.contains(&last) && !above.ends_with("headers")).then_some(above)
}

fn one_form_of_each_key(layer: &Layer, problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<(&str, &[String]), &Spot> = BTreeMap::new();
    for (spot, (_, origin)) in layer {
        let Some(above) = above_form(spot) else { continue };
        match first.get(&(above, spot.names.as_slice())) {
            None => drop(first.insert((above, &spot.names), spot)),
            Some(other) => {
                let message = format!("{} gives the key already: keep one of them", other.shown());
                problems.push(Problem::new(origin.clone(), spot.shown(), message));
            }
        }
    }
}

fn merge(layers: [Layer; 4]) -> Layer {
    let mut merged = Layer::new();
    for layer in layers {
        for (spot, value) in layer {
            if let Some(above) = above_form(&spot) {
                merged.retain(|other: &Spot, _| above_form(other) != Some(above) || other.names != spot.names);
            }
            merged.insert(spot, value);
        }
    }
    merged
}

struct Check<'a> {
    environment: &'a Environment,
    layer: &'a Layer,
    read: &'a mut Read,
    settings: &'a mut Settings,
}

impl Check<'_> {
    fn problem(&mut self, origin: Origin, key: String, message: impl Into<String>, meant: Option<&str>) {
        self.read.problems.push(Problem::new(origin, key, message).meant(meant.map(str::to_owned)));
    }

    fn get(&self, path: &str, names: &[String]) -> Option<&(Value, Origin)> {
        self.layer.iter().find(|(spot, _)| spot.key.path == path && spot.names == names).map(|(_, value)| value)
    }

    /// Gives every section an entry, empty ones too, and marks what a person chose.
    fn sections(&mut self, by_hand: &BTreeSet<String>) {
        let head = self.settings.head().cloned();
        let sections = self.read.sections.keys().map(|(section, name)| (*section, name.clone()));
        for (section, name) in
            sections.chain(by_hand.iter().map(|name| ("providers", name.clone()))).collect::<Vec<_>>()
        {
            match (section, ProviderId::new(&name)) {
                ("providers", Ok(id)) => self.settings.providers.entry(id).or_default().configured = true,
                ("routes", _) => drop(self.settings.routes.entry(name).or_default()),
                _ => {}
            }
        }
        if let Some(provider) = head.and_then(|head| self.settings.providers.get_mut(&head)) {
            provider.configured = true;
        }
        // The file's own order, which its reader expects in listings; what only the environment names comes after.
        let order = |name: &str| self.read.sections.get(&("providers", name.to_owned())).cloned();
        self.settings.providers.sort_by_cached_key(|id, _| (order(id.as_str()).is_none(), order(id.as_str())));
        let order = |name: &str| self.read.sections.get(&("routes", name.to_owned())).cloned();
        self.settings.routes.sort_by_cached_key(|name, _| order(name));
    }

    /// The credential that the keys below `above` describe.
    fn credential(&self, above: &str, names: &[String]) -> Option<Credential> {
        let forms = if above == "server.api_keys.[]" { FORMS_OF_A_CLIENT_KEY } else { FORMS_OF_A_KEY };
        forms.iter().find_map(|form| {
            let (value, origin) = self.get(&format!("{above}.{form}"), names)?;
            Some(match (form.rsplit('_').next()?, value) {
                ("env", Value::Text(name)) => Credential::Env {
                    name: name.clone(),
                    value: self.environment.secret(name).unwrap_or_else(|| Secret::new("")),
                },
                ("file", value) => Credential::File(value.path()?),
                ("command", Value::List(argv)) => Credential::Command {
                    argv: argv.clone(),
                    lifetime: self
                        .get(&format!("{above}.api_key_lifetime"), names)
                        .and_then(|(value, _)| value.duration())
                        .unwrap_or(KEY_LIFETIME),
                },
                (_, Value::Secret(value)) => match origin {
                    Origin::Variable(name) => Credential::Env { name: name.clone(), value: value.clone() },
                    _ => Credential::Value(value.clone()),
                },
                _ => return None,
            })
        })
    }

    /// The places in a list of tables below `path`, in order, each with the origin of one of its values.
    fn items(&self, path: &str, names: &[String]) -> Vec<(Vec<String>, Origin)> {
        let mut items: BTreeMap<usize, (Vec<String>, Origin)> = BTreeMap::new();
        for (spot, (_, origin)) in self.layer {
            let (Some(index), Some(above)) = (spot.names.get(names.len()), spot.names.get(..names.len())) else {
                continue;
            };
            if let (true, true, Ok(index)) = (spot.key.path.starts_with(path), above == names, index.parse()) {
                items.entry(index).or_insert((spot.names.clone(), origin.clone()));
            }
        }
        items.into_values().collect()
    }

    fn credentials(&mut self) {
        for id in self.settings.providers.keys().cloned().collect::<Vec<_>>() {
            let names = vec![id.to_string()];
            let mut found: Vec<Credential> = self.credential("providers.*", &names).into_iter().collect();
            for (names, origin) in self.items("providers.*.credentials.[]", &names) {
                match self.credential("providers.*.credentials.[]", &names) {
                    Some(credential) => found.push(credential),
                    None => {
                        let message = format!("a credential needs one of {}", FORMS_OF_A_KEY.join(", "));
                        self.problem(origin, format!("providers.{id}.credentials"), message, None);
                    }
                }
            }
            if let Some(provider) = self.settings.providers.get_mut(&id) {
                provider.credentials = found;
            }
        }
    }

    fn client_keys(&mut self) {
        for (names, origin) in self.items("server.api_keys.[]", &[]) {
            let name = self.get("server.api_keys.[].name", &names).and_then(|(value, _)| value.text());
            let key = self.credential("server.api_keys.[]", &names);
            let twice = self.settings.server.api_keys.iter().any(|other| Some(&other.name) == name.as_ref());
            match (name, key) {
                (Some(name), Some(_)) if twice => {
                    self.problem(origin, "server.api_keys".into(), format!("{name:?} is here twice"), None)
                }
                (Some(name), Some(key)) => self.settings.server.api_keys.push(ClientKey { name, key }),
                (None, _) => self.problem(origin, "server.api_keys".into(), "a key needs a name", None),
                (_, None) => {
                    let message = format!("a key needs one of {}", FORMS_OF_A_CLIENT_KEY.join(", "));
                    self.problem(origin, "server.api_keys".into(), message, None);
                }
            }
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

    fn providers(&mut self) {
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
            } else if !http && !command && builtin(id.as_str()).is_none() && !misread {
                let meant = nearest(id.as_str(), BUILTIN.iter().map(|row| row.id));
                let message =
                    "no built-in provider has this name, and nothing says what it is: give base_url, preset or command";
                self.problem(origin, key, message, meant);
            }
        }
    }

    fn routes(&mut self, registered: &[ProviderId]) {
        let routes: Vec<String> = self.settings.routes.keys().cloned().collect();
        let providers: BTreeSet<String> =
            self.settings.providers.keys().chain(registered).map(ProviderId::to_string).collect();
        let is_provider = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            providers.contains(&name) || builtin(&name).is_some()
        };
        let mut leads: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let groups: Vec<_> = self.settings.routes.values().map(|route| route.groups.clone()).collect();
        for (name, groups) in routes.iter().zip(&groups) {
            let begins = self.section("routes", name);
            let key = format!("routes.{name}.groups");
            if is_provider(name) {
                self.problem(
                    begins.clone(),
                    format!("routes.{name}"),
                    "a provider has this name: a route needs one of its own",
                    None,
                );
            }
            let misread = self.read.problems.iter().any(|p| p.key.as_deref() == Some(key.as_str()));
            if groups.is_empty() && !misread {
                self.problem(
                    begins.clone(),
                    format!("routes.{name}"),
                    "a route needs groups, [[\"local\"]] for example",
                    None,
                );
            }
            let origin =
                self.get("routes.*.groups", std::slice::from_ref(name)).map_or(begins, |(_, origin)| origin.clone());
            for target in groups.iter().flatten() {
                if let Some(route) = routes.iter().find(|route| *route == target && !is_provider(route)) {
                    leads.entry(name).or_default().push(route);
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

    fn warn(&mut self, registered: &[ProviderId]) {
        let mut warnings = Vec::new();
        let mut warn = |origin: &Origin, key: String, message: String| {
            warnings.push(Warning { origin: origin.clone(), key: Some(key), message });
        };
        for (spot, (value, origin)) in self.layer {
            let path = spot.key.path;
            if !spot.key.active() {
                warn(origin, spot.shown(), format!("read, not active yet: {}", spot.key.later));
            }
            if let (true, Value::Text(name)) = (path.ends_with("key_env"), value)
                && self.environment.get(name).is_none()
            {
                warn(origin, spot.shown(), format!("{name} is not set"));
            }
            if let (true, Value::Text(url)) = (path == "providers.*.base_url", value) {
                let id = spot.names.first().and_then(|name| ProviderId::new(name).ok());
                let sends_key =
                    id.and_then(|id| self.settings.providers.get(&id)).is_some_and(|p| !p.credentials.is_empty());
                if sends_key && url.strip_prefix("http://").is_some_and(leaves_the_network) {
                    warn(origin, spot.shown(), "a key goes over the network unencrypted: use https".into());
                }
            }
            if let (true, Some(id)) = (path == "router.provider", value.provider())
                && builtin(id.as_str()).is_none()
                && !self.settings.providers.contains_key(&id)
                && !registered.contains(&id)
            {
                warn(origin, spot.shown(), format!("no provider is named {id:?}, unless the program registers one"));
            }
        }
        self.read.warnings.extend(warnings);
    }
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
        let mut path: Vec<&str> = Vec::new();
        let mut stack = vec![(*start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                if let Some(at) = path.iter().position(|seen| *seen == node) {
                    let mut circle = path.split_off(at);
                    path.extend(circle.iter().copied());
                    let first = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
                    circle.rotate_left(first);
                    found.insert(circle);
                    continue;
                }
                if done.contains(node) {
                    continue;
                }
                path.push(node);
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

/// Every value that is set, and the defaults of the keys that have no wildcard: by section, then name, in the order of the reference.
fn entries(layer: &Layer, settings: &Settings) -> Vec<Entry> {
    let section = |key: &Key| key.path.split('.').next().unwrap_or_default();
    let rank = |index: usize, key: &Key, names: &[String]| {
        let first = KEYS.iter().position(|other| section(other) == section(key));
        let name = names.first().map_or("", String::as_str);
        let named = settings.providers.get_index_of(name).filter(|_| section(key) == "providers");
        (first, named.or_else(|| settings.routes.get_index_of(name)), index)
    };
    let mut out = Vec::new();
    for (index, key) in KEYS.iter().enumerate() {
        let set: Vec<_> = layer.iter().filter(|(spot, _)| spot.key.path == key.path).collect();
        if set.is_empty() && !key.path.contains(['*', '[']) {
            let value = default_value(key.kind, key.default);
            out.push((
                rank(index, key, &[]),
                Entry { key: key.path.to_owned(), value, origin: Origin::Default, note: None },
            ));
        }
        for (spot, (value, origin)) in set {
            let entry = Entry {
                key: spot.shown(),
                value: value.shown(key.kind),
                origin: origin.clone(),
                note: note(key, &spot.names, value, settings),
            };
            out.push((rank(index, key, &spot.names), entry));
        }
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    out.into_iter().map(|(_, entry)| entry).collect()
}

/// What else is to be known of a value that is set.
fn note(key: &Key, names: &[String], value: &Value, settings: &Settings) -> Option<String> {
    if let (true, Value::Text(name)) = (key.path.ends_with("api_key_env"), value) {
        let provider = names.first().and_then(|id| settings.providers.get(id.as_str()));
        let missing = provider.is_some_and(|p| p.credentials.iter().any(|c| c.missing_variable() == Some(name)));
        return missing.then(|| format!("{name} is not set"));
    }
    (!key.active()).then(|| "not active yet".to_owned())
}
