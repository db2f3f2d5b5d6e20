//! Ctrl-C, a request to end and a closed terminal: the work is dropped, which ends every child and connection, and the command ends with 130.
//!
//! The work and the signals share a thread, and that thread may stand still: in a write to a pipe that nobody reads, or in opening one. So a second thread
//! hears the signals too. It asks the first one for a sign of life, and where none comes it ends the programs and this one by itself.

use std::future::Future;
use std::pin::pin;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use llm_router::provider::process::Runner;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::output::{Failure, Outcome};

/// The exit status of whoever was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// How long the work's thread may keep silent after a signal. It answers within microseconds unless it stands still.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// How long the end of killed programs is waited for.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// How many parts of the work take Ctrl-C for themselves.
static CLAIMS: AtomicUsize = AtomicUsize::new(0);

/// Ctrl-C, passed on to who claims it. One ear hears signals and passes them on: two could hear one signal at different times, and who heard it second would take it for
/// another.
static PRESSED: Notify = Notify::const_new();

/// While it lives, Ctrl-C is its holder's: it ends an answer, not the command.
pub(crate) struct Claim(());

impl Claim {
    /// From here on Ctrl-C is heard by [`Claim::pressed`] alone, within [`interruptible`].
    pub(crate) fn new() -> Self {
        // What was meant for an earlier one that did not wait any more.
        let _ = PRESSED.notified().now_or_never();
        CLAIMS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Waits for Ctrl-C.
    pub(crate) async fn pressed(&mut self) {
        PRESSED.notified().await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `work` until it is done or the person interrupts. `runner` is what started the programs that must not stay.
pub(crate) async fn interruptible<T>(runner: Option<&Runner>, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let Some(mut signals) = Signals::listen() else { return work.await };
    // The guard ends when the receiver goes: with this call.
    let (ask, mut asked) = mpsc::channel(1);
    let runner = runner.cloned();
    let (ready, listening) = oneshot::channel();
    let guard = std::thread::Builder::new().name("signals".into()).stack_size(256 << 10);
    // Without it only a thread that stands still is not interrupted.
    let _ = guard.spawn(move || keep_watch(ask, ready, runner));
    // Nothing begins that could stand still before somebody watches; without a guard this is over at once.
    let _ = listening.await;
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            interrupt = signals.next() => {
                if !(interrupt && CLAIMS.load(Ordering::Relaxed) > 0) {
                    return Err(Failure::Interrupted);
                }
                PRESSED.notify_one();
            }
            Some(reply) = asked.recv() => answer(reply),
            outcome = &mut work => return outcome,
        }
    }
}

fn answer(reply: oneshot::Sender<()>) {
    // Whoever asked may be gone.
    let _ = reply.send(());
}

/// The guard's thread: for each signal, a look at whether the work's thread still turns.
fn keep_watch(ask: mpsc::Sender<oneshot::Sender<()>>, ready: oneshot::Sender<()>, runner: Option<Runner>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Some(mut signals) = Signals::listen() else { return };
        answer(ready);
        loop {
            tokio::select! {
                () = ask.closed() => return,
                _ = signals.next() => {}
            }
            let (reply, alive) = oneshot::channel();
            let sign = async {
                ask.send(reply).await.map_err(drop)?;
                alive.await.map_err(drop)
            };
            // No reply at all is a thread that has finished its work; none in time is one that stands still.
            if tokio::time::timeout(SIGN_OF_LIFE, sign).await.is_err() {
                if let Some(runner) = runner {
                    runner.kill();
                    let gone = async {
                        while runner.running() > 0 {
                            tokio::time::sleep(Duration::from_millis(5)).await
                        }
                    };
                    let _ = tokio::time::timeout(LAST_LOOK, gone).await;
                }
                process::exit(INTERRUPTED.into());
            }
        }
    });
}

/// What ends a command.
struct Signals([Signal; 3]);

impl Signals {
    /// `None` where the system does not let anybody listen.
    fn listen() -> Option<Self> {
        // Programs that were started lead groups of their own, which a terminal's hang-up does not reach.
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        match kinds.map(signal) {
            [Ok(interrupt), Ok(terminate), Ok(hangup)] => Some(Self([interrupt, terminate, hangup])),
            _ => None,
        }
    }

    /// The next signal; whether it is Ctrl-C.
    async fn next(&mut self) -> bool {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => false,
            _ = hangup.recv() => false,
        }
    }
}
