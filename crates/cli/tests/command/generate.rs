//! `generate`: where the prompt comes from, where the answer goes, and what is left when it ends early.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Home;

#[test]
fn a_prompt_comes_from_many_places() {
    let home = Home::new();
    home.file("work/prompt.txt", "from a file");
    let ask = || home.run(["generate", "--provider", "echo"]);
    ask().word("a word").answers("a word\n");
    ask().word("-p").word("-an option").answers("-an option\n");
    ask().word("-f").word("prompt.txt").answers("from a file\n");
    ask().word("-f").word("-").input("from a dash").answers("from a dash\n");
    ask().input("from a pipe\n").answers("from a pipe\n");
    ask().word("a word").input("and a pipe").answers("a word\n\nand a pipe\n");
    ask().word("-f").word("prompt.txt").input("and a pipe").answers("from a file\n\nand a pipe\n");
    ask().word("--no-stream").word("whole").answers("whole\n");
    home.run(["gen", "--provider", "echo", "short"]).answers("short\n");
    home.run(["g", "--provider", "echo", "shorter"]).answers("shorter\n");
}

#[test]
fn instructions_come_before_the_prompt() {
    let home = Home::new();
    let ended = home.run(["generate", "hi", "--provider", "echo", "-s", "be brief"]).succeeds();
    assert!(ended.stdout.find("be brief") < ended.stdout.find("hi"), "{ended:?}");
}

#[test]
fn json_is_one_object() {
    let home = Home::new();
    let mut answer = home.run(["generate", "hi", "--provider", "echo", "--json"]).succeeds().json();
    for varies in ["/request_id", "/response/id", "/attempts/0/began", "/attempts/0/took", "/first_content", "/total"] {
        *answer.pointer_mut(varies).unwrap() = "varies".into();
    }
    insta::assert_json_snapshot!(answer);
    let failed = home.run(["generate", "hi", "--provider", "ekho", "--json"]).ends();
    assert_eq!((failed.status, failed.stderr.as_str()), (2, ""));
    insta::assert_json_snapshot!(failed.json());
}

#[test]
fn debug_says_what_was_done_and_not_on_standard_output() {
    let home = Home::new();
    let ended = home.run(["generate", "hi", "--provider", "echo", "--debug"]).succeeds();
    assert_eq!(ended.stdout, "hi\n");
    assert!(ended.stderr.contains("echo: named by the request") && ended.stderr.contains("cache bypass"), "{ended:?}");
}

#[test]
fn an_answer_is_stored_only_where_that_was_asked_for() {
    let home = Home::new();
    let ask = || home.run(["generate", "hi", "--provider", "echo", "--json"]);
    let state = |run: crate::support::Run<'_>| run.succeeds().json()["cache"].as_str().unwrap().to_owned();
    assert_eq!([state(ask()), state(ask())], ["bypass", "bypass"]);
    let with = || ask().env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1");
    assert_eq!([state(with()), state(with())], ["miss", "hit"]);
    assert_eq!(state(with().word("--no-cache")), "bypass");
    assert_eq!(state(ask().env("IPFS_DATASETS_PY_ROUTER_RESPONSE_CACHE", "on")), "hit");
}

#[test]
fn a_file_is_there_whole() {
    let home = Home::new();
    home.run(["generate", "hi", "--provider", "echo", "-o", "answer.txt"]).answers("");
    assert_eq!(fs::read_to_string(home.path("work/answer.txt")).unwrap(), "hi\n");
    assert_eq!(home.work(), ["answer.txt"]);
    let path = home.path("work/answer.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    home.run(["generate", "again", "--provider", "echo", "-o", "answer.txt"]).answers("");
    assert_eq!(fs::read_to_string(&path).unwrap(), "again\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_failed_answer_leaves_the_file_as_it_was() {
    let home = Home::with("[providers.broken]\ncommand = \"sh -c 'echo half; exit 3'\"\n");
    home.file("work/answer.txt", "before");
    let said = home.run(["generate", "hi", "--provider", "broken", "-o", "answer.txt"]).fails(1);
    assert!(said.starts_with("error: broken:"), "{said}");
    assert_eq!(fs::read_to_string(home.path("work/answer.txt")).unwrap(), "before");
    assert_eq!(home.work(), ["answer.txt"]);
}

#[test]
fn an_interruption_leaves_no_file_and_no_child() {
    for signal in [Signal::INT, Signal::TERM] {
        let home = Home::new();
        let fifo = home.path("started");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let script = format!("sh -c 'echo $$ > {}; exec sleep 1000'", fifo.display());
        home.file("config/ipfs-llm-router/config.toml", format!("[providers.slow]\ncommand = \"{script}\"\n"));
        let mut child = home.run(["generate", "hi", "--provider", "slow", "-o", "answer.txt"]).start();
        drop(child.stdin.take());
        let mut started = String::new();
        BufReader::new(fs::File::open(&fifo).unwrap()).read_line(&mut started).unwrap();
        kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(130), &b""[..]), "{output:?}");
        assert!(home.work().is_empty(), "{:?}", home.work());
        // What nobody has waited for yet is dead all the same.
        let stat = fs::read_to_string(format!("/proc/{}/stat", started.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::new();
    let mut child = home.run(["generate", "--provider", "echo"]).start();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"hi").unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn offline_asks_nobody_elsewhere() {
    let home = Home::new();
    let cloud = home.run(["generate", "hi", "--provider", "openai", "--offline"]).env("OPENAI_API_KEY", "sk-test");
    insta::assert_snapshot!(cloud.fails(1));
    let plan = home.run(["explain", "hi", "--offline", "--json"]).env("OPENAI_API_KEY", "sk-test").succeeds().json();
    let planned: Vec<&str> = plan["targets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|target| target["planned"] == true)
        .map(|target| target["provider"].as_str().unwrap())
        .collect();
    assert_eq!(planned, ["ollama", "llama_cpp", "lmstudio"]);
}

/// Nobody may be asked and no model is here: the error says how to get one.
#[test]
fn offline_without_a_model_says_how_to_get_one() {
    let home = Home::new();
    let all = home.run(["generate", "hi", "--offline"]).fails(1);
    assert!(all.contains("local: the model smollm2-135m-instruct is not here"), "{all}");
    let hint = all.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
    assert!(hint.starts_with("hint: fetch it with `llm-router pull` (for local); "), "{all}");
    let named = home.run(["generate", "hi", "--offline", "--provider", "local"]).fails(1);
    assert!(named.contains("\nhint: fetch it with `llm-router pull`\n"), "{named}");
}
