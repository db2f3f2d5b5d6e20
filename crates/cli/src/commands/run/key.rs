//! The key that is made for a run, in a store that a server follows: for a day at a time, as long as the run lasts, and taken back at its end.
//!
//! Its name is in the run's folder before it is made, so that a run that was killed leaves none that nobody knows of: `left.rs`. Where it is shown is `place.rs`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use llm_router::error::{Error, ErrorKind};
use llm_router::limits::Keyring;
use llm_router::limits::key::{KeyChange, KeySpec};
use llm_router::secret::Secret;

use super::folder::Folder;
use super::place::chance;
use crate::output::{self, Outcome};

/// Under whose name the log of keys has what is done here.
pub(super) const BY: &str = "run";
/// How long it lasts when nobody takes it back, in seconds.
const DAY: u64 = 86_400;
/// How much of that is left when it is made longer.
const SOON: u64 = DAY * 3 / 4;
/// How often that is looked at. By the calendar: the machine may have slept.
const LOOK: Duration = Duration::from_secs(60);
/// The file with its name.
const FILE: &str = "key";

/// A key of a run.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    keyring: Keyring,
    name: String,
    /// When it ends, in seconds since 1970, where that is ours to say.
    ends: Option<u64>,
}

impl Lease {
    /// Makes one, and leaves it in `lease` before it is there: whoever is interrupted meanwhile takes it back.
    pub(super) async fn make(
        lease: &mut Option<Self>,
        keyring: &Keyring,
        mut wanted: KeySpec,
        folder: &Folder,
    ) -> Outcome<Secret> {
        let [a, b, c, d, ..] = chance()?;
        wanted.name = format!("{}-{:08x}", wanted.name, u32::from_be_bytes([a, b, c, d]));
        let ends = wanted.expires.is_none().then(|| now() + DAY);
        wanted.expires = wanted.expires.or(ends);
        folder.write(FILE, &wanted.name)?;
        *lease = Some(Self { keyring: keyring.clone(), name: wanted.name.clone(), ends });
        Ok(keyring.create(wanted, BY).await?.1)
    }

    /// Makes it last, for ever.
    pub(super) async fn last(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.longer().await;
        }
    }

    /// Makes it last longer where it ends soon.
    async fn longer(&mut self) {
        let Some(ends) = self.ends.filter(|ends| *ends < now() + SOON) else { return };
        let longer = ends.max(now()) + DAY;
        let mut change = KeyChange::default();
        change.expires = Some(Some(longer));
        // Where the store does not answer now, it may in a minute. A key that somebody else revoked stays so.
        if self.keyring.update(&self.name, &change, BY).await.is_ok() {
            self.ends = Some(longer);
        }
    }

    /// Takes it back.
    pub(super) async fn take_back(self) {
        if let Err(error) = revoked(&self.keyring, &self.name).await {
            let name = &self.name;
            output::note(&format!(
                "warning: the run's key was not taken back: {error}; `llm-router keys revoke {name}` does it"
            ));
        }
    }
}

/// Takes back a key of this name. One that was never made, or that somebody took back, is none.
pub(super) async fn revoked(keyring: &Keyring, name: &str) -> Result<(), Error> {
    match keyring.revoke(name, BY).await {
        Err(error) if error.kind() != ErrorKind::CallerInvalidRequest => Err(error),
        _ => Ok(()),
    }
}

/// The name of the key that was made for the run with this folder.
pub(super) fn of(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(FILE)).ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use llm_router::deps::SystemClock;
    use llm_router::limits::key::Seal;
    use llm_router::limits::keyring::Scope;
    use llm_router::store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn it_ends_within_a_day_of_the_runs_end_and_not_before() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(state.path())).unwrap();
        let clock = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let keyring = Keyring::new(store, Seal::new(chance), clock, Scope::Key, []);
        let mut lease = None;
        Lease::make(&mut lease, &keyring, KeySpec::new("run-x"), &folder).await.unwrap();
        let mut lease = lease.unwrap();
        assert_eq!(of(folder.path()).unwrap(), lease.name);
        let ends = async || keyring.list().await.unwrap().remove(0).spec.spec.expires.unwrap();
        let first = ends().await;
        assert!(first <= now() + DAY);
        // As if more than a quarter of it had gone by.
        lease.ends = Some(first - DAY / 2);
        lease.longer().await;
        assert!(ends().await > now() + SOON);
        lease.take_back().await;
        assert!(keyring.list().await.unwrap().remove(0).spec.revoked.is_some());
        revoked(&keyring, "run-x-never-made").await.unwrap();
    }
}
