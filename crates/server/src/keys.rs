//! The keys of the server's clients. Looking one up touches no file: files are read at the start and again by [`ClientKeys::reread`], which the listener calls now and then.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use llm_router::config::{ClientKey, Credential};
use llm_router::error::{Error, Result};
use llm_router::ids::Namespace;
use llm_router::secret::Secret;

use crate::door::Caller;

/// The largest key taken from a file, in bytes.
const LARGEST: u64 = 64 << 10;

/// The clients' keys; without any, everybody who reaches the socket may ask.
#[derive(Debug)]
pub(crate) struct ClientKeys {
    keys: RwLock<Vec<(Caller, Secret)>>,
    files: Vec<(usize, PathBuf)>,
    admins: Vec<Arc<str>>,
}

impl ClientKeys {
    /// Reads the keys of clients who share stored answers as `scope` says: `key`, `team` or `global`.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the key that is not there, or whose name or team cannot be a place for answers.
    pub(crate) fn new(configured: &[ClientKey], scope: &str) -> Result<Self> {
        let (mut keys, mut files) = (Vec::new(), Vec::new());
        let admins = configured.iter().filter(|key| key.admin).map(|key| Arc::from(key.name.as_str())).collect();
        for ClientKey { name, key, team, .. } in configured {
            let namespace = match scope {
                "global" => Ok(Namespace::default()),
                "team" => Namespace::new(team.as_ref().unwrap_or(name)),
                _ => Namespace::new(name),
            };
            let namespace = namespace.map_err(|error| Error::invalid(format!("server.api_keys: {error}")))?;
            let secret = match key {
                Credential::File(path) => {
                    files.push((keys.len(), path.clone()));
                    read(path).map_err(|error| no_key(name, &format!("{}: {error}", path.display())))?
                }
                Credential::Env { name: variable, value } if value.is_empty() => {
                    return Err(no_key(name, &format!("{variable} is not set")));
                }
                Credential::Command { .. } => return Err(no_key(name, "a client's key does not come from a program")),
                other => other.at_hand().cloned().ok_or_else(|| no_key(name, "it is empty"))?,
            };
            keys.push((Caller { name: Some(Arc::from(name.as_str())), namespace }, secret));
        }
        Ok(Self { keys: RwLock::new(keys), files, admins })
    }

    /// Whether nobody needs a key.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whose key this is.
    pub(crate) fn owner(&self, shown: &str) -> Option<Caller> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, so that the time taken does not tell which one was nearly right.
        let owner = keys.iter().fold(None, |found, (caller, key)| if key.is(shown) { Some(caller) } else { found });
        owner.cloned()
    }

    /// Whether the key of this name opens administration too.
    pub(crate) fn is_admin(&self, name: &str) -> bool {
        self.admins.iter().any(|admin| **admin == *name)
    }

    /// Whether some key opens administration.
    pub(crate) fn has_admin(&self) -> bool {
        !self.admins.is_empty()
    }

    /// Whether some keys are in files.
    pub(crate) fn in_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Reads the files again. One that cannot be read keeps its last key: half a rotation must lock nobody out.
    pub(crate) fn reread(&self) {
        for (at, path) in &self.files {
            match read(path) {
                Ok(secret) => {
                    if let Some(key) = self.keys.write().unwrap_or_else(PoisonError::into_inner).get_mut(*at) {
                        key.1 = secret;
                    }
                }
                Err(error) => tracing::warn!("the key file {} keeps its last value: {error}", path.display()),
            }
        }
    }
}

fn read(path: &PathBuf) -> std::io::Result<Secret> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    let secret = Secret::new(text);
    if secret.is_empty() { Err(std::io::Error::other("it is empty")) } else { Ok(secret) }
}

fn no_key(name: &str, why: &str) -> Error {
    Error::invalid(format!("server.api_keys: no key for {name:?}: {why}"))
        .with_hint("give key, key_env or key_file, or take the client out")
}
