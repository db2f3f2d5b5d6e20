//! The kinds of values that a key or a variable takes: reading one from a TOML value or from text, and showing it again.
//!
//! Every refusal says what would be right. A refused text is repeated only where it cannot be a secret. Read next: `keys.rs`, which gives each key its kind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ids::{ModelName, ProviderId, shorten};
use crate::secret::{Secret, mask};

use super::names::nearest;

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`; a variable is off with `0`, `false`, `no`, `off` and on with anything else.
    Flag,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A length of time: a number and a unit.
    Duration,
    /// A number of bytes.
    Size,
    /// An `http` or `https` address.
    Url,
    /// A path of a file or folder.
    Path,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or a list of them.
    Words(&'static [&'static str]),
    /// A text or a list of texts.
    List,
    /// A program and its arguments.
    Argv,
    /// A model's name.
    Model,
    /// A provider's id.
    Provider,
    /// The preset of a provider.
    Preset,
    /// A path of a model file, or `hf:owner/repo/file.gguf`, or `hf:owner/repo:QUANT`.
    ModelSource,
    /// A secret.
    Secret,
    /// The name of a variable.
    VariableName,
    /// A command line: words, with quotes where a word holds spaces.
    Command,
    /// Lists of targets.
    Groups,
    /// `host:port`.
    Address,
}

impl Kind {
    /// The kind in words, for documents and messages.
    pub fn describe(self) -> String {
        match self {
            Self::Flag => "`true` or `false`".into(),
            Self::Integer { min, max } => format!("a whole number, {min} to {max}"),
            Self::Duration => "a duration such as `500ms`, `5s`, `10m`, `24h`, `7d`".into(),
            Self::Size => "a size in bytes such as `64MiB`, `1GiB`".into(),
            Self::Url => "an http or https address".into(),
            Self::Path => "a path".into(),
            Self::Text => "text".into(),
            Self::Word(words) => format!("one of {}", quoted(words)),
            Self::Words(words) => format!("one or a list of {}", quoted(words)),
            Self::List => "a text or a list of texts".into(),
            Self::Argv => "a list of words, the program first".into(),
            Self::Model => "a model name".into(),
            Self::Provider => "a provider id".into(),
            Self::Preset => "the id of a preset".into(),
            Self::ModelSource => "a path, `hf:owner/repo/file.gguf` or `hf:owner/repo:QUANT`".into(),
            Self::Secret => "a secret".into(),
            Self::VariableName => "the name of a variable".into(),
            Self::Command => "a command line".into(),
            Self::Groups => "lists of targets, each `provider`, `provider/model` or a route".into(),
            Self::Address => "`host:port`".into(),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A value as its source wrote it.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// A TOML string.
    Text(String),
    /// The text of a variable or a flag, where numbers and booleans have no type of their own.
    Untyped(String),
    Flag(bool),
    Integer(i128),
    List(Vec<Raw>),
    /// Anything else, by name.
    Other(&'static str),
}

/// What paths are relative to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Base<'a> {
    /// The folder of the file, for paths written in it.
    pub(super) folder: Option<&'a Path>,
    /// What `~/` stands for.
    pub(super) home: Option<&'a Path>,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Flag(bool),
    Integer(u64),
    Duration(Duration),
    Text(String),
    List(Vec<String>),
    Groups(Vec<Vec<String>>),
    Secret(Secret),
}

/// Why a value was refused, and the word that was probably meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) nearest: Option<String>,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, nearest: None }
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

type Read<T> = Result<T, Refusal>;

impl Raw {
    fn text(&self, kind: Kind) -> Read<&str> {
        match self {
            Raw::Text(text) | Raw::Untyped(text) => Ok(text),
            other => Err(other.wrong(kind)),
        }
    }

    /// The refusal of a value of the wrong type. It never repeats the value.
    fn wrong(&self, kind: Kind) -> Refusal {
        let found = match self {
            Raw::Text(_) | Raw::Untyped(_) => "a text",
            Raw::Flag(_) => "a boolean",
            Raw::Integer(_) => "a number",
            Raw::List(_) => "a list",
            Raw::Other(name) => name,
        };
        format!("expected {}, found {found}", kind.describe()).into()
    }
}

impl Kind {
    /// Reads a value of this kind.
    pub(super) fn read(self, raw: &Raw, base: Base<'_>) -> Read<Value> {
        Ok(match self {
            Kind::Flag => Value::Flag(flag(raw)?),
            Kind::Integer { min, max } => Value::Integer(integer(raw, self, min, max)?),
            Kind::Duration => Value::Duration(match raw {
                Raw::Integer(number) => {
                    return Err(format!("{number} has no unit: write \"{number}s\" or \"{number}ms\"").into());
                }
                // The original gives seconds in its variables.
                Raw::Untyped(text) if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                    duration(&format!("{text}s"))?
                }
                _ => duration(raw.text(self)?)?,
            }),
            Kind::Size => Value::Integer(size(raw)?),
            Kind::Url => Value::Text(url(raw.text(self)?)?),
            Kind::Path => Value::Text(path(raw.text(self)?, base)?),
            Kind::ModelSource => Value::Text(match raw.text(self)?.trim() {
                hub if hub.starts_with("hf:") => hub.to_owned(),
                file => path(file, base)?,
            }),
            Kind::Text => Value::Text(plain(raw.text(self)?)?.to_owned()),
            Kind::Word(words) => Value::Text(word(raw.text(self)?, words)?),
            Kind::Words(words) => {
                Value::List(texts(raw, self)?.iter().map(|text| word(text, words)).collect::<Read<_>>()?)
            }
            Kind::List => Value::List(
                texts(raw, self)?.into_iter().map(|text| plain(&text).map(str::to_owned)).collect::<Read<_>>()?,
            ),
            Kind::Argv => Value::List(argv(raw)?),
            Kind::Model => Value::Text(
                ModelName::new(raw.text(self)?)
                    .map(String::from)
                    .map_err(|error| mask(error.message()).into_owned())?,
            ),
            Kind::Provider => Value::Text(ProviderId::new(raw.text(self)?).map(String::from).map_err(describe_error)?),
            Kind::Preset => {
                let names: Vec<_> = super::names::presets().collect();
                Value::Text(word(raw.text(self)?, &names)?)
            }
            Kind::Secret => Value::Secret(secret(raw, self)?),
            Kind::VariableName => Value::Text(variable_name(raw.text(self)?)?.to_owned()),
            Kind::Command => Value::Text(command(raw.text(self)?)?.to_owned()),
            Kind::Groups => Value::Groups(groups(raw)?),
            Kind::Address => Value::Text(address(raw.text(self)?)?.to_owned()),
        })
    }
}

fn describe_error(error: crate::error::Error) -> String {
    match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

/// A text of the config in a message: cut, and masked where it looks like a key.
fn show(text: &str) -> String {
    format!("{:?}", mask(&shorten(text)))
}

fn flag(raw: &Raw) -> Read<bool> {
    match raw {
        Raw::Flag(flag) => Ok(*flag),
        Raw::Untyped(text) => {
            Ok(!["0", "false", "no", "off"].iter().any(|word| text.trim().eq_ignore_ascii_case(word)))
        }
        other => Err(other.wrong(Kind::Flag)),
    }
}

fn integer(raw: &Raw, kind: Kind, min: u64, max: u64) -> Read<u64> {
    let number = match raw {
        Raw::Integer(number) => *number,
        Raw::Untyped(text) => text.trim().parse().map_err(|_| format!("{} is not {}", show(text), kind.describe()))?,
        other => return Err(other.wrong(kind)),
    };
    let fits = u64::try_from(number).ok().filter(|number| (min..=max).contains(number));
    fits.ok_or_else(|| format!("{number} is out of range: write {}", kind.describe()).into())
}

/// Splits `"1.5h"` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

const UNITS_OF_TIME: &[(&str, f64)] =
    &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// Ten years: past this a "duration" is a slip, and sums of instants stay far from overflow.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;

fn duration(text: &str) -> Read<Duration> {
    let wrong =
        || Refusal::from(format!("{} is not a duration: write \"500ms\", \"5s\", \"10m\" or \"24h\"", show(text)));
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let (_, factor) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let seconds = number * factor;
    if !(0.001..=LONGEST).contains(&seconds) {
        return Err(format!("{} is out of range: 1ms to 10 years", show(text)).into());
    }
    // Through whole microseconds, so that 0.1 + 0.2 never shows up as a tail of digits.
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

const UNITS_OF_SIZE: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

fn size(raw: &Raw) -> Read<u64> {
    let text = match raw {
        Raw::Integer(number) => {
            return u64::try_from(*number).map_err(|_| format!("{number} is not a size in bytes").into());
        }
        other => other.text(Kind::Size)?,
    };
    let read = || {
        let (number, unit) = number_and_unit(text)?;
        let (_, factor) = UNITS_OF_SIZE.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        let bytes = number * *factor as f64;
        (bytes < 9e15).then_some(bytes as u64)
    };
    read().ok_or_else(|| format!("{} is not a size: write \"64MiB\" or \"1GiB\"", show(text)).into())
}

/// Checks an address and gives it without a slash at its end.
pub(super) fn url(text: &str) -> Read<String> {
    let text = text.trim();
    // Nothing of an address that may hold a password or a key is repeated.
    if text.contains('@') {
        return Err("the address holds a user name or password: use api_key_env or headers".into());
    }
    if text.contains(['?', '#']) {
        return Err("the address has a query or fragment: paths are appended to it, so leave both out".into());
    }
    let wrong = || {
        Refusal::from(format!("{} is not an http or https address such as \"http://127.0.0.1:8000/v1\"", show(text)))
    };
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|host| !host.is_empty());
    let port_ok = uri.authority().is_some_and(|authority| {
        let rest = authority.as_str().strip_prefix(host.unwrap_or_default()).unwrap_or_default();
        rest.is_empty() || authority.port_u16().is_some()
    });
    match uri.scheme_str() {
        Some("http" | "https") if host.is_some() && port_ok => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(wrong()),
    }
}

fn path(text: &str, base: Base<'_>) -> Read<String> {
    let text = plain(text)?.trim();
    if text.is_empty() {
        return Err("the path is empty".into());
    }
    let path = match text.strip_prefix("~/") {
        Some(rest) => base.home.ok_or("`~` stands for $HOME, which is not set: write the whole path")?.join(rest),
        None => match base.folder {
            Some(folder) => folder.join(text),
            None => PathBuf::from(text),
        },
    };
    Ok(path.to_string_lossy().into_owned())
}

/// Any text without control characters: one that holds a NUL or an escape sequence would break a header, an argument or the terminal.
fn plain(text: &str) -> Read<&str> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(format!("the text holds the control character U+{:04X}", u32::from(c)).into()),
        None => Ok(text),
    }
}

fn word(text: &str, words: &[&str]) -> Read<String> {
    let lower = text.trim().to_ascii_lowercase();
    if words.contains(&lower.as_str()) {
        return Ok(lower);
    }
    let nearest = nearest(&lower, words.iter().copied()).map(str::to_owned);
    Err(Refusal { why: format!("{} is not one of {}", show(text), words.join(", ")), nearest })
}

fn texts(raw: &Raw, kind: Kind) -> Read<Vec<String>> {
    match raw {
        Raw::Text(text) => Ok(vec![text.clone()]),
        Raw::Untyped(text) => {
            Ok(text.split(',').map(|part| part.trim().to_owned()).filter(|s| !s.is_empty()).collect())
        }
        Raw::List(items) => items.iter().map(|item| item.text(kind).map(str::to_owned)).collect(),
        other => Err(other.wrong(kind)),
    }
}

fn argv(raw: &Raw) -> Read<Vec<String>> {
    let Raw::List(words) = raw else { return Err(raw.wrong(Kind::Argv)) };
    let words: Vec<_> =
        words.iter().map(|word| plain(word.text(Kind::Argv)?).map(str::to_owned)).collect::<Read<_>>()?;
    match words.first() {
        Some(program) if !program.trim().is_empty() => Ok(words),
        _ => Err("the program is missing: write [\"program\", \"argument\"]".into()),
    }
}

fn secret(raw: &Raw, kind: Kind) -> Read<Secret> {
    let secret = Secret::new(raw.text(kind)?);
    if secret.is_empty() {
        return Err("the secret is empty".into());
    }
    if !secret.expose().bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err("the secret holds a character that no header can carry".into());
    }
    Ok(secret)
}

fn variable_name(text: &str) -> Read<&str> {
    let name = text.trim();
    let fits = !name.is_empty()
        && !name.as_bytes().first().is_some_and(u8::is_ascii_digit)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // Not repeated: a key pasted here is the likeliest slip.
    fits.then_some(name)
        .ok_or_else(|| "not the name of a variable (letters, digits, `_`): the key itself goes in api_key".into())
}

/// Checks that the quotes of a command line are closed, as the splitter in `provider/process.rs` will need.
fn command(text: &str) -> Read<&str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the command is empty".into());
    }
    if text.contains('\0') {
        return Err("the command holds a NUL".into());
    }
    let mut open = None;
    let mut escaped = false;
    for c in text.chars() {
        match (open, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(quote), c) if quote == c => open = None,
            (None, '\'' | '"') => open = Some(c),
            _ => {}
        }
    }
    if escaped {
        return Err("the command ends with a lone `\\`".into());
    }
    match open {
        Some(quote) => Err(format!("the command has an unbalanced {quote}").into()),
        None => Ok(text),
    }
}

fn groups(raw: &Raw) -> Read<Vec<Vec<String>>> {
    let Raw::List(outer) = raw else { return Err(raw.wrong(Kind::Groups)) };
    if outer.is_empty() {
        return Err("a route needs at least one group of targets".into());
    }
    outer
        .iter()
        .map(|group| match group {
            Raw::List(targets) if targets.is_empty() => Err("a group is empty".into()),
            Raw::List(targets) => targets.iter().map(|target| target.text(Kind::Groups).map(str::to_owned)).collect(),
            other => Err(format!(
                "{}: each group is a list, [[\"a\", \"b\"], [\"c\"]] for example",
                other.wrong(Kind::Groups).why
            )
            .into()),
        })
        .collect()
}

fn address(text: &str) -> Read<&str> {
    let text = text.trim();
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok() && !host.contains(|c: char| c.is_whitespace() || c == '/')
    });
    valid.then_some(text).ok_or_else(|| format!("{} is not host:port, 127.0.0.1:9090 for example", show(text)).into())
}

/// `OLLAMA_HOST` in any form that Ollama takes (`host`, `:port`, `host:port`, a URL) as the base of its OpenAI-compatible API.
pub(super) fn ollama_host(text: &str) -> Read<String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let default_port = match (text.contains("://"), scheme) {
        (true, "http") => "80",
        (true, "https") => "443",
        _ => "11434",
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, default_port),
    };
    // 0.0.0.0 is where a server listens; a client goes to the loopback.
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let path = if path.is_empty() { "v1" } else { path };
    url(&format!("{scheme}://{host}:{port}/{path}"))
}

/// The address of an Azure resource as the base of its OpenAI-compatible API; one with a path is taken as it stands.
pub(super) fn azure_endpoint(text: &str) -> Read<String> {
    let base = url(text)?;
    let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    Ok(if has_path { base } else { format!("{base}/openai/v1") })
}

impl Value {
    pub(super) fn flag(&self) -> Option<bool> {
        if let Value::Flag(flag) = self { Some(*flag) } else { None }
    }

    pub(super) fn integer<T: TryFrom<u64>>(&self) -> Option<T> {
        if let Value::Integer(number) = self { T::try_from(*number).ok() } else { None }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        if let Value::Duration(duration) = self { Some(*duration) } else { None }
    }

    pub(super) fn text(&self) -> Option<String> {
        if let Value::Text(text) = self { Some(text.clone()) } else { None }
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        self.text().map(PathBuf::from)
    }

    pub(super) fn model(&self) -> Option<ModelName> {
        self.text().and_then(|text| ModelName::new(text).ok())
    }

    pub(super) fn provider(&self) -> Option<ProviderId> {
        self.text().and_then(|text| ProviderId::new(text).ok())
    }

    pub(super) fn secret(&self) -> Option<Secret> {
        if let Value::Secret(secret) = self { Some(secret.clone()) } else { None }
    }

    pub(super) fn list(&self) -> Option<Vec<String>> {
        if let Value::List(list) = self { Some(list.clone()) } else { None }
    }

    pub(super) fn groups(&self) -> Option<Vec<Vec<String>>> {
        if let Value::Groups(groups) = self { Some(groups.clone()) } else { None }
    }

    /// A word of a closed list as the enum that serde names so.
    pub(super) fn parsed<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        self.text().and_then(|text| serde_json::from_value(text.into()).ok())
    }

    /// The value as JSON; nothing of a secret.
    pub(super) fn shown(&self, kind: Kind) -> serde_json::Value {
        match self {
            Value::Flag(flag) => (*flag).into(),
            Value::Integer(bytes) if kind == Kind::Size => show_size(*bytes).into(),
            Value::Integer(number) => (*number).into(),
            Value::Duration(duration) => show_duration(*duration).into(),
            Value::Text(text) => mask(text).into(),
            Value::List(list) => list.iter().map(|text| mask(text).into_owned()).collect(),
            Value::Groups(groups) => groups.iter().cloned().collect(),
            Value::Secret(_) => "set (…)".into(),
        }
    }
}

fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let unit = UNITS_OF_TIME.iter().rev().find(|(_, seconds)| micros.is_multiple_of((seconds * 1e6) as u128));
    match unit {
        Some((name, seconds)) => format!("{}{name}", micros / ((seconds * 1e6) as u128)),
        None => format!("{}ms", micros as f64 / 1000.0),
    }
}

fn show_size(bytes: u64) -> String {
    let unit = UNITS_OF_SIZE.iter().take(6).rev().find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(name, size)| format!("{}{name}", bytes / size))
}
