//! Claude Code: how `claude -p` is started. How its lines are read is `claude/lines.rs`, how it fails `claude/failed.rs`.
//!
//! Everything is said to it in lines of `stream-json` on its standard input, whatever the prompt holds; its system prompt is a file. What it would look for by
//! itself is turned off one by one, because the one switch for all (`--bare`) keeps the user's login out as well: settings with hooks in them, instructions of
//! projects, servers of tools, and files that a prompt names as `@path`, which it would read and send even with no tools at all.

mod failed;
mod lines;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use self::lines::Lines;
use super::home::{Home, Layout};
use super::{Ask, Driver, Launch, NEUTRAL, Once, Picture, Way};
use crate::error::{Error, Result};
use crate::provider::Capabilities;

pub(in super::super) const CLAUDE: Driver = Driver {
    layout: Layout {
        variable: "CLAUDE_CONFIG_DIR",
        folder: ".claude",
        names_home: false,
        logins: &[LOGIN],
        members: &[],
        elsewhere: |users| {
            let named = users.get("CLAUDE_SECURESTORAGE_CONFIG_DIR").map(|folder| Path::new(folder).join(LOGIN));
            named.into_iter().collect()
        },
    },
    keys: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
    takes: Capabilities {
        images: true,
        json_schema: true,
        tools: false,
        audio: false,
        files: false,
        multiple_choices: false,
    },
    takes_effort: true,
    takes_max_tokens: true,
    modes: &["dontAsk", "plan", "acceptEdits", "bypassPermissions"],
    way: Way::Once(Once { launch, reader: |ask| Box::new(Lines::new(ask)) }),
};

/// The file of a login.
const LOGIN: &str = ".credentials.json";

/// Said always.
const WORDS: &[&str] = &[
    "-p",
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--include-partial-messages",
    "--verbose",
    "--no-session-persistence",
    "--strict-mcp-config",
    "--disable-slash-commands",
    "--setting-sources=",
];

const VARIABLES: &[(&str, &str)] = &[
    ("DISABLE_AUTOUPDATER", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_DISABLE_CLAUDE_MDS", "1"),
    // Files that the prompt names.
    ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
    ("ENABLE_CLAUDEAI_MCP_SERVERS", "0"),
    // The router asks again, and the next target too; a model that was named is never another one.
    ("CLAUDE_CODE_MAX_RETRIES", "0"),
    ("CLAUDE_CODE_DISABLE_REFUSAL_RETRY", "1"),
    ("CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK", "1"),
    ("CLAUDE_CODE_DISABLE_MODEL_ACCESS_FALLBACK", "1"),
];

/// Efforts in the domain's words, and its own.
const EFFORTS: &[(&str, &str)] =
    &[("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "xhigh"), ("max", "max")];

/// The pictures that it passes on; of others it makes a sentence for the model.
const PICTURES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

/// How often it may ask the model with a schema: the answer is a call of a tool, and a wrong one may be mended.
const SCHEMA_TURNS: &str = "4";

fn launch(ask: &Ask, home: &Home) -> Result<Launch> {
    let mut args: Vec<String> = WORDS.iter().map(|&word| word.to_owned()).collect();
    let mut variables: Vec<_> = VARIABLES.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    if ask.has_key {
        args.push("--bare".into());
    } else {
        // What it refreshes of a login is written where the login is, at once and under its own lock.
        variables.extend(storage(ask).map(|folder| ("CLAUDE_SECURESTORAGE_CONFIG_DIR", folder.display().to_string())));
    }
    let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
    let (words, system) = match &ask.tools {
        // Its own prompt says how its tools are used.
        Some(_) => ("--append-system-prompt-file", ask.system.as_deref()),
        None => ("--system-prompt-file", Some(ask.system.as_deref().unwrap_or(NEUTRAL))),
    };
    if let Some(system) = system {
        option(words, &home.write("system.md", system.as_bytes())?.display().to_string());
    }
    if let Some(model) = &ask.model {
        option("--model", model);
    }
    match ask.effort.as_deref() {
        None => {}
        Some("none") => variables.push(("MAX_THINKING_TOKENS", "0".into())),
        Some(word) => option("--effort", own_effort(word)?),
    }
    if let Some(most) = ask.max_tokens {
        variables.push(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", most.to_string()));
    }
    match &ask.tools {
        Some(tools) => option("--permission-mode", &tools.mode),
        None => {
            option("--max-turns", if ask.schema.is_some() { SCHEMA_TURNS } else { "1" });
            args.push("--tools=".into());
        }
    }
    Ok(Launch { args, stdin: message(ask)?, variables, report: None })
}

/// The folder of the user's own login, where there is one and he has not named another.
fn storage(ask: &Ask) -> Option<PathBuf> {
    let named = ask.environment.get("CLAUDE_SECURESTORAGE_CONFIG_DIR").is_some();
    let folder = CLAUDE.layout.original(&ask.environment).filter(|_| !named)?;
    folder.is_dir().then_some(folder)
}

fn own_effort(word: &str) -> Result<&'static str> {
    EFFORTS.iter().find(|(known, _)| *known == word).map(|(_, own)| *own).ok_or_else(|| {
        Error::unsupported(format!("claude knows no effort {word:?}"))
            .with_hint("use none, minimal, low, medium, high, xhigh or max")
    })
}

/// What is asked, as one line; before it another one with the form of the answer. As an argument everybody on this machine could read that, and it might be too long.
fn message(ask: &Ask) -> Result<Bytes> {
    let form = ask.schema.as_ref().map(|schema| {
        let begin = json!({"subtype": "initialize", "jsonSchema": schema.schema});
        format!("{}\n", json!({"type": "control_request", "request_id": "form", "request": begin}))
    });
    let mut content = ask.pictures.iter().map(picture).collect::<Result<Vec<_>>>()?;
    if content.is_empty() && ask.prompt.trim().is_empty() {
        return Err(Error::invalid("the prompt is empty").with_hint("give a prompt"));
    }
    // A text that is one of its slash commands would be obeyed and not asked; the last piece is what it looks at, and may begin with no slash.
    let cut = ask.prompt.len() - ask.prompt.trim_start_matches('/').len();
    let cut = if cut == ask.prompt.len() { 0 } else { cut };
    let (slash, rest) = ask.prompt.split_at(cut);
    let texts = [slash, rest].into_iter().filter(|text| !text.is_empty());
    content.extend(texts.map(|text| json!({"type": "text", "text": text})));
    let asked = json!({"type": "user", "message": {"role": "user", "content": content}});
    Ok(Bytes::from(format!("{}{asked}\n", form.unwrap_or_default())))
}

fn picture(picture: &Picture) -> Result<serde_json::Value> {
    if !PICTURES.contains(&picture.mime.as_str()) {
        return Err(Error::unsupported(format!("claude takes no picture of the type {}", picture.mime))
            .with_hint(format!("send one of {}", PICTURES.join(", "))));
    }
    let source = json!({"type": "base64", "media_type": picture.mime, "data": picture.data});
    Ok(json!({"type": "image", "source": source}))
}
