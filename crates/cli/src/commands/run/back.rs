//! What a run made in a lent home (`home.rs`), given back to the user's own.
//!
//! The user's own may have changed meanwhile, by another run or by hand: what is there then stays, and the run's is put beside it under a name of its own. What cannot be given back stays
//! where it is, and one entry's trouble is no other's.

use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::home::{FOLDER, Lent, SETTINGS, Stamp};
use crate::output;

/// The most entries that are named, one by one, where something is to be said about them.
const NAMED: usize = 8;

/// Gives back what is new; whether that was all of it.
pub(super) fn give_back(lent: &Lent) -> bool {
    let (mut said, mut whole) = (Vec::new(), true);
    match fs::read_dir(lent.path.join(FOLDER)) {
        Ok(entries) => {
            for entry in entries {
                match entry.and_then(|entry| given(lent, &entry)) {
                    Ok(None) => {}
                    Ok(Some((own, beside))) => said.push(format!(
                        "note: {} changed while the agent ran and is left so; the agent's is {}",
                        own.display(),
                        beside.display()
                    )),
                    Err(error) => {
                        whole = false;
                        said.push(format!("warning: {}: {error}", lent.from.display()));
                    }
                }
            }
        }
        Err(error) => {
            whole = false;
            said.push(format!("warning: {}: {error}", lent.path.display()));
        }
    }
    said.iter().take(NAMED).for_each(|line| output::note(line));
    if said.len() > NAMED {
        output::note(&format!("note: and the like for {} more", said.len() - NAMED));
    }
    whole
}

/// Whether a lent home has something that would have to be given back.
pub(super) fn has_some(home: &Path) -> bool {
    let entries = fs::read_dir(home.join(FOLDER)).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != SETTINGS)
        .any(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()))
}

/// Gives one entry back. Where another is in its place that was not there before: which one, and where this one is now.
fn given(lent: &Lent, entry: &DirEntry) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let (name, kind) = (entry.file_name(), entry.file_type()?);
    if name == SETTINGS || !(kind.is_file() || kind.is_dir()) {
        return Ok(None);
    }
    let named = lent.from.join(&name);
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", name.display()));
    if kind.is_dir() {
        let there = fs::symlink_metadata(&named).is_ok();
        return match there {
            false => moved(&entry.path(), &named).map(|()| None),
            true if fs::read_dir(entry.path())?.next().is_none() => Ok(None),
            true => beside_dir(&entry.path(), &named).map(|beside| Some((named.clone(), beside))),
        }
        .map_err(failed);
    }
    // The user's own may be a link in its turn, which stays one.
    let own = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let now = Stamp::of(&own);
    let done = if now.is_some() && now == lent.before.get(&name).copied() {
        replaced(&entry.path(), &own).map(|()| None)
    } else if now.is_some() && same(&entry.path(), &own).map_err(failed)? {
        Ok(None)
    } else if lent.before.contains_key(&name) {
        beside(&entry.path(), &named).map(Some)
    } else {
        added(&entry.path(), &named)
    };
    done.map(|beside| beside.map(|beside| (named.clone(), beside))).map_err(failed)
}

/// Puts a file in the place of another, whose mode it takes: at once and never in part.
fn replaced(new: &Path, own: &Path) -> io::Result<()> {
    let mode = fs::metadata(own)?.permissions();
    copy(new, own.parent().unwrap_or(own), ".llm-router-", mode)?.persist(own)?;
    Ok(())
}

/// Puts a file where none was; beside what is there now, if something is.
fn added(new: &Path, own: &Path) -> io::Result<Option<PathBuf>> {
    let mode = fs::metadata(new)?.permissions();
    match copy(new, own.parent().unwrap_or(own), ".llm-router-", mode)?.persist_noclobber(own) {
        Ok(_) => Ok(None),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => beside(new, own).map(Some),
        Err(failed) => Err(failed.error),
    }
}

/// Puts a file beside another, readable for its owner alone.
fn beside(new: &Path, own: &Path) -> io::Result<PathBuf> {
    let copied = copy(new, own.parent().unwrap_or(own), &prefix(own), fs::Permissions::from_mode(0o600))?;
    Ok(copied.keep()?.1)
}

fn beside_dir(new: &Path, own: &Path) -> io::Result<PathBuf> {
    let to = tempfile::Builder::new().prefix(&prefix(own)).tempdir_in(own.parent().unwrap_or(own))?;
    moved(new, to.path())?;
    Ok(to.keep())
}

fn prefix(own: &Path) -> String {
    format!("{}.of-a-run-", own.file_name().unwrap_or_default().to_string_lossy())
}

fn copy(new: &Path, into: &Path, prefix: &str, mode: fs::Permissions) -> io::Result<tempfile::NamedTempFile> {
    let mut copied = tempfile::Builder::new().prefix(prefix).tempfile_in(into)?;
    io::copy(&mut File::open(new)?, &mut copied)?;
    copied.as_file().set_permissions(mode)?;
    copied.as_file().sync_all()?;
    Ok(copied)
}

/// Whether two files say the same.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    let lengths = (one.metadata()?.len(), other.metadata()?.len());
    if lengths.0 != lengths.1 || !other.metadata()?.is_file() {
        return Ok(false);
    }
    let (mut one, mut other) = (io::BufReader::new(one).bytes(), io::BufReader::new(other).bytes());
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (a, b) if a == b => {}
            _ => return Ok(false),
        }
    }
}

/// Gives a folder another place, where nothing is or an empty folder; on another file system as a copy.
fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copied(from, to),
        done => done,
    }
}

/// Copies a folder: its files, folders and links. What is none of these is left out. It is whole when it has its name.
fn copied(from: &Path, to: &Path) -> io::Result<()> {
    let new = tempfile::Builder::new().prefix(".llm-router-").tempdir_in(to.parent().unwrap_or(to))?;
    let mut left = vec![(from.to_owned(), new.path().to_owned())];
    while let Some((from, to)) = left.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_dir() {
                fs::create_dir(&to)?;
                left.push((entry.path(), to));
            } else if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, to)?;
            } else if kind.is_file() {
                fs::copy(entry.path(), to)?;
            }
        }
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
    }
    fs::rename(new.path(), to)?;
    let _ = new.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::run::folder::Folder;

    /// A user with files of these names, each of which says "old", and the home that is lent to a run.
    fn lent(names: &[&str]) -> (tempfile::TempDir, Folder, Lent, PathBuf, PathBuf) {
        let user = tempfile::tempdir().unwrap();
        let real = user.path().join(FOLDER);
        fs::create_dir(&real).unwrap();
        fs::write(real.join(SETTINGS), "{\"theme\": \"dark\" /* mine */}").unwrap();
        names.iter().for_each(|name| fs::write(real.join(name), "old").unwrap());
        let folder = Folder::new(Some(&user.path().join("state"))).unwrap();
        let lent = Lent::new(&folder, user.path(), |settings| settings["added"] = json!(1)).unwrap();
        let own = lent.path.join(FOLDER);
        (user, folder, lent, real, own)
    }

    /// As programs write a file: another one under its name.
    fn anew(path: &Path, text: &str) {
        let draft = path.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    /// The only file beside this one.
    fn beside_of(path: &Path) -> Option<PathBuf> {
        let begins = super::prefix(path);
        let mut all = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        all.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&begins))
    }

    #[test]
    fn the_home_is_the_users_but_for_its_settings() {
        let (_user, folder, lent, real, own) = lent(&["projects.json"]);
        let settings: Value = serde_json::from_slice(&fs::read(own.join(SETTINGS)).unwrap()).unwrap();
        assert_eq!(settings, json!({"theme": "dark", "added": 1}));
        assert_eq!(fs::read_to_string(own.join("projects.json")).unwrap(), "old");
        assert!(!has_some(&lent.path));
        // A session through a link, a file over a link, and new ones beside them.
        fs::write(own.join("tmp/session"), "said").unwrap();
        anew(&own.join("projects.json"), "new");
        fs::write(own.join("installation_id"), "id").unwrap();
        fs::create_dir(own.join("skills")).unwrap();
        fs::write(own.join(SETTINGS), "{}").unwrap();
        assert!(has_some(&lent.path) && give_back(&lent));
        drop(folder);
        let read = |name: &str| fs::read_to_string(real.join(name)).unwrap();
        assert_eq!(
            (read("tmp/session"), read("projects.json"), read("installation_id")),
            ("said".into(), "new".into(), "id".into())
        );
        assert!(real.join("skills").is_dir() && read(SETTINGS).contains("mine") && !lent.path.exists());
    }

    #[test]
    fn what_the_user_changed_meanwhile_stays_and_the_runs_is_beside_it() {
        let (_user, _folder, lent, real, own) = lent(&["changed", "removed", "same", "open"]);
        for name in ["changed", "removed", "same", "made"] {
            anew(&own.join(name), "of the run");
        }
        anew(&real.join("changed"), "of the user");
        fs::remove_file(real.join("removed")).unwrap();
        anew(&real.join("same"), "of the run");
        fs::write(real.join("made"), "of the user").unwrap();
        fs::create_dir(own.join("folder")).unwrap();
        fs::write(own.join("folder/file"), "of the run").unwrap();
        fs::create_dir(real.join("folder")).unwrap();
        assert!(give_back(&lent));
        for name in ["changed", "made"] {
            assert_eq!(fs::read_to_string(real.join(name)).unwrap(), "of the user", "{name}");
        }
        assert!(!real.join("removed").exists());
        for name in ["changed", "made", "removed"] {
            let other = beside_of(&real.join(name)).unwrap();
            assert_eq!(fs::read_to_string(&other).unwrap(), "of the run", "{name}");
            assert_eq!(fs::metadata(other).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(beside_of(&real.join("same")).is_none() && beside_of(&real.join("open")).is_none());
        let other = beside_of(&real.join("folder")).unwrap();
        assert_eq!(fs::read_to_string(other.join("file")).unwrap(), "of the run");
    }

    #[test]
    fn a_link_of_the_users_stays_one_and_a_mode_stays_what_it_was() {
        let (user, _folder, lent, real, own) = {
            let user = tempfile::tempdir().unwrap();
            let (kept, real) = (user.path().join("kept"), user.path().join(FOLDER));
            fs::create_dir(&kept).unwrap();
            fs::write(kept.join("login"), "old").unwrap();
            fs::set_permissions(kept.join("login"), fs::Permissions::from_mode(0o640)).unwrap();
            fs::create_dir(&real).unwrap();
            symlink(kept.join("login"), real.join("login")).unwrap();
            let folder = Folder::new(Some(&user.path().join("state"))).unwrap();
            let lent = Lent::new(&folder, user.path(), |_| {}).unwrap();
            let own = lent.path.join(FOLDER);
            (user, folder, lent, real, own)
        };
        anew(&own.join("login"), "new");
        assert!(give_back(&lent));
        let kept = user.path().join("kept/login");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "new");
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(real.join("login")).unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_given_back_stays_and_keeps_nothing_else_from_it() {
        let (_user, _folder, lent, real, own) = lent(&["a", "b"]);
        for name in ["a", "b"] {
            anew(&own.join(name), "new");
        }
        // Nobody, root included, replaces a file in a folder that is gone.
        fs::create_dir(own.join("c")).unwrap();
        let gone = Lent { from: real.join("gone"), ..lent.clone() };
        assert!(!give_back(&gone));
        assert_eq!(fs::read_to_string(own.join("a")).unwrap(), "new");
        assert!(give_back(&lent) && real.join("c").is_dir());
        assert_eq!(fs::read_to_string(real.join("b")).unwrap(), "new");
    }

    #[test]
    fn a_folder_goes_to_another_file_system_as_a_copy() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "said").unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("a/b/file", from.join("link")).unwrap();
        copied(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "said");
        assert_eq!(fs::metadata(to.join("a")).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
