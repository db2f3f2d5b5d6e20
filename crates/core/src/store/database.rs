//! An SQLite file shared by several processes: opened with its format checked, written in grouped commits by one thread,
//! read by another.
//!
//! Both the state store and the cache's disk tier stand on this; neither their tables nor their meaning are here.
//! A commit holds whatever was queued while the one before it ran, so a lone write waits for nothing and many share one.
//! The write-ahead log makes a commit safe against the end of the process at any instruction; what must also survive
//! a power cut is flushed to the disk within [`FLUSH_AFTER`]. How files are opened: `database/open.rs`.

mod open;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

pub(crate) use open::{Care, Schema};

/// How long a commit of a kept database may rest in the page cache before it is flushed to the disk.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// Jobs that may wait for a thread; more are refused.
const QUEUE: usize = 1024;

/// Jobs in one commit.
const GROUP: usize = 256;

/// An open file with its two threads. Dropping it finishes what was queued.
pub(crate) struct Database {
    path: PathBuf,
    aside: Option<PathBuf>,
    reader: Lane<ReadJob>,
    writer: Lane<WriteJob>,
}

type ReadJob = Box<dyn FnOnce(&mut Handle) + Send>;

type WriteJob = Work<Task>;

/// Does its work, or learns why it cannot, and gives back what is to be said once the commit is known to have held.
type Task = Box<dyn FnOnce(Result<&Connection, &StoreError>) -> Answer + Send>;

struct Answer {
    /// How the job itself failed.
    error: Option<StoreError>,
    /// Tells the asker; it is given the failure of the commit, if that failed.
    say: Say,
}

type Say = Box<dyn FnOnce(Option<&StoreError>) + Send>;

enum Work<F> {
    /// Part of a commit.
    Grouped(F),
    /// By itself and outside any transaction.
    Alone(F),
}

impl Database {
    /// Opens or makes the file in the folder, which is made with mode 0700 if need be. Takes milliseconds.
    ///
    /// # Errors
    /// A newer or foreign file of [`Care::Keep`], a folder that cannot be written, a file that stays locked.
    pub(crate) fn open(folder: &Path, schema: &'static Schema, care: Care) -> Result<Self, StoreError> {
        let opened = open::open(folder, schema, care)?;
        let path = folder.join(schema.file);
        let aside = opened.aside.clone();
        let handle = |opened| Handle { opened, path: path.clone(), schema, care };
        let reading = handle(Some(opened));
        let writing = handle(None);
        Ok(Self {
            aside,
            reader: Lane::start("store-read", move |jobs| read_all(reading, &jobs))?,
            writer: Lane::start("store-write", move |jobs| write_all(writing, &jobs))?,
            path,
        })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where an unreadable file found at opening was moved to.
    pub(crate) fn aside(&self) -> Option<&Path> {
        self.aside.as_deref()
    }

    /// Reads from a consistent view.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.reader.send(Box::new(move |handle: &mut Handle| {
            let outcome = handle.with(|connection| job(connection));
            // The asker may have gone away.
            let _ = answer.send(outcome);
        }))?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes, and answers once the commit that holds the write is made. A failing job undoes itself alone.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answered) = answering(job);
        self.writer.send(Work::Grouped(job))?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs a job of the writer outside any transaction, for upkeep that opens its own.
    pub(crate) async fn upkeep<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answered) = answering(job);
        self.writer.send(Work::Alone(job))?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Queues a write that nobody need wait for.
    ///
    /// # Errors
    /// A full queue drops it.
    pub(crate) fn write_later(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.writer.send(Work::Grouped(answering(job).0))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.path.display())
    }
}

type Answered<T> = oneshot::Receiver<Result<T, StoreError>>;

fn answering<T: Send + 'static>(
    job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> (Task, Answered<T>) {
    let (answer, answered) = oneshot::channel();
    let task = Box::new(move |connection: Result<&Connection, &StoreError>| {
        let outcome = connection.map_err(Clone::clone).and_then(|connection| Ok(job(connection)?));
        Answer {
            error: outcome.as_ref().err().cloned(),
            say: Box::new(move |commit_failed| {
                let outcome = outcome.and_then(|value| commit_failed.map_or(Ok(value), |error| Err(error.clone())));
                // The asker may have gone away.
                let _ = answer.send(outcome);
            }),
        }
    });
    (task, answered)
}

/// A thread with a bounded queue of jobs, joined on drop.
struct Lane<J> {
    jobs: Mutex<Option<SyncSender<J>>>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Lane<J> {
    fn start(name: &str, run: impl FnOnce(Receiver<J>) + Send + 'static) -> Result<Self, StoreError> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(queue))
            .map_err(|error| StoreError::Other(format!("no thread for the database: {error}")))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Some(thread) })
    }

    fn send(&self, job: J) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(StoreError::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(StoreError::Closed),
        }
    }
}

impl<J> Drop for Lane<J> {
    fn drop(&mut self) {
        self.jobs.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = self.thread.take() {
            // A panic inside has already been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// A connection that is made when first needed and made anew after the file was replaced.
struct Handle {
    opened: Option<open::Opened>,
    path: PathBuf,
    schema: &'static Schema,
    care: Care,
}

impl Handle {
    fn with<T>(&mut self, job: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let outcome = job(self.connection()?).map_err(StoreError::from);
        self.forget_if_corrupt(outcome.as_ref().err());
        outcome
    }

    fn connection(&mut self) -> Result<&Connection, StoreError> {
        if self.opened.is_none() {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            self.opened = Some(open::open(folder, self.schema, self.care)?);
        }
        self.opened.as_ref().map(|opened| &opened.connection).ok_or(StoreError::Closed)
    }

    /// A throw-away file that turns out to be damaged makes way for a new one at the next job.
    fn forget_if_corrupt(&mut self, error: Option<&StoreError>) {
        if self.care == Care::ThrowAway
            && error.is_some_and(StoreError::is_corrupt)
            && let Some(opened) = self.opened.take()
        {
            open::replace_damaged(&self.path, opened);
        }
    }
}

fn read_all(mut handle: Handle, jobs: &Receiver<ReadJob>) {
    for job in jobs {
        job(&mut handle);
    }
}

fn write_all(mut handle: Handle, jobs: &Receiver<WriteJob>) {
    let mut unflushed: Option<Instant> = None;
    loop {
        let next = match unflushed {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => jobs.recv_timeout(FLUSH_AFTER.saturating_sub(since.elapsed())),
        };
        match next {
            Ok(first) => {
                let mut group = vec![first];
                group.extend(jobs.try_iter().take(GROUP - 1));
                run(&mut handle, group);
                if handle.care == Care::Keep {
                    unflushed.get_or_insert_with(Instant::now);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Closing the last connection flushes what is left.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if unflushed.is_some_and(|since| since.elapsed() >= FLUSH_AFTER) {
            unflushed = None;
            let _ = handle.with(|connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
        }
    }
}

/// Runs the jobs in as few commits as their kinds allow, in order, and answers each.
fn run(handle: &mut Handle, jobs: Vec<WriteJob>) {
    let mut group = Vec::new();
    for job in jobs {
        match job {
            Work::Grouped(task) => group.push(task),
            Work::Alone(task) => {
                run_group(handle, std::mem::take(&mut group));
                let answer = task(handle.connection().as_ref().map(|connection| *connection));
                handle.forget_if_corrupt(answer.error.as_ref());
                (answer.say)(None);
            }
        }
    }
    if !group.is_empty() {
        run_group(handle, group);
    }
}

fn run_group(handle: &mut Handle, group: Vec<Task>) {
    let (answers, failed) = match handle.connection() {
        Ok(connection) => commit(connection, group),
        Err(error) => (group.into_iter().map(|task| task(Err(&error))).collect(), Some(error)),
    };
    let corrupt = answers.iter().filter_map(|answer| answer.error.as_ref()).chain(&failed).find(|e| e.is_corrupt());
    handle.forget_if_corrupt(corrupt.cloned().as_ref());
    for answer in answers {
        (answer.say)(failed.as_ref());
    }
}

/// Makes one commit of the tasks that succeed; its failure is everyone's.
fn commit(connection: &Connection, group: Vec<Task>) -> (Vec<Answer>, Option<StoreError>) {
    let mut failed = connection.execute_batch("BEGIN IMMEDIATE").err().map(StoreError::from);
    let mut answers = Vec::with_capacity(group.len());
    for task in group {
        if let Some(error) = &failed {
            answers.push(task(Err(error)));
            continue;
        }
        match one_of_group(connection, task) {
            Ok(answer) => answers.push(answer),
            Err((answer, error)) => {
                answers.push(answer);
                failed = Some(error);
            }
        }
    }
    if failed.is_none() {
        failed = connection.execute_batch("COMMIT").err().map(StoreError::from);
    }
    if failed.is_some() && !connection.is_autocommit() {
        // Closing the connection would undo it too; there is no one to tell.
        let _ = connection.execute_batch("ROLLBACK");
    }
    (answers, failed)
}

/// Runs a task in a savepoint, so that its failure undoes only itself, unless SQLite had to end the whole transaction.
fn one_of_group(connection: &Connection, task: Task) -> Result<Answer, (Answer, StoreError)> {
    if let Err(error) = connection.execute_batch("SAVEPOINT task") {
        let error = StoreError::from(error);
        return Err((task(Err(&error)), error));
    }
    let answer = task(Ok(connection));
    if connection.is_autocommit() {
        let error = answer.error.clone().unwrap_or(StoreError::Full);
        return Err((answer, error));
    }
    let end = if answer.error.is_some() { "ROLLBACK TO task; RELEASE task" } else { "RELEASE task" };
    match connection.execute_batch(end) {
        Ok(()) => Ok(answer),
        Err(error) => Err((answer, error.into())),
    }
}

#[cfg(test)]
mod tests;
