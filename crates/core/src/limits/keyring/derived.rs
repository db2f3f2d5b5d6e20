//! The keys derived from one that were seen: bounded, and nothing that still counts is forgotten to make room.
//!
//! Whoever holds a key can derive as many as they like, so that not all can be remembered. One is forgotten where nothing of it counts any more: nobody is under way with it, the
//! last minute counts nothing of it, and its money goes back. Where all that are known still count for something, a further one is refused until one does not. How a derived key is
//! checked is `../grant.rs`, who asks for it `../keyring.rs`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::super::grant::Link;
use super::super::{A_MOMENT, Holder, Passed};
use crate::error::{Error, ErrorKind, Result};

/// The most derived keys of one key that are remembered.
pub(super) const MOST: usize = 4096;

#[derive(Default)]
pub(super) struct Derived(RwLock<Seen>);

#[derive(Default)]
struct Seen {
    holders: HashMap<Link, Arc<Holder>>,
    /// What passed for those that were seen before the key changed, and not since.
    before: HashMap<Link, Arc<Passed>>,
    /// Until when there is no use in looking for one that can be forgotten.
    full_until: Option<Instant>,
}

impl Derived {
    /// None yet, of a key that took the place of another: what passed for that one's stays counted.
    pub(super) fn after(before: &Self, began: Instant, now: Instant) -> Self {
        let before = before.0.read().unwrap_or_else(PoisonError::into_inner);
        let seen = before.holders.iter().map(|(link, holder)| (*link, Arc::clone(&holder.passed)));
        let all = before.before.iter().map(|(link, passed)| (*link, Arc::clone(passed))).chain(seen);
        let now = now.saturating_duration_since(began);
        let before = all.filter(|(_, passed)| !passed.forgotten_in(now).is_zero()).collect();
        Self(RwLock::new(Seen { before, ..Seen::default() }))
    }

    /// One that was seen.
    pub(super) fn get(&self, link: &Link) -> Option<Arc<Holder>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).holders.get(link).cloned()
    }

    /// All that are remembered.
    pub(super) fn all(&self) -> Vec<Arc<Holder>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).holders.values().cloned().collect()
    }

    /// Remembers those of these links that are new: `make` makes each, under what it is given, with what passed for it before. Gives the last one; who had to go for them and holds
    /// money is added to `gone`.
    ///
    /// # Errors
    /// `router_overloaded` with the wait where there is no room.
    pub(super) fn add<C>(
        &self,
        root: &Arc<Holder>,
        links: Vec<(Link, C)>,
        now: Instant,
        gone: &mut Vec<Arc<Holder>>,
        make: impl Fn(&Arc<Holder>, &Link, C, Option<Arc<Passed>>) -> Arc<Holder>,
    ) -> Result<Arc<Holder>> {
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Who was known before the key changed has its room already.
        let is_new = |link: &Link| !seen.holders.contains_key(link) && !seen.before.contains_key(link);
        let new = links.iter().filter(|(link, _)| is_new(link)).count();
        let asked = |link: &Link| links.iter().any(|(asked, _)| asked == link);
        seen.make_room(new, asked, root.began, now, gone)?;
        let mut above = Arc::clone(root);
        let Seen { holders, before, .. } = &mut *seen;
        for (link, caveats) in links {
            let made = || make(&above, &link, caveats, before.remove(&link));
            above = Arc::clone(holders.entry(link).or_insert_with(made));
        }
        Ok(above)
    }
}

impl Seen {
    fn room(&self) -> usize {
        MOST.saturating_sub(self.holders.len() + self.before.len())
    }

    /// Forgets what counts for nothing where there is no room for so many new ones, but none that is asked for now.
    fn make_room(
        &mut self,
        new: usize,
        asked: impl Fn(&Link) -> bool,
        began: Instant,
        now: Instant,
        gone: &mut Vec<Arc<Holder>>,
    ) -> Result<()> {
        if self.room() < new && self.full_until.is_none_or(|until| until <= now) {
            let since = now.saturating_duration_since(began);
            let mut soonest = Duration::from_secs(60);
            let mut stays = |passed: &Passed, is_held: bool| {
                let wait = passed.forgotten_in(since).max(if is_held { A_MOMENT } else { Duration::ZERO });
                soonest = soonest.min(if wait.is_zero() { soonest } else { wait });
                !wait.is_zero()
            };
            self.before.retain(|link, passed| stays(passed, false) || asked(link));
            self.holders.retain(|link, holder| {
                // Who is under way keeps its holder, and so does what was derived from it.
                let stays = stays(&holder.passed, Arc::strong_count(holder) > 1) || asked(link);
                if !stays && !holder.purses.is_empty() {
                    gone.push(Arc::clone(holder));
                }
                stays
            });
            // Looking again takes long; those under way may end before what passed is forgotten.
            self.full_until = (self.room() < new).then(|| now + soonest.min(A_MOMENT));
        }
        if self.room() >= new {
            return Ok(());
        }
        let wait = self.full_until.map_or(A_MOMENT, |until| until.saturating_duration_since(now));
        let message = format!("more than {MOST} keys derived from one were used in the last minute");
        Err(Error::new(ErrorKind::RouterOverloaded, message)
            .with_retry_after(wait)
            .with_hint("use fewer of them at a time, or derive from several keys"))
    }
}
