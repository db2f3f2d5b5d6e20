//! A process group with an owner: how it is started, ended and waited for.
//!
//! Nothing here depends on a tokio runtime: signals are sent at once by whoever asks, and a thread waits for the program, so that a group ends and is reaped
//! also while a runtime shuts down. Two facts keep signals from strangers: the thread leaves the dead leader unreaped until the rest of the group is
//! killed, so its number cannot be given away meanwhile; and nobody sends a signal without the lock that is held while it is reaped. Who left the group
//! is `strays.rs`'s to find.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::watch;

use super::{GRACE, Report, strays};

/// How often who left a group is looked for, and how long between two looks.
const ROUNDS: usize = 20;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(10);

/// The owner of a group: dropping it ends the group.
#[derive(Debug)]
pub(super) struct Group(Arc<Shared>);

/// What is done when a group is gone, in this order, on a thread that may wait.
#[derive(Default)]
pub(super) struct After {
    /// Whoever left the group and has these words in his environment is killed.
    pub(super) marker: Option<Vec<u8>>,
    /// What the program left is read.
    pub(super) report: Option<Report>,
    /// What was kept for it is dropped.
    pub(super) keep: Option<Box<dyn Send>>,
}

/// The parent's ends of a program's pipes.
pub(super) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// What the owner, the waiting thread and the runner know of a group.
#[derive(Debug)]
pub(super) struct Shared {
    group: Pid,
    state: Mutex<State>,
    changed: Condvar,
    exit: watch::Sender<Option<Option<ExitStatus>>>,
    /// Whether what was kept for it is gone as well.
    cleared: watch::Sender<bool>,
    /// What it left in its report.
    report: Mutex<Option<Vec<u8>>>,
    marker: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Ending,
    Gone,
}

impl Group {
    /// Starts a program as the leader of a new group.
    pub(super) fn spawn(mut command: Command, after: After) -> io::Result<(Self, Pipes)> {
        let mut child = command.process_group(0).spawn()?;
        let pipes = Pipes { stdin: child.stdin.take(), stdout: child.stdout.take(), stderr: child.stderr.take() };
        let shared = Arc::new(Shared {
            group: Pid::from_child(&child),
            state: Mutex::new(State::Running),
            changed: Condvar::new(),
            exit: watch::Sender::new(None),
            cleared: watch::Sender::new(false),
            report: Mutex::default(),
            marker: after.marker,
        });
        let group = Self(shared.clone());
        // The child moves to the thread only if there is one: a second handle by way of the option.
        let slot = Arc::new(Mutex::new(Some(child)));
        let theirs = slot.clone();
        let started = std::thread::Builder::new().name("child-wait".into()).stack_size(512 << 10).spawn(move || {
            if let Some(child) = take(&theirs) {
                shared.wait(child, after.report);
            }
            drop(after.keep);
            shared.cleared.send_replace(true);
        });
        if let Err(error) = started {
            if let Some(child) = take(&slot) {
                group.0.kill();
                group.0.wait(child, None);
            }
            return Err(error);
        }
        Ok((group, pipes))
    }

    pub(super) fn id(&self) -> u32 {
        self.0.group.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn watch(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    pub(super) fn end(&self) {
        Shared::end(&self.0);
    }

    pub(super) fn kill(&self) {
        self.0.kill();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.is_gone()
    }

    pub(super) async fn exited(&self) -> Option<ExitStatus> {
        self.0.exited().await
    }

    /// What it left in its report, once it has ended.
    pub(super) fn report(&self) -> Option<Vec<u8>> {
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

fn take(slot: &Mutex<Option<Child>>) -> Option<Child> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs on the waiting thread until the group is gone.
    fn wait(&self, mut child: Child, report: Option<Report>) {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(self.group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
        let mut state = self.state();
        // What the leader left behind has no one to answer to any more.
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = child.wait().ok();
        *state = State::Gone;
        self.changed.notify_all();
        drop(state);
        self.kill_marked();
        // Before anybody hears of the end, who then asks for it.
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report.and_then(|report| report.read());
        self.exit.send_replace(Some(status));
    }

    /// Kills who left the group and is known by the environment; again as long as there are any, for they may start others meanwhile.
    fn kill_marked(&self) {
        let Some(marker) = &self.marker else { return };
        for _ in 0..ROUNDS {
            let strays = strays::marked(marker);
            if strays.is_empty() {
                return;
            }
            strays.iter().for_each(|stray| stray.send(Signal::KILL));
            pause(BETWEEN_ROUNDS);
        }
    }

    /// Asks the group to end now, and who left it too, and makes sure of it after the grace.
    pub(super) fn end(self: &Arc<Self>) {
        let strays;
        {
            let mut state = self.state();
            if *state != State::Running {
                return;
            }
            *state = State::Ending;
            // Whoever is above them may be gone in a moment.
            strays = strays::below(self.group);
            let _ = kill_process_group(self.group, Signal::TERM);
            strays.iter().for_each(|stray| stray.send(Signal::TERM));
        }
        let shared = self.clone();
        let sure = std::thread::Builder::new().name("child-end".into()).stack_size(128 << 10).spawn(move || {
            let state = shared.state();
            let (state, _) = shared
                .changed
                .wait_timeout_while(state, GRACE, |state| *state != State::Gone)
                .unwrap_or_else(PoisonError::into_inner);
            if *state != State::Gone {
                let _ = kill_process_group(shared.group, Signal::KILL);
            }
            drop(state);
            strays.iter().for_each(|stray| stray.send(Signal::KILL));
        });
        if sure.is_err() {
            self.kill();
        }
    }

    /// Kills the group at once.
    pub(super) fn kill(&self) {
        let state = self.state();
        if *state != State::Gone {
            let strays = strays::below(self.group);
            let _ = kill_process_group(self.group, Signal::KILL);
            strays.iter().for_each(|stray| stray.send(Signal::KILL));
        }
    }

    fn is_gone(&self) -> bool {
        *self.state() == State::Gone
    }

    /// Whether nothing of it is left, neither processes nor what was kept for them.
    pub(super) fn is_cleared(&self) -> bool {
        *self.cleared.borrow()
    }

    /// Waits until nothing of it is left.
    pub(super) async fn cleared(&self) {
        let _ = self.cleared.subscribe().wait_for(|cleared| *cleared).await;
    }

    /// Waits for the program's end: its status, or `None` where the system would not tell.
    pub(super) async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.subscribe();
        // The sender lives as long as `self`, so the wait cannot fail.
        exit.wait_for(Option::is_some).await.ok().and_then(|status| *status).flatten()
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread that waited for the program")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
