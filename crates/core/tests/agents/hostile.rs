//! Programs under the agents' names that mean no good, each through every driver: one clear error, in time, and nothing of them is left.
//!
//! A driver joins by a row of `DRIVEN`. What is left of a program is looked for by its process group, as the system lists it.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use llm_router::error::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::support::{Machine, Transcript, content, streamed};

/// A driver, as far as this suite must know it.
struct Driven {
    id: &'static str,
    program: &'static str,
    /// A variable that spares it the user's login.
    key: &'static str,
    /// A line that is right and says a word of an answer; `{}` is the word.
    line: &'static str,
    /// Whether it stays between requests: such a one is greeted first, and says no word of an answer before it has answered to that.
    served: bool,
}

const DRIVEN: &[Driven] = &[
    Driven {
        id: "claude_code",
        program: "claude",
        key: "ANTHROPIC_API_KEY",
        line: r#"{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"{}"}}}"#,
        served: false,
    },
    Driven {
        id: "gemini_cli",
        program: "gemini",
        key: "GEMINI_API_KEY",
        line: r#"{"type":"message","role":"assistant","content":"{}","delta":true}"#,
        served: false,
    },
    Driven {
        id: "codex_cli",
        program: "codex",
        key: "CODEX_API_KEY",
        line: r#"{"method":"item/agentMessage/delta","params":{"threadId":"1","turnId":"1","itemId":"1","delta":"{}"}}"#,
        served: true,
    },
    Driven {
        id: "copilot_cli",
        program: "copilot",
        key: "COPILOT_GITHUB_TOKEN",
        line: r#"{"type":"assistant.message_delta","data":{"messageId":"1","deltaContent":"{}"}}"#,
        served: false,
    },
    Driven {
        id: "copilot_sdk",
        program: "copilot",
        key: "COPILOT_GITHUB_TOKEN",
        line: r#"{"jsonrpc":"2.0","method":"session.event","params":{"delta":"{}"}}"#,
        served: true,
    },
];

/// How long anything here may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest text of an error.
const CLEAR: usize = 2_000;

use ErrorKind::{ProviderConnection, ProviderProtocol, ProviderServerError, ProviderTimeout};

impl Driven {
    fn says(&self, word: &str) -> Value {
        json!({"out": self.line.replace("{}", word)})
    }

    fn machine(&self, lines: impl IntoIterator<Item = Value>) -> Machine {
        let deaf = std::iter::once(json!({"deaf": true}));
        Machine::new().with(self.program, Transcript::of(deaf.chain(lines))).variable(self.key, "key")
    }

    /// What comes of it, with nothing of it left.
    async fn ends(&self, machine: &Machine) -> Error {
        let asked = async {
            let mut stream = machine.open(self.id, None, streamed("say it")).await?;
            while let Some(event) = stream.next().await {
                event?;
            }
            Ok(())
        };
        let ended: Result<(), Error> = tokio::time::timeout(PATIENCE, asked).await.expect("it ends in time");
        let error = ended.expect_err("no answer came");
        let told = format!("{error} {:?}", error.hint());
        assert!(told.len() < CLEAR && told.contains(self.program), "{}: {told}", self.id);
        self.nothing_left(machine).await;
        error
    }

    async fn nothing_left(&self, machine: &Machine) {
        machine.runner.shutdown().await;
        assert_eq!(machine.left(), [""; 0].map(std::path::PathBuf::from), "{}", self.id);
        for seen in machine.seen(self.program) {
            let group = seen.0["pid"].as_u64().unwrap();
            assert_eq!(members(group).await, [""; 0], "{}", self.id);
        }
    }
}

/// The processes of a group that still run, and those of it that nobody waited for although we are their parent.
async fn members(group: u64) -> Vec<String> {
    let mine = std::process::id().to_string();
    let stat = |process: &Path| {
        let text = std::fs::read_to_string(process.join("stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        // A stray child is the system's to bury.
        let dead = fields.first() == Some(&"Z") && fields.get(1) != Some(&mine.as_str());
        (fields.get(2)?.parse() == Ok(group) && !dead).then_some(text)
    };
    // Killed is not yet gone.
    for _ in 0..100 {
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| stat(&entry.ok()?.path()));
        let there: Vec<String> = all.collect();
        if there.is_empty() {
            return there;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| stat(&entry.ok()?.path()));
    all.collect()
}

/// Each program that ends or is ended, through each driver.
async fn each(kinds: &[ErrorKind], lines: impl Fn(&Driven) -> Vec<Value>) {
    for driven in DRIVEN {
        let machine = driven.machine(lines(driven));
        let error = driven.ends(&machine).await;
        assert!(kinds.contains(&error.kind()), "{}: {:?} {error}", driven.id, error.kind());
    }
}

#[tokio::test]
async fn garbage_is_no_answer() {
    each(&[ProviderProtocol], |_| {
        vec![json!({"out": "\u{1}\u{fffd} what? <html>"}), json!({"out": "{{{"}), json!({"exit": 0})]
    })
    .await;
    each(&[ProviderProtocol], |_| vec![json!({"out": "[1, \"a\"]"}), json!({"out": "null"}), json!({"exit": 0})]).await;
}

#[tokio::test]
async fn a_line_without_an_end_is_cut_off() {
    each(&[ProviderProtocol], |_| vec![json!({"out": "x", "times": 50_000_000}), json!({"hang": true})]).await;
}

/// The variable that tells a copy of this program that its memory is looked at.
const WATCHED: &str = "LLM_ROUTER_TEST_WATCHED";

/// A line of 200 MB is given up long before it is held whole. A process of its own is watched: nothing else that is tested may be in it.
#[expect(clippy::disallowed_methods, reason = "it starts a copy of itself, which is ruled by a variable")]
#[test]
fn a_line_without_an_end_costs_a_bounded_memory() {
    const MOST: u64 = 128 << 10;
    let name = "hostile::a_line_without_an_end_costs_a_bounded_memory";
    if std::env::var_os(WATCHED).is_none() {
        let mut copy = std::process::Command::new(std::env::current_exe().unwrap());
        copy.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(WATCHED, "1");
        let output = copy.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        each(&[ProviderProtocol], |_| vec![json!({"out": "x", "times": 200_000_000}), json!({"hang": true})]).await;
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < MOST, "{kib} KiB");
}

#[tokio::test]
async fn half_an_object_is_no_answer() {
    each(&[ProviderProtocol], |driven| {
        let whole = driven.line.len();
        vec![json!({"part": driven.line.get(..whole / 2).unwrap()}), json!({"exit": 0})]
    })
    .await;
}

#[tokio::test]
async fn right_lines_for_ever_come_to_an_end() {
    each(&[ProviderProtocol], |driven| {
        let line = driven.line.replace("{}", &"word ".repeat(400)) + "\n";
        vec![json!({"out": line, "times": 20_000}), json!({"hang": true})]
    })
    .await;
}

#[tokio::test]
async fn an_end_without_a_result_is_no_answer() {
    each(&[ProviderProtocol], |_| vec![json!({"exit": 0})]).await;
    each(&[ProviderProtocol], |driven| vec![driven.says("half"), json!({"exit": 0})]).await;
    each(&[ProviderServerError, ProviderProtocol], |driven| vec![driven.says("half"), json!({"exit": 3})]).await;
}

#[tokio::test]
async fn one_that_is_killed_is_told_with_the_signal() {
    for driven in DRIVEN {
        let machine = driven.machine([driven.says("half"), json!({"signal": 9})]);
        let error = driven.ends(&machine).await;
        assert!([ProviderServerError, ProviderConnection].contains(&error.kind()), "{}: {error}", driven.id);
        assert!(error.message().contains("SIGKILL"), "{}: {error}", driven.id);
    }
}

#[tokio::test]
async fn a_child_that_holds_the_pipe_holds_up_nobody() {
    each(&[ProviderProtocol], |driven| vec![json!({"child": true}), driven.says("half"), json!({"exit": 0})]).await;
}

#[tokio::test]
async fn ten_megabytes_of_complaints_are_bounded() {
    each(&[ProviderServerError, ProviderProtocol], |_| {
        vec![json!({"err": "Error: all is lost. ", "times": 500_000}), json!({"exit": 1})]
    })
    .await;
}

#[tokio::test]
async fn one_that_closes_its_output_and_lives_on_is_ended() {
    for driven in DRIVEN {
        let machine = driven.machine([]);
        machine.script(driven.program, "#!/bin/sh\nexec >&- \nexec sleep 1000\n");
        let error = driven.ends(&machine).await;
        assert!([ProviderProtocol, ProviderTimeout].contains(&error.kind()), "{}: {error}", driven.id);
    }
}

#[tokio::test]
async fn one_that_heeds_no_signal_is_killed() {
    for driven in DRIVEN {
        let lines = [json!({"deaf": true}), json!({"child": true}), driven.says("half"), json!({"hang": true})];
        let machine = driven.machine([]);
        machine.plays(driven.program, &Transcript::of(lines).stubborn());
        let asked = async {
            let mut stream = machine.open(driven.id, None, streamed("say it")).await.unwrap();
            content(&mut stream).await;
            if driven.served {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = asked => {}
            () = async {
                while !driven.served || machine.seen(driven.program).is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
            () = tokio::time::sleep(PATIENCE) => panic!("{}: it was not started", driven.id),
        }
        driven.nothing_left(&machine).await;
    }
}
