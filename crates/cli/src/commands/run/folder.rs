//! A folder for the files that an agent is pointed at: its owner's alone, and gone when the agent has ended.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::output::{Failure, Outcome};

/// The folder.
#[derive(Debug)]
pub(super) struct Folder(TempDir);

impl Folder {
    /// A new one below the state folder, else below the system's for temporary files: what an agent changes in it can then be given back by a new name.
    pub(super) fn new(state: Option<&Path>) -> Outcome<Self> {
        let mine = fs::Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        builder.prefix("run-").permissions(mine);
        let made = match state {
            Some(state) => {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
                made.and_then(|()| builder.tempdir_in(state))
            }
            None => builder.tempdir(),
        };
        made.map(Self).map_err(|error| Failure::io("a folder for the agent's files", &error))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and says where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.0.path().join(name);
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let wrote = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        wrote.map_err(|error| Failure::io(&path.display().to_string(), &error))?;
        Ok(path)
    }
}
