//! A home folder, a command line in it, and what came of it: `Home::new().run(["generate", "hi"]).input("more").answers("…")`.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use llm_router::testing::upstream::{Answer, Seen, Upstream};
use llm_router_local::source::{Source, present};
use tempfile::TempDir;

/// A provider that answers with the prompt.
pub(crate) const ECHO: &str = "[providers.echo]\ncommand = \"cat\"\n";

/// A home folder with a configuration.
pub(crate) struct Home(TempDir);

impl Home {
    /// One whose configuration knows the provider `echo`.
    pub(crate) fn new() -> Self {
        Self::with(ECHO)
    }

    /// One with this configuration.
    pub(crate) fn with(config: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(home.path("config/ipfs-llm-router")).unwrap();
        home.file("config/ipfs-llm-router/config.toml", config);
        fs::create_dir(home.path("work")).unwrap();
        home
    }

    /// A path below it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file below it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// What lies in the folder that commands run in.
    pub(crate) fn work(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("work")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// A command line, run in the folder `work`.
    pub(crate) fn run<const N: usize>(&self, words: [&str; N]) -> Run<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
        command.args(words).current_dir(self.path("work")).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", self.0.path());
        for (variable, folder) in [("CONFIG", "config"), ("CACHE", "cache"), ("DATA", "data")] {
            command.env(format!("XDG_{variable}_HOME"), self.path(folder));
        }
        Run { home: self, command, input: Vec::new() }
    }
}

/// A command line before it runs.
pub(crate) struct Run<'a> {
    home: &'a Home,
    command: Command,
    input: Vec<u8>,
}

impl Run<'_> {
    /// With one more word.
    pub(crate) fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// With a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With this on standard input.
    pub(crate) fn input(mut self, text: impl AsRef<[u8]>) -> Self {
        self.input = text.as_ref().to_vec();
        self
    }

    /// With standard output in this file.
    pub(crate) fn into_file(mut self, path: &str) -> Ended {
        self.command.stdout(fs::OpenOptions::new().write(true).open(path).unwrap());
        self.finish()
    }

    /// The command line itself, for a test that starts it in a way of its own.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Starts it; all three of its streams are pipes.
    pub(crate) fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts it at this terminal.
    pub(crate) fn start_at(mut self, terminal: &fs::File) -> Child {
        let end = || Stdio::from(terminal.try_clone().unwrap());
        self.command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    /// Runs it to its end.
    pub(crate) fn ends(mut self) -> Ended {
        self.command.stdout(Stdio::piped());
        self.finish()
    }

    /// Runs it to a good end.
    pub(crate) fn succeeds(self) -> Ended {
        let ended = self.ends();
        assert_eq!(ended.status, 0, "{ended:?}");
        ended
    }

    /// It prints exactly this, says nothing else, and ends well.
    #[track_caller]
    pub(crate) fn answers(self, text: &str) {
        let ended = self.succeeds();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (text, ""));
    }

    /// It prints nothing and fails with this status; what it says is the result.
    #[track_caller]
    pub(crate) fn fails(self, status: i32) -> String {
        let ended = self.ends();
        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""), "{ended:?}");
        ended.stderr
    }

    fn finish(mut self) -> Ended {
        let mut child = self.command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = std::mem::take(&mut self.input);
        let writer = std::thread::spawn(move || {
            // Whoever does not read its input hangs up.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let tidy = |bytes: Vec<u8>| tidy(&String::from_utf8(bytes).unwrap(), self.home);
        Ended { status: output.status.code().unwrap_or(-1), stdout: tidy(output.stdout), stderr: tidy(output.stderr) }
    }
}

/// Text in which the home folder is called `<home>`, and no port has a number.
fn tidy(text: &str, home: &Home) -> String {
    let text = text.replace(&*home.0.path().to_string_lossy(), "<home>");
    let mut parts = text.split("127.0.0.1:");
    let mut tidy = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        tidy.push_str("127.0.0.1:<port>");
        tidy.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    tidy
}

/// What came of a command line.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The one JSON object that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An HTTP server on this machine, and a home folder whose provider `lab` it is.
pub(crate) struct Server {
    pub(crate) home: Home,
    upstream: Upstream,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn answering<const N: usize>(answers: [Answer; N]) -> Self {
        Self::answering_with(answers, "")
    }

    /// The same, with more lines for the provider's section of the configuration and after it.
    pub(crate) fn answering_with<const N: usize>(answers: [Answer; N], more: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let upstream = runtime.block_on(Upstream::serve(answers));
        let url = upstream.url("/v1");
        let home = Home::with(&format!("[providers.lab]\nbase_url = \"{url}\"\ndialect = \"openai_chat\"\n{more}"));
        Self { home, upstream, _runtime: runtime }
    }

    /// `generate "hi" -m lab/m` and these words.
    pub(crate) fn generate<const N: usize>(&self, words: [&str; N]) -> Run<'_> {
        words.into_iter().fold(self.home.run(["generate", "hi", "-m", "lab/m"]), Run::word)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.upstream.seen()
    }
}

/// The default model: the file named by `LLM_ROUTER_TEST_MODEL`, else the one that the router keeps. Without it the test fails: what never ran is not tested.
pub(crate) fn model() -> PathBuf {
    if let Some(path) = std::env::var_os("LLM_ROUTER_TEST_MODEL") {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"));
    let models = cache.join("ipfs-llm-router/models");
    let found = present(&Source::Default, &models);
    found.unwrap_or_else(|| panic!("no default model in {}: run `llm-router pull`", models.display())).path
}
