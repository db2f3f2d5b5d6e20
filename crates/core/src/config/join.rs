//! Joins what file, environment and flags say: precedence, and where each value that won came from.
//!
//! Each value was checked where it was read (`value.rs`); the relations between them are the business of `validate.rs`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Settings;
use super::env::Environment;
use super::file::{self, Layer, Spot};
use super::keys::{KEYS, Key, key_at};
use super::names::{builtin, nearest};
use super::origin::{Entry, Loaded, Origin, Problem, Problems, default_value};
use super::parse::ollama_host;
use super::validate::{self, above_form};
use super::value::{Base, Raw, Refusal, Value};
use super::variables::{Rule, VARIABLES, names_for};
use crate::ids::ProviderId;

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

/// The most problems that are told at once.
const MOST_PROBLEMS: usize = 200;

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
    validate::one_form_of_each_key(&read.layer, &mut read.problems);
    let by_hand = flagged.keys().chain(requested.keys()).filter(|spot| spot.key.path.starts_with("providers."));
    let by_hand: BTreeSet<String> = by_hand.filter_map(|spot| spot.names.first().cloned()).collect();
    let layer = merge([std::mem::take(&mut read.layer), variables, flagged, requested]);

    let mut settings = Settings::default();
    for (spot, (value, _)) in &layer {
        (spot.key.apply)(&mut settings, &spot.names, value);
    }
    validate::Check::new(environment, &layer, &mut read, &mut settings).all(&by_hand, &flags.registered);
    read.problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    read.problems.truncate(MOST_PROBLEMS);
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
) -> Result<Option<Value>, Refusal> {
    let is_it = |variable: &&super::variables::Variable| {
        variable.sets.contains(&path)
            && full.ends_with(variable.name)
            && variable.names().iter().any(|name| name == full)
    };
    let rule = VARIABLES.iter().find(is_it).map_or(Rule::Plain, |variable| variable.rule);
    let base = Base { folder: None, home: environment.home() };
    Ok(match rule {
        Rule::OllamaHost => Some(Value::Text(ollama_host(text)?)),
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
    let Some((key, mut names)) = Key::find(path) else {
        let meant = nearest(path, KEYS.iter().map(|key| key.path)).map(str::to_owned);
        return problems.push(Problem::new(origin.clone(), None, format!("unknown key {path:?}")).meant(meant));
    };
    if let (true, Some(name)) = (key.path.starts_with("providers."), names.first_mut()) {
        match ProviderId::new(&*name) {
            Ok(id) => *name = builtin(id.as_str()).map_or(id.as_str(), |row| row.id).to_owned(),
            Err(error) => return problems.push(Problem::new(origin.clone(), None, error.message())),
        }
    }
    let base = Base { folder: None, home: environment.home() };
    match key.kind.read(&Raw::Untyped(text.into()), base) {
        Ok(value) => drop(layer.insert(Spot { key, names }, (value, origin.clone()))),
        Err(refusal) => {
            problems.push(Problem::new(origin.clone(), path.to_owned(), refusal.why).meant(refusal.nearest))
        }
    }
}

fn merge(layers: [Layer; 4]) -> Layer {
    let mut merged = Layer::new();
    for (spot, value) in layers.into_iter().flatten() {
        if let Some((above, forms)) = above_form(&spot) {
            for key in forms.iter().filter_map(|form| key_at(&format!("{above}.{form}"))) {
                merged.shift_remove(&Spot { key, names: spot.names.clone() });
            }
        }
        merged.insert(spot, value);
    }
    merged
}

/// Every value that is set, and the defaults of the keys that have no wildcard: by section, then name, in the order of the reference.
fn entries(layer: &Layer, settings: &Settings) -> Vec<Entry> {
    let section = |key: &Key| key.path.split('.').next().unwrap_or_default();
    let rank = |index: usize, key: &Key, names: &[String]| {
        let first = KEYS.iter().position(|other| section(other) == section(key));
        let name = names.first().map_or("", String::as_str);
        let named = match section(key) {
            "providers" => settings.providers.get_index_of(name),
            "models" => settings.models.get_index_of(name),
            "prices" => settings.prices.get_index_of(name),
            "teams" => settings.teams.get_index_of(name),
            _ => settings.routes.get_index_of(name),
        };
        // The tables of a list stand together, each whole.
        let list = key.path.find("[]").and_then(|end| key.path.get(..end));
        let place = list.and_then(|list| KEYS.iter().position(|other| other.path.starts_with(list))).unwrap_or(index);
        let item: usize = list.and_then(|_| names.last()?.parse().ok()).unwrap_or(0);
        (first, named, place, item, index)
    };
    let mut out = Vec::new();
    for (index, key) in KEYS.iter().enumerate() {
        let set: Vec<_> = layer.iter().filter(|(spot, _)| spot.key.path == key.path).collect();
        if set.is_empty() && !key.path.contains(['*', '[']) {
            let value = default_value(key.kind, key.default);
            out.push((
                rank(index, key, &[]),
                Entry { key: key.path.to_owned(), value, origin: Origin::Default, note: None, fingerprint: None },
            ));
        }
        for (spot, (value, origin)) in set {
            let entry = Entry {
                key: spot.shown(),
                value: value.shown(key.kind),
                origin: origin.clone(),
                note: note(key, &spot.names, value, settings),
                fingerprint: value.secret().map(|secret| secret.fingerprint()),
            };
            out.push((rank(index, key, &spot.names), entry));
        }
    }
    out.sort_by_key(|(rank, _)| *rank);
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
