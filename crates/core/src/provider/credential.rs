//! Where a provider's keys come from while it runs, and which of them are known to be refused.
//!
//! A key is a value, a file that is read again when it changes, or a program asked again after a time. It says nothing of how a key is sent: that is
//! the `auth` column of `presets.rs`. Several keys are tried in order; one that the upstream refused is passed over until its source gives another value.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::config::Credential;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::process::once;
use crate::secret::Secret;

/// The largest key taken from a file or a program.
const LARGEST: u64 = 64 << 10;
/// The longest that a program may take to print a key.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

/// The keys of one provider, in order.
#[derive(Debug, Default)]
pub struct Credentials(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    source: Source,
    /// The fingerprint of the value that was refused: another value gets its chance.
    refused: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Source {
    Value { name: Option<String>, value: Secret },
    File { path: PathBuf, read: tokio::sync::Mutex<Option<(Stamp, Secret)>> },
    Command { argv: Vec<String>, lifetime: Duration, printed: tokio::sync::Mutex<Option<(Instant, Secret)>> },
}

/// What changes when a file does.
type Stamp = (Option<SystemTime>, u64, u64);

/// A key to send, and which one of its provider it is.
#[derive(Clone, Debug)]
pub struct Key {
    at: usize,
    /// The key.
    pub secret: Secret,
}

/// The keys that one call has tried.
#[derive(Debug, Default)]
pub struct Tried(Vec<usize>);

impl Credentials {
    /// Keys of these sources. Nothing is read or run yet.
    pub fn new(sources: &[Credential]) -> Self {
        Self(sources.iter().map(|source| Entry { source: Source::new(source), refused: Mutex::default() }).collect())
    }

    /// Whether no source is configured at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What keeps every source from giving a key, as far as can be told without reading or running it; `None` when one might.
    pub fn missing(&self) -> Option<String> {
        let mut missing = None;
        for entry in &self.0 {
            match entry.source.missing() {
                None => return None,
                Some(what) => missing = missing.or(Some(what)),
            }
        }
        missing
    }

    /// Whether every key was refused by the upstream in this process, for the values seen last.
    pub fn all_refused(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|entry| entry.refused().is_some())
    }

    /// The next key that this call has not tried: those not refused before come first, and a refused one is asked only where nothing else was.
    ///
    /// # Errors
    /// `provider_auth` naming the file or program that gives no key, when no other source gives one either.
    pub async fn next(&self, tried: &mut Tried) -> Result<Option<Key>> {
        let mut failed = None;
        let mut refused = None;
        for (at, entry) in self.0.iter().enumerate().filter(|(at, _)| !tried.0.contains(at)).collect::<Vec<_>>() {
            let known = entry.refused();
            match entry.source.read(known.as_deref()).await {
                Ok(secret) if known.is_some_and(|known| known == secret.fingerprint()) => {
                    refused.get_or_insert(Key { at, secret });
                }
                Ok(secret) => {
                    tried.0.push(at);
                    return Ok(Some(Key { at, secret }));
                }
                Err(error) => {
                    tried.0.push(at);
                    failed.get_or_insert(error);
                }
            }
        }
        if let (Some(key), true) = (refused, tried.0.is_empty()) {
            tried.0.extend(0..self.0.len());
            return Ok(Some(key));
        }
        failed.map_or(Ok(None), Err)
    }

    /// Remembers that the upstream refused a key.
    pub fn refuse(&self, key: &Key) {
        if let Some(entry) = self.0.get(key.at) {
            *entry.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.secret.fingerprint());
        }
    }

    /// Remembers that the upstream took a key.
    pub fn accept(&self, key: &Key) {
        if let Some(entry) = self.0.get(key.at) {
            *entry.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// A one-way mark of the keys now, which changes when a value or a key file does; `None` where there is no key.
    pub fn mark(&self) -> Option<String> {
        let files = self.0.iter().filter_map(|entry| match &entry.source {
            Source::File { path, .. } => std::fs::metadata(path).ok().map(|meta| stamp_of(&meta)),
            _ => None,
        });
        (!self.0.is_empty())
            .then(|| hex(Sha256::new_with_prefix(format!("{} {:?}", self.fingerprint(), files.collect::<Vec<_>>()))))
    }

    /// A one-way name for the sources: equal for equal settings, different when a value, path or program differs.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for entry in &self.0 {
            let text = match &entry.source {
                Source::Value { value, .. } => format!("value {}\0", value.fingerprint()),
                Source::File { path, .. } => format!("file {}\0", path.display()),
                Source::Command { argv, lifetime, .. } => format!("command {argv:?} {lifetime:?}\0"),
            };
            hash.update(text);
        }
        hex(hash)
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Entry {
    fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source {
    fn new(source: &Credential) -> Self {
        match source {
            Credential::Value(value) => Self::Value { name: None, value: value.clone() },
            Credential::Env { name, value } => Self::Value { name: Some(name.clone()), value: value.clone() },
            Credential::File(path) => Self::File { path: path.clone(), read: tokio::sync::Mutex::default() },
            Credential::Command { argv, lifetime } => {
                Self::Command { argv: argv.clone(), lifetime: *lifetime, printed: tokio::sync::Mutex::default() }
            }
        }
    }

    fn missing(&self) -> Option<String> {
        match self {
            Self::Value { value, name: Some(name) } if value.is_empty() => Some(format!("{name} is not set")),
            Self::Value { value, name: None } if value.is_empty() => Some("its api_key is empty".into()),
            Self::File { path, .. } if !path.is_file() => Some(format!("the key file {} is not there", path.display())),
            Self::Command { argv, .. } if argv.is_empty() => Some("its key command is empty".into()),
            _ => None,
        }
    }

    /// The key now. `refused` is the fingerprint of a value that is of no use: a program is asked again then.
    async fn read(&self, refused: Option<&str>) -> Result<Secret> {
        match self {
            Self::Value { value, .. } if value.is_empty() => Err(no_key(self.missing().unwrap_or_default())),
            Self::Value { value, .. } => Ok(value.clone()),
            // In boxes: most keys are values, and every call's future would have room for what reads files and runs programs.
            Self::File { path, read } => Box::pin(from_file(path, read)).await,
            Self::Command { argv, lifetime, printed } => {
                Box::pin(from_command(argv, *lifetime, printed, refused)).await
            }
        }
    }
}

async fn from_file(path: &Path, read: &tokio::sync::Mutex<Option<(Stamp, Secret)>>) -> Result<Secret> {
    let mut read = read.lock().await;
    let stamp = stamp(path).await.map_err(|error| unreadable(path, &error))?;
    if let Some((_, secret)) = read.as_ref().filter(|(seen, _)| *seen == stamp) {
        return Ok(secret.clone());
    }
    let secret = read_file(path).await?;
    *read = Some((stamp, secret.clone()));
    Ok(secret)
}

async fn from_command(
    argv: &[String],
    lifetime: Duration,
    printed: &tokio::sync::Mutex<Option<(Instant, Secret)>>,
    refused: Option<&str>,
) -> Result<Secret> {
    // Held while the program runs: calls that come meanwhile share its answer.
    let mut printed = printed.lock().await;
    let fresh = |(until, secret): &&(Instant, Secret)| {
        *until > Instant::now() && refused.is_none_or(|refused| refused != secret.fingerprint())
    };
    if let Some((_, secret)) = printed.as_ref().filter(fresh) {
        return Ok(secret.clone());
    }
    let secret = run(argv).await?;
    // A lifetime beyond what a clock can count is asked again each time: safe, and nobody means it.
    let now = Instant::now();
    *printed = Some((now.checked_add(lifetime).unwrap_or(now), secret.clone()));
    Ok(secret)
}

fn no_key(what: String) -> Error {
    Error::new(ErrorKind::ProviderAuth, what)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    no_key(format!("the key file {} cannot be read: {error}", path.display()))
        .with_hint("write the key into that file, or name another one")
}

async fn stamp(path: &Path) -> io::Result<Stamp> {
    tokio::fs::metadata(path).await.map(|meta| stamp_of(&meta))
}

fn stamp_of(meta: &std::fs::Metadata) -> Stamp {
    // A file renamed into place may keep size and time; it is another file all the same.
    (meta.modified().ok(), meta.len(), meta.ino())
}

async fn read_file(path: &Path) -> Result<Secret> {
    let file = tokio::fs::File::open(path).await.map_err(|error| unreadable(path, &error))?;
    let bytes = bounded(file).await.map_err(|error| unreadable(path, &error))?;
    one_line(bytes, || format!("the key file {}", path.display()))
}

async fn bounded(from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn one_line(bytes: Vec<u8>, what: impl Fn() -> String) -> Result<Secret> {
    if bytes.len() as u64 > LARGEST {
        return Err(no_key(format!("{} holds more than {LARGEST} bytes", what())));
    }
    let text = String::from_utf8(bytes).map_err(|_| no_key(format!("{} is not UTF-8 text", what())))?;
    let secret = Secret::new(text);
    match secret.expose() {
        "" => Err(no_key(format!("{} is empty", what()))),
        key if key.contains(char::is_control) => Err(no_key(format!("{} holds more than one line", what()))),
        _ => Ok(secret),
    }
}

/// Runs a program that prints a key. No shell is involved; the program and all that it started end with the wait for it.
async fn run(argv: &[String]) -> Result<Secret> {
    let Some((program, arguments)) = argv.split_first() else { return Err(no_key("its key command is empty".into())) };
    let failed = |why: String| {
        no_key(format!("the key command {program:?} {why}")).with_hint("run it by hand: it must print the key and end")
    };
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    let (bytes, status) = tokio::time::timeout(COMMAND_PATIENCE, once::printed(command, LARGEST))
        .await
        .map_err(|_| failed(format!("printed no key in {} s", COMMAND_PATIENCE.as_secs())))?
        .map_err(|error| failed(format!("did not start: {error}")))?;
    // Of one that printed too much nobody waited for the end.
    if let Some(status) = status.filter(|status| !status.success()) {
        return Err(failed(format!("failed ({status})")));
    }
    one_line(bytes, || format!("what the key command {program:?} printed"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(text: &str) -> Credential {
        Credential::Value(Secret::new(text))
    }

    async fn all(keys: &Credentials) -> Vec<String> {
        let (mut tried, mut seen) = (Tried::default(), Vec::new());
        while let Ok(Some(key)) = keys.next(&mut tried).await {
            seen.push(key.secret.expose().to_owned());
        }
        seen
    }

    #[tokio::test]
    async fn keys_come_in_order_and_refused_ones_only_alone() {
        let keys = Credentials::new(&[value("a"), value("b"), value("c")]);
        assert_eq!(all(&keys).await, ["a", "b", "c"]);
        keys.refuse(&keys.next(&mut Tried::default()).await.unwrap().unwrap());
        assert_eq!(all(&keys).await, ["b", "c"]);
        for _ in 0..2 {
            keys.refuse(&keys.next(&mut Tried::default()).await.unwrap().unwrap());
        }
        assert!(keys.all_refused());
        assert_eq!(all(&keys).await, ["a"]);
        keys.accept(&Key { at: 0, secret: Secret::new("a") });
        assert!(!keys.all_refused());
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes_and_forgives() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let keys = Credentials::new(&[Credential::File(file.path().into()), value("other")]);
        let key = keys.next(&mut Tried::default()).await.unwrap().unwrap();
        assert_eq!(key.secret.expose(), "first");
        keys.refuse(&key);
        assert_eq!(all(&keys).await, ["other"]);
        let mark = keys.mark();
        assert_eq!(keys.mark(), mark);
        std::fs::write(file.path(), "second key\n").unwrap();
        assert_ne!(keys.mark(), mark);
        assert_eq!(all(&keys).await, ["second key", "other"]);
    }

    #[tokio::test]
    async fn a_source_without_a_key_is_named_and_passed_over() {
        let lost = Credential::File("/nonexistent/key".into());
        let keys = Credentials::new(&[lost.clone(), value("b")]);
        assert_eq!(all(&keys).await, ["b"]);
        assert_eq!(keys.missing(), None);
        let keys = Credentials::new(&[lost]);
        assert_eq!(keys.missing().unwrap(), "the key file /nonexistent/key is not there");
        let error = keys.next(&mut Tried::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderAuth);
        assert!(error.message().contains("/nonexistent/key"));
        let unset = Credential::Env { name: "LAB_KEY".into(), value: Secret::new(" ") };
        assert_eq!(Credentials::new(&[unset]).missing().unwrap(), "LAB_KEY is not set");
    }

    #[tokio::test]
    async fn a_program_is_asked_once_in_its_answers_lifetime() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "printed").unwrap();
        let argv =
            ["dd", &format!("if={}", folder.path().join("key").display()), "status=none"].map(String::from).to_vec();
        let keys = Credentials::new(&[Credential::Command { argv, lifetime: Duration::from_secs(3600) }]);
        let mut key = keys.next(&mut Tried::default()).await.unwrap().unwrap();
        assert_eq!(key.secret.expose(), "printed");
        std::fs::write(folder.path().join("key"), "changed").unwrap();
        key = keys.next(&mut Tried::default()).await.unwrap().unwrap();
        assert_eq!(key.secret.expose(), "printed");
        keys.refuse(&key);
        key = keys.next(&mut Tried::default()).await.unwrap().unwrap();
        assert_eq!(key.secret.expose(), "changed");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_named_without_its_words() {
        for (argv, why) in [
            (vec!["/nonexistent/program"], "did not start"),
            (vec!["false"], "failed"),
            (vec!["true"], "is empty"),
            (vec!["printf", "a\nb"], "more than one line"),
            (vec!["head", "-c", "70000", "/dev/zero"], "more than 65536 bytes"),
        ] {
            let argv = argv.into_iter().map(String::from).collect();
            let keys = Credentials::new(&[Credential::Command { argv, lifetime: Duration::ZERO }]);
            let error = keys.next(&mut Tried::default()).await.unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let keys = Credentials::new(&[value("canary-key")]);
        assert!(!format!("{keys:?}").contains("canary"));
        assert_ne!(keys.fingerprint(), Credentials::new(&[value("other")]).fingerprint());
        assert_eq!(keys.fingerprint(), Credentials::new(&[value("canary-key")]).fingerprint());
    }
}
