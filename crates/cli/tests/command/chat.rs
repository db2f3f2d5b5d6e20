//! `chat` with a pipe for a person: a line is said to the model, a slash command is not.

use std::fs;

use crate::support::Home;

#[test]
fn a_conversation_over_a_pipe() {
    let home = Home::with("[providers.last]\ncommand = \"tail -n 3\"\n");
    let ended = home.run(["chat", "--provider", "last"]).input("hello\n/undo\nsplit \\\nline\n").succeeds();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("hello\nsplit \nline\n", "0 messages\n"));
}

#[test]
fn slash_commands_are_answered_beside_the_conversation() {
    let home = Home::new();
    let lines = "/model\n/model m\n/provider nobody\n/provider echo\n/system be brief\n/system none\n/clear\n/nonsense\n/save\n/save talk.json\n/load talk.json\n/load missing.json\n/exit\nnot said\n";
    let ended = home.run(["chat"]).input(lines).succeeds();
    assert_eq!(ended.stdout, "");
    insta::assert_snapshot!(ended.stderr);
    assert!(fs::read_to_string(home.path("work/talk.json")).unwrap().contains("\"model\": \"m\""));
}

#[test]
fn a_failed_answer_does_not_end_the_conversation() {
    let home = Home::new();
    let ended = home.run(["chat", "--provider", "openai"]).input("hello\n/provider echo\nstill here\n").succeeds();
    assert_eq!(ended.stdout, "still here\n");
    assert!(ended.stderr.starts_with("error: openai: OPENAI_API_KEY is not set\nhint: "), "{ended:?}");
}

#[test]
fn with_json_each_question_is_answered_by_a_line() {
    let home = Home::with("[providers.last]\ncommand = \"tail -n 1\"\n");
    let lines = "one\n/provider openai\ntwo\n/provider last\n/undo\nthree\n";
    let ended = home.run(["chat", "--json", "--provider", "last"]).input(lines).succeeds();
    let answers: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [one, two, three] = answers.as_slice() else { panic!("{ended:?}") };
    assert_eq!((one["text"].as_str(), one["provider"].as_str()), (Some("one"), Some("last")));
    assert_eq!((two["error"]["kind"].as_str(), two["text"].as_str()), (Some("provider_unavailable"), None));
    assert_eq!(three["text"], "three");
    assert_eq!(ended.stderr, "provider: openai\nprovider: last\n0 messages\n");
}
