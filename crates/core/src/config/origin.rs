//! Where each value came from, what was wrong with those that were refused, and how both are shown.
//!
//! Plain data for `config show`, `config check` and `doctor`; nothing is decided here. Secrets never get this far: a shown value is `set (…)`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::env::{Environment, Places};
use super::join::{self, Flags};
use super::{Kind, Settings};
use crate::error::{Error, Result};
use crate::secret::mask;

/// Where a value came from, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// The config file.
    File {
        /// The file.
        path: Arc<std::path::Path>,
        /// The line, from 1; 0 where it is the file as a whole.
        line: usize,
        /// The column in characters, from 1; 0 where it is the file as a whole.
        column: usize,
    },
    /// A variable, by its full name.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
    /// The request itself.
    Request,
}

impl Origin {
    /// The line of the file, if it is one.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
            Self::Request => f.write_str("request"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Where it is.
    pub origin: Origin,
    /// The key that it concerns, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
    /// The name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Problem {
    pub(super) fn new(origin: Origin, key: impl Into<Option<String>>, message: impl Into<String>) -> Self {
        // A key may have been pasted where a name belongs; masking here, once, covers every message.
        let key: Option<String> = key.into();
        let key = key.map(|key| masked(&key));
        Self { origin, key, message: mask(&message.into()).into_owned(), nearest: None }
    }

    pub(super) fn meant(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with the configuration, in the order of the file, then of the variables and flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One error of kind `caller_invalid_request` with a line for each problem.
impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        // An error message is bounded; what no longer fits is counted rather than cut in the middle of a line.
        const ROOM: usize = 1800;
        let mut text = String::new();
        let mut left = problems.0.len();
        for problem in &problems.0 {
            let line = problem.to_string();
            if text.len() + line.len() > ROOM {
                break;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
            left -= 1;
        }
        if left > 0 {
            text.push_str(&format!("\nand {left} more"));
        }
        Error::invalid(text).with_hint("`llm-router config check` lists everything that is wrong")
    }
}

/// Something that does not keep the configuration from being used and that its owner would want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// Where it is.
    pub origin: Origin,
    /// The key that it concerns, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is to be known.
    pub message: String,
}

impl Warning {
    pub(super) fn new(origin: Origin, key: &str, message: impl Into<String>) -> Self {
        Self { origin, key: Some(masked(key)), message: mask(&message.into()).into_owned() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// One value of the configuration, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The key, `providers.lab.base_url` for example.
    pub key: String,
    /// The value; `null` where nothing is set, `set (…)` for a secret.
    pub value: serde_json::Value,
    /// Where it came from.
    pub origin: Origin,
    /// What else is to be known of it: a variable that is not set, a key that has no effect yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What tells a secret from the one that was there before ([`Secret::fingerprint`](crate::secret::Secret::fingerprint)); none for other values. It is not shown.
    #[serde(skip)]
    pub fingerprint: Option<String>,
}

/// A configuration that was read and is sound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Each value with its origin, in the order of the reference: for `config show`.
    pub entries: Vec<Entry>,
    /// What its owner would want to know.
    pub warnings: Vec<Warning>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
    /// The user's folders.
    pub places: Places,
}

impl Settings {
    /// Reads file, environment and flags, joins them and checks the whole.
    ///
    /// # Errors
    /// Every problem at once. `?` turns them into one `caller_invalid_request` with a line each.
    pub fn load(environment: &Environment, flags: &Flags) -> Result<Loaded, Problems> {
        join::load(environment, flags)
    }
}

impl Loaded {
    /// The folder of stored answers.
    ///
    /// # Errors
    /// `router_unavailable` where neither a setting nor the environment names one.
    pub fn answers_dir(&self) -> Result<PathBuf> {
        self.settings.cache.dir.clone().map_or_else(|| self.places.cache().map(|cache| cache.to_path_buf()), Ok)
    }

    /// The folder of model files.
    ///
    /// # Errors
    /// `router_unavailable` where neither a setting nor the environment names one.
    pub fn models_dir(&self) -> Result<PathBuf> {
        self.settings.local.models_dir.clone().map_or_else(|| self.places.cache().map(|cache| cache.join("models")), Ok)
    }

    /// Where the value of a key came from.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.origin)
    }

    /// The configuration as text, a line a key, in TOML's words: `server.port = 8000`, with `# origin` where asked for.
    pub fn show(&self, origin: bool) -> String {
        let lines: Vec<(String, String)> =
            self.entries.iter().map(|entry| (entry.line(), entry.remark(origin))).collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
        let mut out = String::new();
        for (line, remark) in lines {
            let padding = width.saturating_sub(line.chars().count());
            match remark.is_empty() {
                true => out.push_str(&format!("{line}\n")),
                false => out.push_str(&format!("{line}{:padding$}  # {remark}\n", "")),
            }
        }
        out
    }

    /// The configuration as JSON: the entries, the warnings and the file.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "file": self.file, "settings": self.entries, "warnings": self.warnings })
    }
}

impl Entry {
    pub(super) fn unset(&self) -> bool {
        self.value.is_null()
    }

    fn line(&self) -> String {
        // A key without a value is shown as a comment, so that the output stays TOML.
        if self.unset() { format!("# {}", self.key) } else { format!("{} = {}", self.key, self.value) }
    }

    fn remark(&self, origin: bool) -> String {
        let origin = origin.then(|| self.origin.to_string());
        let parts: Vec<String> = origin.into_iter().chain(self.note.clone()).collect();
        parts.join("; ")
    }
}

/// A dotted path, each name of it masked where it looks like a key.
fn masked(path: &str) -> String {
    path.split('.').map(mask).collect::<Vec<_>>().join(".")
}

/// A value of the reference as JSON, for defaults.
pub(super) fn default_value(kind: Kind, default: &str) -> serde_json::Value {
    if default.is_empty() {
        return serde_json::Value::Null;
    }
    let raw = super::value::Raw::Untyped(default.trim_matches('"').to_owned());
    kind.read(&raw, super::value::Base::default()).map_or(serde_json::Value::Null, |value| value.shown(kind))
}
