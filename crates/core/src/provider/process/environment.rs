//! What a program may know of its surroundings: an allow-listed environment, and where its executable is.
//!
//! Variables are values here: `config/env.rs` read them. A program gets the ones that every program needs, plus those its provider names; the keys of other
//! providers never reach it.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// Variables that every program may see. A trailing `*` stands for the rest of a name.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TERM",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_DATA_DIRS",
    "XDG_CONFIG_DIRS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// Variables as values. `Debug` prints their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// All variables, as read.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(vars.into_iter().collect())
    }

    /// The variables that a program may see: the common ones and those named in `passed`, where a trailing `*` stands for the rest of a name.
    #[must_use]
    pub fn for_program(&self, passed: &[impl AsRef<str>]) -> Self {
        let allowed = |name: &str| {
            COMMON.iter().any(|pattern| matches(pattern, name))
                || passed.iter().any(|pattern| matches(pattern.as_ref(), name))
        };
        Self(self.0.iter().filter(|(name, _)| allowed(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// With a variable set.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// A variable's value; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The values that must never be repeated, in no error and no log: of variables whose names call them secret, of those in `also`, the values of headers, and what
    /// stands before the host of an address. A program may say any of them, and few have a shape that a mask knows.
    pub fn secrets(&self, also: &[impl AsRef<str>]) -> Vec<Secret> {
        let secret = |(name, value): (&String, &String)| {
            let upper = name.to_ascii_uppercase();
            let called = |words: &[&str]| upper.split('_').any(|part| words.contains(&part));
            let address = (value.contains("://") || upper.ends_with("_PROXY")).then(|| credentials(value)).flatten();
            let mut found: Vec<&str> = address.into_iter().collect();
            if called(&["HEADER", "HEADERS"]) {
                found.extend(headers(value));
            }
            if called(SECRET_WORDS) || also.iter().any(|other| other.as_ref() == name) {
                found.push(value);
            }
            found.into_iter().map(Secret::new).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(secret).collect()
    }

    /// A one-way name for the variables that not every program sees: another one means that a program goes by another account, or asks elsewhere.
    pub(super) fn own_mark(&self) -> String {
        let own = self.0.iter().filter(|(name, _)| !COMMON.iter().any(|pattern| matches(pattern, name)));
        Secret::new(own.map(|(name, value)| format!("{name}={value}\0")).collect::<String>()).fingerprint()
    }

    /// The variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        // A name with `=` or a NUL anywhere cannot be handed to a program; such a variable is nobody's setting.
        let fits = |text: &str| !text.contains('\0');
        self.0
            .iter()
            .filter(move |(name, value)| !name.is_empty() && !name.contains('=') && fits(name) && fits(value))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl crate::config::Environment {
    /// The variables for programs that a provider starts; each sees its own part of them.
    pub fn for_programs(&self) -> Environment {
        Environment::from_vars(self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Parts of a variable's name that call its value a secret.
const SECRET_WORDS: &[&str] = &[
    "KEY",
    "KEYS",
    "APIKEY",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PAT",
    "BEARER",
    "AUTHORIZATION",
    "COOKIE",
];

/// The password in `http://user:password@host`, or all that stands there where it is one word.
fn credentials(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A password may hold an `@` where nobody encoded it; behind the host one means nothing.
    let host = rest.find(['/', '?', '#']).filter(|end| rest.get(..*end).is_some_and(|host| host.contains('@')));
    let (user, _) = rest.get(..host.unwrap_or(rest.len()))?.rsplit_once('@')?;
    Some(user.split_once(':').map_or(user, |(_, password)| password))
}

/// The values of headers, each whole and its last word, which is the credential where a scheme stands before it: a header a line, or all of them in one with
/// commas between.
fn headers(text: &str) -> impl Iterator<Item = &str> {
    // A shell's double quotes keep `\n` as it is.
    let lines = text.split("\\n").flat_map(str::lines);
    let whole = lines.clone().filter_map(|line| line.split_once(':'));
    let pieces = lines.flat_map(|line| line.split(',')).filter_map(|piece| piece.split_once(':'));
    whole.chain(pieces).flat_map(|(_, value)| {
        let value = value.trim_matches(|c: char| c.is_whitespace() || "\"'{}".contains(c));
        [value, value.rsplit(' ').next().unwrap_or(value)]
    })
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// What became of the search for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// An executable file.
    Found(PathBuf),
    /// A file of that name that may not be executed.
    NotExecutable(PathBuf),
    /// No such file.
    NotFound,
}

impl Resolved {
    /// The executable.
    pub fn found(self) -> Option<PathBuf> {
        match self {
            Self::Found(path) => Some(path),
            _ => None,
        }
    }
}

/// Finds a program as a shell would: a name with `/` is a path, any other is looked for in the folders of `path`. Costs a `stat` a folder.
///
/// Relative folders in `path`, the empty one included, are passed over: what they name depends on the working folder, where a cloned repository could
/// plant a program.
pub fn resolve(program: &str, path: Option<&str>) -> Resolved {
    if program.contains('/') {
        return look(PathBuf::from(program));
    }
    let mut best = Resolved::NotFound;
    if program.is_empty() {
        return best;
    }
    for folder in path.unwrap_or_default().split(':').map(Path::new).filter(|folder| folder.is_absolute()) {
        match look(folder.join(program)) {
            found @ Resolved::Found(_) => return found,
            refused @ Resolved::NotExecutable(_) if best == Resolved::NotFound => best = refused,
            _ => {}
        }
    }
    best
}

fn look(file: PathBuf) -> Resolved {
    match std::fs::metadata(&file) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Resolved::Found(file),
        Ok(_) => Resolved::NotExecutable(file),
        Err(_) => Resolved::NotFound,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_listed_names_pass() {
        let vars = [("PATH", "/bin"), ("LC_ALL", "C"), ("OPENAI_API_KEY", "k"), ("MY_KEY", "m"), ("MY_OTHER", "o")];
        let all = Environment::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let names = |passed: &[&str]| {
            let environment = all.for_program(passed);
            environment.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["LC_ALL", "PATH"]);
        assert_eq!(names(&["MY_KEY"]), ["LC_ALL", "MY_KEY", "PATH"]);
        assert_eq!(names(&["MY_*"]), ["LC_ALL", "MY_KEY", "MY_OTHER", "PATH"]);
        assert!(!format!("{all:?}").contains("\"k\""));
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        let vars = [
            ("PATH", "/usr/bin"),
            ("MONKEY", "banana"),
            ("OPENAI_API_KEY", "plain words"),
            ("HTTPS_PROXY", "http://user:pass@word@proxy:1"),
            ("MODE", "listed"),
            ("ANTHROPIC_CUSTOM_HEADERS", "X-Team: blue\nAuthorization: Basic dXNlcg=="),
            ("COPILOT_PROVIDER_HEADERS", "X-Key: one\\nX-Other: two"),
            ("GEMINI_CLI_CUSTOM_HEADERS", "X-A:aaa,X-B:bbb"),
            ("OPENAI_BASE_URL", "https://me:s/cret@host/v1?to=a@b"),
            ("GIT_REMOTE", "https://word@host/a@b"),
            ("HOME_PAGE", "https://host/@me"),
        ];
        let all = Environment::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let secrets: Vec<String> = all.secrets(&["MODE"]).iter().map(|secret| secret.expose().to_owned()).collect();
        let expected = [
            "blue",
            "blue",
            "Basic dXNlcg==",
            "dXNlcg==",
            "one",
            "two",
            "aaa",
            "bbb",
            "pass@word",
            "listed",
            "plain words",
            "word",
        ];
        let missed: Vec<_> = expected.iter().filter(|value| !secrets.iter().any(|secret| secret == *value)).collect();
        assert!(missed.is_empty(), "{missed:?} of {secrets:?}");
        assert!(!secrets.iter().any(|secret| ["banana", "/usr/bin", "host"].contains(&secret.as_str())), "{secrets:?}");
    }

    #[test]
    fn programs_are_found_by_stat_and_never_in_relative_folders() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, program) = (folder.path().join("plain"), folder.path().join("program"));
        std::fs::write(&plain, "").unwrap();
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("::.:relative:/nowhere:{}", folder.path().display());
        assert_eq!(resolve("program", Some(&path)), Resolved::Found(program.clone()));
        assert_eq!(resolve(program.to_str().unwrap(), None), Resolved::Found(program));
        assert_eq!(resolve("plain", Some(&path)), Resolved::NotExecutable(plain));
        for absent in ["absent", "", "Cargo.toml"] {
            assert_eq!(resolve(absent, Some(&path)), Resolved::NotFound, "{absent:?}");
        }
    }
}
