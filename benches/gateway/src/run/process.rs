//! Programs that the measurement starts: on a core, with what they say kept for when they fail, ended when dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock;

/// The lines that are kept of what a program says.
const KEPT: usize = 200;

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    said: Arc<Mutex<VecDeque<String>>>,
    listening: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts a program on one core. What it writes to standard error is read by a thread: a file would be disk I/O of the program's.
    ///
    /// # Errors
    /// The program is not there; `hint` says how to get it.
    pub(crate) fn start(name: &str, command: &mut Command, core: usize, hint: &str) -> Result<Self> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = on_core(core, || command.spawn()).with_context(|| format!("cannot start {name}; {hint}"))?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let listening = child.stderr.take().map(|stderr| {
            let said = said.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    if said.len() == KEPT {
                        said.pop_front();
                    }
                    said.push_back(String::from_utf8_lossy(&line).into_owned());
                }
            })
        });
        Ok(Self { name: name.to_owned(), child, said, listening })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said to standard error so far.
    pub(crate) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The first line of its standard output.
    ///
    /// # Errors
    /// It ended without one.
    pub(crate) fn first_line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            BufReader::new(stdout.take(256)).read_line(&mut line)?;
        }
        if line.is_empty() {
            bail!("{} said nothing: {}", self.name, self.said());
        }
        Ok(line.trim().to_owned())
    }

    /// Tries until something is there.
    ///
    /// # Errors
    /// The program has ended, or nothing has come in this time.
    pub(crate) fn wait_for<T>(&mut self, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
        let end = clock::now() + limit.as_nanos() as u64;
        loop {
            if let Some(found) = attempt() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.name, self.said());
            }
            if clock::now() > end {
                bail!("{} is not ready after {limit:?}: {}", self.name, self.said());
            }
            pause(Duration::from_micros(500));
        }
    }

    /// Ends it with this signal and returns all that it said.
    ///
    /// # Errors
    /// It does not end in this time; it is then killed.
    pub(crate) fn end(mut self, signal: Signal, limit: Duration) -> Result<String> {
        self.signal(signal);
        let end = clock::now() + limit.as_nanos() as u64;
        while self.child.try_wait()?.is_none() {
            if clock::now() > end {
                bail!("{} has not ended after {limit:?}: {}", self.name, self.said());
            }
            pause(Duration::from_millis(2));
        }
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        Ok(self.said())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // A program with children of its own has to end them itself.
        self.signal(Signal::TERM);
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            pause(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stands on a core while `work` runs, which its children then inherit, and goes back.
fn on_core<T>(core: usize, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let before = sched_getaffinity(None)?;
    stay_on(core)?;
    let outcome = work();
    sched_setaffinity(None, &before)?;
    outcome
}

/// Keeps this thread, and what it starts, on a core.
///
/// # Errors
/// There is no such core for this process.
pub(crate) fn stay_on(core: usize) -> std::io::Result<()> {
    let mut one = CpuSet::new();
    one.set(core);
    Ok(sched_setaffinity(None, &one)?)
}

/// Waits. This program has no runtime whose thread could be blocked by it.
#[expect(clippy::disallowed_methods, reason = "the runner is one thread that has nothing else to do")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Says how far things are.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
