//! A provider that is known by name but has nothing behind it here: listed, explained, never tried.
//!
//! `accelerate` and `local_hf` run in Python; where they cannot start, people should read what is missing rather than "unknown provider".

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Availability, Call, Describe, Provider};
use crate::delta::DeltaStream;
use crate::error::{Error, Result};

/// A provider without an engine.
#[derive(Clone, Debug)]
pub struct AbsentProvider {
    describe: Describe,
    what: String,
    hint: String,
}

impl AbsentProvider {
    /// A provider that says what is missing and what to do about it.
    pub fn new(describe: Describe, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { describe, what: what.into(), hint: hint.into() }
    }
}

impl Provider for AbsentProvider {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        Availability::missing(&self.what, &self.hint)
    }

    async fn generate(&self, _: Arc<Call>) -> Result<DeltaStream> {
        Err(Error::unavailable(&self.what).with_hint(&self.hint))
    }
}

/// The folder of a Python package in the site-packages of the `python3` that a search path would start: found by looking, not by importing.
pub fn python_package(package: &str, search_path: &[PathBuf]) -> Option<PathBuf> {
    let python = search_path.iter().map(|folder| folder.join("python3")).find(|program| program.is_file())?;
    let prefix = python.parent()?.parent()?;
    let versions = std::fs::read_dir(prefix.join("lib")).ok()?.flatten().take(64);
    let named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"));
    versions.map(|entry| entry.path()).filter(|path| named(path)).find_map(|version| {
        let package = version.join("site-packages").join(package);
        package.is_dir().then_some(package)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_package_is_found_beside_the_python_that_would_start() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        let package = root.path().join("lib/python3.11/site-packages/transformers");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(&package).unwrap();
        assert_eq!(python_package("transformers", std::slice::from_ref(&bin)), None);
        std::fs::write(bin.join("python3"), "").unwrap();
        assert_eq!(python_package("transformers", std::slice::from_ref(&bin)), Some(package));
        assert_eq!(python_package("torch", &[bin]), None);
    }
}
