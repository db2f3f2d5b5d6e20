//! The command line: what may be typed, as types. What each command does is in `commands/`; the words behind `keys` and `peers` are in `args/`.

mod keys;
mod peers;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

pub(crate) use self::keys::{KeyCreate, KeyDerive, KeyLimits, KeyUpdate, Keys};
pub(crate) use self::peers::{PeerInvite, Peers};

/// Generate text through cloud APIs, agent CLIs, an embedded model or peers: one command for all.
#[derive(Debug, Parser)]
#[command(name = "llm-router", version, propagate_version = true, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub global: Global,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file [default: the user's config folder]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Print one JSON object, always: the result or {"error": …}
    #[arg(long, global = true)]
    pub json: bool,

    /// Say on standard error what is being done
    #[arg(long, global = true)]
    pub debug: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Generate text from a prompt
    #[command(visible_aliases = ["gen", "g"])]
    Generate(Generate),
    /// Talk with a model; with --json a line of JSON for each answer
    Chat(Chat),
    /// List the providers and whether each could answer now
    #[command(visible_aliases = ["prov", "list"])]
    Providers(Providers),
    /// List the models that can be named
    Models(Models),
    /// Ask a provider for a word and say how long it took
    Test(Test),
    /// Forget stored answers
    #[command(visible_alias = "clear")]
    ClearCache,
    /// Look into the response cache
    #[command(subcommand)]
    Cache(Cache),
    /// Fetch a model for the embedded engine
    Pull(Pull),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(Config),
    /// Keep provider keys
    #[command(subcommand)]
    Auth(Auth),
    /// Make, list and revoke the keys of the server's clients
    #[command(subcommand)]
    Keys(Keys),
    /// Trust other routers, be trusted by them, see what they serve
    #[command(subcommand)]
    Peers(Peers),
    /// Show what was used and what it cost
    Usage(Usage),
    /// Show which providers would answer a request, nothing is sent; or what happened to one of a running server
    Explain(Explain),
    /// Answer over HTTP, in the dialects of OpenAI, Anthropic and Gemini and in the native one
    Serve(Serve),
    /// Be a tool server for MCP clients, over standard input and output
    Mcp,
    /// Start a coding agent that asks this router, and so runs on any provider
    Run(Run),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Say what is missing and the next step
    Doctor(Doctor),
    /// Run the embedded engine for another process, over standard input and output
    #[command(hide = true)]
    Worker {
        /// What to run, as the parent says it
        task: String,
    },
}

/// What a request is made of.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RequestArgs {
    /// Provider to ask; see `llm-router providers`
    #[arg(long, value_name = "ID")]
    pub provider: Option<String>,

    /// Model: a route, PROVIDER/MODEL, or a name that a provider lists
    #[arg(short, long, value_name = "NAME")]
    pub model: Option<String>,

    /// Instructions that come before the prompt
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,

    /// Most tokens of the answer
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,

    /// Randomness; 0 is the same answer every time
    #[arg(short, long, value_name = "X", allow_negative_numbers = true)]
    pub temperature: Option<f64>,

    /// Sample from the likeliest tokens that together have this probability
    #[arg(long, value_name = "X")]
    pub top_p: Option<f64>,

    /// Make sampling repeatable, where the provider can
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,

    /// Text that ends the answer; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,

    /// Seconds until the request is given up [default: 120, or `timeouts.total` of the config]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<f64>,

    /// Neither look into the response cache nor store the answer
    #[arg(long)]
    pub no_cache: bool,

    /// Use only providers on this machine, and fetch nothing
    #[arg(long)]
    pub offline: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Generate {
    /// The prompt; what comes on standard input is added behind a blank line
    #[arg(value_name = "PROMPT")]
    pub text: Option<OsString>,

    /// The prompt, as an option
    #[arg(short, long = "prompt", value_name = "TEXT", conflicts_with = "text", allow_hyphen_values = true)]
    pub prompt: Option<OsString>,

    /// Read the prompt from a file
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["text", "prompt"], value_hint = ValueHint::FilePath)]
    pub prompt_file: Option<PathBuf>,

    /// Write the answer to a file: all of it or nothing
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Picture to look at; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub image: Vec<PathBuf>,

    /// Print the answer at its end, not as it comes
    #[arg(long)]
    pub no_stream: bool,

    #[command(flatten)]
    pub request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to bind [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,

    /// Port to bind; 0 lets the system choose [default: 8000]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Answer trusted peers too, and ask them: what is shared stands under [peers] of the configuration
    #[arg(long)]
    pub peers: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent: claude, codex, copilot or gemini
    #[arg(value_name = "AGENT")]
    pub agent: String,

    /// Model: a route, PROVIDER/MODEL, or a name that a provider lists [default: the first that would answer]
    #[arg(short, long, value_name = "NAME")]
    pub model: Option<String>,

    /// Model of the agent's small tasks, titles and summaries [default: the same]
    #[arg(long, value_name = "NAME")]
    pub small_model: Option<String>,

    /// Which of its tools the agent has: all, few or none [default: as many as the model has room for]
    #[arg(long, value_name = "HOW MANY", value_parser = ["all", "few", "none"])]
    pub tools: Option<String>,

    /// Most tokens of one answer: the agent's requests that ask for more, or name none, get these
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,

    /// Most dollars of this run: 1 or 0.50
    #[arg(long, value_name = "DOLLARS")]
    pub budget: Option<String>,

    /// With a budget: models of unknown price too, which count as free
    #[arg(long)]
    pub unpriced: bool,

    /// How long the agent may ask: 30m, 12h, 90d [default: to the end of the run]
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,

    /// A file with a key of the router that serves already
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,

    /// What the agent itself is given
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Providers {
    /// Also what is missing, default models and aliases
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Models {
    /// Only this provider's
    #[arg(long, value_name = "ID")]
    pub provider: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only this provider [default: each that is available]
    #[arg(long, value_name = "ID")]
    pub provider: Option<String>,

    /// Seconds for each
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub timeout: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// How much is stored, and where
    Stat,
    /// List stored answers, the latest first
    Ls {
        /// Most entries
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Print a stored answer
    Get {
        /// A key as printed by `explain` or `generate --json`
        key: String,
    },
    /// Store an answer from a file of `cache export`
    Put {
        /// One JSON line; `-` is standard input
        file: PathBuf,
    },
    /// Print the content identifier of a JSON file's canonical bytes
    Cid {
        /// JSON; `-` is standard input
        file: PathBuf,
        /// base32, base58btc or base36
        #[arg(long, default_value = "base32")]
        base: String,
        /// raw or dag-json
        #[arg(long, default_value = "raw")]
        codec: String,
    },
    /// Write all stored answers as JSON lines
    Export {
        /// The file; `-` is standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Store the answers of an export, each checked against its identifier
    Import {
        /// The file; `-` is standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// A path, hf:OWNER/REPO/FILE.gguf or hf:OWNER/REPO:QUANT [default: the default model]
    pub model: Option<String>,

    /// Take the file that the source has now, even if it changed
    #[arg(long)]
    pub update: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print every setting as it stands
    Show {
        /// Also where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Check a configuration file and name all its mistakes
    Check {
        /// The file [default: the one that would be used]
        file: Option<PathBuf>,
    },
    /// Convert another router's configuration; what cannot be said here is listed with its line
    Import {
        /// Whose configuration it is
        #[arg(value_name = "FROM", value_parser = ["litellm"])]
        from: String,
        /// The file; `-` is standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Write the configuration to a new file, not to standard output
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Keep a provider's key, read from standard input
    Set {
        /// The provider
        provider: String,
    },
    /// List the providers with a kept key
    Ls,
    /// Forget a provider's key
    Rm {
        /// The provider
        provider: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// What it is put together by: day, key, team, provider, model, or several with commas between
    #[arg(long, value_name = "NAMES", default_value = "day")]
    pub by: String,

    /// First day: 2026-11-01, or 7d for the last seven [default: 30d]
    #[arg(long, value_name = "DAY")]
    pub since: Option<String>,

    /// Last day [default: today]
    #[arg(long, value_name = "DAY")]
    pub until: Option<String>,

    /// Only this key's, by its name, its id, or both as `--by key` shows them
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The prompt; or the id of a request (req_…) that a running server answered lately
    #[arg(value_name = "PROMPT|ID")]
    pub text: Option<String>,

    /// Where that server listens [default: as the configuration says]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,

    /// A file with the key to show that server, - for standard input [default: an admin key of the configuration]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// The prompt, as an option
    #[arg(short, long = "prompt", value_name = "TEXT", conflicts_with = "text", allow_hyphen_values = true)]
    pub prompt: Option<String>,

    #[command(flatten)]
    pub request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Forget which keys and logins were refused, and ask again
    #[arg(long)]
    pub refresh: bool,
}
