//! The agent's program: started with the terminal of whoever asked for it, and ended with us.
//!
//! At a terminal it stays in our process group. The terminal gives signals to the group that it belongs to, so Ctrl-C and Ctrl-Z are the agent's as if it had been started by
//! hand, and handing the terminal to a group of its own and back takes what safe code cannot do. Others of the user's are in that group too, the rest of a pipe or a script: to end the
//! agent there, it and whom it started are told, each by number (`tree.rs`). Without a terminal it leads a group of its own, which is ended whole: with us, and when it ends.

use std::future::Future;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use llm_router::provider::process::GRACE;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::signal::unix::{Signal as Hears, SignalKind, signal};
use tokio::sync::oneshot;

use super::agents::Start;
use super::folder::Folder;
use super::tree;
use crate::output::{Failure, Outcome};

/// Runs a program to its end, whose status is ours; or until `must_end` says why it may not go on.
pub(super) async fn run(
    program: &Path,
    start: &Start,
    folder: &Folder,
    must_end: impl Future<Output = Failure>,
) -> Outcome {
    let mut signals = Signals::listen().map_err(|error| Failure::io("signals", &error))?;
    let mut running = Running::start(program, start, folder)?;
    let mut must_end = pin!(must_end);
    let status = loop {
        tokio::select! {
            why = &mut must_end => {
                running.end().await?;
                return Err(why);
            }
            ended = running.ended() => break ended?,
            said = signals.next() => match said {
                Said::Interrupt => running.interrupt(),
                Said::End => {
                    running.end().await?;
                    return Err(Failure::Interrupted);
                }
            },
        }
    };
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::Said(code)),
        // As a shell says it.
        None => {
            Err(Failure::Said(128_u8.saturating_add(status.signal().and_then(|s| u8::try_from(s).ok()).unwrap_or(0))))
        }
    }
}

/// A program that runs. Dropping it kills it.
struct Running {
    child: Child,
    id: Pid,
    /// Whether it leads a group of its own.
    leads: bool,
    over: oneshot::Receiver<()>,
    gone: Option<ExitStatus>,
}

impl Running {
    fn start(program: &Path, start: &Start, folder: &Folder) -> Outcome<Self> {
        let mut command = Command::new(program);
        for name in start.unset {
            command.env_remove(name);
        }
        command.args(&start.args).args(&start.given).envs(start.variables.iter().map(|(name, value)| (name, value)));
        let leads = std::fs::File::open("/dev/tty").is_err();
        if leads {
            command.process_group(0);
        }
        let failed = |error: io::Error| Failure::io(&program.display().to_string(), &error);
        let child = folder.shared(|| command.spawn()).map_err(failed)?;
        let id = Pid::from_child(&child);
        let (tell, over) = oneshot::channel();
        let running = Self { child, id, leads, over, gone: None };
        // It is left as it died until what it led is dead too, so that its number is nobody else's meanwhile.
        let waiting = move || {
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            let _ = tell.send(());
        };
        let started = std::thread::Builder::new().name("agent-wait".into()).stack_size(128 << 10).spawn(waiting);
        started.map_err(failed)?;
        Ok(running)
    }

    async fn ended(&mut self) -> Outcome<ExitStatus> {
        let _ = (&mut self.over).await;
        self.collect()
    }

    /// Kills what is left of its group, and takes its status.
    fn collect(&mut self) -> Outcome<ExitStatus> {
        if let Some(status) = self.gone {
            return Ok(status);
        }
        self.send(Signal::KILL);
        let status = self.child.wait().map_err(|error| Failure::io("the agent", &error))?;
        self.gone = Some(status);
        Ok(status)
    }

    /// Passes Ctrl-C on, where the terminal did not.
    fn interrupt(&self) {
        if self.leads {
            self.send(Signal::INT);
        }
    }

    /// Ends it, and all that it leads or started: politely first.
    async fn end(&mut self) -> Outcome {
        let started = if self.leads { Vec::new() } else { tree::below(self.id) };
        self.send(Signal::TERM);
        let _ = tokio::time::timeout(GRACE.max(Duration::from_secs(1)), &mut self.over).await;
        // Whose parent has ended is found no more.
        tree::signal(&started, Signal::KILL);
        self.collect().map(drop)
    }

    fn send(&self, signal: Signal) {
        // Who is gone already needs none.
        let _ = if self.leads {
            kill_process_group(self.id, signal)
        } else {
            tree::signal(&tree::below(self.id), signal);
            kill_process(self.id, signal)
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.collect();
    }
}

/// What a signal means here.
enum Said {
    Interrupt,
    End,
}

struct Signals {
    interrupt: Hears,
    quit: Hears,
    terminate: Hears,
    hangup: Hears,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Said {
        tokio::select! {
            _ = self.interrupt.recv() => Said::Interrupt,
            _ = self.quit.recv() => Said::Interrupt,
            _ = self.terminate.recv() => Said::End,
            _ = self.hangup.recv() => Said::End,
        }
    }
}
