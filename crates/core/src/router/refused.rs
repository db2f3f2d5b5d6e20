//! Who said "not logged in": providers whose key or login was refused are passed over by automatic plans for ten minutes.
//!
//! What is remembered is a one-way mark of the key, the login file or the program, so a changed one is asked again at once. It is kept between processes
//! where there is a store; a store that fails costs a wasted attempt, nothing else. Whoever is named is always asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind, Result};
use crate::provider::DynProvider;
use crate::store::{Scan, Store, millis};

/// How long a refused key or login is passed over.
pub const PASSED_OVER: Duration = Duration::from_secs(600);

/// The kind of record in the store.
const SPACE: &str = "refused";
/// The most that are remembered.
const MOST: usize = 256;

/// The marks of keys and logins that were refused lately, each with the end of its time.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    marks: Mutex<HashMap<String, SystemTime>>,
    loaded: OnceCell<()>,
}

impl Refused {
    /// Reads what other processes remember, once.
    pub(crate) async fn load(&self, store: Option<&Arc<dyn Store>>, now: SystemTime) {
        let load = async {
            let Some(store) = store else { return };
            let range = Scan { prefix: "", after: None, limit: MOST };
            let Ok(records) = store.scan(SPACE, range).await else { return };
            // Of another machine's clock, or another version's record, no more is believed than that a refusal lasts ten minutes.
            let ends = |record: &[u8]| Some(written(record)?.min(now + PASSED_OVER)).filter(|until| now < *until);
            lock(&self.marks).extend(records.into_iter().filter_map(|(mark, record)| Some((mark, ends(&record)?))));
        };
        self.loaded.get_or_init(|| load).await;
    }

    /// Whether a provider's key or login was refused lately.
    pub(crate) fn holds(&self, provider: &dyn DynProvider, now: SystemTime) -> bool {
        let marks = lock(&self.marks);
        !marks.is_empty() && mark(provider).is_some_and(|mark| marks.get(&mark).is_some_and(|until| now < *until))
    }

    /// Remembers a refusal.
    pub(crate) async fn note(
        &self,
        provider: &dyn DynProvider,
        error: &Error,
        store: Option<&Arc<dyn Store>>,
        now: SystemTime,
    ) {
        // That a refused key is left alone is no new refusal: nothing was sent.
        if error.kind() != ErrorKind::ProviderAuth || error.is_unsent() {
            return;
        }
        let Some(mark) = mark(provider) else { return };
        let until = now + PASSED_OVER;
        {
            let mut marks = lock(&self.marks);
            marks.retain(|_, until| now < *until);
            if marks.len() < MOST {
                marks.insert(mark.clone(), until);
            }
        }
        if let Some(store) = store
            && let Err(error) = store.put(SPACE, &mark, millis(until).to_be_bytes().to_vec().into(), Some(until)).await
        {
            tracing::debug!(%error, "a refused key is remembered by this process only");
        }
    }

    /// Forgets all refusals, those of other processes too.
    pub(crate) async fn forget(&self, store: Option<&Arc<dyn Store>>) -> Result<()> {
        lock(&self.marks).clear();
        let Some(store) = store else { return Ok(()) };
        // Processes beside this one may each have left as many.
        loop {
            let some = store.scan(SPACE, Scan { prefix: "", after: None, limit: MOST }).await?;
            for (mark, _) in &some {
                store.remove(SPACE, mark).await?;
            }
            if some.len() < MOST {
                return Ok(());
            }
        }
    }
}

/// The end of a refusal's time, as a record has it: milliseconds since 1970.
fn written(record: &[u8]) -> Option<SystemTime> {
    let millis = i64::from_be_bytes(record.try_into().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
}

fn mark(provider: &dyn DynProvider) -> Option<String> {
    provider.login_mark().map(|mark| format!("{}:{mark}", provider.describe().id))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
