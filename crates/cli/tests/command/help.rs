//! What a person reads who asks: the help of every command, and what is said to a line that cannot be understood.

use crate::support::Home;

/// The commands that a help lists.
fn listed(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let named = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    named.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn the_help_of_every_command() {
    let home = Home::new();
    let mut all = String::new();
    // The next one last.
    let mut left = vec![String::new()];
    while let Some(command) = left.pop() {
        let run = command.split_whitespace().fold(home.run([]), |run, word| run.word(word));
        let ended = run.word("--help").succeeds();
        assert_eq!(ended.stderr, "");
        left.extend(listed(&ended.stdout).into_iter().rev().map(|name| format!("{command} {name}")));
        all.push_str(&format!("$ llm-router{command} --help\n{}\n", ended.stdout));
    }
    assert!(all.contains("$ llm-router auth set --help"), "{all}");
    insta::assert_snapshot!(all);
}

#[test]
fn a_line_that_cannot_be_understood() {
    let home = Home::new();
    insta::assert_snapshot!(home.run(["generat", "hi"]).fails(2));
    insta::assert_snapshot!(home.run(["generate", "hi", "--provder", "echo"]).fails(2));
    insta::assert_snapshot!(home.run(["auth", "set"]).fails(2));
}

#[test]
fn a_line_that_cannot_be_understood_is_one_object_where_json_was_asked_for() {
    let home = Home::new();
    let lines: [&[&str]; 5] = [
        &["--json"],
        &["peers", "--json"],
        &["auth", "set", "--json"],
        &["generate", "--json", "-t", "warm"],
        &["cache", "--json"],
    ];
    let said: Vec<String> = lines
        .iter()
        .map(|words| {
            let ended = words.iter().fold(home.run([]), |run, word| run.word(word)).ends();
            assert_eq!((ended.status, ended.stderr.as_str()), (2, ""), "{ended:?}");
            ended.json()["error"].to_string()
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn completions_for_three_shells() {
    let home = Home::new();
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef llm-router"), ("fish", "complete -c llm-router")] {
        assert!(home.run(["completions", shell]).succeeds().stdout.contains(sign), "{shell}");
    }
}
