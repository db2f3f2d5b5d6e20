//! A config file, an environment and flags, put together as a sentence.

use std::path::PathBuf;

use llm_router::config::{Environment, Flags, Loaded, Problems, Settings};
use llm_router::ids::ProviderId;
use tempfile::TempDir;

/// A config file, an environment and flags that read as a sentence.
pub(crate) struct Case {
    pub(crate) folder: TempDir,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) flags: Flags,
}

pub(crate) fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap().to_owned();
    Case { folder, variables: vec![("HOME".into(), home)], flags: Flags::new() }
}

impl Case {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(".config/ipfs-llm-router/config.toml")
    }

    pub(crate) fn file(self, text: impl AsRef<[u8]>) -> Self {
        std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        std::fs::write(self.path(), text).unwrap();
        self
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub(crate) fn flags(mut self, change: impl FnOnce(Flags) -> Flags) -> Self {
        self.flags = change(self.flags);
        self
    }

    pub(crate) fn environment(&self) -> Environment {
        self.variables.iter().map(|(name, value)| (name, value)).collect()
    }

    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        Settings::load(&self.environment(), &self.flags)
    }

    pub(crate) fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    pub(crate) fn problems(&self) -> String {
        self.tidy(&self.load().unwrap_err().to_string())
    }

    /// The text with the file and the home under names that are the same everywhere.
    pub(crate) fn tidy(&self, text: &str) -> String {
        text.replace(self.path().to_str().unwrap(), "config.toml").replace(self.folder.path().to_str().unwrap(), "~")
    }
}

pub(crate) fn id(text: &str) -> ProviderId {
    ProviderId::new(text).unwrap()
}

pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
