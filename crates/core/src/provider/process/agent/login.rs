//! A login of the user's as a private home has it, and the way back of what the agent refreshed.
//!
//! An agent gets a link to the file that holds its login, so that what it writes in place is written where it belongs; or, where the file holds other settings
//! too, a copy with the login's members alone. What it writes over the link, or into the copy, goes back when somebody asks for it, and once: what was lent
//! and what was last seen of the agent's are remembered. The user's file counts as it is by then. A login that the user changed meanwhile stays, one that he
//! removed stays removed, and what the agent removed is not removed from him. Where a file, or a member of it, holds an account in each of its members, each is looked at by
//! itself. What a router that was killed did not give back, the next one does (`left.rs`). Whoever gives back holds a lock on the file's folder, so that two routers do not undo each other's work; agents take no part in it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The most of a file that is read.
const LONGEST: u64 = 1 << 20;

/// How often a folder's lock is tried, and how long between two tries: who holds it writes one small file.
const LOCKS: usize = 100;
const BETWEEN_LOCKS: Duration = Duration::from_millis(20);

type Members = Map<String, Value>;

/// A login that a home was lent.
#[derive(Debug)]
pub(super) struct Lent {
    /// The agent's: the link, or the copy.
    own: PathBuf,
    original: PathBuf,
    /// The members that the copy has; all of the file where it is a link.
    names: Option<&'static [&'static str]>,
    state: Mutex<State>,
    /// Where it is written down what the user's is known to be, for who comes after us.
    mark: Option<PathBuf>,
}

/// What is known of both files. Never shown.
struct State {
    /// The user's, as it was lent or last written here.
    lent: Vec<u8>,
    /// The agent's, as it was last looked at.
    seen: Vec<u8>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State(…)")
    }
}

impl Lent {
    /// Links to the whole file; nothing where there is none.
    ///
    /// # Errors
    /// Where the link cannot be made.
    pub(super) fn linked(original: &Path, own: PathBuf) -> io::Result<Option<Self>> {
        // What the link leads to is the file itself, so that a new one takes its place and not that of a link of the user's own.
        let Ok(original) = original.canonicalize() else { return Ok(None) };
        let lent = read(&original)?.unwrap_or_default();
        std::os::unix::fs::symlink(&original, &own)?;
        let state = Mutex::new(State { seen: lent.clone(), lent });
        Ok(Some(Self { own, original, names: None, state, mark: None }))
    }

    /// Copies the members of these names; nothing where the file has none of them.
    ///
    /// # Errors
    /// Where the copy cannot be written.
    pub(super) fn copied(original: &Path, own: PathBuf, names: &'static [&'static str]) -> io::Result<Option<Self>> {
        let Ok(original) = original.canonicalize() else { return Ok(None) };
        let Some(lent) = read(&original)? else { return Ok(None) };
        let Some(seen) = given(&lent, Some(names)) else { return Ok(None) };
        replace(&own, &seen)?;
        Ok(Some(Self { own, original, names: Some(names), state: Mutex::new(State { lent, seen }), mark: None }))
    }

    /// One that a router lent which is no more, where the user's login is still the one that it wrote down.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub(super) fn left(
        original: &Path,
        own: PathBuf,
        names: Option<&'static [&'static str]>,
        mark: &Path,
    ) -> io::Result<Option<Self>> {
        let Ok(original) = original.canonicalize() else { return Ok(None) };
        let Some(lent) = read(&original)? else { return Ok(None) };
        let Some(seen) =
            given(&lent, names).filter(|seen| fs::read_to_string(mark).is_ok_and(|mark| mark == digest(seen)))
        else {
            return Ok(None);
        };
        Ok(Some(Self { own, original, names, state: Mutex::new(State { lent, seen }), mark: None }))
    }

    /// Writes down what the user's login is known to be, now and whenever it is given back; not the login itself.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub(super) fn marked(mut self, mark: PathBuf) -> io::Result<Self> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(given) = given(&state.lent, self.names) {
            fs::write(&mark, digest(&given))?;
        }
        self.mark = Some(mark);
        Ok(self)
    }

    /// Whether it is the file of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.own.ends_with(name)
    }

    /// Gives back what the agent changed since the last time. Reads and writes files, and may wait for a lock.
    ///
    /// # Errors
    /// Where the original cannot be read, locked or written.
    pub(super) fn give_back(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A link leads to the original still, and what is something else is no login.
        match fs::symlink_metadata(&self.own) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some(new) = read(&self.own)? else { return Ok(()) };
        // Half of a file may be there while it is written.
        if new == state.seen || (members(&state.seen).is_some() && members(&new).is_none()) {
            return Ok(());
        }
        let Some(folder) = self.original.parent() else { return Ok(()) };
        let _held = locked(folder)?;
        let Some(now) = read(&self.original)? else {
            state.seen = new;
            return Ok(());
        };
        let (lent, written) = match self.names {
            None if now == state.lent => (new.clone(), Some(new.clone())),
            names => merged(&state, &new, &now, names).unwrap_or_else(|| (state.lent.clone(), None)),
        };
        if let Some(written) = written {
            replace(&self.original, &written)?;
            if let (Some(mark), Some(given)) = (&self.mark, given(&written, self.names)) {
                fs::write(mark, digest(&given))?;
            }
        }
        *state = State { lent, seen: new };
        Ok(())
    }
}

/// What is known to be the user's from now on, and his file as it is to be written, where entries of the agent's go into it.
fn merged(state: &State, new: &[u8], now: &[u8], names: Option<&[&str]>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut lent, seen) = (members(&state.lent)?, members(&state.seen)?);
    let (new, mut now) = (members(new)?, members(now)?);
    // The members of one login belong together: of such a file the user's stands whole.
    if names.is_none() && ![&lent, &new, &now].into_iter().all(|object| of_accounts(&object.members)) {
        return None;
    }
    let offered = names.map_or_else(|| new.members.clone(), |names| login(&new.members, names));
    let changed = merge(&mut lent.members, &mut now.members, &seen.members, &offered);
    Some((lent.text(), changed.then(|| now.text())))
}

/// Puts what the agent was given and changed into the user's own, but for what the user changed too; whether there was anything.
fn merge(lent: &mut Members, now: &mut Members, seen: &Members, new: &Members) -> bool {
    let mut changed = false;
    for (name, value) in new.iter().filter(|(name, value)| seen.get(*name) != Some(value)) {
        let (Some(given), Some(current)) = (lent.get_mut(name), now.get_mut(name)) else { continue };
        if current == given {
            (*given, *current, changed) = (value.clone(), value.clone(), true);
        } else if let (Value::Object(given), Value::Object(current), Value::Object(value)) = (given, current, value)
            && [&*given, &*current, value].into_iter().all(of_accounts)
        {
            let none = Members::new();
            changed |= merge(given, current, seen.get(name).and_then(Value::as_object).unwrap_or(&none), value);
        }
    }
    changed
}

/// Whether each member is an account, or a service, of its own.
fn of_accounts(members: &Members) -> bool {
    members.values().all(Value::is_object)
}

/// What an agent is given of a user's file; nothing where it has none of these members.
fn given(bytes: &[u8], names: Option<&[&str]>) -> Option<Vec<u8>> {
    let Some(names) = names else { return Some(bytes.to_vec()) };
    let given = login(&members(bytes)?.members, names);
    (!given.is_empty()).then(|| Value::Object(given).to_string().into_bytes())
}

/// Whether an agent's file is another one than what a mark was written for.
pub(super) fn is_changed(own: &Path, mark: &Path) -> bool {
    let is_file = fs::symlink_metadata(own).is_ok_and(|meta| meta.is_file());
    let was = fs::read_to_string(mark).unwrap_or_default();
    is_file && read(own).is_ok_and(|own| own.is_some_and(|own| digest(&own) != was))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn login(all: &Members, names: &[&str]) -> Members {
    names.iter().filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone()))).collect()
}

/// A file's object, and the comments before it.
struct Object {
    comments: String,
    members: Members,
}

impl Object {
    fn text(&self) -> Vec<u8> {
        format!("{}{:#}\n", self.comments, Value::Object(self.members.clone())).into_bytes()
    }
}

/// What a file says, where that is one object; lines in it that are comments are read over.
fn members(bytes: &[u8]) -> Option<Object> {
    let text = std::str::from_utf8(bytes).ok()?;
    let comment = |line: &&str| line.trim_start().starts_with("//");
    let plain: Vec<&str> = text.lines().filter(|line| !comment(line)).collect();
    let comments = text.lines().take_while(comment).map(|line| format!("{line}\n")).collect();
    match serde_json::from_str(&plain.join("\n")) {
        Ok(Value::Object(members)) => Some(Object { comments, members }),
        _ => None,
    }
}

/// A file's bytes; nothing where there is none, or nothing in it, or too much for a login.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| (1..=LONGEST).contains(&(bytes.len() as u64))))
}

/// Writes a file beside it and moves that into its place, so that it changes at once and never in part.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new =
        tempfile::Builder::new().prefix(".llm-router-").tempfile_in(file.parent().unwrap_or(Path::new(".")))?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// Holds a folder against other routers until it is dropped; nothing where the file system knows no locks.
fn locked(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    for _ in 0..LOCKS {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => pause(BETWEEN_LOCKS),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("{} stays locked", folder.display())))
}

#[expect(clippy::disallowed_methods, reason = "only threads that may wait give logins back")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAMES: &[&str] = &["tokens", "user"];

    /// A user's file, and a home's.
    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new(text: &str) -> Self {
            let files = Self { folder: tempfile::tempdir().unwrap() };
            files.user(text);
            files
        }

        fn original(&self) -> PathBuf {
            self.folder.path().join("config.json")
        }

        fn own(&self) -> PathBuf {
            self.folder.path().join("own.json")
        }

        fn user(&self, text: &str) {
            fs::write(self.original(), text).unwrap();
        }

        /// The agent writes a new file over what it has.
        fn agent(&self, text: &str) {
            let _ = fs::remove_file(self.own());
            fs::write(self.own(), text).unwrap();
        }

        fn said(&self) -> String {
            fs::read_to_string(self.original()).unwrap()
        }

        fn linked(&self) -> Lent {
            Lent::linked(&self.original(), self.own()).unwrap().unwrap()
        }

        fn copied(&self) -> Option<Lent> {
            Lent::copied(&self.original(), self.own(), NAMES).unwrap()
        }
    }

    #[test]
    fn a_login_goes_back_once_and_never_over_a_newer_one_of_the_users() {
        let files = Files::new(r#"{"token":"old"}"#);
        let lent = files.linked();
        assert!(!format!("{lent:?}").contains("old"));
        files.agent(r#"{"token":"refreshed"}"#);
        lent.give_back().unwrap();
        assert_eq!(files.said(), r#"{"token":"refreshed"}"#);
        // The user logs in as somebody else; the file in the home is what it was.
        files.user(r#"{"token":"of another"}"#);
        lent.give_back().unwrap();
        assert_eq!(files.said(), r#"{"token":"of another"}"#);
        files.agent(r#"{"token":"refreshed again"}"#);
        lent.give_back().unwrap();
        assert_eq!(files.said(), r#"{"token":"of another"}"#);
    }

    #[test]
    fn each_refresh_goes_back_and_who_logged_out_stays_so() {
        let files = Files::new(r#"{"token":"old"}"#);
        let lent = files.linked();
        for token in ["first", "second"] {
            let text = format!(r#"{{"token":"{token}"}}"#);
            files.agent(&text);
            lent.give_back().unwrap();
            assert_eq!(files.said(), text);
        }
        for broken in ["", "{\"tok", "garbage"] {
            files.agent(broken);
            lent.give_back().unwrap();
            assert_eq!(files.said(), r#"{"token":"second"}"#, "{broken}");
        }
        fs::remove_file(files.original()).unwrap();
        files.agent(r#"{"token":"third"}"#);
        lent.give_back().unwrap();
        assert!(!files.original().exists());
        fs::remove_file(files.own()).unwrap();
        lent.give_back().unwrap();
    }

    #[test]
    fn of_a_file_of_accounts_each_is_looked_at_by_itself() {
        let files = Files::new(r#"{"a":{"t":1},"b":{"t":1}}"#);
        let lent = files.linked();
        files.user(r#"{"a":{"t":1},"b":{"t":"new"},"c":{"t":1}}"#);
        files.agent(r#"{"a":{"t":2},"b":{"t":2}}"#);
        lent.give_back().unwrap();
        let expected = serde_json::json!({"a": {"t": 2}, "b": {"t": "new"}, "c": {"t": 1}});
        assert_eq!(serde_json::from_str::<Value>(&files.said()).unwrap(), expected);
        files.agent(r#"{"a":{"t":3},"b":{"t":3}}"#);
        lent.give_back().unwrap();
        let expected = serde_json::json!({"a": {"t": 3}, "b": {"t": "new"}, "c": {"t": 1}});
        assert_eq!(serde_json::from_str::<Value>(&files.said()).unwrap(), expected);
    }

    #[test]
    fn two_that_give_back_at_once_wait_for_each_other() {
        let files = Files::new(r#"{"token":"old"}"#);
        let lent = files.linked();
        files.agent(r#"{"token":"refreshed"}"#);
        let held = locked(files.folder.path()).unwrap();
        std::thread::scope(|scope| {
            let back = scope.spawn(|| lent.give_back());
            while !back.is_finished() && fs::metadata(files.own()).is_err() {}
            assert_eq!(files.said(), r#"{"token":"old"}"#);
            drop(held);
            back.join().unwrap().unwrap();
        });
        assert_eq!(files.said(), r#"{"token":"refreshed"}"#);
    }

    #[test]
    fn the_copy_holds_the_login_alone_and_what_is_refreshed_goes_back_among_what_is_new() {
        let files = Files::new(
            "// Managed.\n{\n  // One more.\n  \"tokens\": {\"a\": \"https://x\"},\n  \"plugins\": [1]\n}\n",
        );
        let lent = files.copied().unwrap();
        assert_eq!(fs::read_to_string(files.own()).unwrap(), r#"{"tokens":{"a":"https://x"}}"#);
        assert!(!format!("{lent:?}").contains("https"));
        // Unchanged, garbage, or gone: the original stays as it is.
        for text in [r#"{"tokens":{"a":"https://x"},"user":"u","more":1}"#, "{\"tok", "{}"] {
            files.agent(text);
            lent.give_back().unwrap();
            assert!(files.said().contains("One more"), "{text}");
        }
        files.user("// Managed.\n{\"tokens\": {\"a\": \"https://x\"}, \"plugins\": [2]}");
        files.agent(r#"{"tokens":{"a":"new"},"user":"u","plugins":[]}"#);
        lent.give_back().unwrap();
        let expected = serde_json::json!({"tokens": {"a": "new"}, "plugins": [2]});
        assert_eq!(files.said(), format!("// Managed.\n{expected:#}\n"));
        // What the user writes meanwhile is not undone, however often the agent refreshes.
        files.user(r#"{"tokens":{"a":"newer"}}"#);
        lent.give_back().unwrap();
        files.agent(r#"{"tokens":{"a":"of the old login"}}"#);
        lent.give_back().unwrap();
        assert_eq!(files.said(), r#"{"tokens":{"a":"newer"}}"#);
    }

    #[test]
    fn an_account_that_the_user_adds_meanwhile_keeps_company_with_one_that_was_refreshed() {
        let files = Files::new(r#"{"tokens":{"h:u":{"token":"old"}},"plugins":[]}"#);
        let lent = files.copied().unwrap();
        files.user(r#"{"tokens":{"h:u":{"token":"old"},"h:v":{"token":"v"}},"plugins":[]}"#);
        files.agent(r#"{"tokens":{"h:u":{"token":"new"}}}"#);
        lent.give_back().unwrap();
        let expected = serde_json::json!({"h:u": {"token": "new"}, "h:v": {"token": "v"}});
        assert_eq!(serde_json::from_str::<Value>(&files.said()).unwrap()["tokens"], expected);
    }

    #[test]
    fn whoever_has_no_login_gets_no_copy() {
        for text in ["", "{}", "[1]", "{\"plugins\": 1}", "not JSON", "{\"tokens\":"] {
            let files = Files::new(text);
            assert!(files.copied().is_none() && !files.own().exists(), "{text}");
        }
        let files = Files::new("");
        assert!(Lent::copied(&files.folder.path().join("none"), files.own(), NAMES).unwrap().is_none());
    }
}
