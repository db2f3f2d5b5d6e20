//! The promises of a provider, as a test that any implementation can run against itself.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;

use crate::delta::Laws;
use crate::deps::SystemClock;
use crate::error::{ErrorKind, Fault, Result};
use crate::ids::RequestId;
use crate::provider::{Call, Context, DynProvider, Target, http::HttpClient};
use crate::request::Request;
use crate::response::{Folder, Response};

/// The longest a provider under test may take for one step.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call of a request at a provider, with a fresh context.
pub fn call(provider: &dyn DynProvider, request: Request) -> Call {
    let target = Target::new(provider.describe().id.clone(), None);
    Call::new(
        Arc::new(request),
        target,
        Context::new(HttpClient::new(), Arc::new(SystemClock), RequestId::from_parts(1, 1)),
    )
}

/// Runs a call to its end: every event obeys the laws, nothing follows the end, and the fold is a response.
///
/// # Errors
/// The provider's own error.
///
/// # Panics
/// When a promise is broken.
pub async fn answers(provider: &dyn DynProvider, call: Call) -> Result<Response> {
    let mut stream = in_time(provider.generate(Arc::new(call))).await?;
    let (mut laws, mut folder) = (Laws::default(), Folder::default());
    while let Some(event) = in_time(stream.next()).await {
        for delta in event?.deltas {
            assert!(laws.check(&delta).is_ok(), "unlawful: {delta:?}");
            folder.push(&delta);
        }
    }
    assert!(laws.ended(), "a stream that ends without an error has its end");
    folder.finish()
}

/// Runs a call that must fail: with this kind, as the provider's own fault where the table says so, and with the provider named.
///
/// # Panics
/// When it does not fail, or fails otherwise.
pub async fn fails(provider: &dyn DynProvider, call: Call, kind: ErrorKind) -> crate::Error {
    let error = match answers(provider, call).await {
        Ok(response) => panic!("it answered {:?} where {kind} was expected", response.text()),
        Err(error) => error,
    };
    assert_eq!(error.kind(), kind, "{error:?}");
    if error.fault() == Fault::Provider {
        assert_eq!(error.provider(), Some(&provider.describe().id), "{error:?}");
    }
    error
}

/// Drops a call before its first event, and another after it; a third still answers. What was dropped must hold nothing (connection, child, permit).
///
/// # Panics
/// When a call fails, or the third finds no room.
pub async fn survives_drops(provider: &dyn DynProvider, call: impl Fn() -> Call) {
    drop(provider.generate(Arc::new(call())));
    if let Ok(mut stream) = in_time(provider.generate(Arc::new(call()))).await {
        let _ = in_time(stream.next()).await;
    }
    let last = answers(provider, call()).await;
    assert!(last.is_ok(), "{last:?}");
}

async fn in_time<T>(step: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(done) => done,
        Err(_) => panic!("nothing happened for {PATIENCE:?}"),
    }
}
