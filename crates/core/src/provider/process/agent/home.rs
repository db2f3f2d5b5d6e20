//! The home that an agent gets: a new and empty one, with the user's login in it and nothing else of the user's.
//!
//! Agents keep settings, sessions, caches and logs below their home, and obey instructions that they find there. So each start gets a private folder with a
//! home, an empty working folder and a place for temporary files (`../private.rs`); all of it goes when the program's group is gone. How the login comes
//! into it, and what the agent refreshed of it goes back, is in `login.rs`. Making, giving back and dropping a home reads and writes files: no thread of a runtime
//! does any of it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::Environment;
use super::super::private::Private;
use super::left;
use super::login::Lent;
use crate::error::{Error, Result};

/// Where an agent keeps its things.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Layout {
    /// The variable that names its folder, in the user's environment and in the agent's.
    pub(in super::super) variable: &'static str,
    /// Its folder below the home where the variable is not set; also below what the variable names, for agents that take a home there.
    pub(in super::super) folder: &'static str,
    /// Whether the variable names a home in which `folder` is, not the folder itself.
    pub(in super::super) names_home: bool,
    /// The files that hold the login, in that folder.
    pub(in super::super) logins: &'static [&'static str],
    /// The members of these files that are the login, where they are JSON with other settings in it: then the home gets files with these members alone.
    /// Without any, the files themselves are linked to.
    pub(in super::super) members: &'static [&'static str],
    /// Other files that say who the user is.
    pub(in super::super) elsewhere: fn(&Environment) -> Vec<PathBuf>,
}

impl Layout {
    /// The folder in which the user's own things are, as the user's environment has it.
    pub(in super::super) fn original(&self, environment: &Environment) -> Option<PathBuf> {
        let named = environment.get(self.variable).map(PathBuf::from);
        match named {
            Some(path) if self.names_home => Some(path.join(self.folder)),
            Some(path) => Some(path),
            None => environment.get("HOME").map(|home| Path::new(home).join(self.folder)),
        }
    }

    /// What the user's logins look like now: another answer means that somebody logged in or out.
    pub(in super::super) fn logins(&self, environment: &Environment) -> Vec<Option<Seen>> {
        let original = self.original(environment);
        let own = self.logins.iter().filter_map(|name| Some(original.as_ref()?.join(name)));
        own.chain((self.elsewhere)(environment)).map(|file| Seen::of(&file)).collect()
    }
}

/// What is seen of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Seen {
    file: (u64, u64, u64),
    /// Seconds and nanoseconds: of two writes within a second one may be another length, and one may not.
    written: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// What is seen of this file; nothing where there is none.
    pub(in super::super) fn of(file: &Path) -> Option<Self> {
        let meta = fs::metadata(file).ok()?;
        Some(Self {
            file: (meta.dev(), meta.ino(), meta.len()),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A private home. Dropping it gives the login back and removes it.
#[derive(Debug)]
pub(in super::super) struct Home {
    root: Private,
    folder: PathBuf,
    logins: Logins,
}

/// The logins that a home was lent. Whoever has them does not hold up the home's end.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Logins(Arc<[Lent]>);

impl Logins {
    /// Gives back what the agent refreshed of them. Reads and writes files; what goes wrong is told in a warning, for whoever asked has his answer.
    pub(in super::super) fn give_back(&self) {
        for lent in &*self.0 {
            if let Err(error) = lent.give_back() {
                tracing::warn!("a login that an agent refreshed could not be kept: {error}");
            }
        }
    }
}

impl Home {
    /// A new home below the environment's `TMPDIR`, with the user's login where one is there and `login` allows it.
    ///
    /// # Errors
    /// `router_internal` naming the folder that could not be made.
    pub(in super::super) fn new(layout: &Layout, environment: &Environment, login: bool) -> Result<Self> {
        let below = environment.get("TMPDIR").unwrap_or("/tmp");
        let made = || -> io::Result<Self> {
            let root = Private::new(Path::new(below))?;
            let folder = root.path().join("home").join(layout.folder);
            for folder in [&folder, &root.path().join("work"), &root.path().join("tmp")] {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut logins = Vec::new();
            if let Some(original) = layout.original(environment).filter(|_| login) {
                for name in layout.logins {
                    let (original, own) = (original.join(name), folder.join(name));
                    let lent = match layout.members {
                        [] => Lent::linked(&original, own)?,
                        members => Lent::copied(&original, own, members)?,
                    };
                    if let Some(lent) = lent {
                        logins.push(lent.marked(left::mark(root.path(), layout, name))?);
                    }
                }
            }
            Ok(Self { root, folder, logins: Logins(logins.into()) })
        };
        made().map_err(|error| {
            Error::internal(format!("no private home for an agent could be made in {below}: {error}"))
                .with_hint("point TMPDIR at a folder that can be written to")
        })
    }

    /// The home itself.
    pub(in super::super) fn path(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// What stands in the environment of whatever was started in it, and in no other: the paths of its folders begin so.
    pub(in super::super) fn mark(&self) -> String {
        format!("{}/", self.root.path().display())
    }

    /// The agent's own folder in it.
    pub(in super::super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The empty folder that it works in.
    pub(in super::super) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Whether this login of the user's is in it.
    pub(in super::super) fn has_login(&self, name: &str) -> bool {
        self.logins.0.iter().any(|lent| lent.is(name))
    }

    /// The variables that make it the agent's home.
    pub(in super::super) fn variables(&self, layout: &Layout) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let below = |name: &str| text(self.path().join(name));
        let named = if layout.names_home { self.path() } else { self.folder.clone() };
        vec![
            ("HOME", text(self.path())),
            ("TMPDIR", text(self.root.path().join("tmp"))),
            ("XDG_CONFIG_HOME", below(".config")),
            ("XDG_CACHE_HOME", below(".cache")),
            ("XDG_DATA_HOME", below(".local/share")),
            ("XDG_STATE_HOME", below(".local/state")),
            (layout.variable, text(named)),
        ]
    }

    /// Writes a file beside its folders, for the agent to read, and gives its path.
    ///
    /// # Errors
    /// `router_internal` where it cannot be written.
    pub(in super::super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        self.write_at(self.root.path().join(name), bytes)
    }

    /// Writes a file into the agent's own folder, its settings for example.
    ///
    /// # Errors
    /// As [`Home::write`].
    pub(in super::super) fn write_own(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        self.write_at(self.folder.join(name), bytes)
    }

    fn write_at(&self, path: PathBuf, bytes: &[u8]) -> Result<PathBuf> {
        let wrote = || -> io::Result<()> {
            if let Some(above) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(above)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            io::Write::write_all(&mut file, bytes)
        };
        match wrote() {
            Ok(()) => Ok(path),
            Err(error) => Err(Error::internal(format!("{} could not be written: {error}", path.display()))
                .with_hint("see whether the disk behind TMPDIR is full")),
        }
    }

    /// The logins that are in it.
    pub(in super::super) fn logins(&self) -> Logins {
        self.logins.clone()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.logins.give_back();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LAYOUT: Layout = Layout {
        variable: "AGENT_HOME",
        folder: ".agent",
        names_home: false,
        logins: &["auth.json"],
        members: &[],
        elsewhere: |_| Vec::new(),
    };

    fn user() -> (tempfile::TempDir, Environment) {
        let user = tempfile::tempdir().unwrap();
        fs::create_dir(user.path().join(".agent")).unwrap();
        fs::write(user.path().join(".agent/auth.json"), "old").unwrap();
        fs::write(user.path().join(".agent/settings.json"), "{}").unwrap();
        let path = user.path().display().to_string();
        let environment = Environment::default().with("HOME", path.clone()).with("TMPDIR", path);
        (user, environment)
    }

    #[test]
    fn only_the_login_is_in_it_and_what_is_refreshed_reaches_the_original() {
        let (user, environment) = user();
        let original = user.path().join(".agent/auth.json");
        for anew in [false, true] {
            fs::write(&original, "old").unwrap();
            let home = Home::new(&LAYOUT, &environment, true).unwrap();
            let there: Vec<_> = fs::read_dir(home.folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
            assert_eq!(there, ["auth.json"]);
            let file = home.folder().join("auth.json");
            assert_eq!(fs::read_to_string(&file).unwrap(), "old");
            if anew {
                fs::remove_file(&file).unwrap();
            }
            fs::write(&file, "new").unwrap();
            let root = home.root.path().to_owned();
            drop(home);
            assert!(!root.exists());
            assert_eq!(fs::read_to_string(&original).unwrap(), "new", "{anew}");
        }
        let left: Vec<_> = fs::read_dir(user.path().join(".agent")).unwrap().collect();
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn an_agent_that_is_given_a_key_sees_no_login_and_whoever_has_none_gets_an_empty_home() {
        let (user, environment) = user();
        for (environment, login) in [(environment.clone(), false), (environment.with("AGENT_HOME", "/nowhere"), true)] {
            let home = Home::new(&LAYOUT, &environment, login).unwrap();
            assert_eq!(fs::read_dir(home.folder()).unwrap().count(), 0);
            let variables = home.variables(&LAYOUT);
            assert!(variables.contains(&("AGENT_HOME", home.folder().display().to_string())));
            assert_eq!(home.work().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        drop(user);
    }

    #[test]
    fn a_login_of_the_users_is_known_by_its_time_and_length() {
        let (user, environment) = user();
        let before = LAYOUT.logins(&environment);
        assert!(before[0].is_some() && before == LAYOUT.logins(&environment));
        fs::write(user.path().join(".agent/auth.json"), "another").unwrap();
        assert_ne!(LAYOUT.logins(&environment), before);
    }
}
