//! A folder of a program's own: made for it, closed to others, removed with it.
//!
//! Whoever has one holds a lock on it for as long as he lives. A router that was killed removes nothing; the next one finds its folders unlocked and does
//! ([`sweep`]). Programs may leave folders behind that nobody may write to: those are opened before they are removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

/// How the names of such folders begin: of no other ones, for they are removed by it.
const PREFIX: &str = "llm-router-home-";

/// How often its removal is tried, and how long between two tries: what was killed a moment ago may still write there.
const REMOVALS: usize = 25;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(20);

/// Seconds in which a folder may be without a lock: it is made first and then locked.
const YOUNG: i64 = 60;

/// Folders that one sweep removes at most; the next start goes on.
const SWEPT: usize = 64;

/// A private folder. Dropping it removes it, which may take a moment.
#[derive(Debug)]
pub(super) struct Private {
    path: PathBuf,
    /// Nothing where the file system knows no locks: such a folder is left to its owner.
    _lock: Option<File>,
}

impl Private {
    /// A new and empty folder in this one, which nobody else can enter.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(super) fn new(below: &Path) -> io::Result<Self> {
        let mine = fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(PREFIX).permissions(mine).tempdir_in(below)?;
        let lock = File::open(made.path())?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        // Some programs compare paths after they have followed links.
        let path = made.path().canonicalize()?;
        let _ = made.keep();
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// Removes what routers of this user that were killed left in a folder. `clear` looks at each of them first, and says whether it may go.
pub(super) fn sweep(below: &Path, clear: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(below) else { return };
    let named = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
    for folder in entries.flatten().filter(named).map(|entry| entry.path()).filter(|path| is_old(path)).take(SWEPT) {
        let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits();
        let opened = fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&folder);
        let Ok(lock) = opened else { continue };
        match lock.try_lock() {
            // What is locked is what is at that path, and it is ours.
            Ok(()) if !is_same(&lock, &folder) || !clear(&folder) => {}
            Ok(()) => match remove(&folder) {
                Ok(()) => tracing::debug!("{} was left by a router that was killed: removed", folder.display()),
                Err(error) => tracing::warn!("{} could not be removed: {error}", folder.display()),
            },
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

/// Whether it is a folder of this user's that was not made just now.
fn is_old(folder: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(folder) else { return false };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let age = i64::try_from(now.as_secs()).unwrap_or_default().saturating_sub(meta.mtime());
    meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && age > YOUNG
}

fn is_same(open: &File, folder: &Path) -> bool {
    let (Ok(open), Ok(there)) = (open.metadata(), fs::symlink_metadata(folder)) else { return false };
    (open.dev(), open.ino(), open.uid()) == (there.dev(), there.ino(), rustix::process::geteuid().as_raw())
}

fn remove(folder: &Path) -> io::Result<()> {
    let mut last = Ok(());
    for _ in 0..REMOVALS {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            // Not where something in it was gone before it was removed.
            Err(_) if is_gone(folder) => return Ok(()),
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    open_up(folder);
                }
                last = Err(error);
                pause(BETWEEN_REMOVALS);
            }
        }
    }
    last
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Makes every folder in it one that may be emptied.
fn open_up(folder: &Path) {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(folders.map(|entry| entry.path()));
    }
}

#[expect(clippy::disallowed_methods, reason = "threads of a runtime drop no such folder")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::SystemTime;

    use super::*;

    /// As if the folder had been made long ago.
    fn aged(folder: &Path) {
        let before = SystemTime::now() - Duration::from_secs(3600);
        File::open(folder).unwrap().set_modified(before).unwrap();
    }

    #[test]
    fn what_a_killed_router_left_is_swept_and_what_another_one_has_is_not() {
        let below = tempfile::tempdir().unwrap();
        let held = Private::new(below.path()).unwrap();
        let young = below.path().join(format!("{PREFIX}young"));
        let old = below.path().join(format!("{PREFIX}old"));
        let others = below.path().join("llm-router-other");
        for folder in [&young, &old, &others] {
            fs::create_dir_all(folder.join("home/.agent")).unwrap();
            fs::write(folder.join("home/.agent/auth.json"), "{}").unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        aged(elsewhere.path());
        let link = below.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        [held.path(), &old, &others].into_iter().for_each(aged);
        sweep(below.path(), |_| true);
        assert!(held.path().exists() && young.exists() && others.exists() && elsewhere.path().exists());
        assert!(!old.exists());
        // The lock ends with the process that holds it, however that ends.
        let Private { path, _lock } = &held;
        let path = path.clone();
        _lock.as_ref().unwrap().unlock().unwrap();
        sweep(below.path(), |_| true);
        assert!(!path.exists());
    }

    #[test]
    fn folders_that_may_not_be_written_to_are_removed() {
        let below = tempfile::tempdir().unwrap();
        let made = Private::new(below.path()).unwrap();
        let inner = made.path().join("mod/cache");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        for folder in [inner.clone(), made.path().join("mod")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
        }
        drop(made);
        assert_eq!(fs::read_dir(below.path()).unwrap().count(), 0);
    }
}
