//! A key planted in every place is found in nothing that the program prints or writes.
//!
//! One table of places, one list of commands. The upstream is a loopback server that refuses with 401 and repeats all it was sent, as real ones do.
//! The plain canary has no shape that a mask could know; where the program cannot know that a word is a key, the planted one looks like a key.
#![allow(clippy::unwrap_used, missing_docs)]

mod show_support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use show_support::{Home, closed_port};

const CANARY: &str = "c4narybird7f3e9b1d5a";

/// Every variable that holds a secret, or a header that may.
const VARIABLES: &[&str] = &[
    "OPENROUTER_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_KEY",
    "OPENAI_TOKEN",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "HF_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN",
    "HF_API_TOKEN",
    "HF_BILL_TO",
    "HUGGINGFACE_BILL_TO",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "DEEPSEEK_API_KEY",
    "XAI_API_KEY",
    "TOGETHER_API_KEY",
    "FIREWORKS_API_KEY",
    "CEREBRAS_API_KEY",
    "NVIDIA_API_KEY",
    "PERPLEXITY_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "OPENROUTER_HTTP_REFERER",
    "OPENROUTER_APP_TITLE",
];

/// Where a key stands: `{c}` is the plain canary, `{u}` the upstream's host and port, `{f}` a file that holds the canary.
struct Place {
    name: &'static str,
    config: &'static str,
    env: &'static [(&'static str, &'static str)],
    /// A prefix under which all of [`VARIABLES`] are set.
    variables: Option<&'static str>,
    /// Whom to ask; whoever it is repeats the key.
    provider: &'static str,
    /// What is piped into `auth set` first.
    kept: bool,
    /// Whether the upstream is reached, so that it had something to repeat.
    reached: bool,
}

const NOWHERE: Place =
    Place { name: "", config: "", env: &[], variables: None, provider: "lab", kept: false, reached: true };

const UPSTREAMS: &[(&str, &str)] =
    &[("OPENAI_BASE_URL", "http://{u}/v1"), ("IPFS_KIT_OPENROUTER_BASE_URL", "http://{u}/v1")];

const PLACES: &[Place] = &[
    Place { name: "bare variables", env: UPSTREAMS, variables: Some(""), provider: "openai", ..NOWHERE },
    Place {
        name: "variables of IPFS_KIT_",
        env: UPSTREAMS,
        variables: Some("IPFS_KIT_"),
        provider: "openrouter",
        ..NOWHERE
    },
    Place {
        name: "variables of IPFS_DATASETS_PY_",
        env: UPSTREAMS,
        variables: Some("IPFS_DATASETS_PY_"),
        provider: "openai",
        ..NOWHERE
    },
    Place { name: "api_key", config: "[providers.lab]\nbase_url = \"http://{u}/v1\"\napi_key = \"{c}\"", ..NOWHERE },
    Place {
        name: "api_key_file",
        config: "[providers.lab]\nbase_url = \"http://{u}/v1\"\napi_key_file = \"{f}\"",
        ..NOWHERE
    },
    Place {
        name: "api_key_command",
        config: "[providers.lab]\nbase_url = \"http://{u}/v1\"\napi_key_command = [\"cat\", \"{f}\"]",
        ..NOWHERE
    },
    Place {
        name: "api_key_env",
        config: "[providers.lab]\nbase_url = \"http://{u}/v1\"\napi_key_env = \"LAB_KEY\"",
        env: &[("LAB_KEY", "{c}")],
        ..NOWHERE
    },
    Place {
        name: "a header",
        config: "[providers.lab]\nbase_url = \"http://{u}/v1\"\nheaders = { X-Lab = \"{c}\" }",
        ..NOWHERE
    },
    Place {
        name: "the password of a proxy",
        config: "[providers.lab]\nbase_url = \"http://lab.example/v1\"",
        env: &[("HTTP_PROXY", "http://user:{c}@{u}"), ("http_proxy", "http://user:{c}@{u}")],
        ..NOWHERE
    },
    Place {
        name: "the address of a provider",
        config: "[providers.lab]\nbase_url = \"http://user:{c}@{u}/v1\"",
        reached: false,
        ..NOWHERE
    },
    Place { name: "a kept key", config: "[providers.lab]\nbase_url = \"http://{u}/v1\"", kept: true, ..NOWHERE },
    Place {
        name: "a command template",
        config: "[providers.lab]\ncommand = \"cat /nonexistent --token sk-{c}\"",
        reached: false,
        ..NOWHERE
    },
    Place {
        name: "what an agent says on standard error",
        config: "[providers.lab]\ncommand = \"sh -c 'echo not logged in with sk-{c} >&2; exit 3'\"",
        reached: false,
        ..NOWHERE
    },
    Place {
        name: "a variable without a shape, repeated by a program that was given it",
        config: "[providers.lab]\ncommand = \"sh -c 'echo nobody is called $LAB_NAME >&2; exit 3'\"\npass_env = [\"LAB_NAME\"]",
        env: &[("LAB_NAME", "{c}")],
        reached: false,
        ..NOWHERE
    },
    Place {
        name: "an agent's own key without a shape, repeated by it",
        config: "[providers.codex_cli]\ncommand = \"sh -c 'echo $OPENAI_API_KEY: bad login >&2; exit 3'\"",
        env: &[("OPENAI_API_KEY", "{c}")],
        provider: "codex_cli",
        reached: false,
        ..NOWHERE
    },
    Place {
        name: "a program's own key of the config, repeated by it",
        config: "[providers.lab]\ncommand = \"sh -c 'read key < {f}; echo I read $key >&2; exit 3'\"\napi_key = \"{c}\"",
        reached: false,
        ..NOWHERE
    },
    Place {
        name: "an error inside a stream of status 200",
        config: "[providers.lab]\nbase_url = \"http://{u}/stream/v1\"\napi_key = \"{c}\"",
        ..NOWHERE
    },
    Place {
        name: "an error inside a stream of status 200, after some content",
        config: "[providers.lab]\nbase_url = \"http://{u}/cut/v1\"\nheaders = { X-Lab = \"{c}\" }",
        ..NOWHERE
    },
    Place {
        name: "an error as a whole answer of status 200",
        config: "[providers.lab]\nbase_url = \"http://{u}/whole/v1\"\napi_key_file = \"{f}\"",
        ..NOWHERE
    },
    Place {
        name: "a bare status with words",
        config: "[providers.lab]\nbase_url = \"http://{u}/words/v1\"\napi_key = \"{c}\"",
        ..NOWHERE
    },
    Place {
        name: "a value of the wrong kind",
        config: "[providers.lab]\nbase_url = \"http://{u}/v1\"\napi_key = [\"{c}\"]",
        reached: false,
        ..NOWHERE
    },
];

#[test]
fn a_planted_key_is_found_nowhere() {
    let upstream = Parrot::start();
    let mut leaks = Vec::new();
    for place in PLACES {
        let home = Home::default();
        let secret = home.path().join("planted-key");
        fs::write(&secret, CANARY).unwrap();
        let fill = |text: &str| {
            text.replace("{c}", CANARY)
                .replace("{u}", &upstream.address.to_string())
                .replace("{f}", &secret.display().to_string())
        };
        home.config(&fill(place.config));
        let run = |arguments: &[&str], input: &str| {
            let mut command = home.command();
            command.env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1");
            command.env("HTTPS_PROXY", format!("http://127.0.0.1:{}", closed_port()));
            for variable in
                place.variables.iter().flat_map(|prefix| VARIABLES.iter().map(move |name| format!("{prefix}{name}")))
            {
                command.env(variable, CANARY);
            }
            command.envs(place.env.iter().map(|(name, value)| (name, fill(value))));
            command.args(arguments).stdin(std::process::Stdio::piped());
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            // A program that fails at its configuration does not read.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            let output = child.wait_with_output().unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        if place.kept {
            run(&["auth", "set", place.provider], CANARY);
        }
        let mut look = |said: &str, arguments: &[&str]| {
            if let Some(line) = said.lines().find(|line| line.contains(CANARY)) {
                leaks.push(format!("{}: {arguments:?}: {line}", place.name));
            }
        };
        let before = upstream.requests.load(Ordering::SeqCst);
        let asked = ["--provider", place.provider, "-p", "hello"];
        for arguments in [
            &[&["generate"], &asked[..]].concat()[..],
            &[&["generate", "--json"], &asked[..]].concat(),
            &[&["generate", "--debug"], &asked[..]].concat(),
            &[&["explain", "--json"], &asked[..]].concat(),
            &["explain", "-p", "hello"],
            &["config", "show", "--origin"],
            &["config", "show", "--json"],
            &["config", "check"],
            &["doctor"],
            &["doctor", "--json"],
            &["providers", "-v"],
            &["providers", "--json"],
            &["models", "--provider", place.provider],
            &["test", "--provider", place.provider, "--json"],
            &["auth", "ls"],
        ] {
            let said = run(arguments, "");
            look(&said, arguments);
        }
        let saved = home.path().join("talk.json");
        for arguments in
            [&["chat", "--provider", place.provider][..], &["chat", "--json", "--provider", place.provider]]
        {
            look(&run(arguments, &format!("hello\n/provider\n/save {}\n", saved.display())), arguments);
        }
        let asked = upstream.requests.load(Ordering::SeqCst) - before;
        assert_eq!(asked > 0, place.reached, "{}: the upstream was asked {asked} times", place.name);
        // Where the configuration is refused there was no conversation.
        look(&fs::read_to_string(saved).unwrap_or_default(), &["/save"]);
        find_in_files(&home.path().join("cache"), place.name, &mut leaks);
        find_in_files(&home.path().join("data"), place.name, &mut leaks);
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// Everything that was written, but for the one file whose purpose is to keep keys.
fn find_in_files(folder: &Path, place: &str, leaks: &mut Vec<String>) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten().map(|file| file.path()) {
        if file.is_dir() {
            find_in_files(&file, place, leaks);
        } else if !file.ends_with("provider-keys.json") {
            let bytes = fs::read(&file).unwrap();
            if bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
                leaks.push(format!("{place}: the file {}", file.display()));
            }
        }
    }
}

/// Refuses every request and repeats it: with 401, or as the address asks for it.
struct Parrot {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Parrot {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&requests), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up early is no concern of the others.
                if repeat(socket).is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { address, requests, over, thread: Some(thread) }
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn repeat(mut socket: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body)?;
    // Once as it came, and once without the words around it by which a mask would know a key.
    let words: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let message = format!("no such key: {}; you sent {text:?}", words.join(", ")).replace('"', "'").replace('\\', " ");
    let error = format!("{{\"error\":{{\"message\":\"{message}\",\"code\":\"invalid_api_key\"}}}}");
    let start = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"so far"},"finish_reason":null}]}"#;
    let asked = |part: &str| text.lines().next().is_some_and(|line| line.contains(part));
    let (status, media, answer) = match () {
        () if asked("/stream/") => ("200 OK", "text/event-stream", format!("data: {error}\n\n")),
        () if asked("/cut/") => ("200 OK", "text/event-stream", format!("data: {start}\n\ndata: {error}\n\n")),
        () if asked("/whole/") => ("200 OK", "application/json", error),
        () if asked("/words/") => ("429 Slow Down", "text/plain", message),
        () => ("401 No", "application/json", error),
    };
    write!(
        socket,
        "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}
