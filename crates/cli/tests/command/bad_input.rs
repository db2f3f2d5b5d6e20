//! Bad input: each is one clear error with its exit status, and nothing stored or written is lost.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::support::{ECHO, Home};

#[test]
fn an_empty_prompt() {
    let home = Home::new();
    insta::assert_snapshot!(home.run(["generate", ""]).fails(2), @r"
    error: the prompt is empty
    hint: give it some text
    ");
    insta::assert_snapshot!(home.run(["generate"]).input(" \n").fails(2), @r"
    error: no prompt
    hint: give one as an argument, with --prompt-file, or on standard input
    ");
}

#[test]
fn a_prompt_that_is_not_text() {
    let home = Home::new();
    home.file("work/latin1.txt", b"caf\xe9");
    insta::assert_snapshot!(home.run(["generate"]).word(OsStr::from_bytes(b"caf\xe9")).fails(2));
    insta::assert_snapshot!(home.run(["generate"]).input(b"caf\xe9").fails(2));
    insta::assert_snapshot!(home.run(["generate", "-f", "latin1.txt"]).fails(2));
    insta::assert_snapshot!(home.run(["generate"]).input("a\0b").fails(2));
    insta::assert_snapshot!(home.run(["generate", "-f", "missing.txt"]).fails(2));
    insta::assert_snapshot!(home.run(["generate", "-f", "."]).fails(2));
    insta::assert_snapshot!(home.run(["generate", "hi", "--image", "latin1.txt"]).fails(2));
}

#[test]
fn a_prompt_over_the_limit() {
    let home = Home::new();
    insta::assert_snapshot!(home.run(["generate"]).input(vec![b'a'; (32 << 20) + 1]).fails(2), @"error: standard input is larger than 32 MiB");
}

#[test]
fn names_that_nobody_has() {
    let home = Home::new();
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "ekho"]).fails(2), @r#"
    error: no provider is called "ekho"
    hint: did you mean echo? `llm-router providers` lists them
    "#);
    insta::assert_snapshot!(home.run(["generate", "hi", "-m", "SmolLM-135M-Instruct"]).fails(1));
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "openai"]).fails(1));
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "e/o"]).fails(2));
}

#[test]
fn numbers_out_of_range() {
    let home = Home::new();
    insta::assert_snapshot!(home.run(["generate", "hi", "-t", "-1"]).fails(2));
    insta::assert_snapshot!(home.run(["generate", "hi", "--timeout", "0"]).fails(2));
}

#[test]
fn a_bad_config_is_told_whole() {
    let home = Home::with("[providers.x]\nbase_ur = \"u\"\n[cach]\nttl = 3\n[cache]\nttl = \"soon\"\n");
    insta::assert_snapshot!(home.run(["generate", "hi"]).fails(2));
    insta::assert_snapshot!(home.run(["config", "check"]).fails(2));
    let ended = home.run(["config", "check", "--json"]).ends();
    assert_eq!((ended.status, ended.json()["problems"].as_array().map(Vec::len)), (2, Some(3)));
    insta::assert_snapshot!(home.run(["providers", "--config", "missing.toml"]).fails(2));
}

#[test]
fn a_template_with_unbalanced_quotes() {
    let home = Home::with("[providers.x]\ncommand = \"cat 'a\"\n");
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "x"]).fails(2));
}

#[test]
fn a_full_disk() {
    let home = Home::new();
    for words in [
        &["generate", "hi", "--provider", "echo"][..],
        &["providers"],
        &["--help"],
        &["generate", "hi", "--provider", "echo", "--json"],
    ] {
        let ended = words.iter().fold(home.run([]), |run, word| run.word(word)).into_file("/dev/full");
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (1, "error: standard output: the disk is full\nhint: make room, or name another place\n"),
            "{words:?}"
        );
    }
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "echo", "-o", "/dev/full"]).fails(1), @r"
    error: cannot write /dev/full: the disk is full
    hint: make room, or name another place
    ");
}

#[test]
fn a_folder_that_takes_no_answers_costs_no_answer() {
    let home = Home::new();
    home.file("work/file", "");
    let cached = home.run(["generate", "hi", "--provider", "echo"]).env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1");
    let ended = cached.env("XDG_CACHE_HOME", home.path("work/file/below")).succeeds();
    assert_eq!(ended.stdout, "hi\n");
    insta::assert_snapshot!(ended.stderr);
    let stat = home.run(["cache", "stat"]).env("XDG_CACHE_HOME", home.path("work/file/below"));
    insta::assert_snapshot!(stat.fails(1));
}

#[test]
fn an_output_that_cannot_be_written_is_said_before_anybody_is_asked() {
    let home = Home::new();
    let asked = home.path("asked");
    let spy = format!("[providers.spy]\ncommand = \"touch {}\"\n", asked.display());
    home.file("config/ipfs-llm-router/config.toml", spy);
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "spy", "-o", "no/such/folder/file"]).fails(1));
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "spy", "-o", "."]).fails(2));
    assert!(home.work().is_empty() && !asked.exists());
}

#[test]
fn a_model_file_that_is_cut_or_lies() {
    let home = Home::new();
    let path = home.path("model.gguf");
    home.file("config/ipfs-llm-router/config.toml", format!("{ECHO}[local]\nmodel = \"{}\"\n", path.display()));
    let ask = || home.run(["generate", "hi", "--provider", "local"]);
    insta::assert_snapshot!(ask().fails(1));
    fs::write(&path, "<html>not found</html>").unwrap();
    insta::assert_snapshot!(ask().fails(1));
    let header =
        |tensors: u64, keys: u64| [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &keys.to_le_bytes()[..]].concat();
    fs::write(&path, header(2, 1)).unwrap();
    insta::assert_snapshot!(ask().fails(1));
    fs::write(&path, header(u64::MAX, u64::MAX)).unwrap();
    insta::assert_snapshot!(ask().fails(1));
}
