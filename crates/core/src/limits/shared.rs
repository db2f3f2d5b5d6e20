//! Limits that several processes count together, step by step: what is asked of whoever counts them, and what holds while nobody answers.
//!
//! A process alone counts in memory (`rate.rs`) and leases money (`budget.rs`). Replicas that share a counter ask it once before a request goes anywhere: one [`Ask`] names every
//! account of the key, of its team and of what it was derived from, and all are counted or none. What turns out otherwise later, the true tokens, the true cost, a place that is
//! free again, is told by [`Shared::correct`], which nobody waits for. Read next: `together.rs`, which puts a request into these words, and `tab.rs`, its money.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::rate::Standing;
use crate::error::{Error, ErrorKind};
use crate::store::StoreError;
use crate::telemetry::Ledger;

/// Whoever counts limits for several processes.
pub trait Shared: fmt::Debug + Send + Sync + 'static {
    /// Counts a request at all accounts, or at none, by the counter's own clock.
    ///
    /// # Errors
    /// What keeps the counter from answering within the time that it is allowed: the request was counted, or was not.
    fn enter(&self, ask: Ask) -> BoxFuture<'_, Result<Told, StoreError>>;

    /// Puts right what was counted. It waits for nothing; what cannot be told now is told later.
    fn correct(&self, correction: Correction);

    /// Waits until everything is told.
    ///
    /// # Errors
    /// What keeps the counter from hearing it.
    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// What a request wants of its accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The accounts, from the key upwards.
    pub accounts: Vec<Account>,
    /// What the request may cost at most, in micro-dollars: alternatives, each less than the one before it. The first for which every money of every account has room is drawn,
    /// from all of them; where none is, the account that has no room for the last one refuses. Empty draws nothing.
    pub amounts: Vec<u64>,
}

/// What a request wants of one account. What is absent is not limited there, or not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Whose it is: `key/ID`, `team/NAME`, `grant/LINK`.
    pub name: Arc<str>,
    /// The most requests in any sixty seconds, of which this is one.
    pub requests: Option<u64>,
    /// The tokens that it may take, and the most in any sixty seconds.
    pub tokens: Option<(u64, u64)>,
    /// The most requests at once.
    pub concurrency: Option<u32>,
    /// Where money is to be set aside.
    pub money: Vec<Due>,
}

/// One of the books that money is drawn from, in micro-dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where it is counted: a record of [`MONEY`](super::bank::SPACE).
    pub books: Arc<str>,
    /// What the books may come to.
    pub cap: u64,
    /// When they may be forgotten.
    pub expires: Option<SystemTime>,
}

/// What whoever counts has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Counted at all accounts.
    In {
        /// Under which it is one of those at once, where that is limited.
        slot: Option<u64>,
        /// Which of the [amounts](Ask::amounts) was drawn of each money; 0 where none was asked for.
        drew: u64,
        /// How each account stands, in the order asked.
        accounts: Vec<Counted>,
    },
    /// Counted nowhere.
    Full {
        /// Which account is full.
        at: usize,
        /// Of what.
        limit: Limit,
        /// Until it may pass; none where no wait helps, or the end of a period does.
        wait: Option<Duration>,
        /// How each account stands, in the order asked.
        accounts: Vec<Counted>,
    },
}

/// What an account has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests at once.
    Concurrency,
    /// Money, by its place in [`Account::money`].
    Money(usize),
}

/// How an account stands after it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// When, by the counter's clock: answers may arrive in another order than they were given.
    pub at: Duration,
    /// Under which the request is counted, for [`Correction::Tokens`].
    pub mark: u64,
    /// Requests per minute, where they are limited.
    pub requests: Option<Standing>,
    /// Tokens per minute, where they are limited.
    pub tokens: Option<Standing>,
    /// What is drawn of each money.
    pub drawn: Vec<u64>,
}

/// What was otherwise than it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The request of this slot is over.
    Left(u64),
    /// It took so many tokens more, or fewer, than it was counted for.
    Tokens {
        /// Where it was counted.
        account: Arc<str>,
        /// Its mark there.
        mark: u64,
        /// How many more.
        more: i64,
    },
    /// So much more was spent than was set aside, or less.
    Money {
        /// Where it is counted.
        books: Arc<str>,
        /// How much more, in micro-dollars.
        more: i64,
        /// When the books may be forgotten.
        expires: Option<SystemTime>,
    },
}

/// What holds for a request while whoever counts does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alone {
    /// Nothing passes that has a shared limit.
    #[default]
    Closed,
    /// Everything passes, and its cost is told later.
    Open,
    /// Each process allows its part of every limit, as one of so many.
    Local(u32),
}

impl Alone {
    /// Whether what passes is counted in this process too, for the time when it is alone.
    pub(crate) fn counts_here(self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Its name: `closed`, `open`, `local`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Local(_) => "local",
        }
    }
}

/// Whoever counts, with what holds while they do not answer.
#[derive(Debug)]
pub struct Sharing {
    pub(crate) counter: Arc<dyn Shared>,
    pub(crate) alone: Alone,
    ledger: Ledger,
    silent: AtomicBool,
}

impl Sharing {
    /// With this counter; `ledger` counts the requests that it did not answer.
    pub fn new(counter: Arc<dyn Shared>, alone: Alone, ledger: Ledger) -> Self {
        Self { counter, alone, ledger, silent: AtomicBool::new(false) }
    }

    /// Asks, and says once when answers stop and once when they come again.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Told, StoreError> {
        let told = self.counter.enter(ask).await;
        if self.silent.swap(told.is_err(), Ordering::Relaxed) != told.is_err() {
            match &told {
                Err(error) => tracing::warn!("shared limits are not counted together: {error}; {}", self.meanwhile()),
                Ok(_) => tracing::info!("shared limits are counted together again"),
            }
        }
        if told.is_err() {
            self.ledger.unshared(self.alone.name());
        }
        told
    }

    fn meanwhile(&self) -> String {
        match self.alone {
            Alone::Closed => "requests of keys with limits are refused".to_owned(),
            Alone::Open => "all requests pass".to_owned(),
            Alone::Local(replicas) => format!("this process allows its part of {replicas}"),
        }
    }

    /// What a key with limits hears where nothing passes.
    pub(crate) fn refusal(&self, error: StoreError) -> Error {
        Error::new(ErrorKind::RouterUnavailable, format!("the limits of this key cannot be counted: {error}"))
            .with_retry_after(Duration::from_secs(1))
            .with_hint("try again in a moment")
            .with_source(error)
    }
}
