//! The Copilot CLI as a server that stays: what it is started with, and how a request is talked over with it.
//!
//! `copilot --server --stdio` speaks JSON-RPC 2.0 in frames of `Content-Length`, protocol version 3. A request gets a session of its own, with its own system
//! prompt in the place of the program's, and without tools, instructions, skills, hooks or a memory; when it is answered the session is destroyed and its
//! files are deleted. What a session tells are the events of `copilot_events.rs`. The program's own commands mean nothing here, so a prompt goes as it is.
//! One that failed, as the server tells, is destroyed likewise: that ends what it would ask again by itself too. Who would leave a session in the middle ends the
//! server instead (`talk.rs`): then nothing of it is left to cost anything.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::copilot::{INSTALL, KEYS, LAYOUT, OWN_PROVIDER, READING, variables};
use super::copilot_events::{Event, Session, said};
use super::home::Home;
use super::rpc::{Framing, Heard, Refused, Says};
use super::talk::Talk;
use super::{Ask, Driver, Launch, NEUTRAL, Served, Setup, Way};
use crate::error::{Error, Result};
use crate::provider::Capabilities;
use crate::provider::process::Environment;

pub(in super::super) const COPILOT_SERVER: Driver = Driver {
    layout: LAYOUT,
    keys: KEYS,
    takes: Capabilities {
        images: true,
        json_schema: true,
        tools: false,
        audio: false,
        files: false,
        multiple_choices: false,
    },
    takes_effort: true,
    takes_max_tokens: false,
    modes: &["read-only", ALL],
    way: Way::Served(Served { framing: Framing::Heads, start, greet: |_| Box::new(Greeting), talk }),
};

/// The mode in which its tools do whatever the model wants.
const ALL: &str = "allow-all";

/// The version of its protocol that is spoken here.
const PROTOCOL: u64 = 3;

fn start(setup: &Setup<'_>, home: &Home) -> Result<Launch> {
    let args = [
        "--server",
        "--stdio",
        "--no-auto-update",
        "--no-custom-instructions",
        "--disable-builtin-mcps",
        "--no-remote",
        "--no-color",
        "--disable-client-telemetry",
        "--log-level=none",
    ];
    let mut variables = variables(setup.environment, home, !setup.has_key);
    if setup.environment.get(OWN_PROVIDER).is_some() && own_model(setup.environment).is_none() {
        // It does not start offline without one; each request names its own.
        variables.push(("COPILOT_MODEL", "unnamed".to_owned()));
    }
    Ok(Launch { args: args.map(String::from).into(), stdin: Bytes::new(), variables, report: None })
}

/// The model that the user's environment names.
fn own_model(users: &Environment) -> Option<&str> {
    ["COPILOT_MODEL", "COPILOT_PROVIDER_WIRE_MODEL", "COPILOT_PROVIDER_MODEL_ID"]
        .iter()
        .find_map(|name| users.get(name))
}

/// What is said to a server that was just started.
struct Greeting;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connected {
    protocol_version: u64,
}

impl Talk for Greeting {
    fn begin(&mut self, says: &mut Says) -> Result<()> {
        says.ask("connect", json!({})).map(drop)
    }

    fn hear(&mut self, heard: Heard, _: &mut Says, _: &mut Answer) -> Result<ControlFlow<()>> {
        match heard {
            Heard::Answer(_, Ok(answer)) => match answer.read::<Connected>("connect")?.protocol_version {
                PROTOCOL => Ok(ControlFlow::Break(())),
                other => {
                    let message = format!("copilot's server speaks version {other} of its protocol, not {PROTOCOL}");
                    Err(Error::unavailable(message).with_hint(INSTALL))
                }
            },
            Heard::Answer(_, Err(refused)) => Err(refusal(&refused)),
            _ => Ok(ControlFlow::Continue(())),
        }
    }
}

/// The error of a request that the server refused.
fn refusal(refused: &Refused) -> Error {
    // "Request NAME failed with message: WORDS"
    let words = refused.message.split_once("failed with message: ").map_or(&*refused.message, |(_, words)| words);
    said(words, None)
}

fn talk(ask: &Ask, work: &Path) -> Result<Box<dyn Talk>> {
    let tools = ask.tools.as_ref();
    let folder = tools.map_or(work, |tools| &tools.folder);
    Ok(Box::new(Asked {
        leave: match tools {
            None => Leave::None,
            Some(tools) if tools.mode == ALL => Leave::All,
            Some(_) => Leave::Read(folder.to_owned()),
        },
        create: created(ask, folder)?,
        send: sent(ask),
        tools: tools.is_some(),
        id: String::new(),
        step: Step::Working,
        session: Session::default(),
    }))
}

/// The parameters of a session.
fn created(ask: &Ask, folder: &Path) -> Result<Value> {
    let mut create = json!({
        "streaming": true,
        "workingDirectory": folder,
        "requestPermission": true,
        "skipCustomInstructions": true,
        "enableConfigDiscovery": false,
        "enableOnDemandInstructionDiscovery": false,
        "enableSkills": false,
        "enableFileHooks": false,
        "enableHostGitOperations": false,
        "enableSessionStore": false,
        "enableSessionTelemetry": false,
        "skipEmbeddingRetrieval": true,
        "customAgentsLocalOnly": true,
        "mcpOAuthTokenStorage": "in-memory",
        "disabledMcpServers": ["github-mcp-server", "githubiq"],
        "infiniteSessions": {"enabled": false},
        "memory": {"enabled": false},
    });
    let system = ask.system.as_deref();
    match &ask.tools {
        None => {
            create["availableTools"] = json!([]);
            create["systemMessage"] = json!({"mode": "replace", "content": system.unwrap_or(NEUTRAL)});
        }
        Some(tools) => {
            if tools.mode != ALL {
                create["availableTools"] = json!(READING);
            }
            // Its own words tell it how to use its tools.
            if let Some(system) = system {
                create["systemMessage"] = json!({"mode": "append", "content": system});
            }
        }
    }
    let own = own_provider(&ask.environment)?;
    if let Some(model) = ask.model.as_deref().or_else(|| ask.environment.get("COPILOT_MODEL")) {
        create["model"] = json!(model);
    } else if own.is_some() && own_model(&ask.environment).is_none() {
        return Err(Error::invalid("a model of your own for copilot has no name")
            .with_hint("name a model, or set COPILOT_MODEL"));
    }
    if let Some(mut own) = own {
        if let (Some(model), true) = (&ask.model, own.get("wireModel").is_some()) {
            // The one that was named goes over the wire, not another one of the environment.
            own["wireModel"] = json!(model);
        }
        create["provider"] = own;
    }
    if let Some(effort) = &ask.effort {
        create["reasoningEffort"] = json!(effort);
    }
    if !ask.pictures.is_empty() {
        // It would leave pictures out, without a word, where it does not know the model.
        let types: Vec<_> = ask.pictures.iter().map(|picture| &picture.mime).collect();
        create["modelCapabilities"] = json!({
            "supports": {"vision": true},
            "limits": {"vision": {"max_prompt_images": types.len(), "max_prompt_image_size": 20 << 20, "supported_media_types": types}},
        });
    }
    Ok(create)
}

/// What is asked in the session.
fn sent(ask: &Ask) -> Value {
    let picture = |(at, picture): (usize, &super::Picture)| json!({"type": "blob", "mimeType": picture.mime, "data": picture.data, "displayName": format!("picture {}", at + 1)});
    let mut send = json!({"prompt": ask.prompt});
    if !ask.pictures.is_empty() {
        send["attachments"] = ask.pictures.iter().enumerate().map(picture).collect();
    }
    if let Some(schema) = &ask.schema {
        let mut json = json!({"name": schema.name, "schema": schema.schema});
        if let Some(description) = &schema.description {
            json["description"] = json!(description);
        }
        if let Some(strict) = schema.strict {
            json["strict"] = json!(strict);
        }
        send["responseFormat"] = json!({"type": "json_schema", "jsonSchema": json});
    }
    send
}

/// Texts of a model of the user's own: the variable and the member that it becomes.
const TEXTS: &[(&str, &str)] = &[
    ("COPILOT_PROVIDER_TYPE", "type"),
    ("COPILOT_PROVIDER_WIRE_API", "wireApi"),
    ("COPILOT_PROVIDER_TRANSPORT", "transport"),
    (OWN_PROVIDER, "baseUrl"),
    ("COPILOT_PROVIDER_API_KEY", "apiKey"),
    ("COPILOT_PROVIDER_API_KEY_COMMAND", "apiKeyCommand"),
    ("COPILOT_PROVIDER_BEARER_TOKEN", "bearerToken"),
    ("COPILOT_PROVIDER_MODEL_ID", "modelId"),
    ("COPILOT_PROVIDER_WIRE_MODEL", "wireModel"),
];

/// Counts of it.
const COUNTS: &[(&str, &str)] = &[
    ("COPILOT_PROVIDER_MAX_PROMPT_TOKENS", "maxPromptTokens"),
    ("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS", "maxOutputTokens"),
];

/// The model of the user's own, where the environment has one: sessions of the server do not look there themselves.
///
/// # Errors
/// `caller_invalid_request` naming a variable that holds no count.
fn own_provider(users: &Environment) -> Result<Option<Value>> {
    if users.get(OWN_PROVIDER).is_none() {
        return Ok(None);
    }
    let mut own = json!({});
    for (name, member) in TEXTS {
        if let Some(text) = users.get(name) {
            own[*member] = json!(text);
        }
    }
    for (name, member) in COUNTS {
        if let Some(text) = users.get(name) {
            let count: u64 = text.trim().parse().map_err(|_| {
                Error::invalid(format!("{name} is {text:?}, which is no count")).with_hint("give a number of tokens")
            })?;
            own[*member] = json!(count);
        }
    }
    if let Some(version) = users.get("COPILOT_PROVIDER_AZURE_API_VERSION") {
        own["azure"] = json!({"apiVersion": version});
    }
    if let Some(lines) = users.get("COPILOT_PROVIDER_HEADERS") {
        // A shell's double quotes keep `\n` as it is.
        let lines = lines.replace("\\n", "\n");
        let pairs = lines.lines().filter_map(|line| line.split_once(':'));
        let pairs = pairs.map(|(name, value)| (name.trim().to_owned(), Value::from(value.trim())));
        own["headers"] = Value::Object(pairs.collect());
    }
    Ok(Some(own))
}

/// A request as a session of the server.
struct Asked {
    create: Value,
    send: Value,
    leave: Leave,
    /// Whether it has tools.
    tools: bool,
    id: String,
    step: Step,
    session: Session,
}

/// What it is granted when it asks.
enum Leave {
    /// Nothing.
    None,
    /// To read what is in this folder.
    Read(PathBuf),
    /// Everything.
    All,
}

impl Leave {
    fn grants(&self, wanted: &Wanted) -> bool {
        match self {
            Self::None => false,
            // Where the path really leads: a link in the folder may lead out of it.
            Self::Read(folder) => {
                let real = |path: &Path| folder.join(path).canonicalize().ok();
                let within = |path: PathBuf| real(folder).is_some_and(|folder| path.starts_with(folder));
                wanted.kind == "read" && wanted.path.as_deref().and_then(real).is_some_and(within)
            }
            Self::All => true,
        }
    }
}

/// What is waited for: the answer of this number, or the session's own events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Creating(u64),
    Sending(u64),
    Working,
    /// The server told that it failed: before there was a session, or in it.
    Failed,
    Destroying(u64),
    Deleting(u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    session_id: String,
}

/// The parameters of `session.event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Happened {
    session_id: String,
    event: Event,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permission {
    request_id: String,
    #[serde(default)]
    permission_request: Wanted,
}

/// What it asks leave for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    kind: String,
    path: Option<PathBuf>,
}

impl Talk for Asked {
    fn begin(&mut self, says: &mut Says) -> Result<()> {
        self.step = Step::Creating(says.ask("session.create", self.create.take())?);
        Ok(())
    }

    fn hear(&mut self, heard: Heard, says: &mut Says, answer: &mut Answer) -> Result<ControlFlow<()>> {
        match heard {
            Heard::Answer(id, result) => return self.answered(id, result, says),
            Heard::Told(method, params) if method == "session.event" => {
                let Happened { session_id, event } = params.read(&method)?;
                if session_id == self.id {
                    self.happened(&event, says, answer)?;
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn recover(&mut self, says: &mut Says) -> Result<Option<ControlFlow<()>>> {
        match self.step {
            Step::Failed if self.id.is_empty() => Ok(Some(ControlFlow::Break(()))),
            // What a tool of its still does nobody knows.
            Step::Failed if !self.tools => {
                self.step = Step::Destroying(says.ask("session.destroy", json!({"sessionId": self.id}))?);
                Ok(Some(ControlFlow::Continue(())))
            }
            _ => Ok(None),
        }
    }
}

impl Asked {
    fn answered(
        &mut self,
        id: u64,
        result: std::result::Result<super::rpc::Said, Refused>,
        says: &mut Says,
    ) -> Result<ControlFlow<()>> {
        let mine = json!({"sessionId": self.id});
        match (self.step, result) {
            (Step::Creating(asked), Ok(created)) if asked == id => {
                self.id = created.read::<Created>("session.create")?.session_id;
                self.send["sessionId"] = json!(self.id);
                self.step = Step::Sending(says.ask("session.send", self.send.take())?);
            }
            (Step::Sending(asked), Ok(_)) if asked == id => self.step = Step::Working,
            (Step::Creating(asked) | Step::Sending(asked), Err(refused)) if asked == id => {
                self.step = Step::Failed;
                return Err(refusal(&refused));
            }
            // A session that cannot be destroyed may still be deleted; one that cannot be deleted goes with the server.
            (Step::Destroying(asked), _) if asked == id => {
                self.step = Step::Deleting(says.ask("session.delete", mine)?);
            }
            (Step::Deleting(asked), _) if asked == id => return Ok(ControlFlow::Break(())),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn happened(&mut self, event: &Event, says: &mut Says, answer: &mut Answer) -> Result<()> {
        match event.kind.as_str() {
            "permission.requested" => {
                let Permission { request_id, permission_request } = event.data()?;
                let granted = self.leave.grants(&permission_request);
                let decided = if granted { "approve-once" } else { "user-not-available" };
                let decision = json!({"sessionId": self.id, "requestId": request_id, "result": {"kind": decided}});
                says.ask("session.permissions.handlePendingPermissionRequest", decision).map(drop)
            }
            "session.error" if self.session.is_refused() => Ok(()),
            "session.idle" if matches!(self.step, Step::Sending(_) | Step::Working) => {
                self.session.over(answer)?;
                self.step = Step::Destroying(says.ask("session.destroy", json!({"sessionId": self.id}))?);
                Ok(())
            }
            // Of a session that failed nothing more is of interest.
            _ if matches!(self.step, Step::Failed | Step::Destroying(_) | Step::Deleting(_)) => Ok(()),
            kind => {
                let heard = self.session.hear(event, answer);
                if heard.is_err() && ["session.error", "model.call_failure"].contains(&kind) {
                    self.step = Step::Failed;
                }
                heard
            }
        }
    }
}
