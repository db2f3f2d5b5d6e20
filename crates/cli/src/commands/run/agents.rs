//! The agents as a table: what each is told so that it asks this router, and how many tokens its first request takes.
//!
//! Only what must differ is said, so that an agent is its user's own in everything else: by variables first, by arguments where it has no variable, and by a file of ours where it believes
//! neither. The key is in no argument, which other users of the machine could read. What the programs really do was looked at in the versions that stand beside the numbers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use llm_router::config::Environment;
use llm_router::provider::process::{Resolved, resolve};
use llm_router::secret::Secret;
use serde_json::{Value, json};

use super::claude;
use super::codex;
use super::copilot;
use super::folder::Folder;
use super::home::Lent;
use crate::output::{Failure, Outcome};

/// How many of its tools an agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tools {
    /// As its user has it.
    All,
    /// Those that read, change and run, and short instructions.
    Few,
    /// None, and short instructions.
    None,
}

impl Tools {
    /// From most to least.
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Few, Self::None];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tools| tools.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Few => "few",
            Self::None => "none",
        }
    }
}

/// One agent.
#[derive(Debug)]
pub(super) struct Agent {
    /// What it is called here.
    pub(super) name: &'static str,
    /// The provider that drives the same program.
    pub(super) provider: &'static str,
    /// The executable.
    program: &'static str,
    /// How to come by it.
    install: &'static str,
    /// The tokens of its first request with all, few and none of its tools: a question of two words, in an empty folder, in the version of the row's comment, as the embedded model's
    /// vocabulary counts them or as the router estimates them, whichever is more. All are those of a conversation at a terminal, where agents have more of them.
    tokens: [u64; 3],
    /// What is left with few and with none.
    kept: [&'static str; 2],
    /// Variables that would lead it elsewhere, or be shown to the router as its key.
    unset: &'static [&'static str],
    /// Says how it is pointed at the router.
    how: fn(&Ask<'_>, &mut Start) -> Outcome,
}

/// What an agent is to be told.
pub(super) struct Ask<'a> {
    /// Where the router listens, without a path.
    pub(super) base: &'a str,
    /// The key to show there.
    pub(super) key: &'a Secret,
    /// The model.
    pub(super) model: &'a str,
    /// The model of its small tasks.
    pub(super) small: &'a str,
    /// The model's window in tokens, where it is known.
    pub(super) window: Option<u64>,
    /// The most tokens of one answer, where that is limited.
    pub(super) most: Option<u32>,
    /// How many of its tools it has.
    pub(super) tools: Tools,
    /// Where files for it are written.
    pub(super) folder: &'a Folder,
    /// The user's variables.
    pub(super) environment: &'a Environment,
    /// What the user tells it.
    pub(super) args: &'a [OsString],
}

/// How a program is started.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    /// Its arguments that are ours.
    pub(super) args: Vec<OsString>,
    /// Those that are its user's, which follow.
    pub(super) given: Vec<OsString>,
    /// Variables that it has besides the user's.
    pub(super) variables: Vec<(&'static str, String)>,
    /// Variables of the user's that it has not.
    pub(super) unset: &'static [&'static str],
    /// A home that it has for the run.
    pub(super) lent: Option<Lent>,
}

impl Ask<'_> {
    /// The tokens that an answer may have, where they are known: what the run allows, and no more than a prompt leaves room for.
    pub(super) fn answer(&self) -> Option<u64> {
        self.window.map(answer).into_iter().chain(self.most.map(u64::from)).min()
    }
}

impl Start {
    pub(super) fn arg(&mut self, word: impl Into<OsString>) {
        self.args.push(word.into());
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }
}

/// The agents.
pub(super) const AGENTS: &[Agent] = &[
    // 2.1.330
    Agent {
        name: "claude",
        provider: "claude_code",
        program: "claude",
        install: "npm install -g @anthropic-ai/claude-code",
        tokens: [13_260, 1_010, 120],
        kept: [
            "the tools Bash, Edit and Read, and reads no CLAUDE.md, hooks, plugins or MCP servers (--bare)",
            "no tools, and reads no CLAUDE.md, hooks, plugins or MCP servers (--bare)",
        ],
        unset: &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_CUSTOM_HEADERS",
            "ANTHROPIC_UNIX_SOCKET",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_USE_ANTHROPIC_AWS",
            "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_FOUNDRY",
            "CLAUDE_CODE_USE_MANTLE",
            "CLAUDE_CODE_USE_VERTEX",
        ],
        how: claude::claude,
    },
    // 0.169.0
    Agent {
        name: "codex",
        provider: "codex_cli",
        program: "codex",
        install: "npm install -g @openai/codex",
        tokens: [12_420, 1_210, 60],
        kept: [
            "its shell tools, short instructions, and reads no AGENTS.md, skills, plugins or MCP servers",
            "no shell, short instructions, and reads no AGENTS.md, skills, plugins or MCP servers",
        ],
        unset: &[],
        how: codex::codex,
    },
    // 1.0.102
    Agent {
        name: "copilot",
        provider: "copilot_cli",
        program: "copilot",
        install: "npm install -g @github/copilot",
        tokens: [14_340, 4_600, 1_900],
        kept: [
            "the tools bash, view, create and edit, and reads no custom instructions or MCP servers",
            "no tools, and reads no custom instructions or MCP servers",
        ],
        unset: &[
            "COPILOT_PROVIDER_API_KEY_COMMAND",
            "COPILOT_PROVIDER_AZURE_API_VERSION",
            "COPILOT_PROVIDER_BEARER_TOKEN",
            "COPILOT_PROVIDER_HEADERS",
            "COPILOT_PROVIDER_MAX_OUTPUT_TOKENS",
            "COPILOT_PROVIDER_MAX_PROMPT_TOKENS",
            "COPILOT_PROVIDER_MODEL_ID",
            "COPILOT_PROVIDER_TRANSPORT",
            "COPILOT_PROVIDER_WIRE_MODEL",
        ],
        how: copilot::copilot,
    },
    // 0.61.0
    Agent {
        name: "gemini",
        provider: "gemini_cli",
        program: "gemini",
        install: "npm install -g @google/gemini-cli",
        tokens: [12_400, 2_110, 150],
        kept: [
            "the tools that read, write, edit and run, short instructions, and no MCP servers",
            "no tools, short instructions, and no MCP servers",
        ],
        unset: &[
            "GEMINI_API_KEY_AUTH_MECHANISM",
            "GEMINI_CLI_CUSTOM_HEADERS",
            "GOOGLE_API_KEY",
            "GOOGLE_GENAI_USE_GCA",
            "GOOGLE_GENAI_USE_VERTEXAI",
        ],
        how: gemini,
    },
];

/// What an agent is told in place of its own long instructions: with tools, and without.
const INSTRUCTIONS: [&str; 2] = [
    "You are a coding agent at the user's terminal. Look at files before you change them, change no more than was asked for, and say shortly what you did.\n",
    "You are a helpful assistant at the user's terminal. You have no tools here: answer from what you are told.\n",
];

impl Agent {
    /// Where its program is.
    pub(super) fn program(&self, environment: &Environment) -> Outcome<PathBuf> {
        let failed = |what: String, hint: String| Err(Failure::usage(what, &hint));
        match resolve(self.program, environment.get("PATH")) {
            Resolved::Found(program) => Ok(program),
            Resolved::NotExecutable(file) => {
                failed(format!("{} may not be executed", file.display()), format!("chmod +x {}", file.display()))
            }
            Resolved::NotFound => failed(
                format!("{} is not installed: no folder of PATH has it", self.program),
                format!("install it with: {}", self.install),
            ),
        }
    }

    /// The tokens of its first request.
    pub(super) fn tokens(&self, tools: Tools) -> u64 {
        let [all, few, none] = self.tokens;
        match tools {
            Tools::All => all,
            Tools::Few => few,
            Tools::None => none,
        }
    }

    /// What is left of it, in words.
    pub(super) fn kept(&self, tools: Tools) -> &'static str {
        let [few, none] = self.kept;
        match tools {
            Tools::All => "all of its tools",
            Tools::Few => few,
            Tools::None => none,
        }
    }

    /// How it is started.
    pub(super) fn start(&self, ask: &Ask<'_>) -> Outcome<Start> {
        let mut start = Start { unset: self.unset, given: ask.args.to_vec(), ..Start::default() };
        (self.how)(ask, &mut start)?;
        directly(ask.environment, &mut start);
        Ok(start)
    }
}

/// Whom no proxy is asked for, by either name.
pub(super) const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// What is meant for this machine goes through no proxy, whether the user has one in the environment or in the agent's own settings.
fn directly(environment: &Environment, start: &mut Start) {
    let [upper, lower] = NO_PROXY.map(|name| environment.get(name));
    for (name, own) in NO_PROXY.into_iter().zip([upper.or(lower), lower.or(upper)]) {
        start.set(name, with_loopback(own));
    }
}

/// A list of whom no proxy is asked for, with this machine in it.
pub(super) fn with_loopback(own: Option<&str>) -> String {
    const LOOPBACK: &str = "127.0.0.1,localhost,::1,[::1]";
    match own.map(str::trim).filter(|own| !own.is_empty()) {
        // It means everybody only where it stands alone.
        Some("*") => "*".to_owned(),
        Some(own) => format!("{own},{LOOPBACK}"),
        None => LOOPBACK.to_owned(),
    }
}

/// Gemini CLI takes an address from a variable only together with a kind of login that stands in its settings: `home.rs`.
fn gemini(ask: &Ask<'_>, start: &mut Start) -> Outcome {
    const HOME: &str = "GEMINI_CLI_HOME";
    let named = ask.environment.get(HOME).map(PathBuf::from).or_else(|| ask.environment.home().map(Path::to_path_buf));
    let real = named.ok_or_else(|| Failure::usage("there is no home for Gemini CLI", "set HOME"))?;
    let lent = Lent::new(ask.folder, &real, |settings| {
        put(settings, &["security", "auth", "selectedType"], json!("gemini-api-key"));
        // Whatever it asks a model for has one of these behind it, and the last that fits holds.
        let small = ["base", "agent-history-provider-summarizer"].into_iter().chain(COMPRESSIONS.iter().copied());
        let one = |of: &str, model: &str| json!({ "match": { "model": of }, "modelConfig": { "model": model } });
        let ours = small.map(|of| one(of, ask.small)).chain([one("chat-base", ask.model)]);
        let own = settings["modelConfigs"]["customOverrides"].as_array().cloned().unwrap_or_default();
        put(settings, &["modelConfigs", "customOverrides"], own.into_iter().chain(ours).collect());
        if ask.tools != Tools::All {
            let core: &[&str] = match ask.tools {
                Tools::None => &[],
                _ => &["read_file", "replace", "run_shell_command", "write_file"],
            };
            put(settings, &["tools", "core"], json!(core));
            put(settings, &["context", "includeDirectoryTree"], json!(false));
        }
    })?;
    if ask.tools != Tools::All {
        start.set("GEMINI_SYSTEM_MD", instructions(ask)?.display().to_string());
        // Only servers of a name that none has: not those of the user, of the folder or of extensions.
        start.arg("--allowed-mcp-server-names=none-of-llm-router-run");
    }
    start.set(HOME, lent.path.display().to_string());
    start.lent = Some(lent);
    start.set("GOOGLE_GEMINI_BASE_URL", ask.base);
    start.set("GEMINI_API_KEY", ask.key.expose());
    start.set("GEMINI_MODEL", ask.model);
    Ok(())
}

/// The names under which Gemini CLI shortens a conversation, which stand for themselves.
const COMPRESSIONS: &[&str] = &[
    "chat-compression-3-pro",
    "chat-compression-3-flash",
    "chat-compression-3.1-flash-lite",
    "chat-compression-2.5-pro",
    "chat-compression-2.5-flash",
    "chat-compression-2.5-flash-lite",
    "chat-compression-default",
];

/// Sets a value below these names.
pub(super) fn put(settings: &mut Value, path: &[&str], value: Value) {
    let mut at = settings;
    for name in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[*name];
    }
    *at = value;
}

/// Writes the instructions that an agent is told in place of its own.
pub(super) fn instructions(ask: &Ask<'_>) -> Outcome<PathBuf> {
    let [with, without] = INSTRUCTIONS;
    ask.folder.write("instructions.md", if ask.tools == Tools::None { without } else { with })
}

/// The tokens that an answer may have, of a window that a prompt must have room in.
pub(super) fn answer(window: u64) -> u64 {
    (window / 4).clamp(1, 32_000)
}
