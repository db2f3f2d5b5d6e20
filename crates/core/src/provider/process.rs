//! Child processes: one runner for every program this router starts.
//!
//! A program is started from a list of words, never by a shell; it gets its own process group, an environment of allow-listed variables, bounded
//! pipes, and an owner: whatever ends the call ends the whole group. This file knows nothing of prompts or answers; read next
//! `group.rs` for how a group is ended, `template.rs` and `command.rs` for the provider made of a command line, `agents.rs` for the
//! coding agents, and `../worker.rs` for programs that answer many calls.
//!
//! Limits that no program can lift without `unsafe` code or privileges: when this process is killed with `SIGKILL`, its children are not told; they
//! end when they next read from or write to their pipes, and the next start removes their folders (`private.rs`). A descendant that moves itself to another session
//! (`setsid`) leaves the group: on Linux it is looked for (`strays.rs`), elsewhere it stays.

mod agent;
pub mod agents;
mod command;
mod environment;
mod failure;
mod group;
mod job;
pub(crate) mod once;
mod output;
mod private;
mod reset;
mod strays;
mod template;
mod told;
mod transcript;
mod wrapper;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

pub use agent::AgentProvider;
pub use command::{CommandProvider, CommandSettings, command_provider};
pub use environment::{Environment, Resolved, resolve};
pub use job::{Folder, Job, Keep, Limits, Report};
pub use output::Output;
pub use template::{Rendered, Template};
pub use wrapper::{ClaudeCli, Completed, GeminiCli};

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use failure::Tail;
use group::{After, Group, Shared};
use private::Private;

/// The time between the polite signal (`SIGTERM`) and the certain one (`SIGKILL`).
pub const GRACE: Duration = Duration::from_secs(2);

/// How long pipes may stay open after the program itself has ended: only a descendant that left the group can hold them.
const AFTERLIFE: Duration = Duration::from_millis(500);

/// How long what was killed may take to be gone with its folders, on a machine with other work.
const CLEARANCE: Duration = Duration::from_secs(10);

/// Starts programs and owns what it started. Cheap to clone; when the last clone and the last [`Process`] are dropped, every group still there is
/// killed at once, so that a process that ends leaves none behind.
#[derive(Clone, Debug)]
pub struct Runner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    per_program: usize,
    slots: Mutex<HashMap<PathBuf, Arc<Semaphore>>>,
    groups: Mutex<Vec<Weak<Shared>>>,
    swept: Mutex<HashSet<&'static str>>,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new(8)
    }
}

impl Runner {
    /// A runner that lets each program run `per_program` times at once.
    pub fn new(per_program: usize) -> Self {
        let (slots, groups, swept) = Default::default();
        Self(Arc::new(Inner { per_program: per_program.max(1), slots, groups, swept }))
    }

    /// Waits for a free place of the program, without starting it. The place is free again when the program's group has ended.
    pub async fn place(&self, program: &Path) -> Place {
        let slots = {
            let mut all = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, slots| Arc::strong_count(slots) > 1);
            all.entry(program.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.0.per_program))).clone()
        };
        Place(slots.acquire_owned().await.ok())
    }

    /// Starts a program in a place of its own. Must be called on a tokio runtime with I/O.
    ///
    /// # Errors
    /// `provider_unavailable` naming the program and what keeps it from starting; `caller_too_large` when its arguments are over the system's limit.
    pub fn start(&self, job: Job, place: Place) -> Result<Process> {
        let name = job.name();
        let mut command = std::process::Command::new(&job.program);
        command.args(&job.args).env_clear().envs(job.environment.iter());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let folder = match &job.folder {
            Folder::Inherited => None,
            Folder::At(path) => {
                command.current_dir(path);
                None
            }
            Folder::Private => {
                let below = job.environment.get("TMPDIR").unwrap_or("/tmp");
                let folder = Private::new(Path::new(below)).map_err(|error| {
                    Error::internal(format!("no private folder for {name} could be made in {below}: {error}"))
                        .with_hint("point TMPDIR at a folder that can be written to")
                })?;
                // What it writes aside (agents leave reports with whole prompts in them) goes with the folder.
                command.current_dir(folder.path()).env("TMPDIR", folder.path());
                Some(folder)
            }
        };
        // Moved, not shared: it goes on the thread that waits for the program, which may wait for files too.
        let keep: Box<dyn Send> = Box::new((place, folder, job.keep));
        let after = After { marker: job.marker.map(String::into_bytes), report: job.report, keep: Some(keep) };
        let (group, pipes) =
            Group::spawn(command, after).map_err(|error| failure::not_started(&job.program, &job.folder, error))?;
        self.adopt(&group);
        let stdin = pipes.stdin.and_then(|pipe| ChildStdin::from_std(pipe).ok());
        let stdout = pipes.stdout.and_then(|pipe| ChildStdout::from_std(pipe).ok());
        let stderr = pipes.stderr.and_then(|pipe| ChildStderr::from_std(pipe).ok());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(Error::internal(format!("the pipes of {name} could not be watched")));
        };
        let tail = Arc::new(Mutex::new(Tail::default()));
        let told = job.told.then(|| told::Told::new(&name));
        let reader = AbortOnDropHandle::new(tokio::spawn(keep_tail(stderr, tail.clone(), told)));
        Ok(Process {
            group,
            name,
            limits: job.limits,
            stdin: Some(stdin),
            writer: None,
            stdout,
            printed: 0,
            buffer: BytesMut::new(),
            scanned: 0,
            stderr: Some(reader),
            tail,
            hidden: job.hidden,
            _runner: self.clone(),
        })
    }

    /// Ends every group: politely, then certainly, and waits until they are gone with the folders that were made for them. At most [`GRACE`] and ten seconds.
    pub async fn shutdown(&self) {
        let groups = self.left();
        groups.iter().for_each(Shared::end);
        // A process that the kernel cannot end (a dead network disk) must not hold up the shutdown.
        let until = tokio::time::Instant::now() + GRACE + CLEARANCE;
        for group in groups {
            let _ = tokio::time::timeout_at(until, group.cleared()).await;
        }
    }

    /// Kills every group at once, from whatever thread: for an end that nothing may hold up.
    pub fn kill(&self) {
        self.left().iter().for_each(|group| group.kill());
    }

    /// How many groups are not gone yet, or have left a folder that is being removed.
    pub fn running(&self) -> usize {
        self.left().len()
    }

    /// Removes the private folders below this one that routers left which were killed and that `clear` lets go: once for a runner and each `who`. Reads and removes files.
    pub(crate) fn sweep(&self, below: &Path, who: &'static str, clear: impl Fn(&Path) -> bool) {
        if self.0.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(who) {
            private::sweep(below, clear);
        }
    }

    fn adopt(&self, group: &Group) {
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group| group.strong_count() > 0);
        groups.push(group.watch());
    }

    /// The groups of which anything is left, processes or what was kept for them.
    fn left(&self) -> Vec<Arc<Shared>> {
        let groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.iter().filter_map(Weak::upgrade).filter(|group| !group.is_cleared()).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let groups = self.groups.get_mut().unwrap_or_else(PoisonError::into_inner);
        groups.iter().filter_map(Weak::upgrade).for_each(|group| group.kill());
    }
}

/// The right to run a program once; see [`Runner::place`].
#[derive(Debug, Default)]
pub struct Place(#[allow(dead_code, reason = "held, never read")] Option<OwnedSemaphorePermit>);

/// A running program. Dropping it ends its whole group: `SIGTERM` at once, [`GRACE`] later `SIGKILL`; a thread of the runner's waits for it, with or
/// without a tokio runtime.
#[derive(Debug)]
pub struct Process {
    // The first field is dropped first: the signal goes out before the pipes close.
    group: Group,
    name: String,
    limits: Limits,
    stdin: Option<ChildStdin>,
    writer: Option<AbortOnDropHandle<()>>,
    stdout: ChildStdout,
    printed: u64,
    buffer: BytesMut,
    scanned: usize,
    stderr: Option<AbortOnDropHandle<()>>,
    tail: Arc<Mutex<Tail>>,
    hidden: Arc<[Secret]>,
    _runner: Runner,
}

impl Process {
    /// The program's file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also its group's.
    pub fn id(&self) -> u32 {
        self.group.id()
    }

    /// Gives the program `input` on its standard input, then the end of file, while output is read. A program that does not read it is no error.
    pub fn feed(&mut self, input: Bytes) {
        if let Some(mut stdin) = self.stdin.take() {
            self.writer = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                let _ = stdin.write_all(&input).await;
            })));
        }
    }

    /// The standard input itself, for a program that is talked to.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// The next piece of standard output as it comes, `None` at its end. Cancel safe.
    ///
    /// # Errors
    /// `provider_protocol` past [`Limits::total`]: the group is ended.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        self.scanned = 0;
        Ok(Some(self.buffer.split().freeze()))
    }

    /// The next line of standard output without its end, `None` when there is no more. Cancel safe.
    ///
    /// # Errors
    /// `provider_protocol` past [`Limits::line`] or [`Limits::total`]: the group is ended.
    pub async fn line(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer.get(self.scanned..).and_then(|new| memchr::memchr(b'\n', new)) {
                let mut line = self.buffer.split_to(self.scanned + at + 1);
                self.scanned = 0;
                line.truncate(line.len() - 1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                return Ok(Some(line.freeze()));
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > self.limits.line {
                self.group.end();
                return Err(self.too_much("a line of", self.limits.line as u64));
            }
            if !self.fill().await? {
                self.scanned = 0;
                return Ok((!self.buffer.is_empty()).then(|| self.buffer.split().freeze()));
            }
        }
    }

    /// Counts standard output from here on anew: for programs whose answers are bounded one by one.
    pub(crate) fn forget_printed(&mut self) {
        self.printed = 0;
    }

    /// The same for a program that may repeat the so many bytes that it is asked.
    pub(crate) fn begin_anew(&mut self, asked: usize) {
        self.forget_printed();
        self.limits = Limits::default().repeating(asked);
    }

    /// The most of a line.
    pub(crate) fn longest_line(&self) -> usize {
        self.limits.line
    }

    /// Reads once; `false` at the end of the output.
    async fn fill(&mut self) -> Result<bool> {
        self.buffer.reserve(8 << 10);
        let read = tokio::select! {
            biased;
            read = self.stdout.read_buf(&mut self.buffer) => read,
            () = afterlife(&self.group) => Ok(0),
        };
        // A pipe fails to read only when this process is out of something; the program's own state is told by its exit.
        let read = read.map_err(|error| {
            Error::connection(format!("the output of {} could not be read: {error}", self.name)).with_source(error)
        })?;
        self.printed = self.printed.saturating_add(read as u64);
        if self.printed > self.limits.total {
            self.group.end();
            return Err(self.too_much("", self.limits.total));
        }
        Ok(read > 0)
    }

    fn too_much(&self, what: &str, limit: u64) -> Error {
        let what = if what.is_empty() { String::new() } else { format!("{what} ") };
        Error::protocol(format!("{} printed {what}more than {limit} bytes", self.name))
            .with_hint("ask for a shorter answer, or make the command print the answer only")
    }

    /// Waits for the program's end after its output was read. Cancel safe.
    ///
    /// # Errors
    /// A failure by its exit status or a signal, with the end of what it wrote to standard error; see `failure.rs` for the kinds.
    pub async fn exit(&mut self) -> Result<()> {
        self.exit_of("", "").await
    }

    /// [`Process::exit`] of a program that was asked `prompt` and printed `answer`, which says why it failed where programs print failures there.
    pub(crate) async fn exit_of(&mut self, prompt: &str, answer: &str) -> Result<()> {
        let status = self.group.exited().await;
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let said = [failure::shortened(answer, &self.hidden), self.last_words(prompt).await];
        let said = said.iter().filter(|text| !text.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n");
        Err(failure::of_exit(&self.name, status, &said, std::time::SystemTime::now()))
    }

    /// Waits for the program's end: its exit status, `None` where a signal ended it. Cancel safe.
    pub(crate) async fn status(&mut self) -> Option<i32> {
        self.group.exited().await.and_then(|status| status.code())
    }

    /// The end of what the program wrote to standard error, masked and shortened, without what it repeats of `prompt`. After its end this is complete.
    pub(crate) async fn last_words(&mut self, prompt: &str) -> String {
        if let Some(reader) = self.stderr.as_mut()
            && self.group.is_gone()
        {
            let _ = tokio::time::timeout(AFTERLIFE, reader).await;
            self.stderr = None;
        }
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).text(prompt, &self.hidden)
    }

    /// An error without the values that nobody is to see.
    pub(crate) fn hiding(&self, error: Error) -> Error {
        self.hidden.iter().fold(error, |error, secret| error.without(secret.expose()))
    }

    /// What the program left in its report, once it has ended.
    pub(crate) fn report(&self) -> Option<Vec<u8>> {
        self.group.report()
    }

    /// Ends the whole group: `SIGTERM` now, `SIGKILL` after [`GRACE`]. Does not wait.
    pub fn end(&self) {
        self.group.end();
    }

    /// Waits until the program is gone.
    pub async fn gone(&self) {
        self.group.exited().await;
    }
}

/// Resolves a moment after the program's end: whoever still holds its pipes then is no part of its group.
async fn afterlife(group: &Group) {
    group.exited().await;
    tokio::time::sleep(AFTERLIFE).await;
}

async fn keep_tail(mut stderr: ChildStderr, tail: Arc<Mutex<Tail>>, mut told: Option<told::Told>) {
    let mut buffer = BytesMut::with_capacity(4 << 10);
    while matches!(stderr.read_buf(&mut buffer).await, Ok(read) if read > 0) {
        told.iter_mut().for_each(|told| told.push(&buffer));
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer);
        buffer.clear();
    }
}

/// The error of a program that does not resolve, with what to do about it.
pub(crate) fn missing(program: &str, resolved: &Resolved, hint: &str) -> Error {
    let (what, hint) = failure::missing(program, resolved, hint);
    Error::new(ErrorKind::ProviderUnavailable, what).with_hint(hint)
}
