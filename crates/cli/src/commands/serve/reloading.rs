//! Taking over a configuration that changed: when the file does, and when a service manager says so.
//!
//! The file is looked at by its name, so one that is put in its place counts as well as one that is written. The first half of a file may well be sound, and no lines of it are: what changed is
//! read only when two looks in a row find it the same ([`Watch`]), and a file that says nothing any more is refused (`llm_router_app::App::reload`).

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
pub(super) async fn reload(app: &App, renewal: Renewal, mut watch: Watch, mut hangup: Option<Signal>) -> Infallible {
    let mut loaded = app.loaded.clone();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = told => watch = Watch::of_file(&loaded),
            _ = look.tick() => {
                if !watch.looks(loaded.file.as_deref().and_then(mark)) {
                    continue;
                }
            }
        }
        if let Some(read) = take_over(app, &renewal, &loaded) {
            loaded = read;
        }
    }
}

/// Takes a changed configuration over, and tells how that went; what was read, where it counts from now on.
fn take_over(app: &App, renewal: &Renewal, before: &Loaded) -> Option<Loaded> {
    let taken = app.reload(before).and_then(|read| renewal.take_over(read.router.clone()).map(|()| read));
    match taken {
        Ok(Reloaded { router, loaded, changed, secrets, at_the_start, .. }) => {
            app.follow(&router);
            let replaced =
                if secrets > 0 { format!(", {} changed", counted(secrets, "secret")) } else { String::new() };
            output::note(&format!("configuration read again: {} changed{replaced}", counted(changed, "value")));
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

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What tells a file from the one that was there before: when it was written, its length, and which one it is.
type Mark = (SystemTime, u64, u64);

/// What was seen of the file.
#[derive(Debug)]
pub(super) struct Watch {
    /// As it was read last.
    read: Option<Mark>,
    /// As it was at the last look.
    last: Option<Mark>,
}

impl Watch {
    /// Of the configuration's file, which is read as it is now.
    pub(super) fn of_file(loaded: &Loaded) -> Self {
        Self::of(loaded.file.as_deref().and_then(mark))
    }

    fn of(now: Option<Mark>) -> Self {
        Self { read: now, last: now }
    }

    /// Takes note of how the file is now, and says whether it is to be read: it is another one than was read, and the same as at the look before. One that is gone is about to be put in place.
    fn looks(&mut self, now: Option<Mark>) -> bool {
        let rests = now.is_some() && now == std::mem::replace(&mut self.last, now);
        let new = rests && now != self.read;
        if new {
            self.read = now;
        }
        new
    }
}

fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, length: u64) -> Option<Mark> {
        Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), length, 7))
    }

    #[test]
    fn a_file_is_read_when_two_looks_find_the_same() {
        let mut watch = Watch::of(at(1, 90));
        assert!(!watch.looks(at(1, 90)), "it is the one that was read");
        // Cut to nothing, written in two steps, gone and put in place.
        for now in [at(2, 0), at(3, 40), at(4, 90), None, at(5, 90)] {
            assert!(!watch.looks(now), "{now:?}");
        }
        assert!(watch.looks(at(5, 90)));
        assert!(!watch.looks(at(5, 90)), "it is read once");
    }

    #[test]
    fn one_that_stays_gone_is_not_read_and_one_that_comes_back_as_it_was_neither() {
        let mut watch = Watch::of(at(1, 90));
        assert!(!watch.looks(None) && !watch.looks(None) && !watch.looks(at(1, 90)) && !watch.looks(at(1, 90)));
    }
}
