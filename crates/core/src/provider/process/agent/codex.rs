//! Codex: how `codex app-server` is started, greeted and asked. What it says is in
//! `codex/messages.rs`, how it fails in `codex/failure.rs`.
//!
//! A request is a thread of its own that is kept nowhere. Items come with their text in pieces (`item/agentMessage/delta`), counts of tokens beside them, and
//! `turn/completed` is the last word. The services behind it are described here as a provider of Codex's own configuration: the built-in one asks five times
//! more when it is refused, and repeats in the next try what it has said in the last.

mod failure;
mod messages;

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};

use self::failure::Reset;
use self::messages::{
    Account, Counted, Item, Last, Of, Piece, Rerouted, Started, WithError, WithItem, WithTurn, WithUsage,
};
use super::answer::Answer;
use super::home::{Home, Layout};
use super::rpc::{Framing, Heard, Said, Says};
use super::talk::Talk;
use super::{Ask, Driver, Launch, NEUTRAL, Served, Setup, Way};
use crate::delta::FinishReason;
use crate::error::{Error, Result};
use crate::provider::Capabilities;
use crate::usage::Usage;

pub(in super::super) const CODEX: Driver = Driver {
    layout: Layout {
        variable: "CODEX_HOME",
        folder: ".codex",
        names_home: false,
        logins: &[LOGIN],
        members: &[],
        elsewhere: |_| Vec::new(),
    },
    // A login is stronger than `OPENAI_API_KEY`, as it is for Codex itself; see `key`.
    keys: &[KEY],
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
    modes: &["read-only", "workspace-write", "danger-full-access"],
    way: Way::Served(Served { framing: Framing::Lines, start, greet: |_| Box::new(Greeting::default()), talk }),
};

/// The file of a login.
const LOGIN: &str = "auth.json";

/// The variable of a key that goes before any login.
const KEY: &str = "CODEX_API_KEY";

/// The variable of a key for those who have no login.
const PLAIN_KEY: &str = "OPENAI_API_KEY";

/// Settings of every start.
const SETTINGS: &[&str] = &[
    "check_for_update_on_startup=false",
    "analytics.enabled=false",
    "web_search=\"disabled\"",
    "project_doc_max_bytes=0",
    "skills.include_instructions=false",
    "skills.bundled.enabled=false",
    "tools.experimental_request_user_input.enabled=false",
    "features.plugins=false",
    "features.remote_plugin=false",
    "features.apps=false",
    "features.hooks=false",
    "features.goals=false",
    "features.multi_agent=false",
    "features.image_generation=false",
    "features.skill_search=false",
    "features.tool_suggest=false",
    // Or it asks a service that refuses connections for ever.
    "features.unbounded_connection_retries=false",
];

/// Settings of a start without tools: no shell at all, not even a fenced one.
const NO_TOOLS: &[&str] = &[
    "features.shell_tool=false",
    "features.unified_exec=false",
    "features.shell_snapshot=false",
    "features.view_image=false",
    "include_environment_context=false",
    "include_permissions_instructions=false",
];

/// Settings of a start with tools: what they run sees no key of this machine's.
const WITH_TOOLS: &[&str] = &["shell_environment_policy.inherit=\"core\""];

/// The variable that holds the key it goes by; the login where there is none.
fn key(setup: &Setup<'_>, home: &Home) -> Option<&'static str> {
    let set = |name: &&str| setup.environment.get(name).is_some();
    let plain = Some(PLAIN_KEY).filter(|_| !home.folder().join(LOGIN).exists());
    [Some(KEY), plain].into_iter().flatten().find(set)
}

fn start(setup: &Setup<'_>, home: &Home) -> Result<Launch> {
    // Strings of TOML are those of JSON as far as these values go.
    let text = |value: &str| Value::from(value).to_string();
    let (whose, base) = match key(setup, home) {
        Some(name) => (format!("env_key={}", text(name)), setup.environment.get("OPENAI_BASE_URL")),
        // Nothing but Codex's own services gets to see a login.
        None => ("requires_openai_auth=true".to_owned(), None),
    };
    let secret = base.is_some_and(|url| url.contains('@'));
    let base = base.or_else(|| Some("https://api.openai.com/v1").filter(|_| whose.starts_with("env_key")));
    let base = base.map(|url| format!("base_url={},", text(url.trim_end_matches('/')))).unwrap_or_default();
    let table = format!(
        "{{name=\"OpenAI\",{base}{whose},wire_api=\"responses\",\
         request_max_retries=0,stream_max_retries=0,supports_websockets=false}}"
    );
    let provider = if secret {
        // Whoever is on this machine can read arguments.
        home.write_own("config.toml", format!("[model_providers]\nrouter = {table}\n").as_bytes())?;
        None
    } else {
        Some(format!("model_providers.router={table}"))
    };
    let more = if setup.tools.is_some() { WITH_TOOLS } else { NO_TOOLS };
    let folder = setup.tools.map(|tools| untrusted(&tools.folder));
    let settings = SETTINGS.iter().chain(more).copied().chain(["model_provider=\"router\""]);
    let settings = settings.chain(provider.as_deref()).chain(folder.as_deref());
    let settings = settings.flat_map(|setting| ["-c".to_owned(), setting.to_owned()]);
    // Its databases are its own too, wherever the user keeps his.
    let variables = vec![("CODEX_SQLITE_HOME", home.folder().display().to_string())];
    Ok(Launch { args: ["app-server".to_owned()].into_iter().chain(settings).collect(), variables, ..Launch::default() })
}

/// The setting by which a folder's own configuration is not obeyed: left to itself Codex trusts each folder that it may write to, and starts the programs
/// that are named there.
fn untrusted(folder: &Path) -> String {
    let real = folder.canonicalize().ok().filter(|real| real != folder);
    let names =
        [Some(folder), real.as_deref()].into_iter().flatten().map(|path| Value::from(path.display().to_string()));
    let all: Vec<_> = names.map(|name| format!("{name}={{trust_level=\"untrusted\"}}")).collect();
    format!("projects={{{}}}", all.join(","))
}

/// Tells who we are, and learns whether anybody is logged in.
#[derive(Debug, Default)]
struct Greeting {
    hello: u64,
    account: u64,
}

impl Talk for Greeting {
    fn begin(&mut self, says: &mut Says) -> Result<()> {
        let us = json!({"name": "ipfs-llm-router", "title": null, "version": env!("CARGO_PKG_VERSION")});
        self.hello = says.ask("initialize", json!({"clientInfo": us, "capabilities": null}))?;
        Ok(())
    }

    fn hear(&mut self, heard: Heard, says: &mut Says, _: &mut Answer) -> Result<ControlFlow<()>> {
        match heard {
            Heard::Answer(id, answer) if id == self.hello => {
                answer.map_err(|refused| failure::refused("initialize", &refused))?;
                says.tell("initialized", json!({}))?;
                self.account = says.ask("account/read", json!({}))?;
            }
            Heard::Answer(id, answer) if id == self.account => {
                // A version that does not know the question will say by itself that nobody is logged in.
                let account = answer.ok().map(|said| said.read::<Account>("account/read")).transpose()?;
                if account.is_some_and(|found| found.requires_openai_auth && found.account.is_none()) {
                    return Err(failure::not_logged_in("codex: nobody is logged in"));
                }
                return Ok(ControlFlow::Break(()));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn talk(ask: &Ask, work: &Path) -> Result<Box<dyn Talk>> {
    let folder = ask.tools.as_ref().map_or(work, |tools| &tools.folder);
    let folder = folder.display().to_string();
    Ok(Box::new(Turn { ask: ask.clone(), folder, ..Turn::default() }))
}

/// A request in a thread of its own.
#[derive(Default)]
struct Turn {
    ask: Ask,
    folder: String,
    /// The numbers of our requests.
    thread_asked: u64,
    turn_asked: u64,
    /// The thread's id, once it is there.
    thread: String,
    /// The message or thought that comes, and whether anything of it was heard.
    item: String,
    heard: bool,
    /// A message that began and was not completed.
    open: Option<String>,
    /// When a limit that was reached ends.
    reset: Reset,
}

impl Talk for Turn {
    fn begin(&mut self, says: &mut Says) -> Result<()> {
        let Ask { model, system, tools, .. } = &self.ask;
        let mut thread = json!({
            "model": model, "cwd": self.folder, "approvalPolicy": "never", "ephemeral": true,
            "sandbox": tools.as_ref().map_or("read-only", |tools| &tools.mode),
        });
        // With tools its own instructions are of use, and the request's stand beside them.
        match tools {
            Some(_) => thread["developerInstructions"] = json!(system),
            None => thread["baseInstructions"] = json!(system.as_deref().unwrap_or(NEUTRAL)),
        }
        self.thread_asked = says.ask("thread/start", thread)?;
        Ok(())
    }

    fn hear(&mut self, heard: Heard, says: &mut Says, answer: &mut Answer) -> Result<ControlFlow<()>> {
        match heard {
            Heard::Answer(id, said) if id == self.thread_asked => {
                let said = said.map_err(|refused| failure::refused("thread/start", &refused))?;
                let Started { thread, model } = said.read("thread/start")?;
                answer.model(&model);
                self.thread = thread.id;
                self.turn_asked = says.ask("turn/start", self.turn()?)?;
            }
            Heard::Answer(id, Err(refused)) if id == self.turn_asked => {
                return Err(failure::refused("turn/start", &refused));
            }
            Heard::Told(method, said) => return self.told(&method, &said, answer),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Turn {
    /// What is asked in the thread.
    fn turn(&self) -> Result<Value> {
        let Ask { prompt, pictures, schema, effort, .. } = &self.ask;
        let mut input: Vec<_> = pictures
            .iter()
            .map(|picture| json!({"type": "image", "url": format!("data:{};base64,{}", picture.mime, picture.data)}))
            .collect();
        input.push(json!({"type": "text", "text": prompt, "text_elements": []}));
        let mut turn = json!({"threadId": self.thread, "input": input, "effort": effort});
        if let Some(schema) = schema {
            turn["outputSchema"] = serde_json::from_str(schema.schema.get())
                .map_err(|error| Error::invalid(format!("the schema {:?} is no JSON: {error}", schema.name)))?;
        }
        Ok(turn)
    }

    fn told(&mut self, method: &str, said: &Said, answer: &mut Answer) -> Result<ControlFlow<()>> {
        match method {
            "item/agentMessage/delta" => {
                let piece: Piece = said.read(method)?;
                if piece.thread_id == self.thread {
                    self.begin_item(&piece.item_id, false, answer);
                    self.heard |= !piece.delta.is_empty();
                    answer.text(piece.delta);
                }
            }
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                let piece: Piece = said.read(method)?;
                if piece.thread_id == self.thread {
                    self.begin_item(&piece.item_id, true, answer);
                    self.heard |= !piece.delta.is_empty();
                    answer.thoughts(piece.delta);
                }
            }
            "item/reasoning/summaryPartAdded" => {
                let piece: Piece = said.read(method)?;
                if self.heard && piece.item_id == self.item {
                    answer.thoughts("\n\n");
                }
            }
            "item/started" => {
                if let Some(WithItem { item: Item::AgentMessage { id, .. } }) = self.mine(method, said)? {
                    self.open = Some(id);
                }
            }
            "item/completed" => {
                if let Some(WithItem { item }) = self.mine(method, said)? {
                    self.completed(item, answer);
                }
            }
            "thread/tokenUsage/updated" => {
                if let Some(WithUsage { token_usage: Counted { total } }) = self.mine(method, said)? {
                    // A thread has one turn, and a turn with tools asks more than once.
                    let mut usage = Usage::new(total.input_tokens, total.output_tokens);
                    (usage.cache_read, usage.cache_write) = (total.cached_input_tokens, total.cache_write_input_tokens);
                    usage.reasoning = total.reasoning_output_tokens;
                    answer.usage(usage);
                }
            }
            "account/rateLimits/updated" => self.reset = said.read(method).unwrap_or_default(),
            "model/rerouted" => {
                if let Some(Rerouted { to_model }) = self.mine(method, said)? {
                    answer.model(&to_model);
                }
            }
            "error" => {
                if let Some(WithError { error, will_retry: true }) = self.mine(method, said)? {
                    // The router asks again, or the next one, and what was said would be said twice.
                    return Err(error.told(&self.reset));
                }
            }
            "turn/completed" => {
                if let Some(WithTurn { turn }) = self.mine(method, said)? {
                    self.over(turn, answer)?;
                    return Ok(ControlFlow::Break(()));
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is said of this thread; an agent with tools may have others.
    fn mine<T: serde::de::DeserializeOwned>(&self, method: &str, said: &Said) -> Result<Option<T>> {
        let Of { thread_id, what } = said.read::<Of<T>>(method)?;
        Ok((thread_id == self.thread).then_some(what))
    }

    /// Whatever comes next is of this item. Messages of one turn stand apart.
    fn begin_item(&mut self, id: &str, thoughts: bool, answer: &mut Answer) {
        if self.item != id {
            if !thoughts && answer.has_text() {
                answer.text("\n\n");
            }
            id.clone_into(&mut self.item);
            self.heard = false;
        }
    }

    /// An item is whole. Services that stream no pieces are heard only here.
    fn completed(&mut self, item: Item, answer: &mut Answer) {
        match item {
            Item::AgentMessage { id, text } => {
                self.open = None;
                if !text.is_empty() {
                    self.begin_item(&id, false, answer);
                    if !std::mem::replace(&mut self.heard, true) {
                        answer.text(text);
                    }
                }
            }
            Item::Reasoning { id, summary, content } => {
                let text = if summary.is_empty() { content.join("\n\n") } else { summary.join("\n\n") };
                if !text.is_empty() {
                    self.begin_item(&id, true, answer);
                    if !std::mem::replace(&mut self.heard, true) {
                        answer.thoughts(text);
                    }
                }
            }
            Item::Other => {}
        }
    }

    fn over(&self, turn: Last, answer: &mut Answer) -> Result<()> {
        match (turn.status.as_str(), turn.error) {
            // Of a refusal nothing is told but that a message began.
            ("completed", _) if self.open.is_some() && !answer.has_text() => {
                answer.finish(FinishReason::Refusal, None);
            }
            ("completed", _) if answer.has_text() => answer.finish(FinishReason::Stop, None),
            ("completed", _) => {
                return Err(Error::protocol("codex ended the turn and said nothing")
                    .with_hint("the model gave no answer: ask again, or another model"));
            }
            (_, Some(error)) => match error.end() {
                Some((reason, raw)) => answer.finish(reason, Some(raw.to_owned())),
                None => return Err(error.told(&self.reset)),
            },
            (status, None) => {
                return Err(Error::protocol(format!("codex ended the turn as {status:?} and does not say why")));
            }
        }
        Ok(())
    }
}
