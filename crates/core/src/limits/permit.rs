//! Letting a request in: counted at its key and at all above it, or at none.
//!
//! This is the way of a process that counts alone, in memory; one that shares its limits asks in `together.rs` and comes here where nobody answers. Windows are `rate.rs`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rate::{Full, Standing};
use super::tab::Payer;
use super::together::Together;
use super::{Holder, Limits, MOST_ABOVE, Rated, Rates, Standings, Ticks};
use crate::error::{Error, ErrorKind, Result};

impl Holder {
    /// Lets a request in that is thought to take as many tokens, if all who hold allow it. What the permit holds is given back when it is dropped.
    ///
    /// # Errors
    /// `policy_rate_limited` with the wait, naming the holder and its limit.
    pub fn admit(self: &Arc<Self>, now: Instant, tokens: u64) -> Result<Permit> {
        self.admit_part(now, tokens, 1)
    }

    /// The same where this process is one of so many that each allow their part.
    pub(super) fn admit_part(self: &Arc<Self>, now: Instant, tokens: u64, parts: u32) -> Result<Permit> {
        let mut entered = [(0, 0); MOST_ABOVE];
        for (at, holder) in self.chain().enumerate() {
            let outcome = match entered.get_mut(at) {
                Some(place) => holder.enter(now, tokens, parts).map(|ticks| *place = ticks),
                None => Err(Error::internal("more holders above each other than there can be")),
            };
            if let Err(error) = outcome {
                for (holder, ticks) in self.chain().zip(entered).take(at) {
                    holder.leave();
                    holder.correct(ticks, Some(0), tokens, 0);
                }
                return Err(error);
            }
        }
        Ok(Permit { holder: Arc::clone(self), entered, thought: tokens, here: true, together: None })
    }

    fn enter(&self, now: Instant, tokens: u64, parts: u32) -> Result<Ticks> {
        let Rated { requests_per_minute, tokens_per_minute, concurrency } = self.limits.part(parts);
        if let Some(most) = concurrency
            && self.passed.running.fetch_add(1, Ordering::AcqRel) >= most
        {
            self.leave();
            return Err(self.full(&format!("{most} requests at once"), Full::For(Duration::from_secs(1))));
        }
        if requests_per_minute.is_none() && tokens_per_minute.is_none() {
            return Ok((0, 0));
        }
        let now = now.saturating_duration_since(self.began);
        let mut rates = self.rates();
        let mut ticks = (0, 0);
        let mut refused = None;
        if let Some(most) = requests_per_minute {
            match rates.requests.take(now, 1, most) {
                Ok(tick) => ticks.0 = tick,
                Err(full) => refused = Some((format!("{most} requests a minute"), full)),
            }
        }
        if let Some(most) = tokens_per_minute.filter(|_| refused.is_none()) {
            match rates.tokens.take(now, tokens, most) {
                Ok(tick) => ticks.1 = tick,
                Err(full) => {
                    rates.requests.correct(ticks.0, 1, 0);
                    let what = format!("{most} tokens a minute, and this request may take {tokens}");
                    refused = Some((what, full));
                }
            }
        }
        drop(rates);
        let Some((what, full)) = refused else { return Ok(ticks) };
        self.leave();
        Err(self.full(&what, full))
    }

    fn leave(&self) {
        if self.limits.concurrency.is_some() {
            self.passed.running.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Puts right what was thought of a request: `requests` that it counts for, and its tokens.
    fn correct(&self, (request, token): Ticks, requests: Option<u64>, thought: u64, true_tokens: u64) {
        let Limits { requests_per_minute, tokens_per_minute, .. } = self.limits;
        let requests = requests.filter(|_| requests_per_minute.is_some());
        if requests.is_none() && (tokens_per_minute.is_none() || thought == true_tokens) {
            return;
        }
        let mut rates = self.rates();
        if let Some(requests) = requests {
            rates.requests.correct(request, 1, requests);
        }
        if tokens_per_minute.is_some() {
            rates.tokens.correct(token, thought, true_tokens);
        }
    }

    pub(super) fn full(&self, what: &str, full: Full) -> Error {
        let message = format!("the {} {} allows {what}", self.what, self.name);
        let error = Error::new(ErrorKind::PolicyRateLimited, message);
        match full {
            Full::For(wait) => error.with_retry_after(wait),
            Full::ForEver => error.with_hint("ask for less: no wait makes room for this"),
        }
    }

    /// Counts what was let in elsewhere, for the time when this process is alone.
    pub(super) fn note(self: &Arc<Self>, now: Instant, tokens: u64) -> [Ticks; MOST_ABOVE] {
        let mut entered = [(0, 0); MOST_ABOVE];
        for (holder, place) in self.chain().zip(&mut entered) {
            let Limits { requests_per_minute, tokens_per_minute, concurrency, .. } = holder.limits;
            if concurrency.is_some() {
                holder.passed.running.fetch_add(1, Ordering::AcqRel);
            }
            let now = now.saturating_duration_since(holder.began);
            let mut rates = holder.rates();
            let request = requests_per_minute.map_or(0, |_| rates.requests.note(now, 1));
            *place = (request, tokens_per_minute.map_or(0, |_| rates.tokens.note(now, tokens)));
        }
        entered
    }

    /// How it stands with its rates.
    #[must_use]
    pub fn standings(self: &Arc<Self>, now: Instant) -> Standings {
        let tighter = |a: Option<Standing>, b: Option<Standing>| match (a, b) {
            (Some(a), Some(b)) => Some(if b.remaining < a.remaining { b } else { a }),
            (a, b) => a.or(b),
        };
        self.chain().fold(Standings::default(), |all, holder| {
            if holder.sharing.is_some() {
                let told = holder.stood(now);
                return Standings {
                    requests: tighter(all.requests, told.requests),
                    tokens: tighter(all.tokens, told.tokens),
                };
            }
            let now = now.saturating_duration_since(holder.began);
            let mut rates = holder.rates();
            let requests = holder.limits.requests_per_minute.map(|most| rates.requests.standing(now, most));
            let tokens = holder.limits.tokens_per_minute.map(|most| rates.tokens.standing(now, most));
            Standings { requests: tighter(all.requests, requests), tokens: tighter(all.tokens, tokens) }
        })
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.passed.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was let in. Dropping it makes room for the next one; what passed stays counted.
#[derive(Debug)]
pub struct Permit {
    pub(super) holder: Arc<Holder>,
    pub(super) entered: [Ticks; MOST_ABOVE],
    pub(super) thought: u64,
    /// Whether this process counted it.
    pub(super) here: bool,
    /// What others counted of it.
    pub(super) together: Option<Together>,
}

impl Permit {
    /// Whose it is.
    #[must_use]
    pub fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Whose money it spends.
    #[must_use]
    pub fn payer(&self) -> Payer {
        Payer::new(&self.holder, self.together.as_ref().and_then(Together::tab))
    }

    /// What held instead of the limits that several processes share, where nobody counted them: `open`, `local`.
    #[must_use]
    pub fn alone(&self) -> Option<&'static str> {
        self.together.as_ref().and_then(Together::alone)
    }

    /// Counts the tokens that the request really took, in place of what was thought.
    pub fn took(&mut self, tokens: u64) {
        if self.here {
            for (holder, ticks) in self.holder.chain().zip(self.entered) {
                holder.correct(ticks, None, self.thought, tokens);
            }
        }
        if let Some(together) = &self.together {
            together.took(&self.holder, self.thought, tokens);
        }
        self.thought = tokens;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.here {
            self.holder.chain().for_each(|holder| holder.leave());
        }
    }
}
