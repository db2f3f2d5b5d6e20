//! The keys of the server's clients: those of the configuration, and those that `keys create` makes. Looking one up touches no file: files are read at the start and again by
//! [`ClientKeys::reread`], which the listener calls now and then; made keys are in the core's keyring, which the listener has follow its store.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use llm_router::config::{ClientKey, Credential, KeyLimits, Settings};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::Namespace;
use llm_router::limits::{Keyring, Role};
use llm_router::secret::Secret;

use crate::door::Caller;

/// The largest key taken from a file, in bytes.
const LARGEST: u64 = 64 << 10;

/// The clients' keys; without any, everybody who reaches the socket may ask.
#[derive(Debug)]
pub(crate) struct ClientKeys {
    keys: RwLock<Vec<(Caller, Secret)>>,
    files: Vec<(usize, PathBuf)>,
    /// Where keys are looked up that were made.
    made: Option<Keyring>,
    /// What is to be followed in the state store: made keys, and the money of those that the configuration holds.
    followed: Option<Keyring>,
    has_admin: bool,
}

impl ClientKeys {
    /// Reads the keys of clients who share stored answers as `scope` says: `key`, `team` or `global`.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the key that is not there, or whose name or team cannot be a place for answers.
    pub(crate) fn new(settings: &Settings, keyring: Option<&Keyring>) -> Result<Self> {
        let (configured, scope) = (&settings.server.api_keys, settings.cache.scope.as_str());
        let limited = |key: &ClientKey| key.limits != KeyLimits::default();
        let wanted = settings.server.virtual_keys || !settings.teams.is_empty() || configured.iter().any(limited);
        if wanted && keyring.is_none() {
            return Err(Error::new(
                ErrorKind::RouterUnavailable,
                "`server.virtual_keys`, [teams] and limits of `api_keys` need a state store, and there is none",
            )
            .with_hint("set HOME or XDG_DATA_HOME, so that there is a place for it"));
        }
        let (mut keys, mut files) = (Vec::new(), Vec::new());
        for configured in configured {
            let ClientKey { name, key, team, admin, limits, .. } = configured;
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
            let holder = match keyring {
                Some(keyring) if limited(configured) => Some(keyring.fixed(name, limits.into(), team.as_deref())),
                _ => team.as_ref().zip(keyring).and_then(|(team, keyring)| keyring.team(team)).cloned(),
            };
            let team = team.as_deref().map(Arc::from);
            let name: Option<Arc<str>> = Some(Arc::from(name.as_str()));
            let caller = Caller { key: name.clone(), name, team, namespace, admin: *admin, holder };
            keys.push((caller, secret));
        }
        let made = keyring.filter(|_| settings.server.virtual_keys).cloned();
        let has_admin = made.is_some() || configured.iter().any(|key| key.admin);
        let followed = keyring.filter(|_| wanted).cloned();
        Ok(Self { keys: RwLock::new(keys), files, made, followed, has_admin })
    }

    /// Whether nobody needs a key.
    pub(crate) fn is_open(&self) -> bool {
        self.made.is_none() && self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// `policy_unauthenticated` where it is nobody's, or holds no more.
    pub(crate) fn owner(&self, shown: &str) -> Result<Caller> {
        if let Some(found) = self.made.as_ref().and_then(|made| made.find(shown)) {
            let holder = found?;
            let (name, namespace) = (Some(Arc::clone(holder.name())), holder.namespace().clone());
            let admin = holder.role() == Role::Admin;
            // Its team is the holder's business.
            let key = holder.key_id().map(Arc::from);
            return Ok(Caller { name, key, team: None, namespace, admin, holder: Some(holder) });
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, so that the time taken does not tell which one was nearly right.
        let owner = keys.iter().fold(None, |found, (caller, key)| if key.is(shown) { Some(caller) } else { found });
        owner
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::PolicyUnauthenticated, "the key shown is none of this server's"))
    }

    /// The keys that were made, where they are taken.
    pub(crate) fn made(&self) -> Option<&Keyring> {
        self.made.as_ref()
    }

    /// What is to be followed in the state store.
    pub(crate) fn followed(&self) -> Option<&Keyring> {
        self.followed.as_ref()
    }

    /// Whether some key opens administration.
    pub(crate) fn has_admin(&self) -> bool {
        self.has_admin
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
