//! Taking over a configuration that changed: when the file does, and when a service manager says so.
//!
//! The file is looked at by its name, so one that is put in its place counts as well as one that is written. Half a file is a configuration with a mistake: it is
//! told of, and the next look finds the rest.

use std::convert::Infallible;
use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, SystemTime};

use llm_router::config::Loaded;
use llm_router_app::{App, Reloaded};
use llm_router_server::Renewal;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::output;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a hangup means that the configuration is to be read again. At a terminal it means that the person is gone.
pub(super) fn hears_hangup() -> bool {
    !std::io::stdin().is_terminal()
}

/// Reads the configuration again whenever it may have changed.
pub(super) async fn reload(app: &App, renewal: Renewal, mut hangup: Option<Signal>) -> Infallible {
    let mut loaded = app.loaded.clone();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = loaded.file.as_deref().and_then(mark);
    loop {
        let told = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = told => {}
            _ = look.tick() => {
                let now = loaded.file.as_deref().and_then(mark);
                // One that is gone for a moment is about to be put in place.
                if now.is_none() || now == seen {
                    continue;
                }
            }
        }
        seen = loaded.file.as_deref().and_then(mark);
        if let Some(read) = take_over(app, &renewal, &loaded) {
            loaded = read;
        }
    }
}

/// Takes a changed configuration over, and tells how that went; what was read, where it counts from now on.
fn take_over(app: &App, renewal: &Renewal, before: &Loaded) -> Option<Loaded> {
    let taken = app.reload(before).and_then(|read| renewal.take_over(read.router.clone()).map(|()| read));
    match taken {
        Ok(Reloaded { router, loaded, changed, at_the_start, .. }) => {
            app.follow(&router);
            output::note(&format!("configuration read again: {changed} values changed"));
            loaded.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
            if !at_the_start.is_empty() {
                output::note(&format!("after the next start only: {}", at_the_start.join(", ")));
            }
            Some(loaded)
        }
        Err(error) => {
            output::note(&format!("configuration left as it was: {error}"));
            None
        }
    }
}

/// What tells a file from the one that was there before.
fn mark(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
