//! What Claude Code is told: variables, and a settings file of ours that says the same and goes before the user's own.
//!
//! It believes the variables of its settings before those of its environment, and those of the file that `--settings` names before both. Of several such options it takes the last alone:
//! what the user gives by one is put into our file. What stands in managed settings of the machine's owner goes before all of this. The other agents are in `agents.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::agents::{Ask, NO_PROXY, Start, Tools, put, with_loopback};
use crate::output::{Failure, Outcome};

/// The option with which it is given settings.
const OPTION: &str = "--settings";
/// The largest settings that are read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Its options whose value is the next word, whatever that is. Of 2.1.330.
const VALUED: [&str; 28] = [
    "--agent",
    "--agents",
    "--append-system-prompt",
    "--append-system-prompt-file",
    "--autocompact",
    "--debug-file",
    "--effort",
    "--environment",
    "--fallback-model",
    "--input-format",
    "--json-schema",
    "--max-budget-usd",
    "--max-turns",
    "--model",
    "--name",
    "--output-format",
    "--permission-mode",
    "--permission-prompt-tool",
    "--permission-prompts",
    "--plugin-dir",
    "--plugin-url",
    "--remote-control-session-name-prefix",
    "--session-id",
    "--setting-sources",
    "--system-prompt",
    "--system-prompt-file",
    "--system-prompt-snapshot",
    "-n",
];

/// Tells it whom to ask.
pub(super) fn claude(ask: &Ask<'_>, start: &mut Start) -> Outcome {
    let mut told = vec![
        ("ANTHROPIC_BASE_URL", ask.base.to_owned()),
        ("ANTHROPIC_AUTH_TOKEN", ask.key.expose().to_owned()),
        ("ANTHROPIC_SMALL_FAST_MODEL", ask.small.to_owned()),
        ("ANTHROPIC_DEFAULT_HAIKU_MODEL", ask.small.to_owned()),
    ];
    for name in [
        "ANTHROPIC_MODEL",
        "ANTHROPIC_DEFAULT_OPUS_MODEL",
        "ANTHROPIC_DEFAULT_SONNET_MODEL",
        "ANTHROPIC_DEFAULT_FABLE_MODEL",
        "CLAUDE_CODE_SUBAGENT_MODEL",
    ] {
        told.push((name, ask.model.to_owned()));
    }
    if let Some(window) = ask.window {
        told.push(("CLAUDE_CODE_MAX_CONTEXT_TOKENS", window.to_string()));
    }
    if let Some(most) = ask.answer() {
        told.push(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", most.to_string()));
    }
    match ask.tools {
        Tools::All => {}
        Tools::Few => start.arg("--bare"),
        // Of one word with its value, or it would take what follows for tools as well.
        Tools::None => start.args.extend(["--bare", "--tools="].map(OsString::from)),
    }
    let mut settings = taken(&mut start.given)?;
    let without = bypassed(ask, &settings);
    // An empty text stands for none, where a user's own settings would bring one back.
    for name in start.unset {
        put(&mut settings, &["env", name], json!(""));
    }
    for (name, value) in &told {
        put(&mut settings, &["env", name], json!(value));
    }
    if let Some(without) = without {
        NO_PROXY.iter().for_each(|name| put(&mut settings, &["env", name], json!(without)));
    }
    // A program whose output it would show the router as another key.
    put(&mut settings, &["apiKeyHelper"], json!(""));
    start.arg(OPTION);
    start.arg(ask.folder.write("settings.json", &settings.to_string())?);
    told.into_iter().for_each(|(name, value)| start.set(name, value));
    Ok(())
}

/// Takes the settings that the user gives out of these words; an empty object where there are none.
fn taken(words: &mut Vec<OsString>) -> Outcome<Value> {
    let found = given(words);
    // As Claude Code takes them: the last alone.
    let settings = found.last().map_or_else(|| Ok(json!({})), |(_, value)| read(value))?;
    for (range, _) in found.into_iter().rev() {
        words.drain(range);
    }
    Ok(settings)
}

/// Where the option stands among these words, and its value. What is the value of another option, or stands behind `--`, is not the option; one without a value is left for Claude Code
/// to complain about.
fn given(words: &[OsString]) -> Vec<(Range<usize>, OsString)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(word) = words.get(at).filter(|word| *word != "--") {
        let joined = word.as_bytes().strip_prefix(OPTION.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        let (takes, value) = match joined {
            Some(value) => (1, Some(OsStr::from_bytes(value).to_owned())),
            None if word == OPTION => (2, words.get(at + 1).cloned()),
            None => (if VALUED.iter().any(|valued| word == valued) { 2 } else { 1 }, None),
        };
        found.extend(value.map(|value| (at..at + takes, value)));
        at += takes;
    }
    found
}

/// Settings as the option says them: as JSON, or by the name of a file.
fn read(value: &OsStr) -> Outcome<Value> {
    let text = value.to_str().map(str::trim).filter(|text| text.starts_with('{') && text.ends_with('}'));
    let (shown, settings) = match text {
        Some(text) => (OPTION.to_owned(), serde_json::from_str(text).map_err(|error| error.to_string())),
        None => (format!("{OPTION} {}", Path::new(value).display()), in_file(Path::new(value))),
    };
    match settings {
        Ok(Value::Object(settings)) => Ok(Value::Object(settings)),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(error),
    }
    .map_err(|error| {
        Failure::usage(
            format!("{shown}: {error}"),
            "give a JSON object or the name of a file with one: what this run sets is put into it, as Claude Code takes one only",
        )
    })
}

fn in_file(file: &Path) -> Result<Value, String> {
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| error.to_string())?;
    opened.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is over {LARGEST} bytes"));
    }
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// For whom no proxy is asked, where settings of the user's say it and would go before the variables: theirs, and this machine.
fn bypassed(ask: &Ask<'_>, given: &Value) -> Option<String> {
    let named = ask.environment.get("CLAUDE_CONFIG_DIR").map(PathBuf::from);
    let folder = named.or_else(|| Some(ask.environment.home()?.join(".claude")));
    let files = folder.into_iter().map(|folder| folder.join("settings.json"));
    // Those of the folder where it is started.
    let files = files.chain([".claude/settings.json", ".claude/settings.local.json"].map(PathBuf::from));
    let all = files.filter_map(|file| in_file(&file).ok()).chain([given.clone()]);
    let said = |settings: Value| NO_PROXY.map(|name| settings["env"][name].as_str().unwrap_or_default().to_owned());
    let mut own: Vec<String> = Vec::new();
    for list in all.flat_map(said).filter(|list| !list.trim().is_empty()) {
        if !own.contains(&list) {
            own.push(list);
        }
    }
    (!own.is_empty()).then(|| with_loopback(Some(&own.join(","))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_users_settings_are_taken_out_of_the_words_and_nothing_else_is() {
        let left = |text: &str| {
            let mut words = words(text);
            let settings = taken(&mut words).unwrap();
            (settings, words.join(OsStr::new(" ")).into_string().unwrap())
        };
        assert_eq!(left("-p --settings {\"a\":1} hi"), (json!({"a": 1}), "-p hi".to_owned()));
        assert_eq!(left("--settings={\"a\":1} --settings {\"b\":2}"), (json!({"b": 2}), String::new()));
        for same in [
            "-p hi",
            "-- --settings /nowhere",
            "-p -- --settings=/nowhere",
            "--append-system-prompt --settings -p",
            "--model --settings=/nowhere x",
            "-p --settings-of-mine",
            "-p --settings",
        ] {
            assert_eq!(left(same), (json!({}), same.to_owned()));
        }
    }

    #[test]
    fn settings_that_cannot_be_read_are_refused_by_name() {
        for (value, says) in [
            ("/nowhere/at-all.json", "/nowhere/at-all.json: No such file"),
            ("{\"a\":}", "--settings: expected value"),
            ("{\"secret\": \"canary\",}", "--settings: trailing comma"),
        ] {
            let Err(Failure::Usage(error)) = read(OsStr::new(value)) else { panic!("{value}") };
            assert!(error.message().contains(says) && !error.message().contains("canary"), "{error}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[1]").unwrap();
        let Err(Failure::Usage(error)) = read(file.path().as_os_str()) else { panic!() };
        assert!(error.message().contains("it is no JSON object"), "{error}");
    }
}
