//! What a router that was killed left of a login: its homes lie where they were, and what an agent refreshed there was not given back.
//!
//! Beside each login that a home was lent (`login.rs`) stands a mark, the digest of the user's as it was known. The next router that starts the same agent gives back what is newer, where the
//! user's is still that one, and then the home goes (`../private.rs`). Whose files are written is said by the layout and the environment of that router and never by what
//! lies in the home, to which an agent's tools may have had access.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::Environment;
use super::home::Layout;
use super::login::{Lent, is_changed};

/// How the names of marks begin.
const MARK: &str = "lent";
/// How long a home waits for a router that starts its agent: a refreshed login is of no use later, when it has run out.
const WAITS: Duration = Duration::from_secs(30 * 86_400);

/// Where the mark of a login lies in a home's folder.
pub(super) fn mark(root: &Path, layout: &Layout, name: &str) -> PathBuf {
    root.join(format!("{MARK}{}-{name}", layout.folder))
}

/// Gives back what is newer of this agent's logins in a folder that was left; whether the folder may go: not before another agent's have been looked at too.
pub(super) fn clear(root: &Path, layout: &Layout, environment: &Environment) -> bool {
    let folder = root.join("home").join(layout.folder);
    for name in layout.logins {
        let mark = mark(root, layout, name);
        let Some(original) = layout.original(environment).filter(|_| mark.exists()) else { continue };
        match given_back(&original.join(name), folder.join(name), layout, &mark) {
            // Another time perhaps.
            Err(error) => {
                tracing::warn!("a login that an agent refreshed is in {} still: {error}", folder.display());
                return is_old(root);
            }
            Ok(()) => drop(fs::remove_file(mark)),
        }
    }
    is_old(root) || !waits(root)
}

fn given_back(original: &Path, own: PathBuf, layout: &Layout, mark: &Path) -> io::Result<()> {
    let names = Some(layout.members).filter(|names| !names.is_empty());
    match Lent::left(original, own, names, mark)? {
        Some(lent) => lent.give_back(),
        None => Ok(()),
    }
}

/// Whether some login in it is another one than was lent.
fn waits(root: &Path) -> bool {
    let mut entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.any(|entry| {
        let name = entry.file_name();
        let Some((folder, name)) = name.to_str().and_then(|name| name.strip_prefix(MARK)?.split_once('-')) else {
            return false;
        };
        is_changed(&root.join("home").join(folder).join(name), &entry.path())
    })
}

fn is_old(root: &Path) -> bool {
    let made = fs::metadata(root).and_then(|meta| meta.modified()).ok();
    made.and_then(|made| made.elapsed().ok()).is_some_and(|age| age > WAITS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::home::Home;
    use super::*;

    const LINKED: Layout = Layout {
        variable: "AGENT_HOME",
        folder: ".agent",
        names_home: false,
        logins: &["auth.json"],
        members: &[],
        elsewhere: |_| Vec::new(),
    };
    const COPIED: Layout = Layout { folder: ".other", members: &["tokens"], ..LINKED };

    /// A home that a router left which was killed, after the agent had written this over its login; and the user's home.
    fn left(layout: &Layout, user: &str, agent: &str) -> (tempfile::TempDir, Environment, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(layout.folder)).unwrap();
        fs::write(folder.path().join(layout.folder).join("auth.json"), user).unwrap();
        let path = folder.path().display().to_string();
        let environment = Environment::default().with("HOME", path.clone()).with("TMPDIR", path);
        let home = Home::new(layout, &environment, true).unwrap();
        let own = home.folder().join("auth.json");
        fs::remove_file(&own).unwrap();
        fs::write(own, agent).unwrap();
        let root = home.path().parent().unwrap().to_owned();
        // As a copy: the home itself gives back when it is dropped.
        let copy = folder.path().join("left");
        assert!(std::process::Command::new("cp").arg("-a").args([&root, &copy]).status().unwrap().success());
        fs::write(home.folder().join("auth.json"), user).unwrap();
        drop(home);
        (folder, environment, copy)
    }

    fn said(user: &tempfile::TempDir, layout: &Layout) -> String {
        fs::read_to_string(user.path().join(layout.folder).join("auth.json")).unwrap()
    }

    #[test]
    fn what_was_refreshed_is_given_back_and_once() {
        let (user, environment, root) = left(&LINKED, r#"{"token":"old"}"#, r#"{"token":"new"}"#);
        assert!(clear(&root, &LINKED, &environment));
        assert_eq!(said(&user, &LINKED), r#"{"token":"new"}"#);
        fs::write(user.path().join(".agent/auth.json"), r#"{"token":"newer"}"#).unwrap();
        assert!(clear(&root, &LINKED, &environment));
        assert_eq!(said(&user, &LINKED), r#"{"token":"newer"}"#);
    }

    #[test]
    fn members_go_back_among_what_the_user_changed_beside_them() {
        let (user, environment, root) =
            left(&COPIED, r#"{"tokens":{"a":"old"},"more":1}"#, r#"{"tokens":{"a":"new"}}"#);
        fs::write(user.path().join(".other/auth.json"), r#"{"tokens":{"a":"old"},"more":2}"#).unwrap();
        assert!(clear(&root, &COPIED, &environment));
        let said: serde_json::Value = serde_json::from_str(&said(&user, &COPIED)).unwrap();
        assert_eq!(said, serde_json::json!({"tokens": {"a": "new"}, "more": 2}));
    }

    #[test]
    fn a_login_of_meanwhile_stays_and_half_a_file_is_none() {
        let old = r#"{"token":"old"}"#;
        for (now, agent) in [(r#"{"token":"mine"}"#, r#"{"token":"new"}"#), (old, r#"{"tok"#)] {
            let (user, environment, root) = left(&LINKED, old, agent);
            fs::write(user.path().join(".agent/auth.json"), now).unwrap();
            assert!(clear(&root, &LINKED, &environment));
            assert_eq!(said(&user, &LINKED), now);
        }
    }

    #[test]
    fn another_agents_home_waits_for_it_and_not_for_ever() {
        let (_user, environment, root) = left(&COPIED, r#"{"tokens":{"a":"old"}}"#, r#"{"tokens":{"a":"old"}}"#);
        assert!(clear(&root, &LINKED, &environment), "nothing is new there");
        let (user, environment, root) = left(&LINKED, r#"{"token":"old"}"#, r#"{"token":"new"}"#);
        assert!(!clear(&root, &COPIED, &environment), "its own has not been looked at");
        assert_eq!(said(&user, &LINKED), r#"{"token":"old"}"#);
        let before = std::time::SystemTime::now() - 2 * WAITS;
        fs::File::open(&root).unwrap().set_modified(before).unwrap();
        assert!(clear(&root, &COPIED, &environment));
    }
}
