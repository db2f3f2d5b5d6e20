//! Providers that are programs: what they see, when they are given up, and when they are left out.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Command;

use crate::support::Home;

#[test]
fn a_program_sees_the_variables_that_it_was_promised() {
    let script = "command = \"sh -c 'echo seen: $LAB_KEY $OTHER_KEY'\"";
    let ask = |home: &Home| {
        let run = home.run(["generate", "hi", "--provider", "lab"]);
        run.env("LAB_KEY", "lab-value").env("OTHER_KEY", "other-value").succeeds().stdout
    };
    assert_eq!(ask(&Home::with(&format!("[providers.lab]\n{script}\n"))), "seen:\n");
    assert_eq!(
        ask(&Home::with(&format!("[providers.lab]\n{script}\npass_env = [\"LAB_KEY\"]\n"))),
        "seen: lab-value\n"
    );
    assert_eq!(
        ask(&Home::with(&format!("[providers.lab]\n{script}\npass_env = [\"LAB_KEY\", \"OTHER_KEY\"]\n"))),
        "seen: lab-value other-value\n"
    );
}

#[test]
fn names_that_are_none_and_places_without_a_program_are_told() {
    let home = Home::with(
        "[providers.lab]\ncommand = \"cat\"\npass_env = [\"sk-key-itself\"]\n[providers.openai]\npass_env = [\"X\"]\n",
    );
    insta::assert_snapshot!(home.run(["config", "check"]).fails(2), @r"
    error: <home>/config/ipfs-llm-router/config.toml:3:12: providers.lab.pass_env: not the name of a variable (letters, digits, `_`): the key itself goes in api_key
    error: <home>/config/ipfs-llm-router/config.toml:5:1: providers.openai.pass_env: it is for a program: give command, or remove it
    ");
    let unset = Home::with("[providers.lab]\ncommand = \"cat\"\npass_env = [\"LAB_KEY\"]\n");
    let said = unset.run(["config", "check"]).succeeds().stderr;
    assert!(said.contains("providers.lab.pass_env: LAB_KEY is not set"), "{said}");
}

#[test]
fn what_a_program_was_given_is_not_repeated_when_it_fails() {
    let home = Home::with(
        "[providers.lab]\ncommand = \"sh -c 'echo no user $LAB_NAME for $LAB_NAME >&2; exit 3'\"\npass_env = [\"LAB_NAME\"]\n",
    );
    let said = home.run(["generate", "hi", "--provider", "lab"]).env("LAB_NAME", "a plain word").fails(1);
    assert_eq!(said, "error: lab: sh ended with exit status 3: no user … for …\n");
}

/// Most programs print all they have at their end; the limit on the first event of a stream is not theirs.
#[test]
fn a_program_may_print_its_answer_at_its_end() {
    let late = "command = \"sh -c 'sleep 1; echo late'\"\n";
    let home =
        Home::with(&format!("[providers.late]\n{late}timeouts = {{ first_event = \"50ms\", idle = \"50ms\" }}\n"));
    home.run(["generate", "hi", "--provider", "late"]).answers("late\n");
    let home = Home::with(&format!("[providers.late]\n{late}timeouts = {{ whole = \"50ms\" }}\n"));
    insta::assert_snapshot!(home.run(["generate", "hi", "--provider", "late"]).fails(1), @r"
    error: late: the answer of sh: not complete after 0.05 s
    hint: allow more with `--timeout`, or `timeouts.whole` of [router], of the provider or of the route in the config
    ");
}

#[test]
fn a_program_of_ones_own_stays_here_only_where_its_owner_says_so() {
    let home = Home::new();
    let ask = ["generate", "hi", "--provider", "echo", "--offline"];
    insta::assert_snapshot!(home.run(ask).fails(1), @r#"
    error: echo: the request's privacy does not allow it: its command may pass the prompt on
    hint: if it keeps the prompt on this machine, say so with privacy = "local" under [providers.echo]; else name a provider on this machine, or allow more: privacy = "any", no --offline
    "#);
    Home::with("[providers.echo]\ncommand = \"cat\"\nprivacy = \"local\"\n").run(ask).answers("hi\n");
}

/// A key command and all that it started end when nobody waits for the key any more, whether they heed a polite signal or not.
#[test]
fn a_key_command_leaves_nothing_behind() {
    let home = Home::new();
    let fifo = home.path("started");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let script = home.file(
        "key.sh",
        format!("trap '' TERM\nsh -c 'trap \"\" TERM; echo $$ > {}; sleep 1000; sleep 1000' &\nwait\n", fifo.display()),
    );
    let config = format!(
        "[providers.lab]\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key_command = [\"sh\", \"{}\"]\n",
        script.display()
    );
    home.file("config/ipfs-llm-router/config.toml", config);
    let started = std::thread::spawn(move || {
        let mut process = String::new();
        BufReader::new(File::open(fifo).unwrap()).read_line(&mut process).unwrap();
        process.trim().to_owned()
    });
    let said = home.run(["generate", "hi", "-m", "lab/m", "--timeout", "2"]).fails(1);
    assert!(said.starts_with("error: "), "{said}");
    let process = started.join().unwrap();
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // What nobody has waited for yet is dead all the same.
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}
