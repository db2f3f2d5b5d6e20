//! The disk's half of fetching: one fetcher a file, and a file that appears only when it is right.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{FetchError, Progress, Report};
use crate::gguf;
use crate::manifest::{Manifest, beside};

/// How often a waiting process looks whether the lock is free.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> FetchError + '_ {
    |error| FetchError::Disk { path: path.to_owned(), error }
}

/// The right to fetch one file, across processes; given back when dropped, or when the process dies.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of a model file and makes its folder.
    pub(crate) async fn take(model: &Path, report: Report<'_>) -> Result<Self, FetchError> {
        if let Some(folder) = model.parent() {
            std::fs::create_dir_all(folder).map_err(disk(folder))?;
        }
        let path = beside(model, "lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(disk(&path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        report(Progress::Waiting);
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Err(TryLockError::Error(error)) => return Err(disk(&path)(error)),
            }
        }
    }
}

/// The SHA-256 of a file in lower-case hex. Blocks; 100 MB take about a tenth of a second.
///
/// # Errors
/// What the file system says.
pub fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        digest.update(piece.get(..count).unwrap_or_default());
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks the file that came, moves it into place and writes its record. A wrong one is deleted.
pub(crate) async fn land(
    part: &Path,
    model: &Path,
    expected: Option<&str>,
    mut manifest: Manifest,
    report: Report<'_>,
) -> Result<Manifest, FetchError> {
    report(Progress::Checking);
    let (part, model) = (part.to_owned(), model.to_owned());
    let expected = expected.map(str::to_owned);
    let work = move || {
        let file = File::open(&part).map_err(disk(&part))?;
        file.sync_all().map_err(disk(&part))?;
        manifest.size = file.metadata().map_err(disk(&part))?.len();
        manifest.sha256 = hash(&part).map_err(disk(&part))?;
        if let Some(expected) = expected.filter(|expected| *expected != manifest.sha256) {
            let _ = std::fs::remove_file(&part);
            return Err(FetchError::Digest { expected, found: manifest.sha256 });
        }
        if let Err(error) = gguf::check(&part) {
            let _ = std::fs::remove_file(&part);
            return Err(FetchError::Model(error));
        }
        // The record first: a file without one is taken for a stranger's, a record without a file for none.
        manifest.write(&model).map_err(disk(&model))?;
        std::fs::rename(&part, &model).map_err(disk(&model))?;
        Ok(manifest)
    };
    #[allow(clippy::disallowed_methods, reason = "awaited right here")]
    let checked = tokio::task::spawn_blocking(work).await;
    checked.unwrap_or_else(|error| Err(FetchError::Protocol(format!("checking the file failed: {error}"))))
}
