//! The router's side: a machine with stand-ins on its `PATH` and a home of its own, and calls of the agents' providers on it.
//!
//! `Machine::new()` has nothing; `.with(program, Transcript)` puts a stand-in there. What a stand-in was started with is [`Seen`].

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use llm_router::Result;
use llm_router::config::ProviderSettings;
use llm_router::delta::{BlockKind, Delta, DeltaStream, Part};
use llm_router::deps::SystemClock;
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::agents::agent;
use llm_router::provider::process::{Environment, Runner};
use llm_router::provider::{Call, Context, DynProvider, Target};
use llm_router::request::Request;
use llm_router::response::{Response, collect};
use serde_json::{Value, json};

/// The variable that tells a started copy of this program where its role is.
pub(crate) const ROLE: &str = "LLM_ROUTER_TEST_STAND_IN";

/// How deep below a folder a stand-in looks around.
pub(crate) const DEPTH: usize = 4;

/// What a stand-in says and does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) lines: Vec<Value>,
    /// Messages go in frames of Content-Length.
    pub(crate) framed: bool,
    /// Does not heed the polite signal.
    pub(crate) stubborn: bool,
}

impl Transcript {
    /// A recorded one, `AGENT/CASE` below `fixtures/agents`.
    pub(crate) fn recorded(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents").join(format!("{name}.jsonl"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self::of(text.lines().map(|line| serde_json::from_str(line).unwrap()))
    }

    /// One made by a test; see `stand_in.rs` for what lines there are.
    pub(crate) fn of(lines: impl IntoIterator<Item = Value>) -> Self {
        Self { lines: lines.into_iter().collect(), ..Self::default() }
    }

    /// The words that the real program was started with when it was recorded, without its name.
    pub(crate) fn words(&self) -> Vec<String> {
        let words = self.lines[0]["argv"].as_array().unwrap();
        words.iter().skip(1).map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    /// In frames.
    pub(crate) fn framed(mut self) -> Self {
        self.framed = true;
        self
    }

    /// Deaf to the polite signal.
    pub(crate) fn stubborn(mut self) -> Self {
        self.stubborn = true;
        self
    }

    /// With these lines before the end.
    pub(crate) fn and(mut self, lines: impl IntoIterator<Item = Value>) -> Self {
        let ends = |line: &Value| line.get("exit").is_some() || line.get("signal").is_some();
        let at = self.lines.iter().position(ends).unwrap_or(self.lines.len());
        self.lines.splice(at..at, lines);
        self
    }

    /// Only as far as the first line that holds these words, that one included; then it ends so.
    pub(crate) fn cut_after(mut self, words: &str, end: Value) -> Self {
        let holds = |line: &Value| line["out"].as_str().is_some_and(|out| out.contains(words));
        let at = self.lines.iter().position(holds).unwrap_or_else(|| panic!("no line holds {words:?}"));
        self.lines.truncate(at + 1);
        self.lines.push(end);
        self
    }
}

/// How a stand-in was started.
#[derive(Clone, Debug)]
pub(crate) struct Seen(pub(crate) Value);

impl Seen {
    pub(crate) fn args(&self) -> Vec<&str> {
        self.0["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    /// The word behind an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.args().into_iter().skip_while(|word| *word != name).nth(1)
    }

    pub(crate) fn stdin(&self) -> &str {
        self.0["stdin"].as_str().unwrap()
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.0["environment"][name].as_str()
    }

    /// The names of the variables that it was given.
    pub(crate) fn variables(&self) -> Vec<&str> {
        self.0["environment"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// Where it worked.
    pub(crate) fn folder(&self) -> &Path {
        Path::new(self.0["folder"].as_str().unwrap())
    }

    /// The paths in the folder where it worked.
    pub(crate) fn files(&self) -> Vec<&str> {
        paths(&self.0["files"])
    }

    /// The paths of the files in its home; folders are not told.
    pub(crate) fn home(&self) -> Vec<&str> {
        paths(&self.0["home"])
    }

    /// Where a link in its home leads.
    pub(crate) fn leads(&self, path: &str) -> Option<&Path> {
        let all = self.0["home"].as_array().unwrap();
        all.iter().find(|entry| entry["path"] == path)?["leads"].as_str().map(Path::new)
    }
}

fn paths(listed: &Value) -> Vec<&str> {
    let files = listed.as_array().unwrap().iter().filter(|entry| entry["folder"] == false);
    files.map(|entry| entry["path"].as_str().unwrap()).collect()
}

/// A user's machine: a `PATH` with the stand-ins and the system's own programs, a home, a place for temporary files.
pub(crate) struct Machine {
    root: tempfile::TempDir,
    pub(crate) environment: Environment,
    pub(crate) settings: ProviderSettings,
    pub(crate) runner: Runner,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["bin", "home", "tmp"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let at = |name: &str| root.path().join(name).display().to_string();
        let environment = Environment::default()
            .with("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", at("bin")))
            .with("HOME", at("home"))
            .with("TMPDIR", at("tmp"));
        Self { root, environment, settings: ProviderSettings::default(), runner: Runner::default() }
    }

    /// With a stand-in under this name.
    pub(crate) fn with(self, program: &str, transcript: Transcript) -> Self {
        self.plays(program, &transcript);
        self
    }

    /// What the stand-in of this name says from now on; what was seen of it is forgotten.
    pub(crate) fn plays(&self, program: &str, transcript: &Transcript) {
        let folder = self.role(program);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let Transcript { lines, framed, .. } = transcript;
        let role = json!({"lines": lines, "framed": framed});
        std::fs::write(folder.join("role.json"), role.to_string()).unwrap();
        let own = std::env::current_exe().unwrap();
        let deaf = if transcript.stubborn { "trap '' TERM\n" } else { "" };
        // Descriptors 3 and 4 are its output and error: the harness prints to its own.
        let script = format!(
            "#!/bin/sh\n{deaf}export {ROLE}='{}'\nexec 3>&1 4>&2 >/dev/null 2>&1\n\
             exec '{}' --exact stand_in::child --nocapture --test-threads=1 -- \"$@\"\n",
            folder.display(),
            own.display()
        );
        self.script(program, &script);
    }

    /// What this name runs from now on.
    pub(crate) fn script(&self, program: &str, text: &str) {
        let (draft, program) = (self.at(&format!("draft-{program}")), self.at("bin").join(program));
        std::fs::write(&draft, text).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Copied by another program: a file that this process still has open for writing would be busy.
        assert!(std::process::Command::new("cp").arg("-p").arg(&draft).arg(&program).status().unwrap().success());
    }

    /// With a variable in the user's environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment = self.environment.with(name, value);
        self
    }

    /// With a file of the user's, below the home.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// With other settings of the provider.
    pub(crate) fn settings(mut self, change: impl FnOnce(&mut ProviderSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.at("home")
    }

    /// A path of the machine's own: `bin`, `home`, `tmp`, or any other for a test's use.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A named pipe of the machine's.
    pub(crate) fn pipe(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// What is left in the place for temporary files.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.at("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn role(&self, program: &str) -> PathBuf {
        self.at(&format!("role-{program}"))
    }

    /// How the stand-in was started, each time, in order.
    pub(crate) fn seen(&self, program: &str) -> Vec<Seen> {
        let file = |number: usize| self.role(program).join(format!("seen-{number}.json"));
        let texts = (0..).map_while(|number| std::fs::read(file(number)).ok());
        texts.map(|text| Seen(serde_json::from_slice(&text).unwrap())).collect()
    }

    /// How the stand-in was started the last time.
    pub(crate) fn last(&self, program: &str) -> Seen {
        self.seen(program).pop().expect("the stand-in was started")
    }

    /// The provider of this id as it is on this machine.
    pub(crate) fn provider(&self, id: &str) -> Result<Arc<dyn DynProvider>> {
        agent(id).unwrap().provider(&self.settings, &self.environment, self.runner.clone()).map(|made| made.0)
    }

    /// The whole answer of the provider of this id.
    pub(crate) async fn ask(&self, id: &str, request: Request) -> Result<Response> {
        collect(self.open(id, None, request).await?).await
    }

    /// The answer's stream, of a model of the provider's.
    pub(crate) async fn open(&self, id: &str, model: Option<&str>, request: Request) -> Result<DeltaStream> {
        self.provider(id)?.generate(call(id, model, request)).await
    }
}

/// A call of a provider.
pub(crate) fn call(id: &str, model: Option<&str>, request: Request) -> Arc<Call> {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(1, 2));
    let target = Target::new(ProviderId::new(id).unwrap(), model.map(|name| ModelName::new(name).unwrap()));
    Arc::new(Call::new(Arc::new(request), target, cx))
}

/// A request that is to be streamed.
pub(crate) fn streamed(prompt: &str) -> Request {
    let mut request = Request::new(prompt);
    request.stream = true;
    request
}

/// The pieces of text in the order they came, thoughts in brackets; then how the stream ended.
pub(crate) async fn pieces(mut stream: DeltaStream) -> (Vec<String>, Result<()>) {
    let (mut pieces, mut thoughts) = (Vec::new(), Vec::new());
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => return (pieces, Err(error)),
        };
        for delta in &event.deltas {
            match delta {
                Delta::BlockStart { block, kind: BlockKind::Reasoning { .. }, .. } => thoughts.push(*block),
                Delta::BlockDelta { block, part: Part::Text(text), .. } if thoughts.contains(block) => {
                    pieces.push(format!("[{text}]"));
                }
                Delta::BlockDelta { part: Part::Text(text), .. } => pieces.push(text.clone()),
                _ => {}
            }
        }
    }
    (pieces, Ok(()))
}

/// Reads until the next content is there.
pub(crate) async fn content(stream: &mut DeltaStream) {
    while !stream.next().await.expect("the answer goes on").unwrap().is_content() {}
}

/// Blocks until nobody holds the named pipe; for a stand-in that does, opened with [`watch`].
pub(crate) fn all_gone(mut pipe: File) {
    std::io::Read::read_to_end(&mut pipe, &mut Vec::new()).unwrap();
}

/// Opens a named pipe that a stand-in will hold. Opening waits for the other side, so it is done on a thread.
pub(crate) fn watch(pipe: PathBuf) -> std::thread::JoinHandle<File> {
    std::thread::spawn(move || File::open(pipe).unwrap())
}
