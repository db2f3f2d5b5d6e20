//! Scripted providers behind the real program, and a client: `stage.ask("r").header("x-session-id", "7").heard().await`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use llm_router::dialect::Dialect;
use llm_router::testing::faults::{Act, Asked, Faults};
use llm_router::testing::heard::Heard;
use llm_router::testing::voice::Voice;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::service::{PATIENCE, Service};

/// What the providers speak, and the clients.
const VOICE: Voice = Voice(Dialect::OpenaiChat);

/// Providers by their names, each with a model `m`, behind a router.
pub(crate) struct Stage {
    pub(crate) faults: Arc<Faults>,
    pub(crate) service: Service,
    home: TempDir,
}

impl Stage {
    /// Each script is a provider of its name; `config` is what the configuration says besides.
    pub(crate) async fn new(scripts: Vec<(&str, Vec<Act>)>, config: &str) -> Self {
        Self::over(scripts, config, "").await
    }

    /// The same, with something that the section of every provider says.
    pub(crate) async fn over(scripts: Vec<(&str, Vec<Act>)>, config: &str, of_each: &str) -> Self {
        let names: Vec<String> = scripts.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self::start(Arc::new(Faults::serve(scripts).await), &names, config, of_each)
    }

    /// A router before these of the providers.
    pub(crate) fn before(faults: Arc<Faults>, names: &[impl AsRef<str>], config: &str) -> Self {
        Self::start(faults, names, config, "")
    }

    fn start(faults: Arc<Faults>, names: &[impl AsRef<str>], config: &str, of_each: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut all = config.to_owned();
        for name in names.iter().map(AsRef::as_ref) {
            let url = faults.url(name, VOICE);
            let about = "dialect = \"openai_chat\"\nmodels = [\"m\"]\n";
            let _ = write!(all, "\n[providers.{name}]\nbase_url = \"{url}\"\n{about}{of_each}");
            if !config.contains(&format!("[[providers.{name}.credentials]]")) {
                let _ = writeln!(all, "api_key = \"k\"");
            }
        }
        let service = Service::start_as(home.path(), &all, |command| {
            command.env("HOME", home.path());
        });
        Self { faults, service, home }
    }

    /// What was asked of a provider.
    pub(crate) fn asked(&self, name: &str) -> Asked {
        self.faults.asked(name, VOICE)
    }

    /// How often each of these was asked.
    pub(crate) fn counts<const N: usize>(&self, names: [&str; N]) -> [usize; N] {
        names.map(|name| self.asked(name).requests)
    }

    /// Waits until what was asked of a provider is as expected.
    pub(crate) async fn until(&self, name: &str, expected: impl Fn(&Asked) -> bool) -> Asked {
        timeout(PATIENCE, self.faults.until(name, VOICE, expected))
            .await
            .unwrap_or_else(|_| panic!("{name}: {:?}", self.asked(name)))
    }

    /// A question to a model, or a route.
    pub(crate) fn ask(&self, model: &str) -> Ask {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Count to sixty."}]});
        Ask { address: self.service.address, path: "/v1/chat/completions".to_owned(), headers: String::new(), body }
    }

    /// Who answers one question after the other.
    pub(crate) async fn answered_by(&self, model: &str, times: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..times {
            all.push(self.ask(model).answered().await.header("x-llm-router-provider").to_owned());
        }
        all
    }

    /// What is at a path, for whoever shows this key.
    pub(crate) async fn get(&self, path: &str, key: &str) -> Heard {
        let host = "host: localhost\r\nconnection: close";
        let request = format!("GET {path} HTTP/1.1\r\n{host}\r\nx-api-key: {key}\r\n\r\n");
        Open::over(self.service.address, &request).await.rest().await
    }

    /// What a POST to a path comes to, for whoever shows this key.
    pub(crate) async fn post(&self, path: &str, body: Value, key: &str) -> Heard {
        let ask = Ask { address: self.service.address, path: path.to_owned(), headers: String::new(), body };
        ask.header("x-api-key", key).heard().await
    }

    /// A command of the same program with the same configuration and home: whether it succeeded, what it printed, and what it said of an error.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
        command.env_clear().env("HOME", self.home.path()).current_dir("/");
        command.arg("--config").arg(self.home.path().join("router.toml")).args(words);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// What a command prints that succeeds.
    pub(crate) fn says(&self, words: &[&str], input: &str) -> String {
        let (success, said, error) = self.run(words, input);
        assert!(success, "{words:?}: {error}");
        said
    }

    /// What `explain` says of a request to whoever has this key.
    pub(crate) fn explained(&self, id: &str, key: &str) -> (bool, String, String) {
        let server = format!("http://{}", self.service.address);
        self.run(&["explain", id, "--server", &server, "--key-file", "-"], key)
    }

    /// The same as JSON, for a key that may see it.
    pub(crate) fn trace(&self, id: &str, key: &str) -> Value {
        let server = format!("http://{}", self.service.address);
        serde_json::from_str(&self.says(&["explain", id, "--json", "--server", &server, "--key-file", "-"], key))
            .unwrap()
    }

    /// A file in the program's home.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// A question.
pub(crate) struct Ask {
    address: SocketAddr,
    path: String,
    headers: String,
    body: Value,
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// With one more field.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body[field] = value.into();
        self
    }

    /// With these words of the user's, answers between them.
    pub(crate) fn saying(self, words: &[&str]) -> Self {
        let roles = ["user", "assistant"].into_iter().cycle();
        let messages: Vec<Value> =
            words.iter().zip(roles).map(|(text, role)| json!({"role": role, "content": text})).collect();
        self.with("messages", messages)
    }

    pub(crate) fn streamed(self) -> Self {
        self.with("stream", true)
    }

    /// Sends it, and leaves the answer to be read.
    pub(crate) async fn sent(self) -> Open {
        let body = self.body.to_string();
        let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
        let (path, headers, length) = (&self.path, &self.headers, body.len());
        let request = format!("POST {path} HTTP/1.1\r\n{head}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        Open::over(self.address, &request).await
    }

    /// Sends it, and hears the answer to its end.
    pub(crate) async fn heard(self) -> Heard {
        self.sent().await.rest().await
    }

    /// The same, of a question that is answered.
    pub(crate) async fn answered(self) -> Heard {
        let heard = self.heard().await;
        assert_eq!(heard.status, 200, "{}", heard.text());
        assert!(!heard.text().contains("\"error\""), "{}", heard.text());
        heard
    }
}

/// A connection with an answer on its way.
pub(crate) struct Open(TcpStream);

impl Open {
    async fn over(address: SocketAddr, request: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        Self(socket)
    }

    /// The whole answer.
    pub(crate) async fn rest(mut self) -> Heard {
        let mut bytes = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.unwrap().unwrap();
        Heard::read(&bytes)
    }
}

/// A gate that is shut.
pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// The configuration of a route `r` over one group.
pub(crate) fn route(members: &[&str], balance: &str) -> String {
    let members: Vec<String> = members.iter().map(|name| format!("\"{name}/m\"")).collect();
    format!("[routes.r]\ngroups = [[{}]]\nbalance = \"{balance}\"\n", members.join(", "))
}
