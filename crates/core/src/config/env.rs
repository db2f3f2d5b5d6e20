//! The environment, read once: the only file of the project that does so.
//!
//! A snapshot is a value like any other, so that tests make their own from pairs and nothing changes under a running router. All of it is held as
//! [`Secret`]: any variable may turn out to be a key. What the names mean is in `variables.rs`.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::secret::Secret;

use super::names::nearest;
use super::variables::{PREFIXES, Scope, VARIABLES};

/// The folder name under each of the user's folders.
const FOLDER: &str = "ipfs-llm-router";

/// Prefix of this program's own variables.
const OWN_PREFIX: &str = "IPFS_LLM_ROUTER_";

/// A snapshot of the environment.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, Secret>,
    /// Values that are not UTF-8: fine for a path, an error for anything else.
    raw: BTreeMap<String, OsString>,
}

impl Environment {
    /// The environment of this process, as it is now.
    pub fn from_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable's value; an empty one is unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// A variable's value as a secret; an empty one is unset.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Every variable that is set to something in UTF-8, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.expose())).filter(|(_, value)| !value.is_empty())
    }

    /// Whether a variable is set to something that is not UTF-8.
    pub fn is_unreadable(&self, name: &str) -> bool {
        self.raw.contains_key(name)
    }

    /// A variable's value as the system gave it; an empty one is unset.
    fn os(&self, name: &str) -> Option<&OsStr> {
        let raw = self.raw.get(name).map(OsString::as_os_str);
        raw.or_else(|| self.get(name).map(OsStr::new)).filter(|value| !value.is_empty())
    }

    /// An absolute folder of a variable; the XDG rules say that a relative one is to be ignored.
    fn folder(&self, name: &str) -> Option<&Path> {
        self.os(name).map(Path::new).filter(|path| path.is_absolute())
    }

    /// The home folder.
    pub fn home(&self) -> Option<&Path> {
        self.folder("HOME")
    }

    /// Where files of this user belong.
    pub fn places(&self) -> Places {
        let place = |xdg: &str, below_home: &str| {
            let home = || self.home().map(|home| home.join(below_home));
            self.folder(xdg).map(Path::to_path_buf).or_else(home).map(|folder| folder.join(FOLDER))
        };
        Places {
            config: place("XDG_CONFIG_HOME", ".config"),
            cache: place("XDG_CACHE_HOME", ".cache"),
            data: place("XDG_DATA_HOME", ".local/share"),
        }
    }

    /// The config file that `IPFS_LLM_ROUTER_CONFIG` names.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.os("IPFS_LLM_ROUTER_CONFIG").map(PathBuf::from)
    }

    /// What `IPFS_LLM_ROUTER_LOG` says of how much is told on standard error.
    pub fn log(&self) -> Option<&str> {
        self.get("IPFS_LLM_ROUTER_LOG")
    }

    /// The folders where programs are looked for. Relative and empty entries are passed over: they would mean the working directory, where a cloned
    /// repository could plant a program.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let path = self.os("PATH").unwrap_or_default();
        std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect()
    }

    /// What the terminal wants.
    pub fn terminal(&self) -> Terminal {
        let dumb = self.get("TERM").is_none_or(|term| term == "dumb");
        Terminal { dumb, color: !dumb && self.get("NO_COLOR").is_none() }
    }

    /// Variables that are set, mean nothing here, and are spelt almost like one that does: for `doctor`.
    pub fn near_misses(&self) -> Vec<NearMiss> {
        let all = || VARIABLES.iter();
        let known: Vec<String> = all().flat_map(|variable| variable.names()).collect();
        let mut found = Vec::new();
        for name in self.values.keys().chain(self.raw.keys()).filter(|name| !known.contains(name)) {
            let prefix = PREFIXES.iter().chain(&[OWN_PREFIX]).find(|prefix| name.starts_with(**prefix));
            let Some(prefix) = prefix else { continue };
            let rest = &name[prefix.len()..];
            let candidates: Vec<&str> = if *prefix == OWN_PREFIX {
                all().filter_map(|variable| variable.name.strip_prefix(OWN_PREFIX)).collect()
            } else {
                all().filter(|variable| variable.scope != Scope::Bare).map(|variable| variable.name).collect()
            };
            // Two slips in a long name; other parts of those projects have short names of their own.
            let close = nearest(rest, candidates).filter(|meant| strsim::osa_distance(rest, meant) <= 2);
            if let Some(meant) = close.filter(|_| rest.len() >= 5) {
                found.push(NearMiss { name: name.clone(), meant: format!("{prefix}{meant}") });
            }
        }
        found
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.values.len() + self.raw.len())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = name.into().into_string() else { continue };
            match value.into().into_string() {
                Ok(value) => drop(environment.values.insert(name, Secret::new(value))),
                Err(raw) => drop(environment.raw.insert(name, raw)),
            }
        }
        environment
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().collect()
    }
}

/// A variable that is set and means nothing, beside the one that it was probably meant to be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct NearMiss {
    /// The variable that is set.
    pub name: String,
    /// The one that was probably meant.
    pub meant: String,
}

/// What the terminal wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terminal {
    /// It understands no escape sequences: no moving bars, no colours.
    pub dumb: bool,
    /// Colours are welcome, if it is a terminal at all.
    pub color: bool,
}

/// The user's folders, as far as the environment names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Places {
    /// The config folder.
    pub config: Option<PathBuf>,
    /// Models and stored answers: may be thrown away.
    pub cache: Option<PathBuf>,
    /// The state: peer identity, keys, usage. Whoever makes it gives it mode 0700.
    pub data: Option<PathBuf>,
}

impl Places {
    /// The folder for what may be thrown away.
    ///
    /// # Errors
    /// `router_unavailable` where neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn cache(&self) -> Result<&Path> {
        need(&self.cache, "cache", "XDG_CACHE_HOME")
    }

    /// The folder for what must be kept.
    ///
    /// # Errors
    /// `router_unavailable` where neither `XDG_DATA_HOME` nor `HOME` is set.
    pub fn data(&self) -> Result<&Path> {
        need(&self.data, "data", "XDG_DATA_HOME")
    }

    /// The default config file.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|folder| folder.join("config.toml"))
    }
}

fn need<'a>(place: &'a Option<PathBuf>, what: &str, variable: &str) -> Result<&'a Path> {
    place.as_deref().ok_or_else(|| {
        Error::new(
            crate::error::ErrorKind::RouterUnavailable,
            format!("there is no {what} folder: neither {variable} nor HOME holds an absolute path"),
        )
        .with_hint(format!("set HOME, or {variable}"))
    })
}
