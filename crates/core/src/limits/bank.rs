//! Where money is counted that several processes spend in leases: the trait, and the one that keeps its books in the state store.
//!
//! Who draws and what a lease is stands in `budget.rs`. Processes that share their limits step by step ask no bank: `shared.rs`.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::store::{Change, Store, StoreError, counter_value};

/// Where money is counted that several processes spend.
pub trait Bank: fmt::Debug + Send + Sync + 'static {
    /// Draws `wanted`, or what is left below the cap and at least `least`, and gives what was drawn: nothing where less than `least` is left. It is safe before this returns.
    fn draw<'a>(&'a self, account: &'a str, draft: Draft) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Counts `amount` more, or gives it back where it is negative, whatever the cap says: it was spent, or it was not.
    fn correct<'a>(
        &'a self,
        account: &'a str,
        amount: i64,
        expires: Option<SystemTime>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What was drawn.
    fn drawn<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;
}

/// What is asked of a [`Bank`], in micro-dollars.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    /// Less than this is of no use.
    pub least: u64,
    /// As much as shall be drawn.
    pub wanted: u64,
    /// The most that may ever be drawn.
    pub cap: u64,
    /// When the account may be forgotten.
    pub expires: Option<SystemTime>,
}

/// A bank whose books are the state store.
#[derive(Clone, Debug)]
pub(crate) struct StoreBank(pub(crate) Arc<dyn Store>);

/// The kind of record that counts money.
pub const SPACE: &str = "money";
/// Attempts at a change that others make at the same time.
pub(super) const TRIES: u32 = 64;

impl Bank for StoreBank {
    fn draw<'a>(&'a self, account: &'a str, draft: Draft) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            for _ in 0..TRIES {
                let found = self.0.get(SPACE, account).await?;
                let drawn = found.as_deref().map(counter_value).transpose()?.unwrap_or(0);
                let left = draft.cap.saturating_sub(u64::try_from(drawn).unwrap_or(0));
                if left < draft.least {
                    return Ok(0);
                }
                let amount = draft.wanted.max(draft.least).min(left);
                let now = drawn.saturating_add(i64::try_from(amount).unwrap_or(i64::MAX));
                let value = bytes::Bytes::copy_from_slice(&now.to_be_bytes());
                let change = Change { expected: found, value: Some(value), expires: draft.expires };
                if self.0.compare_and_set(SPACE, account, change).await? {
                    return Ok(amount);
                }
            }
            Err(StoreError::Busy)
        })
    }

    fn correct<'a>(
        &'a self,
        account: &'a str,
        amount: i64,
        expires: Option<SystemTime>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.0.increment(SPACE, account, amount, expires).await.map(drop) })
    }

    fn drawn<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let found = self.0.get(SPACE, account).await?;
            let drawn = found.as_deref().map(counter_value).transpose()?.unwrap_or(0);
            Ok(u64::try_from(drawn).unwrap_or(0))
        })
    }
}
