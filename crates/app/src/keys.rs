//! Provider keys that `llm-router auth` keeps: one file in the state folder, readable by its owner only.
//!
//! A key of the environment or the config goes before a kept one: whoever sets one there means it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use llm_router::config::{Credential, Settings};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::ProviderId;
use llm_router::secret::Secret;

/// The kept keys.
#[derive(Debug)]
pub struct ProviderKeys(Option<PathBuf>);

impl ProviderKeys {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self(file)
    }

    /// Gives each provider without a key of its own the kept one.
    pub(crate) fn complete(&self, settings: &mut Settings) -> Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        for (id, secret) in read(file)? {
            let provider = settings.providers.entry(id).or_default();
            if provider.credentials.iter().all(|credential| credential.missing_variable().is_some()) {
                provider.credentials = vec![Credential::Value(secret)];
            }
        }
        Ok(())
    }

    /// Keeps a key.
    ///
    /// # Errors
    /// `router_unavailable` when the file cannot be written; it stays as it was.
    pub fn set(&self, id: &ProviderId, secret: &Secret) -> Result<()> {
        self.change(|keys| drop(keys.insert(id.clone(), secret.clone())))
    }

    /// Forgets a key, and says whether there was one.
    ///
    /// # Errors
    /// As [`ProviderKeys::set`].
    pub fn remove(&self, id: &ProviderId) -> Result<bool> {
        let mut was = false;
        self.change(|keys| was = keys.remove(id).is_some())?;
        Ok(was)
    }

    /// The providers with a kept key.
    ///
    /// # Errors
    /// `router_unavailable` when the file cannot be read.
    pub fn list(&self) -> Result<Vec<ProviderId>> {
        Ok(read(self.file()?)?.into_keys().collect())
    }

    fn file(&self) -> Result<&Path> {
        self.0.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::RouterUnavailable, "there is no state folder to keep keys in")
                .with_hint("set HOME or XDG_DATA_HOME")
        })
    }

    /// Changes the file under a lock, whole or not at all.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<ProviderId, Secret>)) -> Result<()> {
        let file = self.file()?;
        let failed = |error: std::io::Error| unusable(file, &error);
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file.with_extension("lock"))
            .map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut keys = read(file)?;
        change(&mut keys);
        let plain: BTreeMap<&str, &str> = keys.iter().map(|(id, secret)| (id.as_str(), secret.expose())).collect();
        let text = serde_json::to_vec_pretty(&plain).map_err(|error| Error::internal(error.to_string()))?;
        // A temporary file is born with mode 0600.
        let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        temporary.write_all(&text).and_then(|()| temporary.as_file().sync_all()).map_err(failed)?;
        temporary.persist(file).map(drop).map_err(|error| failed(error.error))
    }
}

fn read(file: &Path) -> Result<BTreeMap<ProviderId, Secret>> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == Io::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unusable(file, &error)),
    };
    // The parser's own message could hold a piece of a key.
    let keys: BTreeMap<ProviderId, String> = serde_json::from_slice(&text).map_err(|_| {
        Error::new(ErrorKind::RouterUnavailable, format!("{} is damaged", file.display()))
            .with_hint("remove it and keep the keys again with `llm-router auth set`")
    })?;
    Ok(keys.into_iter().map(|(id, key)| (id, Secret::new(key))).collect())
}

fn unusable(file: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::RouterUnavailable, format!("cannot use {}: {error}", file.display()))
        .with_hint("the folder of kept keys must be writable")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn id(text: &str) -> ProviderId {
        ProviderId::new(text).unwrap()
    }

    #[test]
    fn a_kept_key_completes_the_settings_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/provider-keys.json");
        let keys = ProviderKeys::new(Some(file.clone()));
        keys.set(&id("openai"), &Secret::new("sk-canary-1")).unwrap();
        keys.set(&id("groq"), &Secret::new("gsk-canary-2")).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let mut settings = Settings::default();
        settings.providers.entry(id("groq")).or_default().credentials = vec![Credential::Value(Secret::new("own"))];
        keys.complete(&mut settings).unwrap();
        assert_eq!(settings.providers[&id("openai")].credentials, [Credential::Value(Secret::new("sk-canary-1"))]);
        assert_eq!(settings.providers[&id("groq")].credentials, [Credential::Value(Secret::new("own"))]);
        assert!(keys.remove(&id("groq")).unwrap() && !keys.remove(&id("groq")).unwrap());
        assert_eq!(keys.list().unwrap(), [id("openai")]);
    }

    #[test]
    fn a_damaged_file_is_named_and_its_content_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        fs::write(&file, "{\"openai\": sk-canary-3}").unwrap();
        let error = ProviderKeys::new(Some(file)).list().unwrap_err();
        assert!(error.message().contains("keys.json") && !format!("{error:?}").contains("canary"), "{error:?}");
    }
}
