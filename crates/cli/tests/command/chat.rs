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
