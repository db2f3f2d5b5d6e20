//! Reading the TOML file: every key found, checked and placed, every mistake told with its line, column and the nearest valid name.
//!
//! The walk follows the table of `keys.rs`, so that a new key needs nothing here. It knows no precedence and no relations between keys: `validate.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, key_at, named};
use super::names::{builtin, nearest};
use super::origin::{Origin, Problem, Warning};
use super::value::{Base, Raw, Value};
use crate::ids::{ModelName, Namespace, ProviderId, shorten};
use crate::secret::mask;

/// The largest config file.
pub(super) const LARGEST: u64 = 1 << 20;

/// The most problems that are told of one file.
const MOST_PROBLEMS: usize = 100;

/// Where a value stands: its key, and the names in place of the key's wildcards.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) key: &'static Key,
    pub(super) names: Vec<String>,
}

impl Spot {
    pub(super) fn shown(&self) -> String {
        self.key.named(&self.names)
    }
}

impl PartialEq for Spot {
    fn eq(&self, other: &Self) -> bool {
        self.key.path == other.key.path && self.names == other.names
    }
}

impl Eq for Spot {}

impl std::hash::Hash for Spot {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.key.path, &self.names).hash(state);
    }
}

/// The values of one source.
pub(super) type Layer = IndexMap<Spot, (Value, Origin)>;

/// What a file said.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) layer: Layer,
    /// The sections with a name of their own (`providers`, `routes`, `models`, `teams`, `prices`) → where they begin.
    pub(super) sections: BTreeMap<(&'static str, String), Origin>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// Reads a file. One that is not there is an error only if it was asked for.
pub(super) fn open(path: &Path, required: bool, home: Option<&Path>) -> Option<Read> {
    let at: Arc<Path> = path.into();
    let whole = || Origin::File { path: at.clone(), line: 0, column: 0 };
    let failed = |why: String| Some(Read { problems: vec![Problem::new(whole(), None, why)], ..Read::default() });
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return None,
        Err(error) => return failed(format!("the config file cannot be read: {error}")),
    };
    if !metadata.is_file() {
        return failed("the config file is not a file".into());
    }
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(why) => return failed(why),
    };
    // Paths in the file are relative to its folder, also where the file was named relative to the working directory.
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_path_buf));
    let mut read = parse(&text, at.clone(), Base { folder: folder.as_deref(), home });
    read.warnings.extend(exposed(&metadata, &read.layer));
    Some(read)
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("the config file cannot be read: {error}"))?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the config file cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("the config file is larger than {LARGEST} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("the config file is not UTF-8 (byte {})", error.utf8_error().valid_up_to()))
}

/// A file with keys in it that others of this machine may read.
#[cfg(unix)]
fn exposed(metadata: &std::fs::Metadata, layer: &Layer) -> Option<Warning> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode();
    let secret = layer.iter().find(|(_, (value, _))| matches!(value, Value::Secret(_)));
    let (spot, (_, origin)) = secret.filter(|_| mode & 0o077 != 0)?;
    let message = format!("the file holds a secret and others may read it (mode {:03o}): `chmod 600` it", mode & 0o777);
    Some(Warning::new(origin.clone(), &spot.shown(), message))
}

#[cfg(not(unix))]
fn exposed(_: &std::fs::Metadata, _: &Layer) -> Option<Warning> {
    None
}

/// Reads the text of a file.
pub(super) fn parse(text: &str, path: Arc<Path>, base: Base<'_>) -> Read {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk { lines: Lines::new(text, path), base, read: Read::default() };
    for error in errors.iter().take(MOST_PROBLEMS) {
        // Only the parser's own words: its full report repeats the line, and the line may hold a key.
        let origin = walk.lines.origin(error.span().unwrap_or_default());
        walk.read.problems.push(Problem::new(origin, None, error.message()));
    }
    // One slip often makes several syntax errors on its line; the first says it.
    walk.read.problems.dedup_by_key(|problem| problem.origin.line());
    let syntax = std::mem::take(&mut walk.read.problems);
    // In what is no TOML at all there is nothing to look for.
    if errors.len() <= MOST_PROBLEMS {
        walk.table("", &mut Vec::new(), table.get_ref());
    }
    // On a line with a syntax error the parser guesses; what is wrong with the guess would only add noise.
    let broken: BTreeSet<_> = syntax.iter().filter_map(|problem| problem.origin.line()).collect();
    walk.read.problems.retain(|problem| problem.origin.line().is_none_or(|line| !broken.contains(&line)));
    walk.read.problems.extend(syntax);
    walk.read.problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    let untold = errors.len().saturating_sub(MOST_PROBLEMS) + walk.read.problems.len().saturating_sub(MOST_PROBLEMS);
    walk.read.problems.truncate(MOST_PROBLEMS);
    if untold > 0 {
        let end = walk.lines.origin(text.len()..text.len());
        walk.read.problems.push(Problem::new(end, None, format!("and {untold} more problems in this file")));
    }
    walk.read
}

struct Walk<'a> {
    lines: Lines<'a>,
    base: Base<'a>,
    read: Read,
}

impl Walk<'_> {
    /// Reads a table whose keys stand below `prefix` in the table of keys.
    fn table(&mut self, prefix: &str, names: &mut Vec<String>, table: &DeTable<'_>) {
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in rows {
            self.row(prefix, names, key, value);
        }
    }

    fn row(
        &mut self,
        prefix: &str,
        names: &mut Vec<String>,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = key.get_ref().as_ref();
        let origin = self.lines.origin(key.span());
        let literal = join(prefix, name);
        let (pattern, named) =
            match (children(prefix).any(|child| child == name), children(prefix).any(|child| child == "*")) {
                (true, _) => (literal, false),
                (false, true) => (join(prefix, "*"), true),
                (false, false) => return self.unknown(prefix, names, name, origin),
            };
        if named {
            let Some(name) = self.name(prefix, names, name, value.get_ref(), &origin) else { return };
            names.push(name);
        }
        self.value(&pattern, names, origin, value);
        if named {
            names.pop();
        }
    }

    fn value(&mut self, pattern: &str, names: &mut Vec<String>, origin: Origin, value: &Spanned<DeValue<'_>>) {
        if let Some(key) = key_at(pattern) {
            // What the parser put in place of a value that it could not read has no extent; it has told of it already.
            if value.span().is_empty() {
                return;
            }
            let spot = Spot { key, names: names.clone() };
            match key.kind.read(&raw(value.get_ref()), self.base) {
                Ok(value) => drop(self.read.layer.insert(spot, (value, origin))),
                Err(refusal) => {
                    let origin = self.lines.origin(value.span());
                    self.read.problems.push(Problem::new(origin, spot.shown(), refusal.why).meant(refusal.nearest));
                }
            }
            return;
        }
        let list = children(pattern).any(|child| child == "[]");
        match value.get_ref() {
            DeValue::Table(table) if !list => self.table(pattern, names, table),
            DeValue::Array(items) if list => {
                for (index, item) in items.iter().enumerate() {
                    names.push(index.to_string());
                    match item.get_ref() {
                        DeValue::Table(table) => self.table(&join(pattern, "[]"), names, table),
                        _ => self.expected_table(pattern, names, self.lines.origin(item.span())),
                    }
                    names.pop();
                }
            }
            _ => self.expected_table(pattern, names, origin),
        }
    }

    fn expected_table(&mut self, pattern: &str, names: &[String], origin: Origin) {
        let (what, holds) = match children(pattern).any(|child| child == "[]") {
            true => ("a list of tables", join(pattern, "[]")),
            false => ("a table", pattern.to_owned()),
        };
        let inside: Vec<_> = children(&holds).collect();
        let inside = if inside == ["*"] { "names of your own".to_owned() } else { inside.join(", ") };
        self.read.problems.push(Problem::new(origin, named(pattern, names), format!("expected {what} with {inside}")));
    }

    fn unknown(&mut self, prefix: &str, names: &[String], name: &str, origin: Origin) {
        let meant = nearest(name, children(prefix));
        let mut message = format!("unknown key `{}`", mask(&shorten(name)));
        if meant.is_none() {
            message.push_str(&format!(": valid here are {}", children(prefix).collect::<Vec<_>>().join(", ")));
        }
        let place = Some(named(prefix, names)).filter(|place| !place.is_empty());
        self.read.problems.push(Problem::new(origin, place, message).meant(meant.map(str::to_owned)));
    }

    /// Checks a name that the file chose, and gives it in the form that the rest of the program uses.
    fn name(
        &mut self,
        prefix: &str,
        names: &[String],
        name: &str,
        value: &DeValue<'_>,
        origin: &Origin,
    ) -> Option<String> {
        let checked = match prefix {
            "providers" => ProviderId::new(name).map(|id| canonical(id.as_str(), value)),
            "routes" => ModelName::new(name).map(String::from),
            "teams" => Namespace::new(name).map(String::from),
            "prices" | "models" if !name.contains('/') => {
                Err(crate::error::Error::invalid(format!("{:?} is not provider/model", shorten(name))))
            }
            "prices" | "models" | "routes.*.weights" => ModelName::new(name).map(String::from),
            _ => match name.parse::<http::HeaderName>() {
                Ok(_) => Ok(name.to_owned()),
                Err(_) => Err(crate::error::Error::invalid(format!("{:?} is not the name of a header", shorten(name)))),
            },
        };
        let name = match checked {
            Ok(name) => name,
            Err(error) => {
                self.read.problems.push(Problem::new(origin.clone(), named(prefix, names), error.message()));
                return None;
            }
        };
        let section = match prefix {
            "providers" => "providers",
            "routes" => "routes",
            "teams" => "teams",
            "models" => "models",
            "prices" => "prices",
            _ => return Some(name),
        };
        if let Some(first) = self.read.sections.get(&(section, name.clone())) {
            let message = format!("`{name}` is here twice: the other one is at {first}");
            self.read.problems.push(Problem::new(origin.clone(), format!("{section}.{name}"), message));
            return None;
        }
        self.read.sections.insert((section, name.clone()), origin.clone());
        Some(name)
    }
}

/// An alias stands for its provider, unless the section makes a provider of its own under that name.
fn canonical(name: &str, section: &DeValue<'_>) -> String {
    let own = section.as_table().is_some_and(|table| ["base_url", "preset"].iter().any(|key| table.contains_key(*key)));
    builtin(name).filter(|_| !own).map_or(name, |row| row.id).to_owned()
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// The parts that may follow `prefix`, each once.
fn children(prefix: &str) -> impl Iterator<Item = &'static str> {
    let skip = if prefix.is_empty() { 0 } else { prefix.len() + 1 };
    let mut parts: Vec<&'static str> = KEYS
        .iter()
        .filter(|key| skip == 0 || (key.path.starts_with(prefix) && key.path.as_bytes().get(skip - 1) == Some(&b'.')))
        .filter_map(|key| key.path.get(skip..)?.split('.').next())
        .collect();
    parts.dedup();
    parts.into_iter()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number beyond all bounds"), Raw::Integer),
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// Finds line and column of a byte.
struct Lines<'a> {
    text: &'a str,
    path: Arc<Path>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str, path: Arc<Path>) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, path, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let at = span.start.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        Origin::File { path: self.path.clone(), line, column }
    }
}

/// The file to read, and whether it must be there.
pub(super) fn chosen(flag: Option<&Path>, environment: &super::env::Environment) -> Option<(PathBuf, bool)> {
    let named = flag.map(Path::to_path_buf).or_else(|| environment.config_file());
    named.map(|path| (path, true)).or_else(|| environment.places().config_file().map(|path| (path, false)))
}
