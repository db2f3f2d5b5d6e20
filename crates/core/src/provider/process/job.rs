//! What a program is given: its words, its environment, its folder and its bounds. `../process.rs` runs it.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Environment;
use crate::secret::Secret;

/// What a program may print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of standard output in all.
    pub total: u64,
    /// Bytes of one line, where output is read by lines.
    pub line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 32 << 20, line: 4 << 20 }
    }
}

impl Limits {
    /// With room for a program that repeats so many bytes of what it was asked, more than once in all and twice in a line: pictures for example.
    #[must_use]
    pub fn repeating(mut self, asked: usize) -> Self {
        self.line = self.line.saturating_add(asked.saturating_mul(2));
        self.total = self.total.saturating_add(asked as u64 * 4);
        self
    }
}

/// The folder a program works in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Folder {
    /// This process's own.
    #[default]
    Inherited,
    /// A given one.
    At(PathBuf),
    /// A new and empty one below `TMPDIR` that only this user can enter, the program's own `TMPDIR` too, removed when the program has ended.
    Private,
}

/// Something that must stay until a program's group is gone, and goes with it.
#[derive(Clone)]
pub struct Keep(#[allow(dead_code, reason = "held, never read")] Arc<dyn Any + Send + Sync>);

impl Keep {
    /// Keeps this.
    pub fn new(kept: impl Any + Send + Sync) -> Self {
        Self(Arc::new(kept))
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keep(…)")
    }
}

/// How the report that a program leaves in a file is read, when its group is gone and before what was kept for it goes.
#[derive(Clone)]
pub struct Report(Arc<dyn Fn() -> Option<Vec<u8>> + Send + Sync>);

impl Report {
    /// Read by this, on a thread that may wait.
    pub fn new(read: impl Fn() -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What is in it; nothing where it was not left.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        (self.0)()
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report(…)")
    }
}

/// A program to run, with everything it is given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Job {
    /// The executable; see `resolve`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub environment: Environment,
    /// Where it works.
    pub folder: Folder,
    /// What it may print.
    pub limits: Limits,
    /// Values that no error repeats, should the program say them.
    pub hidden: Arc<[Secret]>,
    /// Whether what it says on standard error becomes events as it comes: for programs of our own.
    pub told: bool,
    /// What must stay until its group is gone.
    pub keep: Option<Keep>,
    /// The report that it leaves.
    pub report: Option<Report>,
    /// Words that stand in its environment and in no other program's: whatever has them there when its group is gone was started by it, and is killed.
    pub marker: Option<String>,
}

impl Job {
    /// A program without arguments, variables or folder of its own.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Environment::default(),
            folder: Folder::default(),
            limits: Limits::default(),
            hidden: Arc::default(),
            told: false,
            keep: None,
            report: None,
            marker: None,
        }
    }

    /// With these arguments.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// With this environment.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// In this folder.
    #[must_use]
    pub fn with_folder(mut self, folder: Folder) -> Self {
        self.folder = folder;
        self
    }

    /// With these bounds on what it prints.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The program's file name, for messages.
    pub(super) fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }
}
