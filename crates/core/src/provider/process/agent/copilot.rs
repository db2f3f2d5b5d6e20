//! The Copilot CLI, started once for a request: how it is started and how its lines of JSON are read.
//!
//! A line is an event of its session (`copilot_events.rs`); the last one is a `result` with its exit status, which after an interruption says 0 too. What was
//! used and how the model ended stand in no line but in the session's journal, a file in the private home. The program has no option for a system prompt:
//! a request's own goes into a custom agent's file, and so into the system message behind the program's own words. The server takes a whole one:
//! `copilot_server.rs`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::answer::{Answer, Ended, Reader};
use super::copilot_events::{Event, Session, Used, said};
use super::home::{Home, Layout};
use super::{Ask, Driver, Launch, Once, Tools, Way, known, report};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Capabilities;
use crate::provider::process::{Environment, Report};

pub(in super::super) const COPILOT: Driver = Driver {
    layout: LAYOUT,
    keys: KEYS,
    takes: Capabilities {
        images: true,
        json_schema: false,
        tools: false,
        audio: false,
        files: false,
        multiple_choices: false,
    },
    takes_effort: true,
    takes_max_tokens: false,
    modes: MODES,
    way: Way::Once(Once { launch, reader: |_| Box::new(Lines::default()) }),
};

/// Where the program keeps its things. Its file of settings holds the login among others: folders that it trusts, plugins.
pub(super) const LAYOUT: Layout = Layout {
    variable: "COPILOT_HOME",
    folder: ".copilot",
    names_home: false,
    logins: &["config.json"],
    members: &["authTokens", "copilotTokens", "loggedInUsers", "lastLoggedInUser"],
    elsewhere: |users| gh_hosts(users).into_iter().collect(),
};

/// With one of these it goes by a key and not by the login in its home.
pub(super) const KEYS: &[&str] = &[OWN_PROVIDER, "COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"];

/// The address of a model of the user's own; without it Copilot's are asked.
pub(super) const OWN_PROVIDER: &str = "COPILOT_PROVIDER_BASE_URL";

/// Reading only; all tools in the folder; all tools everywhere.
pub(super) const MODES: &[&str] = &["read-only", "allow-all-tools", "allow-all"];

/// How to come by the program.
pub(super) const INSTALL: &str = "install it with: npm install -g @github/copilot";

/// Its tools that read: which of them exist depends on the model.
pub(super) const READING: &[&str] = &["view", "grep", "rg", "glob"];

/// The custom agent that carries a system prompt.
const AGENT: &str = "router";

/// What stands before a prompt that would be taken for one of the program's own commands, invisible and no white space.
const NO_COMMAND: char = '\u{2060}';

fn launch(ask: &Ask, home: &Home) -> Result<Launch> {
    let mut args: Vec<String> = [
        "--no-auto-update",
        "--no-custom-instructions",
        "--no-ask-user",
        "--disable-builtin-mcps",
        "--no-remote",
        "--no-remote-export",
        "--no-color",
        "--disable-client-telemetry",
        "--log-level=none",
        "--stream=on",
        "--output-format=json",
    ]
    .map(String::from)
    .into();
    args.extend(permissions(ask.tools.as_ref()).iter().map(|word| (*word).to_owned()));
    args.extend(ask.effort.iter().map(|effort| format!("--reasoning-effort={effort}")));
    if let Some(system) = &ask.system {
        let file = format!("---\nname: {AGENT}\ndescription: {AGENT}\n---\n{system}\n");
        home.write_own(&format!("agents/{AGENT}.agent.md"), file.as_bytes())?;
        args.push(format!("--agent={AGENT}"));
    }
    for (at, picture) in ask.pictures.iter().enumerate() {
        let bytes = STANDARD.decode(&picture.data).map_err(|error| {
            Error::invalid(format!("picture {} is not in base64: {error}", at + 1))
                .with_hint("send its bytes in base64")
        })?;
        let end = picture.mime.strip_prefix("image/").filter(|end| end.bytes().all(|byte| byte.is_ascii_lowercase()));
        let file = home.write(&format!("picture-{}.{}", at + 1, end.unwrap_or("png")), &bytes)?;
        args.push(format!("--attachment={}", file.display()));
    }
    let mut variables = variables(&ask.environment, home, !ask.has_key);
    if let Some(model) = &ask.model {
        // By the variable alone it would take another one where it does not know this one.
        args.push(format!("--model={model}"));
        if ask.environment.get("COPILOT_PROVIDER_WIRE_MODEL").is_some() {
            // The one that was named goes over the wire, not another one of the environment.
            variables.push(("COPILOT_PROVIDER_WIRE_MODEL", model.clone()));
        }
    }
    let sessions = home.folder().join("session-state");
    let report = Some(Report::new(move || report::lines(&sessions, "events.jsonl", USED)));
    Ok(Launch { args, stdin: Bytes::from(prompt(ask)?), variables, report })
}

/// The prompt, such that it is one: the program runs some of its own commands when they stand at the beginning of what it reads.
fn prompt(ask: &Ask) -> Result<String> {
    let begins = ask.prompt.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    match begins.chars().next() {
        None if ask.pictures.is_empty() => {
            Err(Error::invalid("copilot takes no empty prompt").with_hint("say what is asked"))
        }
        None | Some('/') => Ok(format!("{NO_COMMAND}{}", ask.prompt)),
        Some(_) => Ok(ask.prompt.clone()),
    }
}

/// What it may do. Without tools no tool has the one name that is allowed; an empty list would allow all.
fn permissions(tools: Option<&Tools>) -> &'static [&'static str] {
    match tools.map(|tools| tools.mode.as_str()) {
        None => &["--available-tools=none", "--disallow-temp-dir"],
        Some("allow-all-tools") => &["--allow-all-tools"],
        Some("allow-all") => &["--allow-all"],
        Some(_) => &[
            "--available-tools=view,grep,rg,glob",
            "--deny-tool=write",
            "--deny-tool=shell",
            "--deny-tool=url",
            "--disallow-temp-dir",
        ],
    }
}

/// Variables for the program, however it is run. `login` is whether the user's own may be used.
pub(super) fn variables(users: &Environment, home: &Home, login: bool) -> Vec<(&'static str, String)> {
    let mut variables = vec![("COPILOT_AUTO_UPDATE", "false".to_owned())];
    if users.get(OWN_PROVIDER).is_some() && users.get("COPILOT_OFFLINE").is_none() {
        variables.push(("COPILOT_OFFLINE", "true".to_owned()));
    }
    if let Some(folder) = packages(users) {
        variables.push(("COPILOT_PKG_CACHE_HOME", folder.display().to_string()));
    }
    if login {
        lend_gh(users, home);
    }
    variables
}

/// Where the program unpacks itself, once for all: a quarter of a gigabyte that a new home would get each time. Only a folder that nobody else may write to
/// is good enough, for what is in it is run.
fn packages(users: &Environment) -> Option<PathBuf> {
    if ["COPILOT_PKG_CACHE_HOME", "COPILOT_CACHE_HOME"].iter().any(|name| users.get(name).is_some()) {
        return None;
    }
    let cache = users.get("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| users.get("HOME").map(|home| Path::new(home).join(".cache")))?;
    let folder = cache.join("ipfs-llm-router").join("copilot");
    if !folder.is_absolute() {
        return None;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    let meta = fs::symlink_metadata(&folder).ok()?;
    let mine = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    mine.then_some(folder)
}

/// The login of GitHub's own program, where one may be.
fn gh_hosts(users: &Environment) -> Option<PathBuf> {
    let folder = users.get("GH_CONFIG_DIR").map(PathBuf::from);
    let config = || users.get("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| config().map(|config| config.join("gh")));
    let folder = folder.or_else(|| users.get("HOME").map(|home| Path::new(home).join(".config/gh")));
    folder.map(|folder| folder.join("hosts.yml"))
}

/// Makes the login of GitHub's own program visible to it: Copilot asks that one where it has no login itself. Without a file of it nothing is lent.
fn lend_gh(users: &Environment, home: &Home) {
    let Some(hosts) = gh_hosts(users).and_then(|file| file.canonicalize().ok()) else { return };
    let lent = home.path().join(".config/gh");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&lent);
    if let Err(error) = made.and_then(|()| symlink(hosts, lent.join("hosts.yml"))) {
        tracing::warn!("the login of gh could not be lent to copilot: {error}");
    }
}

#[derive(Debug, Default)]
struct Lines {
    session: Session,
    /// The exit status that its last line names.
    result: Option<i64>,
}

/// A line of the session's journal.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    data: Option<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    usage: Option<Used>,
}

impl Reader for Lines {
    fn line(&mut self, line: &[u8], answer: &mut Answer) -> Result<()> {
        let Some(event) = known::<Event>("copilot", line)? else { return Ok(()) };
        if event.kind == "result" {
            self.result = event.exit_code;
            return Ok(());
        }
        self.session.hear(&event, answer)
    }

    fn end(&mut self, ended: &Ended<'_>, answer: &mut Answer) -> Result<()> {
        match (ended.status, self.result) {
            (Some(0), Some(0)) => {
                for line in ended.report.unwrap_or_default().split(|byte| *byte == b'\n') {
                    // Most entries are something else, and the first may be cut.
                    let entry = serde_json::from_slice::<Entry>(line).ok().filter(|entry| entry.kind == USED);
                    if let Some(used) = entry.and_then(|entry| entry.data?.usage) {
                        self.session.used(&used);
                    }
                }
                self.session.over(answer)
            }
            (Some(status), _) if status != 0 => unsaid(status, ended.stderr).map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }
}

/// The journal's entry of what a call of a model used.
const USED: &str = "session.usage_record";

/// The error of a program that ended badly and said why on standard error.
fn unsaid(status: i32, stderr: &str) -> Option<Error> {
    let lower = stderr.to_lowercase();
    let unavailable = |what: String, hint: &str| Some(Error::unavailable(what).with_hint(hint));
    if ["unexpected argument", "invalid value", "unknown option"].iter().any(|words| lower.contains(words)) {
        let first = stderr.lines().next().unwrap_or_default();
        return unavailable(format!("this version of copilot is too old: {first}"), INSTALL);
    }
    if status == 127 && lower.contains("node") {
        return unavailable(format!("copilot needs Node.js, which is not there: {}", stderr.trim()), "install Node.js");
    }
    if lower.contains("no platform package") {
        return unavailable("copilot is installed without the package for this machine".into(), INSTALL);
    }
    let first = stderr.lines().find(|line| !line.trim().is_empty())?;
    let error = said(first.trim_start_matches("Error: "), None);
    // What says nothing of its own is told with how the program ended.
    (error.kind() != ErrorKind::ProviderServerError).then_some(error)
}
