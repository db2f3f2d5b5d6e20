//! Ctrl-C and its like: the work is dropped, which ends every child and connection, and the command ends with 130.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::output::{Failure, Outcome};

/// Runs `work` until it is done or the person interrupts.
pub(crate) async fn interruptible<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return work.await;
    };
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
    }
}
