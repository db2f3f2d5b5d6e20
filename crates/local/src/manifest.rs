//! The record beside a fetched model file: where it came from and what it was, so that it can be named in a cache key, checked against
//! its source and told from another of the same name. It fetches nothing; `fetch.rs` writes it.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is known of a model file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The form of this record: 1.
    pub v: u32,
    /// What was asked for, as in `hf:owner/repo/file.gguf`.
    pub source: String,
    /// The commit of the repository that served it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The entity tag it was served under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// SHA-256 of the file, in lower-case hex.
    pub sha256: String,
    /// Bytes of the file.
    pub size: u64,
    /// When it landed, in seconds since 1970, UTC.
    pub fetched: u64,
}

impl Manifest {
    /// A record of the present form.
    pub fn new(source: impl Into<String>, sha256: impl Into<String>, size: u64, fetched: u64) -> Self {
        Self { v: 1, source: source.into(), commit: None, etag: None, sha256: sha256.into(), size, fetched }
    }

    /// Where the record of a model file lies.
    pub fn path(model: &Path) -> PathBuf {
        beside(model, "manifest.json")
    }

    /// The record of a model file; `None` where there is none, or none that fits the file that is there.
    pub fn read(model: &Path) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(&std::fs::read(Self::path(model)).ok()?).ok()?;
        let size = std::fs::metadata(model).ok()?.len();
        (manifest.v == 1 && manifest.size == size && manifest.sha256.len() == 64).then_some(manifest)
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, model: &Path) -> std::io::Result<()> {
        let path = Self::path(model);
        let draft = beside(&path, "new");
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path));
        // A disk that was full in between leaves no half of one.
        written.inspect_err(|_| drop(std::fs::remove_file(draft)))
    }

    /// The short form that cache keys use: the first 16 digits of the digest.
    pub fn short_digest(&self) -> &str {
        self.sha256.get(..16).unwrap_or(&self.sha256)
    }
}

/// What tells a model file from others of its name without reading it: the digest on its record, or, for a file of the user's own, a mark made of
/// its path, size and time. Hexadecimal, at least 16 digits; `None` where there is no file.
#[must_use]
pub fn mark(model: &Path) -> Option<String> {
    if let Some(manifest) = Manifest::read(model) {
        return Some(manifest.sha256);
    }
    let file = std::fs::metadata(model).ok()?;
    let changed = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let text = format!("{}\0{}\0{}", model.display(), file.len(), changed.as_nanos());
    Some(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A path with more behind its name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_reads_back_and_only_beside_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.gguf");
        std::fs::write(&model, "12345").unwrap();
        assert_eq!(Manifest::read(&model), None);
        let manifest = Manifest { commit: Some("abc".into()), ..Manifest::new("hf:a/b/m.gguf", "0".repeat(64), 5, 7) };
        manifest.write(&model).unwrap();
        assert_eq!(Manifest::path(&model), folder.path().join("m.gguf.manifest.json"));
        assert_eq!(Manifest::read(&model), Some(manifest.clone()));
        assert_eq!(manifest.short_digest(), "0000000000000000");
        std::fs::write(&model, "another file").unwrap();
        assert_eq!(Manifest::read(&model), None);
        std::fs::write(Manifest::path(&model), "{").unwrap();
        assert_eq!(Manifest::read(&model), None);
    }
}
