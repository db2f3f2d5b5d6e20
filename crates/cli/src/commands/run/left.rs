//! What runs that were killed left behind: their folders, and the keys that were made for them. Whose folder is locked (`folder.rs`) still runs.

use std::fs;
use std::path::Path;

use llm_router::limits::Keyring;

use super::folder::{PREFIX, kept, locked};
use super::home::HOME;
use super::{back, key};
use crate::output;

/// The most that are looked at, one run to the next.
const MOST: usize = 1000;

/// Clears all of it away. What cannot be is left for the next run.
pub(super) async fn clear(state: &Path, keyring: Option<&Keyring>) {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    for folder in folders.take(MOST) {
        let path = folder.path();
        if let Err(error) = cleared(&path, keyring).await {
            output::note(&format!("warning: {}, which a run that was killed left: {error}", path.display()));
        }
    }
}

async fn cleared(path: &Path, keyring: Option<&Keyring>) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let Some(_lock) = locked(path).map_err(said)? else { return Ok(()) };
    // Without the keys at hand it ends by itself, within a day.
    if let Some((keyring, name)) = keyring.zip(key::of(path)) {
        key::revoked(keyring, &name).await.map_err(|error| error.to_string())?;
    }
    if back::has_some(&path.join(HOME)) {
        let kept = kept(path).map_err(said)?;
        output::note(&format!(
            "note: a run of gemini that was killed left files of its home, which are in {}",
            kept.display()
        ));
        return Ok(());
    }
    fs::remove_dir_all(path).map_err(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::run::folder::Folder;

    #[tokio::test]
    async fn what_nobody_holds_is_cleared_away_and_what_would_be_lost_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let live = Folder::new(Some(state.path())).unwrap();
        let at = |name: &str| state.path().join(name);
        for name in ["run-dead", "run-home/home/.gemini", "kept-other", "keys"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("run-home/home/.gemini/oauth_creds.json"), "{}").unwrap();
        fs::write(at("run-file"), "").unwrap();
        std::os::unix::fs::symlink(at("keys"), at("run-link")).unwrap();
        clear(state.path(), None).await;
        assert!(live.path().exists() && !at("run-dead").exists() && !at("run-home").exists());
        for stays in ["kept-home/home/.gemini/oauth_creds.json", "kept-other", "keys", "run-file", "run-link"] {
            assert!(at(stays).exists(), "{stays}");
        }
    }
}
