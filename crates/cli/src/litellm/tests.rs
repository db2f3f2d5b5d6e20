//! Published files: what they become is a snapshot, and what they become is a configuration without a mistake.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use llm_router::config::{Environment, Flags, Settings};

use super::{Converted, convert};

fn converted(name: &str) -> Converted {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/litellm").join(name);
    convert(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn shown(converted: &Converted) -> String {
    let mut shown = converted.toml.clone();
    shown.push_str("---\n");
    for note in &converted.notes {
        writeln!(shown, "{}: {}: {}", note.line, note.key, note.why).unwrap();
    }
    shown
}

/// The settings that a configuration says, which must have no mistake.
fn checked(toml: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, toml).unwrap();
    let loaded = Settings::load(&Environment::default(), &Flags::new().config(&file));
    loaded.unwrap_or_else(|problems| panic!("{problems:?}\n{toml}")).settings
}

#[test]
fn published_files_become_configurations_without_a_mistake() {
    for name in ["load_balancer", "azure", "aws", "proxy_server", "reliability", "wildcards"] {
        let converted = converted(&format!("{name}.yaml"));
        checked(&converted.toml);
        insta::assert_snapshot!(name, shown(&converted));
        let lines = converted.notes.iter().map(|note| (note.key.as_str(), note.line));
        assert!(lines.clone().all(|(_, line)| line > 0), "{:?}", lines.collect::<Vec<_>>());
        assert!(!converted.notes.iter().any(|note| note.why.contains("canary")), "a note repeats no value");
    }
}

#[test]
fn names_that_fall_back_to_each_other_are_no_circle() {
    let settings = checked(&converted("reliability.yaml").toml);
    let groups = |name: &str| settings.routes[name].groups.clone();
    let (turbo, four) = (groups("gpt-3.5-turbo"), groups("gpt-4"));
    assert_eq!((turbo[0].len(), &turbo[1], &four[1]), (2, &four[0], &turbo[0]));
    assert_eq!(
        (turbo.len(), groups("claude-opus").len()),
        (2, 1),
        "defaults are for names without fallbacks of their own"
    );
    assert_eq!(settings.routes["gpt-3.5-turbo"].weights.values().copied().collect::<Vec<_>>(), [6, 18, 6]);
}

#[test]
fn a_file_that_is_none_is_told_with_its_line() {
    assert!(convert("model_list: [").unwrap_err().contains("line"));
    let odd = convert("model_list:\n  - model_name: a\n  - 3\nrouter_settings: 7\n").unwrap();
    assert_eq!(odd.notes.iter().map(|note| note.line).collect::<Vec<_>>(), [2, 3]);
    checked(&odd.toml);
}

#[test]
fn a_name_that_is_taken_is_told_with_what_to_ask_for() {
    let text = "model_list:\n  - model_name: claude\n    litellm_params:\n      model: anthropic/claude-sonnet-4-5\n";
    let notes = convert(text).unwrap().notes;
    assert!(notes.iter().any(|note| note.why.contains("ask for anthropic/claude-sonnet-4-5 instead")), "{notes:?}");
}
