//! The kinds of values that a key or a variable takes: reading one from a TOML value or from text, and showing it again.
//!
//! Every refusal says what would be right. A refused text is repeated only where it cannot be a secret. Read next: `parse.rs`, where each kind is read, and `keys.rs`, which gives each key its kind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ids::{ModelName, ProviderId};
use crate::secret::{Secret, mask};

use super::output::{Condition, OutputForm, Pick};
use super::parse::{
    address, argv, command, describe_error, dollars, duration, flag, groups, integer, path, plain, secret,
    show_duration, show_size, size, texts, url, variable_name, word,
};

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
    /// An amount of money.
    Dollars,
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
    /// The name of a variable, or a list of them.
    VariableNames,
    /// A command line: words, with quotes where a word holds spaces.
    Command,
    /// The form of a program's output.
    Output,
    /// A place in a line of JSON.
    Pick,
    /// What a line of JSON must hold.
    Condition,
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
            Self::Dollars => "an amount of dollars such as `\"2.50\"`, or a whole number".into(),
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
            Self::VariableNames => "the name of a variable or a list of them".into(),
            Self::Command => "a command line".into(),
            Self::Output => "`text`, `lines` or a JSON pointer such as `/result/text`".into(),
            Self::Pick => "a JSON pointer, with ` where POINTER=VALUE` behind it where only some lines count".into(),
            Self::Condition => "a JSON pointer, with `=VALUE` behind it where only that value counts".into(),
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

pub(super) type Read<T> = Result<T, Refusal>;

impl Raw {
    pub(super) fn text(&self, kind: Kind) -> Read<&str> {
        match self {
            Raw::Text(text) | Raw::Untyped(text) => Ok(text),
            other => Err(other.wrong(kind)),
        }
    }

    /// The refusal of a value of the wrong type. It never repeats the value.
    pub(super) fn wrong(&self, kind: Kind) -> Refusal {
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
            Kind::Dollars => Value::Integer(dollars(raw)?),
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
            Kind::VariableNames => Value::List(
                texts(raw, self)?.iter().map(|text| variable_name(text).map(str::to_owned)).collect::<Read<_>>()?,
            ),
            Kind::Command => Value::Text(command(raw.text(self)?)?.to_owned()),
            Kind::Output => Value::Text(said(raw.text(self)?, |text| OutputForm::parse(text).map(drop))?),
            Kind::Pick => Value::Text(said(raw.text(self)?, |text| Pick::parse(text).map(drop))?),
            Kind::Condition => Value::Text(said(raw.text(self)?, |text| Condition::parse(text).map(drop))?),
            Kind::Groups => Value::Groups(groups(raw)?),
            Kind::Address => Value::Text(address(raw.text(self)?)?.to_owned()),
        })
    }
}

/// A text that one of the settings' own readers takes.
fn said(text: &str, read: impl Fn(&str) -> Result<(), String>) -> Read<String> {
    read(text).map_err(|error| mask(&error).into_owned())?;
    Ok(text.to_owned())
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
            Value::Integer(micros) if kind == Kind::Dollars => {
                crate::pricing::dollars(*micros).trim_start_matches('$').into()
            }
            Value::Integer(number) => (*number).into(),
            Value::Duration(duration) => show_duration(*duration).into(),
            Value::Text(text) => mask(text).into(),
            Value::List(list) => list.iter().map(|text| mask(text).into_owned()).collect(),
            Value::Groups(groups) => groups.iter().cloned().collect(),
            Value::Secret(_) => "set (…)".into(),
        }
    }
}
