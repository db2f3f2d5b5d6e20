//! Who said "not logged in": providers whose key or login was refused are passed over by automatic plans for ten minutes.
//!
//! What is remembered is a one-way mark of the key, the login file or the program, so a changed one is asked again at once. It is kept between processes
//! where there is a store; a store that fails costs a wasted attempt, nothing else. Whoever is named is always asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind, Result};
use crate::provider::DynProvider;
use crate::store::{Scan, Store};

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
            // The store leaves out what is over; when exactly the rest is over matters little within one process.
            lock(&self.marks).extend(records.into_iter().map(|(mark, _)| (mark, now + PASSED_OVER)));
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
        if error.kind() != ErrorKind::ProviderAuth {
            return;
        }
        let Some(mark) = mark(provider) else { return };
        {
            let mut marks = lock(&self.marks);
            marks.retain(|_, until| now < *until);
            if marks.len() < MOST {
                marks.insert(mark.clone(), now + PASSED_OVER);
            }
        }
        if let Some(store) = store
            && let Err(error) = store.put(SPACE, &mark, Bytes::new(), Some(now + PASSED_OVER)).await
        {
            tracing::debug!(%error, "a refused key is remembered by this process only");
        }
    }

    /// Forgets all refusals, those of other processes too.
    pub(crate) async fn forget(&self, store: Option<&Arc<dyn Store>>) -> Result<()> {
        lock(&self.marks).clear();
        let Some(store) = store else { return Ok(()) };
        for (mark, _) in store.scan(SPACE, Scan { prefix: "", after: None, limit: MOST }).await? {
            store.remove(SPACE, &mark).await?;
        }
        Ok(())
    }
}

fn mark(provider: &dyn DynProvider) -> Option<String> {
    provider.login_mark().map(|mark| format!("{}:{mark}", provider.describe().id))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
