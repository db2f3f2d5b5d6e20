//! Limits that are counted together: one script for a request, before it goes anywhere.
//!
//! The script is `scripts/enter.lua`; here an [`Ask`] becomes its arguments and its numbers become what was [`Told`]. It runs in a task of the connection's own thread, so that what
//! was counted for somebody who does not wait any more is put right. What is told later is `settle.rs`.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use llm_router::deps::Clock;
use llm_router::limits::bank::SPACE;
use llm_router::limits::rate::Standing;
use llm_router::limits::shared::{Ask, Correction, Counted, Limit, Shared, Told};
use llm_router::store::StoreError;
use redis::{Script, ScriptInvocation};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Inner;
use crate::names::{Names, REQUESTS, RUNNING, TOKENS, header, keep};
use crate::settle::{LEASE, Settling};

/// How long an answer may take that nobody waits for any more: what it counted is put right then.
const LATE: Duration = Duration::from_secs(30);
/// The greatest number that the script counts exactly: it has 53 bits.
const EXACT: u64 = (1 << 53) - 1;

pub(crate) static ENTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/enter.lua")));

/// Limits of all processes that share a server and a prefix.
#[derive(Debug)]
pub struct RedisLimits {
    inner: Arc<Inner>,
    clock: Arc<dyn Clock>,
    settling: OnceLock<Arc<Settling>>,
}

impl RedisLimits {
    pub(crate) fn new(inner: Arc<Inner>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, settling: OnceLock::new() }
    }

    /// What is told later; the first call starts it.
    fn settling(&self) -> Result<&Arc<Settling>, StoreError> {
        let link = self.inner.link()?;
        let start = || Settling::start(link, self.inner.names.clone(), Arc::clone(&self.clock));
        Ok(self.settling.get_or_init(start))
    }

    async fn ask(&self, ask: Ask) -> Result<Told, StoreError> {
        let (link, settling) = (self.inner.link()?, Arc::clone(self.settling()?));
        let (line, names, clock) = (link.line(), self.inner.names.clone(), Arc::clone(&self.clock));
        let (answer, answered) = oneshot::channel();
        link.handle().spawn(async move {
            let number = settling.begin(&ask);
            let call = call(&names, &*clock, &settling, number, &ask);
            let mut sent = false;
            let said = line.say(LATE, |mut to| {
                sent = true;
                async move { call.invoke_async::<Vec<i64>>(&mut to).await }
            });
            let told = said.await.and_then(|numbers| read(&ask, &numbers, number).ok_or_else(unclear));
            match &told {
                Ok(Told::In { slot, .. }) => settling.counted(number, *slot, &ask),
                Err(error) if sent && may_be_counted(error) => settling.lost(number, &ask),
                Ok(Told::Full { .. }) | Err(_) => settling.not_counted(number),
            }
            // Where nobody is there to take it, it is dropped here.
            let _ = answer.send(Answer { told: Some(told), ask, settling });
        });
        let patience = self.inner.options.patience;
        match timeout(patience, answered).await {
            Ok(Ok(answer)) => answer.take(),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => {
                link.line().suspect();
                Err(StoreError::Unreachable(format!("no answer within {} ms", patience.as_millis())))
            }
        }
    }
}

/// An answer on its way to whoever asked. What it counted is taken back unless they take it: they may leave at any moment, also between its arrival and their next look.
#[derive(Debug)]
struct Answer {
    told: Option<Result<Told, StoreError>>,
    ask: Ask,
    settling: Arc<Settling>,
}

impl Answer {
    fn take(mut self) -> Result<Told, StoreError> {
        self.told.take().unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(Ok(Told::In { slot, drew, accounts })) = self.told.take() {
            self.settling.undo(&self.ask, slot, drew, &accounts);
        }
    }
}

/// Whether a server that was asked may have counted a request all the same.
fn may_be_counted(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unwritable(_) | StoreError::Full | StoreError::Busy)
}

impl Shared for RedisLimits {
    fn enter(&self, ask: Ask) -> BoxFuture<'_, Result<Told, StoreError>> {
        self.ask(ask).boxed()
    }

    fn correct(&self, correction: Correction) {
        if let Ok(settling) = self.settling() {
            settling.put(correction);
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            match self.settling.get() {
                Some(settling) => settling.flush().await,
                None => Ok(()),
            }
        }
        .boxed()
    }
}

/// The script's call.
fn call(names: &Names, clock: &dyn Clock, settling: &Settling, number: u64, ask: &Ask) -> ScriptInvocation<'static> {
    let now = clock.now();
    let mut call = ENTER.prepare_invoke();
    call.key(settling.told()).key(settling.asked());
    call.arg(settling.slot_name(number)).arg(number).arg(LEASE.as_millis() as u64).arg(ask.accounts.len());
    call.arg(ask.amounts.len());
    ask.amounts.iter().for_each(|amount| {
        call.arg(amount.min(&EXACT));
    });
    let or_none = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit.min(EXACT)).unwrap_or(-1));
    for account in &ask.accounts {
        for of in [REQUESTS, TOKENS, RUNNING] {
            call.key(names.window(&account.name, of));
        }
        let (weight, most) = account.tokens.map_or((0, None), |(weight, most)| (weight, Some(most)));
        call.arg(or_none(account.requests)).arg(or_none(Some(weight))).arg(or_none(most));
        call.arg(or_none(account.concurrency.map(u64::from))).arg(account.money.len());
        for due in &account.money {
            call.key(names.record(SPACE, &due.books));
            call.arg(due.cap.min(EXACT)).arg(&header(due.expires)[..]).arg(keep(due.expires, now));
        }
    }
    call
}

/// What the script's numbers say.
fn read(ask: &Ask, numbers: &[i64], slot: u64) -> Option<Told> {
    let mut numbers = numbers.iter().map(|number| u64::try_from(*number).ok());
    let mut next = || numbers.next();
    let at = Duration::from_millis(next()??);
    let (full, which, what, wait) = (next()??, next()??, next()??, next()?);
    let mut accounts = Vec::with_capacity(ask.accounts.len());
    for account in &ask.accounts {
        let mark = next()??;
        let mut standing = |limit: Option<u64>| {
            let (remaining, reset) = (next()??, next()??);
            let reset = Duration::from_millis(reset);
            Some(limit.map(|limit| Standing { limit, remaining, reset }))
        };
        let requests = standing(account.requests)?;
        let tokens = standing(account.tokens.map(|(_, most)| most))?;
        let drawn = account.money.iter().map(|_| next()?).collect::<Option<_>>()?;
        accounts.push(Counted { at, mark, requests, tokens, drawn });
    }
    if full == 0 {
        let at_once = ask.accounts.iter().any(|account| account.concurrency.is_some());
        return Some(Told::In { slot: at_once.then_some(slot), drew: which, accounts });
    }
    let limit = match usize::try_from(what).ok()? {
        0 => Limit::Requests,
        1 => Limit::Tokens,
        2 => Limit::Concurrency,
        money => Limit::Money(money - 3),
    };
    Some(Told::Full { at: usize::try_from(which).ok()?, limit, wait: wait.map(Duration::from_millis), accounts })
}

fn unclear() -> StoreError {
    StoreError::Other("the server answers what was not asked".to_owned())
}
