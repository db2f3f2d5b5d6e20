//! Where the fixtures are from: each says it, the list is kept for people to read, and at most a quarter of any dialect's is made up.

use std::fmt::Write;

use crate::fixtures::{DIALECTS, all};

/// Whom clients of this router are, and what they were recorded with: a program or an SDK of these names has to be among the sources.
const CLIENTS: &[&str] = &[
    "Claude Code",
    "Codex CLI",
    "Copilot CLI",
    "Gemini CLI",
    "openai (Python SDK)",
    "openai (Node SDK)",
    "anthropic (Python SDK)",
    "@anthropic-ai/sdk (Node)",
    "google-genai (Python SDK)",
    "@google/genai (JavaScript SDK)",
];

/// The most that may be made up, in percent.
const MOST_MADE: usize = 25;

#[test]
#[allow(clippy::print_stdout, reason = "the shares are what somebody runs it for, with --nocapture")]
fn at_most_a_quarter_is_made_up() {
    let (mut list, mut too_many) = (String::new(), Vec::new());
    for dialect in DIALECTS {
        let folders: Vec<_> = all().iter().filter(|fixture| fixture.dialect == dialect).collect();
        let made = folders.iter().filter(|fixture| fixture.origin.starts_with("made: ")).count();
        let share = made * 100 / folders.len();
        println!("{dialect}: {made} of {} made up, {share} %", folders.len());
        if made * 100 > MOST_MADE * folders.len() {
            too_many.push(format!("{dialect}: {share} %"));
        }
        writeln!(list, "{dialect}: {} folders, {made} made up ({share} %)", folders.len()).unwrap();
        for fixture in folders {
            let folder = fixture.name.split_once('/').unwrap().1;
            writeln!(list, "  {folder}: {}", fixture.origin).unwrap();
        }
    }
    assert!(
        too_many.is_empty(),
        "record real traffic, as the README beside the fixtures says; made up is too much of {too_many:?}"
    );
    insta::assert_snapshot!("sources", list);
}

#[test]
fn every_client_is_recorded() {
    for client in CLIENTS {
        let recorded = format!("recorded: {client}");
        assert!(all().iter().any(|fixture| fixture.origin.starts_with(&recorded)), "{client} is not recorded");
    }
}
