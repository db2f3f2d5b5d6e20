//! A login that an agent keeps among other settings: a copy with the login's members alone, and the way back of what was refreshed.
//!
//! The file is a JSON object; lines before and in it that are comments are read over, and those before it are kept. Only members that the agent was given and
//! changed go back, into the file as it is by then: what the user or another run wrote meanwhile stays, what the agent notes besides is its own business, and a login
//! that it removed is not removed from the user.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

/// The most of a file of settings that is read.
const LONGEST: u64 = 1 << 20;

type Members = Map<String, Value>;

/// A copy of the members of a file that are the login.
#[derive(Debug)]
pub(super) struct Copied {
    copy: PathBuf,
    original: PathBuf,
    /// The members as the user's file has them, as far as is known here. Never shown.
    given: Mutex<Secretive>,
    names: &'static [&'static str],
}

/// Members that `Debug` does not print.
struct Secretive(Members);

impl std::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Copied {
    /// Copies the members of these names; nothing where the file has none of them.
    ///
    /// # Errors
    /// Where the copy cannot be written.
    pub(super) fn new(original: &Path, copy: PathBuf, names: &'static [&'static str]) -> io::Result<Option<Self>> {
        let Ok(original) = original.canonicalize() else { return Ok(None) };
        let Some((_, all)) = read(&original) else { return Ok(None) };
        let given = login(&all, names);
        if given.is_empty() {
            return Ok(None);
        }
        let mut file = tempfile::Builder::new().tempfile_in(copy.parent().unwrap_or(Path::new(".")))?;
        file.write_all(Value::Object(given.clone()).to_string().as_bytes())?;
        file.persist(&copy)?;
        Ok(Some(Self { copy, original, given: Mutex::new(Secretive(given)), names }))
    }

    /// Gives back what the agent changed since the last time.
    ///
    /// # Errors
    /// Where the original cannot be written.
    pub(super) fn give_back(&self) -> io::Result<()> {
        let Some((_, copy)) = read(&self.copy) else { return Ok(()) };
        let now = login(&copy, self.names);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = |(name, value): &(String, Value)| given.0.get(name).is_some_and(|before| before != value);
        let new: Members = now.into_iter().filter(changed).collect();
        if new.is_empty() {
            return Ok(());
        }
        let Some((comments, mut all)) = read(&self.original) else { return Ok(()) };
        // Whoever logged in or out meanwhile knows better than the agent.
        let new: Members = new.into_iter().filter(|(name, _)| all.get(name) == given.0.get(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        all.extend(new.clone());
        // Beside the original, so that it changes at once and never in part.
        let Some(folder) = self.original.parent() else { return Ok(()) };
        let mut file = tempfile::Builder::new().prefix(".llm-router-").tempfile_in(folder)?;
        file.write_all(format!("{comments}{:#}\n", Value::Object(all)).as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.original)?;
        given.0.extend(new);
        Ok(())
    }
}

fn login(all: &Members, names: &[&str]) -> Members {
    names.iter().filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone()))).collect()
}

/// The comments before a file's object, and its members; nothing where it is something else.
fn read(file: &Path) -> Option<(String, Members)> {
    let mut text = String::new();
    fs::File::open(file).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    let comment = |line: &&str| line.trim_start().starts_with("//");
    let plain: Vec<&str> = text.lines().filter(|line| !comment(line)).collect();
    let comments = text.lines().take_while(comment).map(|line| format!("{line}\n")).collect();
    match serde_json::from_str(&plain.join("\n")) {
        Ok(Value::Object(members)) => Some((comments, members)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAMES: &[&str] = &["tokens", "user"];

    fn copied(folder: &Path, text: &str) -> Option<Copied> {
        fs::write(folder.join("config.json"), text).unwrap();
        Copied::new(&folder.join("config.json"), folder.join("copy.json"), NAMES).unwrap()
    }

    #[test]
    fn the_copy_holds_the_login_alone_and_what_is_refreshed_goes_back_among_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let (original, copy) = (folder.path().join("config.json"), folder.path().join("copy.json"));
        let at = |text: &str| copied(folder.path(), text).unwrap();
        let copied =
            at("// Managed.\n{\n  // One more.\n  \"tokens\": {\"a\": \"https://x\"},\n  \"plugins\": [1]\n}\n");
        assert_eq!(fs::read_to_string(&copy).unwrap(), r#"{"tokens":{"a":"https://x"}}"#);
        assert!(!format!("{copied:?}").contains("https"));
        // Unchanged, garbage, or gone: the original stays as it is.
        for text in [r#"{"tokens":{"a":"https://x"},"user":"u","more":1}"#, "{\"tok", "{}"] {
            fs::write(&copy, text).unwrap();
            copied.give_back().unwrap();
            assert!(fs::read_to_string(&original).unwrap().contains("One more"), "{text}");
        }
        fs::write(&original, "// Managed.\n{\"tokens\": {\"a\": \"https://x\"}, \"plugins\": [2]}").unwrap();
        fs::write(&copy, r#"{"tokens":{"a":"new"},"user":"u","plugins":[]}"#).unwrap();
        copied.give_back().unwrap();
        let back = fs::read_to_string(&original).unwrap();
        let expected = serde_json::json!({"tokens": {"a": "new"}, "plugins": [2]});
        assert_eq!(back, format!("// Managed.\n{expected:#}\n"));
        // What the user writes meanwhile is not undone, however often the agent refreshes.
        fs::write(&original, r#"{"tokens":{"a":"newer"}}"#).unwrap();
        copied.give_back().unwrap();
        fs::write(&copy, r#"{"tokens":{"a":"of the old login"}}"#).unwrap();
        copied.give_back().unwrap();
        assert_eq!(fs::read_to_string(&original).unwrap(), r#"{"tokens":{"a":"newer"}}"#);
    }

    #[test]
    fn whoever_has_no_login_gets_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{}", "[1]", "{\"plugins\": 1}", "not JSON", "{\"tokens\":"] {
            assert!(copied(folder.path(), text).is_none(), "{text}");
        }
        assert!(!folder.path().join("copy.json").exists());
        assert!(Copied::new(&folder.path().join("none"), folder.path().join("copy"), NAMES).unwrap().is_none());
    }
}
