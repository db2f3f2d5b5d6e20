//! Breakers: targets that fail are left alone for a while, and one request then tries whether they are back.
//!
//! Each provider instance has a set of them: for itself, for each model, for the key in use; an error opens the one that it names. While nothing is wrong with
//! a provider, asking costs one read of a number. One breaker is `breaker/cell.rs`, which instance has which set `breaker/instances.rs`. A refused login is
//! besides remembered for automatic plans, between processes too: that is `refused.rs`, which leaves out what this only holds back.

mod aside;
mod cell;
mod instances;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub(super) use self::aside::{Aside, held};
use self::cell::{Cell, Lesson, Part, Scope, lesson};
pub(super) use self::instances::Instances;
use crate::error::{Error, ErrorKind};
use crate::ids::{ModelName, ProviderId};
use crate::provider::DynProvider;

/// The longest that a request waits for a target to be back when all of its plan are held back.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The most breakers of one provider; the oldest is forgotten for a new one.
const MOST: usize = 64;

/// The breakers of one provider instance.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    /// How many cells there are: nothing is wrong where there is none.
    troubled: AtomicUsize,
    cells: Mutex<Vec<Cell>>,
    /// Told whenever somebody who waits may be let through.
    changed: Notify,
}

/// Who is to be asked: the provider of this set, for one model.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) provider: &'a dyn DynProvider,
    pub(super) model: Option<&'a ModelName>,
}

/// Why a target is not asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// When it may be asked again, as far as is known.
    pub(super) until: Instant,
    /// What went wrong with it.
    pub(super) kind: ErrorKind,
}

impl Held {
    /// As the caller hears it.
    pub(super) fn error(self, now: Instant) -> Error {
        let left = self.until.saturating_duration_since(now).max(Duration::from_millis(1));
        let kind = match self.kind {
            // Who named this target is told what is the matter with it, not only that it is left alone.
            ErrorKind::ProviderAuth | ErrorKind::ProviderBilling | ErrorKind::ProviderQuotaExhausted => self.kind,
            _ => ErrorKind::ProviderUnavailable,
        };
        let (why, hint) = match self.kind {
            ErrorKind::ProviderAuth => ("its key or login was refused", MENDED),
            ErrorKind::ProviderBilling => ("it wants to be paid", MENDED),
            ErrorKind::ProviderQuotaExhausted => ("its quota is used up", MENDED),
            ErrorKind::ProviderRateLimited => ("it limits our rate", PATIENT),
            ErrorKind::ProviderTimeout => ("it did not answer in time", PATIENT),
            ErrorKind::ProviderConnection => ("it could not be reached", PATIENT),
            _ => ("it failed several times in a row", PATIENT),
        };
        // Tenths are enough for a person.
        let shown = (left.as_secs_f64() * 10.0).ceil() / 10.0;
        Error::new(kind, format!("{why}, so it is left alone for another {shown} s ({})", self.kind))
            .with_hint(hint)
            .unsent()
            .with_retry_after(left)
    }
}

const MENDED: &str =
    "mend it, then start the program anew or POST to /api/v0/ai/llm/breakers/clear; or name another provider";
const PATIENT: &str = "ask again then, or name another provider";

/// Leave to ask a target once. Dropped without a word of how it went, it teaches nothing.
pub(super) struct Permit<'a> {
    breakers: &'a Breakers,
    asked: Asked<'a>,
    /// The half-open breakers that this request probes.
    probed: Vec<Scope>,
}

impl Breakers {
    /// Whether a target is held back now. Looks only.
    pub(super) fn held(&self, asked: Asked<'_>, now: Instant) -> Option<Held> {
        if self.is_well() { None } else { shut(&mut self.lock(), asked, now) }
    }

    fn is_well(&self) -> bool {
        self.troubled.load(Ordering::Relaxed) == 0
    }

    /// Leave to ask a target now; the one who asks first when its time has come is the probe.
    pub(super) fn admit<'a>(&'a self, asked: Asked<'a>, now: Instant) -> Result<Permit<'a>, Held> {
        let mut probed = Vec::new();
        if !self.is_well() {
            let mut cells = self.lock();
            if let Some(held) = shut(&mut cells, asked, now) {
                return Err(held);
            }
            self.troubled.store(cells.len(), Ordering::Relaxed);
            for cell in cells.iter_mut().filter(|cell| cell.is_half_open(now) && applies(&cell.scope, asked)) {
                cell.probing = true;
                probed.push(cell.scope.clone());
            }
        }
        Ok(Permit { breakers: self, asked, probed })
    }

    /// Leave to ask a target, waited for no longer than `patience`, which then is what is left of it.
    pub(super) async fn enter<'a>(&'a self, asked: Asked<'a>, patience: &mut Duration) -> Result<Permit<'a>, Held> {
        let began = Instant::now();
        let ends = began + *patience;
        let permit = match self.admit(asked, began) {
            Ok(permit) => return Ok(permit),
            Err(_) => loop {
                // Asked for before looking, so that no change falls in between.
                let changed = self.changed.notified();
                let held = match self.admit(asked, Instant::now()) {
                    Ok(permit) => break Ok(permit),
                    Err(held) => held,
                };
                if Instant::now() >= ends || held.until > ends {
                    break Err(held);
                }
                let probed = held.until <= Instant::now();
                tokio::select! {
                    () = changed => {}
                    () = sleep_until(if probed { ends } else { held.until }) => {}
                }
            },
        };
        *patience = ends.saturating_duration_since(Instant::now());
        permit
    }

    /// Closes them all, and says how many there were that held something back.
    pub(super) fn clear(&self) -> usize {
        let now = Instant::now();
        self.change(|cells| {
            let open = cells.iter().filter(|cell| cell.until.is_some() && !cell.is_over(now)).count();
            cells.clear();
            open
        })
    }

    /// The breakers that are not closed.
    pub(super) fn states(&self, provider: &ProviderId, now: Instant) -> Vec<State> {
        if self.is_well() {
            return Vec::new();
        }
        let cells = self.lock();
        let open = cells.iter().filter(|cell| cell.until.is_some() && !cell.is_over(now));
        open.map(|cell| State {
            provider: provider.clone(),
            model: match &cell.scope {
                Scope::Model(model) | Scope::Allowance(model, _) => model.clone(),
                Scope::Provider | Scope::Credential(_) => None,
            },
            scope: match &cell.scope {
                Scope::Provider => "provider",
                Scope::Model(_) | Scope::Allowance(..) => "model",
                Scope::Credential(_) => "credential",
            },
            key: None,
            mark: match &cell.scope {
                Scope::Allowance(_, mark) | Scope::Credential(mark) => mark.clone(),
                Scope::Provider | Scope::Model(_) => None,
            },
            half_open: !cell.is_open(now),
            kind: cell.kind,
            left: cell.until.map(|until| until.saturating_duration_since(now)).unwrap_or_default(),
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cells, and wakes who waits for a change.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Cell>) -> T) -> T {
        let mut cells = self.lock();
        let done = change(&mut cells);
        self.troubled.store(cells.len(), Ordering::Relaxed);
        drop(cells);
        self.changed.notify_waiters();
        done
    }
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Whose it is.
    pub provider: ProviderId,
    /// Of which model, where it is about one.
    pub model: Option<ModelName>,
    /// What it is about: `provider`, `model`, `credential`.
    pub scope: &'static str,
    /// With which of the provider's keys, from 1, where it has several and it is about one.
    pub key: Option<u32>,
    /// The one-way mark of that key.
    mark: Option<String>,
    /// Whether its time has come, so that one request may try, or does.
    pub half_open: bool,
    /// What went wrong.
    pub kind: ErrorKind,
    /// How long nothing passes from now on.
    pub left: Duration,
}

impl State {
    /// `open` or `half_open`.
    pub fn name(&self) -> &'static str {
        if self.half_open { "half_open" } else { "open" }
    }

    /// Whether it holds back this model of its provider, asked with this key.
    pub fn covers(&self, model: Option<&ModelName>, key: Option<u32>) -> bool {
        (self.scope != "model" || self.model.as_ref() == model) && (self.key.is_none() || self.key == key)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scope)?;
        if let Some(model) = &self.model {
            write!(f, " {model}")?;
        }
        if let Some(key) = self.key {
            write!(f, " (key {key})")?;
        }
        f.write_str(": ")?;
        match self.half_open {
            true => write!(f, "half-open after {}", self.kind),
            false => write!(f, "open for another {:.1} s after {}", self.left.as_secs_f64(), self.kind),
        }
    }
}

/// What holds a target back longest. Forgets what is over.
fn shut(cells: &mut Vec<Cell>, asked: Asked<'_>, now: Instant) -> Option<Held> {
    cells.retain(|cell| !cell.is_over(now));
    let shut = cells.iter().filter(|cell| cell.is_shut(now) && applies(&cell.scope, asked));
    // Of one that is being probed nobody knows when that ends.
    shut.map(|cell| Held { until: cell.until.unwrap_or(now).max(now), kind: cell.kind }).max_by_key(|held| held.until)
}

fn applies(scope: &Scope, asked: Asked<'_>) -> bool {
    match scope {
        Scope::Provider => true,
        Scope::Model(model) => model.as_ref() == asked.model,
        Scope::Allowance(model, mark) => model.as_ref() == asked.model && *mark == asked.provider.login_mark(),
        Scope::Credential(mark) => *mark == asked.provider.login_mark(),
    }
}

impl Permit<'_> {
    /// The target began to answer: others may ask it again. That is no success yet, which [`Breakers::answered`] is: a target that breaks off each of its answers
    /// fails as often.
    pub(super) fn begun(mut self, now: Instant) {
        if !self.breakers.is_well() {
            self.probed.clear();
            let asked = self.asked;
            let trusted = |cell: &&mut Cell| !cell.is_open(now) && applies(&cell.scope, asked);
            self.breakers.change(|cells| cells.iter_mut().filter(trusted).for_each(|cell| cell.trust(now)));
        }
    }

    /// The target answered.
    pub(super) fn answered(mut self, now: Instant) {
        self.probed.clear();
        self.breakers.answered(self.asked, now);
    }

    /// The target failed. `jitter` is a random number from 0 to 1.
    pub(super) fn failed(self, error: &Error, now: Instant, jitter: f64) {
        self.breakers.failed(self.asked, error, now, jitter);
    }
}

impl Breakers {
    /// A target answered to the end.
    pub(super) fn answered(&self, asked: Asked<'_>, now: Instant) {
        if !self.is_well() {
            self.change(|cells| cells.retain(|cell| cell.is_open(now) || !applies(&cell.scope, asked)));
        }
    }

    /// A target failed, before its answer or in the midst of it.
    pub(super) fn failed(&self, asked: Asked<'_>, error: &Error, now: Instant, jitter: f64) {
        let lesson = lesson(error);
        let scope = match lesson {
            Lesson::Alive => return self.answered(asked, now),
            Lesson::Nothing => return,
            Lesson::Failed(part) | Lesson::Barred(part, _) | Lesson::Limited(part, _) => match part {
                Part::Provider => Scope::Provider,
                Part::Model => Scope::Model(asked.model.cloned()),
                Part::Allowance => Scope::Allowance(asked.model.cloned(), asked.provider.login_mark()),
                Part::Credential => Scope::Credential(asked.provider.login_mark()),
            },
        };
        self.change(|cells| {
            cells.retain(|cell| !cell.is_over(now));
            if let Some(cell) = cells.iter_mut().find(|cell| cell.scope == scope) {
                return cell.learn(lesson, error.kind(), now, jitter);
            }
            if cells.len() >= MOST {
                cells.remove(0);
            }
            let mut cell = Cell::new(scope, error.kind(), now);
            cell.learn(lesson, error.kind(), now, jitter);
            cells.push(cell);
        });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.probed.is_empty() {
            let probed = |cell: &&mut Cell| self.probed.contains(&cell.scope);
            self.breakers.change(|cells| cells.iter_mut().filter(probed).for_each(|cell| cell.probing = false));
        }
    }
}

#[cfg(test)]
mod tests;
