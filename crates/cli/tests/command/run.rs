//! `run`: what an agent is told, whom it then reaches, and how it ends. The agents are stand-ins that say how they were called and wait; what they would ask is asked here.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use llm_router::testing::upstream::Answer;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::support::{Home, Run, Server};

const AGENTS: [&str; 4] = ["claude", "codex", "copilot", "gemini"];

/// Puts a program of this name and text where `at_home` looks for programs.
fn plant(home: &Home, name: &str, script: &str) {
    fs::create_dir_all(home.path("bin")).unwrap();
    // Copied by another program: a file that this process still has open for writing would be busy.
    let draft = home.file("draft", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").arg("-p").arg(&draft).arg(home.path("bin").join(name)).status();
    assert!(copied.unwrap().success());
}

fn at_home<'a>(home: &'a Home, run: Run<'a>) -> Run<'a> {
    run.env("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()))
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Plants a stand-in that says how it was called, and ends with 7 once it is told to.
fn plant_waiting(home: &Home, name: &str) {
    let at = home.path("said");
    let at = at.display();
    plant(
        home,
        name,
        &format!(
            "printf '%s\\n' \"$@\" > {at}.args\nenv > {at}.env\nfor word in \"$@\" \"$GEMINI_CLI_HOME/.gemini/settings.json\"; do \
             case $word in */settings.json) test ! -e \"$word\" || cp \"$word\" {at}.settings;; esac; done\n\
             echo > {at}.ready\nread line < {at}.go\nexit 7"
        ),
    );
    make_fifo(&home.path("said.ready"));
    make_fifo(&home.path("said.go"));
}

/// An agent under way.
struct Agent<'a> {
    home: &'a Home,
    child: Child,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl<'a> Agent<'a> {
    fn start(home: &'a Home, run: Run<'a>) -> Self {
        let run = at_home(home, run).env("ANTHROPIC_API_KEY", "canary").env("GOOGLE_API_KEY", "canary");
        let run = run.env("COPILOT_PROVIDER_BEARER_TOKEN", "canary").env("HTTPS_PROXY", "http://127.0.0.1:9");
        let mut child = run.start();
        // Whoever ended before it started the agent never opens the other end.
        let ready = home.path("said.ready");
        let opened =
            std::thread::spawn(move || BufReader::new(File::open(ready).unwrap()).read_line(&mut String::new()));
        while !opened.is_finished() {
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("it ended before the agent: {status}: {said}");
            }
            std::thread::yield_now();
        }
        let lines = |what: &str| fs::read_to_string(home.path(what)).unwrap();
        let args = lines("said.args").lines().map(str::to_owned).collect();
        let env = lines("said.env");
        let env = env.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned()));
        let env = env.collect();
        Self { home, child, args, env }
    }

    fn var(&self, name: &str) -> &str {
        self.env.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Lets it end; our status, and what was said.
    fn ends(mut self) -> (Option<i32>, String) {
        fs::write(self.home.path("said.go"), "\n").unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Agent<'_> {
    /// A test that failed leaves nothing behind: the router ends what it started.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// What a router answers to a chat with this model and this key: the status, and all of it.
fn chat(base: &str, model: &str, key: &str) -> (u16, String) {
    chat_with(base, model, key, json!({}))
}

fn chat_with(base: &str, model: &str, key: &str, more: Value) -> (u16, String) {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = body.to_string();
    let address = base.strip_prefix("http://").unwrap().trim_end_matches("/v1");
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "host: {address}\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\nconnection: close"
    );
    let length = body.len();
    write!(socket, "POST /v1/chat/completions HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn hello() -> Answer {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}});
    Answer::json(200, body.to_string())
}

#[test]
fn each_agent_is_pointed_at_a_router_that_answers_it_alone() {
    for name in AGENTS {
        let server = Server::answering([hello()]);
        let home = &server.home;
        plant_waiting(home, name);
        let run = home.run(["run", name, "-m", "lab/m", "--", "-p", "a b", "--flag"]);
        let agent = Agent::start(home, run);
        let (base, key, model) = match name {
            "claude" => ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", agent.var("ANTHROPIC_MODEL")),
            "codex" => ("", "LLM_ROUTER_KEY", ""),
            "copilot" => ("COPILOT_PROVIDER_BASE_URL", "COPILOT_PROVIDER_API_KEY", agent.var("COPILOT_MODEL")),
            _ => ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", agent.var("GEMINI_MODEL")),
        };
        let key = agent.var(key);
        assert!(key.starts_with("sk-llmr1-"), "{name}: {key}");
        // What the user said is last and unchanged, and no argument holds the key.
        assert_eq!(agent.args[agent.args.len() - 3..], ["-p", "a b", "--flag"], "{name}");
        assert!(!agent.args.iter().any(|word| word.contains(key)), "{name}: {:?}", agent.args);
        let base = match name {
            "codex" => {
                let (_, rest) = agent.args.iter().find_map(|word| word.split_once("base_url=\"")).unwrap();
                assert!(agent.args.contains(&"model=\"lab/m\"".to_owned()), "{:?}", agent.args);
                rest.split('"').next().unwrap()
            }
            _ => {
                assert_eq!(model, "lab/m", "{name}");
                agent.var(base)
            }
        };
        assert!(base.starts_with("http://127.0.0.1:"), "{name}: {base}");
        assert_eq!(chat(base, "lab/m", "guessed").0, 401, "{name}");
        let (status, answer) = chat(base, "lab/m", key);
        assert_eq!((status, answer.contains("hello")), (200, true), "{name}: {answer}");
        let foreign = match name {
            "claude" => "ANTHROPIC_API_KEY",
            "gemini" => "GOOGLE_API_KEY",
            _ => "COPILOT_PROVIDER_BEARER_TOKEN",
        };
        assert!(name == "codex" || agent.var(foreign).is_empty(), "{name}: it would be shown to the router");
        assert_eq!(agent.var("no_proxy"), "127.0.0.1,localhost,::1,[::1]", "{name}");
        let folder = fs::read_dir(home.path("data/ipfs-llm-router")).unwrap();
        let private = folder
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-")));
        let private = private.unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700, "{name}");
        let (status, said) = agent.ends();
        assert_eq!((status, said.as_str()), (Some(7), ""), "{name}");
        assert!(!private.exists(), "{name}: what was made for it is gone");
        let used = home.run(["usage", "--by", "key", "--json"]).succeeds().json();
        assert!(used.to_string().contains(&format!("run-{name}")), "{used}");
    }
}

#[test]
fn settings_that_must_differ_are_in_a_file_of_ours() {
    let server = Server::answering([]);
    let home = &server.home;
    plant_waiting(home, "claude");
    let agent = Agent::start(home, home.run(["run", "claude", "-m", "lab/m", "--small-model", "lab/s"]));
    let settings: Value = serde_json::from_slice(&fs::read(home.path("said.settings")).unwrap()).unwrap();
    // The user's own settings file goes before the environment, and this one before that.
    for name in ["ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL"] {
        assert_eq!(settings["env"][name], agent.var(name), "{settings}");
    }
    // What it has not in its environment it must not have of the user's settings either.
    for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_MANTLE"] {
        assert_eq!((&settings["env"][name], agent.var(name)), (&json!(""), ""), "{settings}");
    }
    assert_eq!((&settings["apiKeyHelper"], &settings["env"]["NO_PROXY"]), (&json!(""), &Value::Null));
    assert_eq!(agent.var("ANTHROPIC_SMALL_FAST_MODEL"), "lab/s");
    agent.ends();

    let home = Home::with(&fs::read_to_string(home.path("config/ipfs-llm-router/config.toml")).unwrap());
    plant_waiting(&home, "gemini");
    fs::create_dir(home.path(".gemini")).unwrap();
    let own = r#"{"kept":true,"security":{"auth":{"selectedType":"oauth-personal","other":1}}} // mine"#;
    let own = home.file(".gemini/settings.json", own);
    let agent = Agent::start(&home, home.run(["run", "gemini", "-m", "lab/m", "--small-model", "lab/s"]));
    let settings: Value = serde_json::from_slice(&fs::read(home.path("said.settings")).unwrap()).unwrap();
    assert_eq!((&settings["kept"], &settings["security"]["auth"]["other"]), (&json!(true), &json!(1)));
    assert_eq!(settings["security"]["auth"]["selectedType"], "gemini-api-key");
    let models = settings["modelConfigs"]["customOverrides"].as_array().unwrap();
    assert_eq!(models.first().unwrap()["modelConfig"]["model"], "lab/s");
    assert_eq!(models.last().unwrap()["modelConfig"]["model"], "lab/m");
    agent.ends();
    assert!(fs::read_to_string(own).unwrap().contains("oauth-personal"), "the file itself is as it was");
}

#[test]
fn settings_that_the_user_gives_are_put_into_ours() {
    let server = Server::answering([]);
    let home = &server.home;
    plant_waiting(home, "claude");
    fs::create_dir(home.path(".claude")).unwrap();
    home.file(".claude/settings.json", r#"{"env": {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "corp"}}"#);
    let own = json!({"model": "kept", "apiKeyHelper": "echo canary",
        "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "CLAUDE_CODE_USE_BEDROCK": "1", "OWN": "kept"}});
    let own = home.file("own.json", own.to_string());
    let words = ["run", "claude", "-m", "lab/m", "--", "--settings", own.to_str().unwrap(), "-p", "--", "--settings=x"];
    let agent = Agent::start(home, home.run(words));
    let settings: Value = serde_json::from_slice(&fs::read(home.path("said.settings")).unwrap()).unwrap();
    let env = &settings["env"];
    assert_eq!((&settings["model"], &env["OWN"]), (&json!("kept"), &json!("kept")));
    assert_eq!((&settings["apiKeyHelper"], &env["CLAUDE_CODE_USE_BEDROCK"]), (&json!(""), &json!("")));
    assert_eq!(env["ANTHROPIC_BASE_URL"], agent.var("ANTHROPIC_BASE_URL"));
    assert_eq!(env["NO_PROXY"], "corp,127.0.0.1,localhost,::1,[::1]");
    // It takes the last of several: there is one, and what follows `--` is none.
    assert_eq!(agent.args.iter().filter(|word| *word == "--settings").count(), 1, "{:?}", agent.args);
    assert_eq!(agent.args[agent.args.len() - 3..], ["-p", "--", "--settings=x"]);
    agent.ends();
    let said = at_home(home, home.run(["run", "claude", "-m", "lab/m", "--", "--settings", "/nowhere.json"])).fails(2);
    assert!(said.contains("--settings /nowhere.json: No such file"), "{said}");
}

#[test]
fn what_is_meant_for_this_machine_goes_through_no_proxy() {
    let server = Server::answering([]);
    let home = &server.home;
    plant(home, "codex", "echo \"$NO_PROXY $no_proxy\"");
    let own = "127.0.0.1,localhost,::1,[::1]";
    // The proxy may stand where only the agent knows it.
    for (name, value, says) in [
        ("OTHER", "x", format!("{own} {own}")),
        ("no_proxy", "corp", format!("corp,{own} corp,{own}")),
        ("NO_PROXY", "*", "* *".to_owned()),
    ] {
        let run = home.run(["run", "codex", "-m", "lab/m"]).env(name, value);
        assert_eq!(at_home(home, run).succeeds().stdout.trim(), says, "{name}={value}");
    }
}

#[test]
fn what_cannot_start_is_said_with_the_next_step() {
    let home = Home::new();
    insta::assert_snapshot!(home.run(["run", "cursor"]).fails(2), @r#"
    error: no agent is called "cursor"
    hint: name one of claude, codex, copilot, gemini
    "#);
    insta::assert_snapshot!(home.run(["run", "gemini"]).fails(2), @r"
    error: gemini is not installed: no folder of PATH has it
    hint: install it with: npm install -g @google/gemini-cli
    ");
    plant(&home, "claude", "exit 0");
    let fails = |words: &[&str]| {
        let run = words.iter().fold(home.run(["run", "claude"]), |run, word| run.word(word));
        at_home(&home, run).fails(2)
    };
    insta::assert_snapshot!(fails(&["--unpriced"]), @r"
    error: --unpriced: there is no budget
    hint: say one with --budget, or leave --unpriced out
    ");
    assert!(fails(&["--budget", "much"]).contains("is no amount of dollars"));
    assert!(fails(&["--ttl", "soon"]).contains("is no time"));
    let said = fails(&["--key-file", "/nowhere"]);
    assert!(said.contains("no router of yours serves"), "{said}");
    let said = at_home(&home, home.run(["run", "claude", "-m", "nobody/knows"])).fails(1);
    assert!(said.contains("nobody/knows"), "{said}");
}

#[test]
fn an_agent_gets_as_many_tools_as_the_model_has_room_for() {
    let lab = "[providers.lab]\nbase_url = \"http://127.0.0.1:9/v1\"\ndialect = \"openai_chat\"\n";
    let window = |tokens: u32| format!("{lab}[models.\"lab/m\"]\nwindow = {tokens}\n");
    for (config, args, said) in [
        (lab.to_owned(), "", ""),
        (window(8192), "--bare", "lab/m holds 8192 tokens"),
        (window(3000), "--bare --tools=", "lab/m holds 3000 tokens"),
        (format!("{lab}lacks = [\"tools\"]\n"), "--bare --tools=", "lab/m takes no tools"),
    ] {
        let home = Home::with(&config);
        plant(&home, "claude", "echo \"$*\"");
        let ended = at_home(&home, home.run(["run", "claude", "-m", "lab/m"])).succeeds();
        let own = ended.stdout.split("--settings").next().unwrap().trim();
        assert_eq!(own, args);
        assert_eq!(ended.stderr.is_empty(), said.is_empty(), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    let home = Home::with(&window(2100));
    AGENTS.iter().for_each(|name| plant(&home, name, "exit 0"));
    for name in AGENTS {
        let said = at_home(&home, home.run(["run", name, "-m", "lab/m"])).ends();
        assert_eq!((said.status, said.stderr.contains("lab/m holds 2100")), (2, true), "{said:?}");
    }
    let said = at_home(&home, home.run(["run", "claude", "-m", "lab/m", "--tools", "all"])).fails(2);
    assert!(said.contains("claude with those tools takes") && said.contains("--model"), "{said}");
}

#[test]
fn a_budget_is_the_runs() {
    let server = Server::answering([hello(), hello(), hello()]);
    let home = &server.home;
    let config = home.path("config/ipfs-llm-router/config.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    // A dollar for each token of an answer, of which there are five.
    text.push_str("[prices.\"lab/m\"]\ninput = 0\noutput = 1000000\n[limits]\nmax_tokens = 5\n");
    fs::write(&config, text).unwrap();
    plant_waiting(home, "copilot");
    // Each run begins with the whole of it.
    for _ in 0..2 {
        let agent = Agent::start(home, home.run(["run", "copilot", "-m", "lab/m", "--budget", "7"]));
        let (base, key) = (agent.var("COPILOT_PROVIDER_BASE_URL"), agent.var("COPILOT_PROVIDER_API_KEY"));
        assert_eq!(chat(base, "lab/m", key).0, 200);
        let (status, answer) = chat(base, "lab/m", key);
        assert_eq!((status, answer.contains("budget")), (429, true), "{answer}");
        assert_eq!(chat(base, "lab/unpriced", key).0, 403);
        agent.ends();
        for file in ["said.ready", "said.go"] {
            fs::remove_file(home.path(file)).unwrap();
            make_fifo(&home.path(file));
        }
    }
}

#[test]
fn an_answer_has_no_more_tokens_than_the_run_allows() {
    let server = Server::answering([hello(), hello(), hello()]);
    let home = &server.home;
    plant_waiting(home, "copilot");
    let agent = Agent::start(home, home.run(["run", "copilot", "-m", "lab/m", "--max-tokens", "64"]));
    assert_eq!(agent.var("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS"), "64");
    let (base, key) = (agent.var("COPILOT_PROVIDER_BASE_URL"), agent.var("COPILOT_PROVIDER_API_KEY"));
    // What names none, more and fewer.
    for said in [json!({}), json!({"max_tokens": 4096}), json!({"max_tokens": 7})] {
        assert_eq!(chat_with(base, "lab/m", key, said).0, 200);
    }
    agent.ends();
    let asked = server.seen().requests;
    let most: Vec<Value> = asked.iter().map(|one| one.json()["max_tokens"].clone()).collect();
    assert_eq!(most, [64, 64, 7]);
    assert!(home.run(["run", "copilot", "--max-tokens", "0"]).fails(2).contains("--max-tokens"));
}

#[test]
fn codex_with_fewer_tools_has_no_servers_of_tools() {
    let home = Home::with("[providers.lab]\nbase_url = \"http://127.0.0.1:9/v1\"\ndialect = \"openai_chat\"\n");
    plant(&home, "codex", "printf '%s\\n' \"$@\"");
    for folder in [".codex", "work/.codex"] {
        fs::create_dir_all(home.path(folder)).unwrap();
    }
    home.file(
        ".codex/config.toml",
        "[mcp_servers.files]\ncommand = \"x\"\n[mcp_servers.\"a b\"]\nurl = \"http://x\"\n",
    );
    home.file(".codex/more.config.toml", "mcp_servers.more.command = \"x\"\n");
    home.file("work/.codex/config.toml", "mcp_servers.folder.command = \"x\"\n");
    let told = |tools: &str| {
        let ended = at_home(&home, home.run(["run", "codex", "-m", "lab/m", "--tools", tools])).succeeds();
        ended.stdout.lines().find(|line| line.starts_with("mcp_servers")).map(str::to_owned)
    };
    assert_eq!(told("all"), None);
    let off = |name: &str, kind: &str| format!("\"{name}\"={{{kind},enabled=false}}");
    let (command, url) = ("command=\"true\"", "url=\"http://127.0.0.1:<port>\"");
    let all = [off("a b", url), off("files", command), off("folder", command), off("more", command)].join(",");
    for tools in ["few", "none"] {
        assert_eq!(told(tools), Some(format!("mcp_servers={{{all}}}")));
    }
    // What cannot be read is Codex's to complain of.
    for file in ["work/.codex/config.toml", ".codex/more.config.toml", ".codex/config.toml"] {
        home.file(file, "not = [TOML");
    }
    assert_eq!(told("none"), None);
}

#[test]
fn copilot_with_fewer_tools_starts_no_servers_of_tools() {
    let home = Home::with("[providers.lab]\nbase_url = \"http://127.0.0.1:9/v1\"\ndialect = \"openai_chat\"\n");
    plant(&home, "copilot", "printf '%s\\n' \"$@\"");
    fs::create_dir(home.path(".copilot")).unwrap();
    home.file(".copilot/mcp-config.json", r#"{"mcpServers": {"files": {}, "-x": {}}} // mine"#);
    home.file("work/.mcp.json", r#"{"mcpServers": {"folder": {}}}"#);
    let told = |tools: &str| -> Vec<String> {
        let ended = at_home(&home, home.run(["run", "copilot", "-m", "lab/m", "--tools", tools])).succeeds();
        let off = ended.stdout.lines().filter_map(|line| line.strip_prefix("--disable-mcp-server="));
        off.map(str::to_owned).collect()
    };
    assert!(told("all").is_empty());
    for tools in ["few", "none"] {
        assert_eq!(told(tools), ["-x", "files", "folder"]);
    }
}

/// In a session of its own, without a terminal.
fn apart(home: &Home, run: Run<'_>) -> Command {
    let inner = at_home(home, run).into_command();
    let mut command = Command::new("setsid");
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home.path("work"));
    command
}

#[test]
fn without_a_terminal_all_that_the_agent_started_ends_with_us() {
    let home = Home::new();
    let started = home.path("started");
    make_fifo(&started);
    plant(
        &home,
        "codex",
        &format!(
            "trap '' TERM\nsh -c 'trap \"\" TERM INT; echo $$ > {}; sleep 1000; sleep 1000' &\nwait\nwait",
            started.display()
        ),
    );
    let mut child = apart(&home, home.run(["run", "codex", "-m", "echo/x"])).stdin(Stdio::null()).spawn().unwrap();
    let mut process = String::new();
    BufReader::new(File::open(&started).unwrap()).read_line(&mut process).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    // What nobody has waited for yet is dead all the same.
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

/// A terminal with a command in the session that it belongs to.
struct Terminal {
    controller: File,
    child: Child,
    shown: String,
}

impl Terminal {
    fn start(home: &Home, words: &[&std::ffi::OsStr], like: &Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words).env_clear().env("TERM", "xterm").current_dir(home.path("work"));
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { controller: controller.into(), child, shown: String::new() }
    }

    /// Reads until this is shown.
    fn until(&mut self, text: &str) {
        let mut piece = [0; 1024];
        while !self.shown.contains(text) {
            let read = self.controller.read(&mut piece).unwrap_or(0);
            assert!(read > 0, "it ended and did not show {text:?}: {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }
}

#[test]
fn at_a_terminal_ctrl_c_is_the_agents() {
    let home = Home::new();
    plant(&home, "codex", "trap 'echo caught; exit 5' INT\ntest -t 0 && echo ready\nwhile :; do sleep 0.05; done");
    let command = at_home(&home, home.run(["run", "codex", "-m", "echo/x"])).into_command();
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let mut terminal = Terminal::start(&home, &words, &command);
    terminal.until("ready");
    terminal.controller.write_all(b"\x03").unwrap();
    terminal.until("caught");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(5));
}

#[test]
fn at_a_terminal_only_the_agent_and_what_it_started_end_with_us() {
    let home = Home::new();
    let (started, go, beside) = (home.path("started"), home.path("go"), home.path("beside"));
    make_fifo(&started);
    make_fifo(&go);
    plant(
        &home,
        "codex",
        &format!("sh -c 'trap \"\" TERM; echo $$ > {}; sleep 1000; sleep 1000' &\nwait", started.display()),
    );
    let command = at_home(&home, home.run(["run", "codex", "-m", "echo/x"])).into_command();
    // Another program of the same group, as in a pipe or a script, and we lead that group.
    let script = format!(
        "(trap '' HUP; trap 'echo ended > {}; exit' TERM; read line < {}; echo lived > {}) & exec \"$@\"",
        beside.display(),
        go.display(),
        beside.display()
    );
    let mut words: Vec<&std::ffi::OsStr> = ["sh", "-c", &script, "sh"].map(std::ffi::OsStr::new).to_vec();
    words.push(command.get_program());
    words.extend(command.get_args());
    let mut terminal = Terminal::start(&home, &words, &command);
    let mut process = String::new();
    BufReader::new(File::open(&started).unwrap()).read_line(&mut process).unwrap();
    // Whoever reads there is started, and has its trap.
    let mut go = OpenOptions::new().write(true).open(go).unwrap();
    kill_process(Pid::from_child(&terminal.child), Signal::TERM).unwrap();
    assert_eq!(terminal.child.wait().unwrap().code(), Some(130));
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    // It may have ended at once, and nobody reads.
    let _ = go.write_all(b"\n");
    drop(go);
    let said = loop {
        match fs::read_to_string(&beside) {
            Ok(said) if said.ends_with('\n') => break said,
            _ => std::thread::yield_now(),
        }
    };
    assert_eq!(said, "lived\n");
}
