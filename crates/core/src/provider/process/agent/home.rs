//! The home that an agent gets: a new and empty one, with the user's login in it and nothing else of the user's.
//!
//! Agents keep settings, sessions, caches and logs below their home, and obey instructions that they find there. So each start gets a private folder with a
//! home, an empty working folder and a place for temporary files; all of it goes when the program's group is gone. The file that holds the login is a link
//! to the user's own, so a token that the agent refreshes in place reaches the original. An agent that writes a new file over the link instead is
//! followed: the new file takes the original's place when the program has ended. Where an agent keeps its login in a file among other settings, the home
//! gets a file with the login's members alone, and members that were refreshed go back into the original (`login.rs`).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::Environment;
use super::login::Copied;
use crate::error::{Error, Result};

/// Where an agent keeps its things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(in super::super) fn logins(&self, environment: &Environment) -> Vec<Option<(SystemTime, u64)>> {
        let original = self.original(environment);
        let seen = |name: &&str| {
            let meta = fs::metadata(original.as_ref()?.join(name)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        self.logins.iter().map(seen).collect()
    }
}

/// How often its removal is tried.
const REMOVALS: usize = 25;

/// How long between two tries.
const BETWEEN_REMOVALS: Duration = Duration::from_millis(20);

/// A private home. Dropping it removes it.
#[derive(Debug)]
pub(in super::super) struct Home {
    root: tempfile::TempDir,
    folder: PathBuf,
    /// The links to logins, and what each leads to.
    links: Vec<(PathBuf, PathBuf)>,
    copies: Vec<Copied>,
}

impl Home {
    /// A new home below the environment's `TMPDIR`, with the user's login where one is there and `login` allows it.
    ///
    /// # Errors
    /// `router_internal` naming the folder that could not be made.
    pub(in super::super) fn new(layout: &Layout, environment: &Environment, login: bool) -> Result<Self> {
        let below = environment.get("TMPDIR").unwrap_or("/tmp");
        let made = || -> io::Result<Self> {
            let mine = fs::Permissions::from_mode(0o700);
            let root = tempfile::Builder::new().prefix("llm-router-").permissions(mine).tempdir_in(below)?;
            // Some agents compare paths after they have followed links.
            let path = root.path().canonicalize()?;
            let folder = path.join("home").join(layout.folder);
            for folder in [&folder, &path.join("work"), &path.join("tmp")] {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut home = Self { root, folder, links: Vec::new(), copies: Vec::new() };
            if let Some(original) = layout.original(environment).filter(|_| login) {
                for name in layout.logins {
                    if layout.members.is_empty() {
                        let link = home.folder.join(name);
                        home.link(&original.join(name), link)?;
                    } else {
                        let copied = Copied::new(&original.join(name), home.folder.join(name), layout.members)?;
                        home.copies.extend(copied);
                    }
                }
            }
            Ok(home)
        };
        made().map_err(|error| {
            Error::internal(format!("no private home for an agent could be made in {below}: {error}"))
                .with_hint("point TMPDIR at a folder that can be written to")
        })
    }

    fn link(&mut self, original: &Path, link: PathBuf) -> io::Result<()> {
        // What the link leads to is the file itself, so that a new one takes its place and not that of a link of the user's own.
        let Ok(original) = original.canonicalize() else { return Ok(()) };
        if let Some(above) = link.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(above)?;
        }
        symlink(&original, &link)?;
        self.links.push((link, original));
        Ok(())
    }

    /// The home itself.
    pub(in super::super) fn path(&self) -> PathBuf {
        self.above().join("home")
    }

    /// The agent's own folder in it.
    pub(in super::super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The empty folder that it works in.
    pub(in super::super) fn work(&self) -> PathBuf {
        self.above().join("work")
    }

    /// Whether this login of the user's is in it.
    pub(in super::super) fn has_login(&self, name: &str) -> bool {
        self.links.iter().any(|(link, _)| link.ends_with(name))
    }

    fn above(&self) -> &Path {
        self.folder.ancestors().find(|path| path.ends_with("home")).and_then(Path::parent).unwrap_or(self.root.path())
    }

    /// The variables that make it the agent's home.
    pub(in super::super) fn variables(&self, layout: &Layout) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let below = |name: &str| text(self.path().join(name));
        let named = if layout.names_home { self.path() } else { self.folder.clone() };
        vec![
            ("HOME", text(self.path())),
            ("TMPDIR", text(self.above().join("tmp"))),
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
        self.write_at(self.above().join(name), bytes)
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

    /// Gives back a login that the agent wrote anew over the link, or into its copy.
    ///
    /// # Errors
    /// Where the original cannot be replaced.
    pub(in super::super) fn give_back(&self) -> io::Result<()> {
        for (link, original) in &self.links {
            let meta = fs::symlink_metadata(link)?;
            if !meta.is_file() || meta.len() == 0 {
                continue;
            }
            // Beside the original, so that it changes at once and never in part.
            let Some(folder) = original.parent() else { continue };
            let mut new = tempfile::Builder::new().prefix(".llm-router-").tempfile_in(folder)?;
            io::copy(&mut fs::File::open(link)?, &mut new)?;
            new.as_file().sync_all()?;
            new.persist(original)?;
        }
        self.copies.iter().try_for_each(Copied::give_back)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            tracing::warn!("a login that an agent refreshed could not be kept: {error}");
        }
        // What was killed a moment ago may still write here.
        for _ in 0..REMOVALS {
            match fs::remove_dir_all(self.root.path()) {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "as a rule this is the thread that waited for the program"
                )]
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(BETWEEN_REMOVALS),
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LAYOUT: Layout =
        Layout { variable: "AGENT_HOME", folder: ".agent", names_home: false, logins: &["auth.json"], members: &[] };

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
            let root = home.above().to_owned();
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
