//! A folder for the files that an agent is pointed at: its owner's alone, and gone when the agent has ended.
//!
//! It is locked for as long as we or the agent live, by a lock that ends with the last of them whatever ended it. What is not locked belongs to a run that was killed, and the next run
//! clears it away: `left.rs`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::{FdFlags, fcntl_setfd};
use tempfile::TempDir;

use crate::output::{Failure, Outcome};

/// How the names of these folders begin.
pub(super) const PREFIX: &str = "run-";
/// How often another one is made where somebody clears the new one away.
const TRIES: usize = 8;

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    dir: TempDir,
    lock: File,
}

impl Folder {
    /// A new one below the state folder, else below the system's for temporary files.
    pub(super) fn new(state: Option<&Path>) -> Outcome<Self> {
        let mine = fs::Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).permissions(mine);
        let made = || -> io::Result<Self> {
            if let Some(state) = state {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
            }
            for _ in 0..TRIES {
                let dir = state.map_or_else(|| builder.tempdir(), |state| builder.tempdir_in(state))?;
                if let Some(lock) = locked(dir.path())? {
                    return Ok(Self { dir, lock });
                }
            }
            Err(io::Error::other("each new one is cleared away"))
        };
        made().map_err(|error| Failure::io("a folder for the agent's files", &error))
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and says where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.path().join(name);
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let wrote = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        wrote.map_err(|error| Failure::io(&path.display().to_string(), &error))?;
        Ok(path)
    }

    /// Starts a program that holds the lock too: where we are killed it goes on with what is in here.
    pub(super) fn shared<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        fcntl_setfd(&self.lock, FdFlags::empty())?;
        let started = start();
        fcntl_setfd(&self.lock, FdFlags::CLOEXEC)?;
        started
    }

    /// Leaves it where it is.
    pub(super) fn keep(self) -> PathBuf {
        let path = self.dir.keep();
        kept(&path).unwrap_or(path)
    }
}

/// Gives a folder a name that is not cleared away, and says it.
pub(super) fn kept(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let to = path.with_file_name(format!("kept-{}", name.strip_prefix(PREFIX).unwrap_or(&name)));
    fs::rename(path, &to)?;
    Ok(to)
}

/// Locks a folder; `None` where somebody else has it, or it is gone already. Where the system has no locks, nobody clears anything away.
pub(super) fn locked(path: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    // Whoever had it before may have removed it.
    let is = folder.metadata()?;
    let there = fs::symlink_metadata(path).is_ok_and(|at| (at.dev(), at.ino()) == (is.dev(), is.ino()));
    Ok(there.then_some(folder))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    #[test]
    fn a_folder_is_locked_until_we_and_the_agent_are_gone() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(state.path())).unwrap();
        let path = folder.path().to_owned();
        assert!(locked(&path).unwrap().is_none());
        let mut agent = folder.shared(|| Command::new("cat").stdin(std::process::Stdio::piped()).spawn()).unwrap();
        // As if we were killed: nothing is removed, and our hold is gone.
        let path = folder.keep();
        assert!(locked(&path).unwrap().is_none(), "the agent is still there");
        drop(agent.stdin.take());
        agent.wait().unwrap();
        assert!(locked(&path).unwrap().is_some());
        fs::remove_dir(&path).unwrap();
        assert!(locked(&path).unwrap().is_none());
    }
}
