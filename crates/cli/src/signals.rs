//! Ctrl-C, a request to end and a closed terminal: the work is dropped, which ends every child and connection, and the command ends with 130.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::output::{Failure, Outcome};

/// Runs `work` until it is done or the person interrupts.
pub(crate) async fn interruptible<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
        return work.await;
    };
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
        // Programs that were started lead groups of their own, which the terminal's end does not reach.
        _ = hangup.recv() => Err(Failure::Interrupted),
    }
}
