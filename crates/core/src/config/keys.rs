//! The table of everything that the config file can say: each key's kind, default, meaning and what it does to [`Settings`].
//!
//! `docs/configuration.md` is made from it, unknown keys are found by it, flags and variables name its paths. It reads nothing itself: the walk over a
//! file is in `file.rs`, joining and cross-checks are in `validate.rs`. In a path, `*` stands for a name and `[]` for the place in a list of tables.

use std::time::Duration;

use super::output::{Condition, OutputForm, Pick};
use super::value::{Kind, Value};
use super::{Balance, CacheSettings, KeyLimits, ModelSettings, ProviderSettings, RouteSettings, Settings};
use crate::dialect::{Dialect, Framing};
use crate::ids::ProviderId;
use crate::pricing::Price;

/// One key of the config file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Key {
    /// The dotted path, `providers.*.base_url` for example.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The value when nothing sets it, as TOML; empty where that is "unset".
    pub default: &'static str,
    /// A value, as TOML.
    pub example: &'static str,
    /// Why setting it has no effect in this version; empty for a key that works.
    pub later: &'static str,
    /// What it means.
    pub doc: &'static str,
    pub(super) apply: fn(&mut Settings, &[String], &Value),
}

impl Key {
    /// Whether setting it has an effect in this version.
    pub fn active(&self) -> bool {
        self.later.is_empty()
    }

    /// The key of a pattern, and the names that `path` gives its wildcards. A name in a dotted path holds no dot.
    pub fn find(path: &str) -> Option<(&'static Key, Vec<String>)> {
        KEYS.iter().find_map(|key| Some((key, key.matches(path)?)))
    }

    fn matches(&self, path: &str) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let (mut pattern, mut parts) = (self.path.split('.'), path.split('.'));
        loop {
            match (pattern.next(), parts.next()) {
                (None, None) => return Some(names),
                (Some("*" | "[]"), Some(name)) => names.push(name.to_owned()),
                (Some(expected), Some(part)) if expected == part => {}
                _ => return None,
            }
        }
    }

    /// The path with names in place of the wildcards, as messages show it.
    pub fn named(&self, names: &[String]) -> String {
        named(self.path, names)
    }
}

/// A pattern with names in place of its wildcards, as messages show it.
pub(super) fn named(pattern: &str, names: &[String]) -> String {
    let mut names = names.iter();
    let mut out = String::new();
    for part in pattern.split('.').filter(|part| !part.is_empty()) {
        if part == "[]" {
            out.push_str(&format!("[{}]", names.next().map_or("", String::as_str)));
            continue;
        }
        let name = if part == "*" { names.next().map_or("*", String::as_str) } else { part };
        let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let dot = if out.is_empty() { "" } else { "." };
        out.push_str(&if bare { format!("{dot}{name}") } else { format!("{dot}{name:?}") });
    }
    out
}

/// The key with this very pattern.
pub(super) fn key_at(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Sets a field that always has a value.
fn put<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Changes one provider's settings. Names are ids by the time they come here: `file.rs` and `Key::find` let no other through.
fn at(settings: &mut Settings, names: &[String], change: impl FnOnce(&mut ProviderSettings)) {
    if let Some(id) = names.first().and_then(|name| ProviderId::new(name).ok()) {
        change(settings.providers.entry(id).or_default());
    }
}

/// A text that the settings' own reader takes; it took it when the value was read.
fn read<T>(value: &Value, parse: fn(&str) -> Result<T, String>) -> Option<T> {
    value.text().and_then(|text| parse(&text).ok())
}

fn route<'a>(settings: &'a mut Settings, names: &[String]) -> &'a mut RouteSettings {
    settings.routes.entry(names.first().cloned().unwrap_or_default()).or_default()
}

fn team<'a>(settings: &'a mut Settings, names: &[String]) -> &'a mut KeyLimits {
    settings.teams.entry(names.first().cloned().unwrap_or_default()).or_default()
}

fn model<'a>(settings: &'a mut Settings, names: &[String]) -> &'a mut ModelSettings {
    settings.models.entry(names.first().cloned().unwrap_or_default()).or_default()
}

fn price<'a>(settings: &'a mut Settings, names: &[String]) -> &'a mut Price {
    settings.prices.entry(names.first().cloned().unwrap_or_default()).or_default()
}

fn framing(value: &Value) -> Option<Framing> {
    value.text().map(|word| Framing::of(word == "stream"))
}

fn cache(settings: &mut Settings) -> &mut CacheSettings {
    &mut settings.cache
}

/// What `validate.rs` puts together from several keys.
fn joined(_: &mut Settings, _: &[String], _: &Value) {}

/// How long the answer of an `api_key_command` holds.
pub(super) const KEY_LIFETIME: Duration = Duration::from_secs(3600);

const FRAMINGS: &[&str] = &["whole", "stream"];
const PRIVACY: &[&str] = &["local", "trusted", "any"];
const HOLD: Kind = Kind::Word(&["content", "whole"]);
const RESUME: Kind = Kind::Word(&["off", "continue", "restart"]);
const PACE: Kind = Kind::Integer { min: 0, max: 1_000_000_000 };
const COUNT: Kind = Kind::Integer { min: 1, max: 1_000_000 };
const LIMIT: Kind = Kind::Integer { min: 0, max: 1_000_000_000_000 };

macro_rules! keys {
    ($($path:literal, $kind:expr, $default:literal, $example:literal $(, later $later:expr)?; $doc:literal => $apply:expr;)*) => {
        /// Every key, in the order of the reference.
        pub static KEYS: &[Key] = &[$(Key {
            path: $path, kind: $kind, default: $default, example: $example, later: concat_later!($($later)?), doc: $doc, apply: $apply,
        },)*];
    };
}

macro_rules! concat_later {
    () => {
        ""
    };
    ($later:expr) => {
        $later
    };
}

keys! {
    "router.provider", Kind::Provider, "", "\"openrouter\"";
        "The provider that heads every automatic plan." => |s, _, v| s.router.provider = v.provider();
    "router.model", Kind::Model, "", "\"openai/gpt-4o-mini\"";
        "The default model of `openrouter`, `accelerate`, `local_hf` and of `router.provider`." => |s, _, v| s.router.model = v.model();
    "router.fallback", Kind::Flag, "true", "false";
        "Whether an automatic plan that `router.provider` heads goes on to the floor; without a `router.provider` it has no effect." => |s, _, v| put(&mut s.router.fallback, v.flag());
    "router.model_fallback", Kind::Flag, "false", "true";
        "Whether a provider that does not know the model asked for is asked for its default one also where the request says nothing of `substitute` (never on `/v1`)." => |s, _, v| put(&mut s.router.model_fallback, v.flag());
    "router.substitute", Kind::Word(&["never", "same_model", "any"]), "\"any\"", "\"never\"";
        "The most that may stand in for what a request names: nothing but the first target, any target of the plan, also a provider's default model. A request may ask for less, not for more." => |s, _, v| put(&mut s.router.substitute, v.parsed());
    "router.privacy", Kind::Word(PRIVACY), "\"any\"", "\"trusted\"";
        "Who may see a request: this machine, also trusted providers and peers, anyone. A request may ask for less, not for more." => |s, _, v| put(&mut s.router.privacy, v.parsed());
    "router.head_after", Kind::Duration, "\"10s\"", "\"3s\"";
        "The wait before a response's head goes out without content." => |s, _, v| put(&mut s.router.head_after, v.duration());
    "router.breaker", Kind::Flag, "true", "false";
        "Whether a target that fails is left alone for a while, and then tried by one request (docs/routing.md, \"Breakers\")." => |s, _, v| put(&mut s.router.breaker, v.flag());
    "router.retry_percent", Kind::Integer { min: 0, max: 300 }, "20", "10";
        "How many retries there may be for each hundred requests, `router.retry_floor` besides; past that a failure goes to the next target, or to the caller. 0 for both turns retries off." => |s, _, v| put(&mut s.router.retry_percent, v.integer());
    "router.retry_floor", Kind::Integer { min: 0, max: 10_000 }, "10", "1";
        "How many retries there may be in each second besides `router.retry_percent`, saved up for ten seconds." => |s, _, v| put(&mut s.router.retry_floor, v.integer());
    "router.timeouts.connect", Kind::Duration, "", "\"5s\"";
        "Name look-up, TCP and TLS; 5s where nothing sets it." => |s, _, v| s.router.timeouts.connect = v.duration();
    "router.timeouts.first_event", Kind::Duration, "", "\"15s\"";
        "Until the first content of a streamed answer, for the whole request: while another target remains, one gets at most half of what is left. Empty events do not count, but where the embedded model reads a prompt its progress does. 15s where nothing sets it." => |s, _, v| s.router.timeouts.first_event = v.duration();
    "router.timeouts.idle", Kind::Duration, "", "\"30s\"";
        "Between two events of a streamed answer; 30s where nothing sets it." => |s, _, v| s.router.timeouts.idle = v.duration();
    "router.timeouts.whole", Kind::Duration, "", "\"5m\"";
        "A whole answer; 5m where nothing sets it." => |s, _, v| s.router.timeouts.whole = v.duration();
    "router.timeouts.total", Kind::Duration, "", "\"10m\"";
        "One target: all attempts until the first content, and each attempt until its end; 10m where nothing sets it." => |s, _, v| s.router.timeouts.total = v.duration();
    "router.timeouts.min_bytes_per_s", PACE, "", "16";
        "The least bytes of a whole answer that must come in each second once it has begun, over any time of `idle`'s length; 0 for none; 16 where nothing sets it." => |s, _, v| s.router.timeouts.min_bytes_per_s = v.integer();
    "router.hold", HOLD, "\"content\"", "\"whole\"";
        "When an answer is given out: from its first content on, or when it is complete, so that whatever goes wrong another target can take over (docs/routing.md, \"Holding an answer back\"). 8 MiB are held at most." => |s, _, v| put(&mut s.router.hold, v.parsed());
    "router.resume", RESUME, "\"off\"", "\"continue\"";
        "Whether somebody goes on with an answer that broke off after its first content: behind what was given out, where the target is known to do that, or anew, heard once it has said the same (docs/routing.md, \"Resuming\")." => |s, _, v| put(&mut s.router.resume, v.parsed());

    "providers.*.preset", Kind::Preset, "", "\"vllm\"";
        "The preset that fills what is not given. A provider named like a preset uses that one." => |s, n, v| at(s, n, |p| p.preset = v.text());
    "providers.*.base_url", Kind::Url, "", "\"http://127.0.0.1:9100/v1\"";
        "The address that paths are appended to, version included." => |s, n, v| at(s, n, |p| p.base_url = v.text());
    "providers.*.dialect", Kind::Words(Dialect::NAMES), "", "[\"openai_responses\", \"openai_chat\"]";
        "The dialects it speaks; the one shared with the caller is preferred, then the first." => |s, n, v| at(s, n, |p| p.dialects = v.list().into_iter().flatten().filter_map(|word| Value::Text(word).parsed()).collect());
    "providers.*.api_key", Kind::Secret, "", "\"sk-…\"";
        "The key itself. Prefer `api_key_env` or `api_key_file`." => joined;
    "providers.*.api_key_env", Kind::VariableName, "", "\"LAB_KEY\"";
        "The variable that holds the key." => joined;
    "providers.*.api_key_file", Kind::Path, "", "\"~/.secrets/lab\"";
        "The file that holds the key, read again when it changes." => joined;
    "providers.*.api_key_command", Kind::Argv, "", "[\"pass\", \"show\", \"lab\"]";
        "The program that prints the key." => joined;
    "providers.*.api_key_lifetime", Kind::Duration, "\"1h\"", "\"10m\"";
        "How long the answer of `api_key_command` holds." => joined;
    "providers.*.credentials.[].api_key", Kind::Secret, "", "\"sk-…\"";
        "Several keys, each a target of its own, asked in order or as `balance` says: each `[[providers.NAME.credentials]]` holds one of the four forms." => joined;
    "providers.*.credentials.[].api_key_env", Kind::VariableName, "", "\"LAB_KEY_2\"";
        "The variable that holds the key." => joined;
    "providers.*.credentials.[].api_key_file", Kind::Path, "", "\"~/.secrets/lab2\"";
        "The file that holds the key." => joined;
    "providers.*.credentials.[].api_key_command", Kind::Argv, "", "[\"pass\", \"show\", \"lab2\"]";
        "The program that prints the key." => joined;
    "providers.*.credentials.[].api_key_lifetime", Kind::Duration, "\"1h\"", "\"10m\"";
        "How long the answer of `api_key_command` holds." => joined;
    "providers.*.models", Kind::List, "", "[\"*\"]";
        "Model names it serves; `*` is any." => |s, n, v| at(s, n, |p| put(&mut p.models, v.list()));
    "providers.*.default_model", Kind::Model, "", "\"qwen3-30b\"";
        "The model used when none is named." => |s, n, v| at(s, n, |p| p.default_model = v.model());
    "providers.*.headers.*", Kind::Secret, "", "\"team-a\"";
        "Headers sent with every call." => |s, n, v| at(s, n, |p| p.headers.extend(n.get(1).cloned().zip(v.secret())));
    "providers.*.ca_file", Kind::Path, "", "\"~/lab-ca.pem\"";
        "A PEM file of certificates to trust for this provider, besides the public ones and `http.ca_file`." => |s, n, v| at(s, n, |p| p.ca_file = v.path());
    "providers.*.max_in_flight", COUNT, "", "64";
        "The most calls at once; without it there is no limit." => |s, n, v| at(s, n, |p| p.max_in_flight = v.integer());
    "providers.*.max_queue", Kind::Integer { min: 0, max: 100_000 }, "0", "32";
        "How many calls may wait for one of those to end, in the order of coming; their deadlines run meanwhile. Past that, or with 0, the next target is asked at once." => |s, n, v| at(s, n, |p| put(&mut p.max_queue, v.integer()));
    "providers.*.timeouts.connect", Kind::Duration, "", "\"5s\"";
        "As `router.timeouts.connect`, for this provider." => |s, n, v| at(s, n, |p| p.timeouts.connect = v.duration());
    "providers.*.timeouts.first_event", Kind::Duration, "", "\"15s\"";
        "As `router.timeouts.first_event`, for this provider. It and `idle` say nothing to a `command`: what a program prints comes when it comes, and `whole` governs it, streamed or not." => |s, n, v| at(s, n, |p| p.timeouts.first_event = v.duration());
    "providers.*.timeouts.idle", Kind::Duration, "", "\"30s\"";
        "As `router.timeouts.idle`, for this provider." => |s, n, v| at(s, n, |p| p.timeouts.idle = v.duration());
    "providers.*.timeouts.whole", Kind::Duration, "", "\"5m\"";
        "As `router.timeouts.whole`, for this provider." => |s, n, v| at(s, n, |p| p.timeouts.whole = v.duration());
    "providers.*.timeouts.total", Kind::Duration, "", "\"10m\"";
        "As `router.timeouts.total`, for this provider." => |s, n, v| at(s, n, |p| p.timeouts.total = v.duration());
    "providers.*.timeouts.min_bytes_per_s", PACE, "", "16";
        "As `router.timeouts.min_bytes_per_s`, for this provider." => |s, n, v| at(s, n, |p| p.timeouts.min_bytes_per_s = v.integer());
    "providers.*.prefill", Kind::Flag, "", "true";
        "Whether its models go on behind the beginning of an answer that a conversation ends with, for `resume = \"continue\"`. Unset is what its preset knows: yes for `llama_cpp`, `local`, `sglang` and `vllm`." => |s, n, v| at(s, n, |p| p.prefill = v.flag());
    "providers.*.upstream", Kind::Word(FRAMINGS), "", "\"stream\"";
        "Ask upstream for this framing whatever the caller asked for." => |s, n, v| at(s, n, |p| p.upstream = framing(v));
    "providers.*.command", Kind::Command, "", "\"my-agent --ask {prompt}\"";
        "The command line of a program that answers: split into words, then `{prompt}` and `{model}` are filled in; without `{prompt}` the prompt goes to its standard input. No shell." => |s, n, v| at(s, n, |p| p.command = v.text());
    "providers.*.output", Kind::Output, "\"text\"", "\"/result/text\"";
        "What the program of `command` prints: the answer's text, one JSON value in which the text stands at this pointer, or `lines` of JSON, which `lines.*` explain. Without `end`, lines end with the program's output." => |s, n, v| at(s, n, |p| put(&mut p.output, read(v, OutputForm::parse)));
    "providers.*.lines.text", Kind::Pick, "", "\"/part/text where /type=text\"";
        "Where a piece of the answer's text stands in a line." => |s, n, v| at(s, n, |p| p.lines.text = read(v, Pick::parse));
    "providers.*.lines.thoughts", Kind::Pick, "", "\"/part/text where /type=reasoning\"";
        "Where a piece of its thoughts stands." => |s, n, v| at(s, n, |p| p.lines.thoughts = read(v, Pick::parse));
    "providers.*.lines.error", Kind::Pick, "", "\"/error/message\"";
        "Where a line says what went wrong: the answer has failed." => |s, n, v| at(s, n, |p| p.lines.error = read(v, Pick::parse));
    "providers.*.lines.end", Kind::Condition, "", "\"/type=done\"";
        "The line with which a whole answer ends: one that ends without it was cut." => |s, n, v| at(s, n, |p| p.lines.end = read(v, Condition::parse));
    "providers.*.lines.input_tokens", Kind::Pick, "", "\"/usage/input where /type=done\"";
        "Where the tokens of the prompt are counted, cached ones included; the last count holds." => |s, n, v| at(s, n, |p| p.lines.input_tokens = read(v, Pick::parse));
    "providers.*.lines.cached_tokens", Kind::Pick, "", "\"/usage/cached\"";
        "Where those of them are counted that came from a cache." => |s, n, v| at(s, n, |p| p.lines.cached_tokens = read(v, Pick::parse));
    "providers.*.lines.output_tokens", Kind::Pick, "", "\"/usage/output\"";
        "Where the tokens of the answer are counted, thoughts included." => |s, n, v| at(s, n, |p| p.lines.output_tokens = read(v, Pick::parse));
    "providers.*.lines.reasoning_tokens", Kind::Pick, "", "\"/usage/thoughts\"";
        "Where those of them are counted that were thoughts." => |s, n, v| at(s, n, |p| p.lines.reasoning_tokens = read(v, Pick::parse));
    "providers.*.pass_env", Kind::VariableNames, "", "[\"MY_AGENT_KEY\"]";
        "The variables that the program of `command`, or of an agent, may see besides those that every program sees (`PATH`, `HOME`, language, proxies and the like). No error repeats their values." => |s, n, v| at(s, n, |p| put(&mut p.pass_env, v.list()));
    "providers.*.privacy", Kind::Word(PRIVACY), "", "\"trusted\"";
        "Who sees what is sent to it. Unset is `local` for an address on this machine and `any` for all else. A `command` is `any` too: its program may pass the prompt on to anybody, so a request that must stay here (`--offline`, `router.privacy`) leaves it out unless this says `local`." => |s, n, v| at(s, n, |p| p.privacy = v.parsed());
    "providers.*.agent", Kind::Flag, "false", "true";
        "Whether it may use tools on this machine: such a provider answers the command and the library only, and the keys that `remote` names." => |s, n, v| at(s, n, |p| put(&mut p.agent, v.flag()));
    "providers.*.folder", Kind::Path, "", "\"~/project\"";
        "The folder in which an agent with `agent = true` uses its tools. Without tools an agent works in an empty folder of its own." => |s, n, v| at(s, n, |p| p.folder = v.path());
    "providers.*.permission_mode", Kind::Text, "", "\"plan\"";
        "What an agent with `agent = true` may do with its tools, in its own words: Claude Code's and Gemini's permission modes, Codex's sandboxes, Copilot's `read-only` or `allow-all`. Unset is the first that its page names." => |s, n, v| at(s, n, |p| p.permission_mode = v.text());
    "providers.*.remote", Kind::List, "", "[\"3f29b1c07a5d4e68\"]";
        "The keys whose requests reach an agent with `agent = true` over HTTP, MCP or peers as well: of a key that was made its id (`llm-router keys ls`), of one of `server.api_keys` its name. Keys derived from one of them do not. Whoever holds one can have that agent work on this machine." => |s, n, v| at(s, n, |p| put(&mut p.remote, v.list()));
    "providers.*.enabled", Kind::Flag, "", "false";
        "`false` takes it out of every plan; `true` admits `accelerate`." => |s, n, v| at(s, n, |p| p.enabled = v.flag());
    "providers.*.balance", Kind::Word(&["order", "random", "round_robin", "least_busy"]), "\"order\"", "\"round_robin\"";
        "Which of several keys is asked with first: the first one written, anyone, each in turn, the one with the fewest calls under way." => |s, n, v| at(s, n, |p| p.balance = v.parsed());
    "providers.*.lacks", Kind::Words(&["tools", "images", "audio", "files", "json_schema", "multiple_choices"]), "", "[\"images\"]";
        "What it does not take although APIs of its kind do: requests that need it go to the other targets of a plan." => |s, n, v| at(s, n, |p| put(&mut p.lacks, v.list()));
    "providers.*.via", Kind::Text, "", "\"together\"";
        "The provider behind an aggregator (Hugging Face's Inference Providers)." => |s, n, v| at(s, n, |p| p.via = v.text());
    "providers.*.api_version", Kind::Text, "", "\"2024-10-21\"";
        "The version of the API that is named in the query, for Azure. With a date, deployments are in the path; without one, or with `preview`, Azure's newer paths (`/openai/v1`) are used." => |s, n, v| at(s, n, |p| p.api_version = v.text());
    "providers.*.deployment", Kind::Model, "", "\"team-gpt\"";
        "What is asked for in place of any model's name: a deployment of Azure's that is not called like its model." => |s, n, v| at(s, n, |p| p.deployment = v.model());
    "providers.*.sandbox", Kind::Word(&["auto", "read-only", "workspace-write", "danger-full-access"]), "", "\"read-only\"";
        "What an agent may touch; `auto` is the router's choice, `read-only`." => |s, n, v| at(s, n, |p| p.sandbox = v.text().filter(|word| word != "auto"));
    "providers.*.skip_git_repo_check", Kind::Flag, "", "true";
        "Whether an agent may run outside a Git repository." => |s, n, v| at(s, n, |p| p.skip_git_repo_check = v.flag());

    "routes.*.groups", Kind::Groups, "", "[[\"lab/qwen3-30b\", \"groq/llama-3.3-70b\"], [\"local\"]]";
        "The targets: `provider`, `provider/model` or another route; balanced within a group, in order between groups." => |s, n, v| put(&mut route(s, n).groups, v.groups());
    "routes.*.balance", Kind::Word(Balance::NAMES), "", "\"latency\"";
        "Which member of a group is asked first: the first one written (`order`), anyone, each in turn (`round_robin`), in turn by `weights` (`weighted`), the one with the fewest calls under way, the quicker of two by their time to the first content, the cheapest, always the same one for a session or conversation (`sticky`), the one that had the prompt's beginning before (`prefix`). Unset is `weighted` where there are weights, else `order` (docs/routing.md, \"Balance\")." => |s, n, v| route(s, n).balance = v.parsed();
    "routes.*.weights.*", Kind::Integer { min: 0, max: 1_000_000 }, "", "3";
        "The share of the load of a target, as `groups` names it; 1 where nothing is said, and 0 is asked only when all others failed." => |s, n, v| route(s, n).weights.extend(n.get(1).cloned().zip(v.integer()));
    "routes.*.context", Kind::List, "", "[\"gemini/gemini-2.5-pro\"]";
        "The targets that are asked, in this order, after a target answered that the prompt is too long for it." => |s, n, v| put(&mut route(s, n).context, v.list());
    "routes.*.content_filter", Kind::List, "", "[\"lab/qwen3-30b\"]";
        "The targets that are asked, in this order, after a content filter refused the request; without them the refusal is the caller's." => |s, n, v| put(&mut route(s, n).content_filter, v.list());
    "routes.*.privacy", Kind::Word(PRIVACY), "", "\"trusted\"";
        "As `router.privacy`, for requests to this route." => |s, n, v| route(s, n).privacy = v.parsed();
    "routes.*.max_price", Kind::Dollars, "", "\"2.50\"";
        "What a million tokens may cost at most, in dollars, of prompt or answer, whichever is dearer: dearer targets are left out, and those of unknown price." => |s, n, v| route(s, n).max_price = v.integer();
    "routes.*.hedge", Kind::Flag, "false", "true";
        "Whether the next target is asked beside one that is late: later than 95 of a hundred of its answers. The first content wins, the other call is cancelled, and both are paid for. Agents, tools that run at a provider and conversations that a provider keeps are never asked twice." => |s, n, v| put(&mut route(s, n).hedge, v.flag());
    "routes.*.hedge_after", Kind::Duration, "\"3s\"", "\"800ms\"";
        "When a target is late of which fewer than twenty answers were seen." => |s, n, v| put(&mut route(s, n).hedge_after, v.duration());
    "routes.*.hedge_percent", Kind::Integer { min: 0, max: 100 }, "10", "5";
        "How many of a hundred requests to the route may be asked twice." => |s, n, v| put(&mut route(s, n).hedge_percent, v.integer());
    "routes.*.upstream", Kind::Word(FRAMINGS), "", "\"stream\"", later "providers are asked as the caller asked, or as their own `upstream` says";
        "Ask upstream for this framing whatever the caller asked for." => |s, n, v| route(s, n).upstream = framing(v);
    "routes.*.timeouts.connect", Kind::Duration, "", "\"5s\"";
        "As `router.timeouts.connect`, for this route." => |s, n, v| route(s, n).timeouts.connect = v.duration();
    "routes.*.timeouts.first_event", Kind::Duration, "", "\"15s\"";
        "As `router.timeouts.first_event`, for this route." => |s, n, v| route(s, n).timeouts.first_event = v.duration();
    "routes.*.timeouts.idle", Kind::Duration, "", "\"30s\"";
        "As `router.timeouts.idle`, for this route." => |s, n, v| route(s, n).timeouts.idle = v.duration();
    "routes.*.timeouts.whole", Kind::Duration, "", "\"5m\"";
        "As `router.timeouts.whole`, for this route." => |s, n, v| route(s, n).timeouts.whole = v.duration();
    "routes.*.timeouts.total", Kind::Duration, "", "\"10m\"";
        "As `router.timeouts.total`, for this route." => |s, n, v| route(s, n).timeouts.total = v.duration();
    "routes.*.timeouts.min_bytes_per_s", PACE, "", "16";
        "As `router.timeouts.min_bytes_per_s`, for this route." => |s, n, v| route(s, n).timeouts.min_bytes_per_s = v.integer();
    "routes.*.hold", HOLD, "", "\"whole\"";
        "As `router.hold`, for this route." => |s, n, v| route(s, n).hold = v.parsed();
    "routes.*.resume", RESUME, "", "\"continue\"";
        "As `router.resume`, for this route." => |s, n, v| route(s, n).resume = v.parsed();

    "models.*.timeouts.connect", Kind::Duration, "", "\"5s\"";
        "As `router.timeouts.connect`, for this model: `[models.\"provider/model\"]`. What a route says of its targets goes before it." => |s, n, v| model(s, n).timeouts.connect = v.duration();
    "models.*.timeouts.first_event", Kind::Duration, "", "\"60s\"";
        "As `router.timeouts.first_event`, for this model." => |s, n, v| model(s, n).timeouts.first_event = v.duration();
    "models.*.timeouts.idle", Kind::Duration, "", "\"30s\"";
        "As `router.timeouts.idle`, for this model." => |s, n, v| model(s, n).timeouts.idle = v.duration();
    "models.*.timeouts.whole", Kind::Duration, "", "\"5m\"";
        "As `router.timeouts.whole`, for this model." => |s, n, v| model(s, n).timeouts.whole = v.duration();
    "models.*.timeouts.total", Kind::Duration, "", "\"10m\"";
        "As `router.timeouts.total`, for this model." => |s, n, v| model(s, n).timeouts.total = v.duration();
    "models.*.timeouts.min_bytes_per_s", PACE, "", "16";
        "As `router.timeouts.min_bytes_per_s`, for this model." => |s, n, v| model(s, n).timeouts.min_bytes_per_s = v.integer();
    "models.*.prefill", Kind::Flag, "", "false";
        "As `providers.*.prefill`, for this model." => |s, n, v| model(s, n).prefill = v.flag();
    "models.*.window", Kind::Integer { min: 1, max: 1_000_000_000 }, "", "32768";
        "Its context window in tokens, prompt and answer together; without it what is known of well-known models. A target whose window is too small for a request is left out of a plan that has others." => |s, n, v| model(s, n).window = v.integer();

    "cache.providers", Kind::Flag, "true", "false";
        "Whether provider instances are kept between calls." => |s, _, v| put(&mut cache(s).providers, v.flag());
    "cache.responses", Kind::Flag, "false", "true";
        "Whether answers are stored and used again." => |s, _, v| put(&mut cache(s).responses, v.flag());
    "cache.key", Kind::Word(&["sha256", "cid"]), "\"sha256\"", "\"cid\"";
        "How a key is printed." => |s, _, v| put(&mut cache(s).key, v.text());
    "cache.cid_base", Kind::Word(&["base32", "base58btc", "base36"]), "\"base32\"", "\"base36\"";
        "The base in which a CID is printed." => |s, _, v| put(&mut cache(s).cid_base, v.text());
    "cache.scope", Kind::Word(&["key", "team", "global"]), "\"key\"", "\"team\"";
        "Which clients of the server share stored answers: none, those of one team, or all." => |s, _, v| put(&mut cache(s).scope, v.text());
    "cache.group", Kind::Flag, "false", "true";
        "Whether a stored answer of any member of a balanced group is used, before the member whose turn it is is asked; else only that one's own." => |s, _, v| put(&mut cache(s).group, v.flag());
    "cache.dir", Kind::Path, "", "\"~/.cache/ipfs-llm-router\"";
        "The folder of stored answers; without it `$XDG_CACHE_HOME/ipfs-llm-router`." => |s, _, v| cache(s).dir = v.path();
    "cache.ttl", Kind::Duration, "", "\"24h\"";
        "How long an answer may be used; without it for ever." => |s, _, v| cache(s).ttl = v.duration();
    "cache.memory", Kind::Size, "\"64MiB\"", "\"256MiB\"";
        "The most bytes of answers in memory." => |s, _, v| put(&mut cache(s).memory_bytes, v.integer());
    "cache.disk", Kind::Size, "\"1GiB\"", "\"4GiB\"";
        "The most bytes of answers on disk." => |s, _, v| put(&mut cache(s).disk_bytes, v.integer());

    "local.model", Kind::ModelSource, "", "\"hf:HuggingFaceTB/SmolLM2-135M-Instruct-GGUF:Q4_K_M\"";
        "The embedded model; without it the default one." => |s, _, v| s.local.model = v.text();
    "local.embedding_model", Kind::ModelSource, "", "\"hf:nomic-ai/nomic-embed-text-v1.5-GGUF:Q4_K_M\"";
        "The embedded model for embeddings, a GGUF file made for them; without it the engine makes none." => |s, _, v| s.local.embedding_model = v.text();
    "local.threads", Kind::Integer { min: 1, max: 1024 }, "", "3";
        "Threads; without it a core is left free." => |s, _, v| s.local.threads = v.integer();
    "local.context", Kind::Integer { min: 16, max: 16_777_216 }, "", "8192";
        "The context window in tokens; without it the model's own, as far as memory allows." => |s, _, v| s.local.context = v.integer();
    "local.parallel", Kind::Integer { min: 1, max: 256 }, "", "4";
        "Sequences computed at once." => |s, _, v| s.local.parallel = v.integer();
    "local.models_dir", Kind::Path, "", "\"~/models\"";
        "The folder of model files; without it `$XDG_CACHE_HOME/ipfs-llm-router/models`." => |s, _, v| s.local.models_dir = v.path();
    "local.hub", Kind::Url, "", "\"https://hub.example.org\"";
        "The address of the model hub; without it Hugging Face's." => |s, _, v| s.local.hub = v.text();
    "local.hub_token", Kind::Secret, "", "\"hf_…\"";
        "The token for the model hub. Prefer the variable `HF_TOKEN`." => |s, _, v| s.local.hub_token = v.secret();
    "local.offline", Kind::Flag, "false", "true";
        "Whether nothing may be fetched." => |s, _, v| put(&mut s.local.offline, v.flag());

    "proxy.https", Kind::Secret, "", "\"http://proxy.example.org:3128\"";
        "The proxy for `https` addresses, itself at an `http` or `https` address, asked for a tunnel: it sees the host and no more. Loopback is always reached directly." => |s, _, v| s.proxy.https = v.secret();
    "proxy.http", Kind::Secret, "", "\"http://proxy.example.org:3128\"";
        "The proxy for `http` addresses, itself at an `http` or `https` address. It sees all that passes." => |s, _, v| s.proxy.http = v.secret();
    "proxy.all", Kind::Secret, "", "\"http://proxy.example.org:3128\"";
        "The proxy for both, where they have none of their own." => |s, _, v| s.proxy.all = v.secret();
    "proxy.no_proxy", Kind::List, "", "[\"localhost\", \".example.org\"]";
        "Hosts that are reached directly." => |s, _, v| put(&mut s.proxy.no_proxy, v.list());

    "http.ca_file", Kind::Path, "", "\"~/company-ca.pem\"";
        "A PEM file of certificates to trust besides the public ones, for every connection: providers, model downloads, proxies spoken to by `https`." => |s, _, v| s.http.ca_file = v.path();

    "server.host", Kind::Text, "\"127.0.0.1\"", "\"0.0.0.0\"";
        "The address to bind." => |s, _, v| put(&mut s.server.host, v.text());
    "server.port", Kind::Integer { min: 0, max: 65_535 }, "8000", "8080";
        "The port to bind; 0 lets the system choose." => |s, _, v| put(&mut s.server.port, v.integer());
    "server.api_keys.[].name", Kind::Text, "", "\"team\"";
        "Whose key it is." => joined;
    "server.api_keys.[].key", Kind::Secret, "", "\"…\"";
        "The key itself. Prefer `key_env` or `key_file`." => joined;
    "server.api_keys.[].key_env", Kind::VariableName, "", "\"ROUTER_KEY\"";
        "The variable that holds the key." => joined;
    "server.api_keys.[].key_file", Kind::Path, "", "\"~/.secrets/team\"";
        "The file that holds the key; read again when it changes." => joined;
    "server.api_keys.[].admin", Kind::Flag, "false", "true";
        "Whether the key also opens metrics and administration." => joined;
    "server.api_keys.[].team", Kind::Text, "", "\"research\"";
        "The team that the key belongs to, for `cache.scope = \"team\"`; a key without one is a team of its own, under its name." => joined;
    "server.api_keys.[].requests_per_minute", LIMIT, "", "60";
        "The most requests of the key in any sixty seconds; 0 lets none pass." => joined;
    "server.api_keys.[].tokens_per_minute", LIMIT, "", "100000";
        "The most tokens of the key in any sixty seconds, those of prompts and of answers." => joined;
    "server.api_keys.[].max_tokens", Kind::Integer { min: 1, max: 10_000_000 }, "", "2048";
        "The most tokens of one answer to the key: a request that asks for more, or names none, gets these." => joined;
    "server.api_keys.[].concurrency", Kind::Integer { min: 0, max: 1_000_000 }, "", "4";
        "The most requests of the key at once." => joined;
    "server.api_keys.[].models", Kind::List, "", "[\"fast\"]";
        "The models that the key may ask: `provider/model`, a model's name or a route, `*` for anything; without it all." => joined;
    "server.api_keys.[].budget_per_day", Kind::Dollars, "", "\"2.00\"";
        "The most money that the key spends in a UTC day, in dollars." => joined;
    "server.api_keys.[].budget_per_month", Kind::Dollars, "", "\"25.00\"";
        "The most money that the key spends in a UTC month, in dollars." => joined;
    "server.api_keys.[].unpriced", Kind::Flag, "false", "true";
        "Whether the key, though it has a budget, may ask models whose price is unknown; such requests count as free." => joined;
    "server.virtual_keys", Kind::Flag, "false", "true";
        "Whether the keys that `llm-router keys create` makes are taken. The server then wants a key, one of those or of `api_keys`." => |s, _, v| put(&mut s.server.virtual_keys, v.flag());
    "server.admin", Kind::Address, "", "\"127.0.0.1:8001\"";
        "Where metrics and administration listen without TLS; an address that others reach wants an admin key." => |s, _, v| s.server.admin = v.text();
    "server.hosts", Kind::List, "", "[\"router.example.org\"]";
        "Names that `Host` may have besides the loopback's." => |s, _, v| put(&mut s.server.hosts, v.list());
    "server.tls_cert", Kind::Path, "", "\"/etc/ipfs-llm-router/tls.crt\"";
        "The file of the certificate and its chain, PEM; read again when it changes." => |s, _, v| s.server.tls_cert = v.path();
    "server.tls_key", Kind::Path, "", "\"/etc/ipfs-llm-router/tls.key\"";
        "The file of the certificate's private key, PEM." => |s, _, v| s.server.tls_key = v.path();
    "server.public", Kind::Flag, "false", "true";
        "Whether a public address may be bound without keys." => |s, _, v| put(&mut s.server.public, v.flag());
    "server.fetch_urls", Kind::Flag, "false", "true";
        "Whether `https` addresses in requests may be fetched." => |s, _, v| put(&mut s.server.fetch_urls, v.flag());
    "server.body_limit", Kind::Size, "\"32MiB\"", "\"8MiB\"";
        "The largest body of a request." => |s, _, v| put(&mut s.server.body_limit, v.integer());
    "server.max_in_flight", COUNT, "4096", "256";
        "The most requests being answered at once; more are refused at the door with 503 and `Retry-After`, before their bodies are read." => |s, _, v| put(&mut s.server.max_in_flight, v.integer());
    "server.max_connections", COUNT, "4096", "512";
        "The most connections at once; more wait in the system's queue." => |s, _, v| put(&mut s.server.max_connections, v.integer());
    "server.head_timeout", Kind::Duration, "\"30s\"", "\"10s\"";
        "How long a client may take to send a request's head, the wait between two requests included." => |s, _, v| put(&mut s.server.head_timeout, v.duration());
    "server.idle_timeout", Kind::Duration, "\"5m\"", "\"2m\"";
        "After how long a connection on which nothing moves and nothing is answered is closed." => |s, _, v| put(&mut s.server.idle_timeout, v.duration());
    "server.ping_after", Kind::Duration, "\"15s\"", "\"5s\"";
        "The silence in a stream after which a sign of life is sent." => |s, _, v| put(&mut s.server.ping_after, v.duration());
    "server.access_log", Kind::Text, "", "\"stderr\"";
        "Where a JSON line about each request goes: `stdout`, `stderr` or an absolute path; never a prompt or a key." => |s, _, v| s.server.access_log = v.text();
    "server.drain", Kind::Duration, "\"5s\"", "\"20s\"";
        "How long `/readyz` says 503 after SIGTERM while everything is still answered." => |s, _, v| put(&mut s.server.drain, v.duration());
    "server.grace", Kind::Duration, "\"30s\"", "\"2m\"";
        "How long requests under way may take after that, before they are cut off." => |s, _, v| put(&mut s.server.grace, v.duration());

    "server.passthrough", Kind::List, "", "[\"openai\"]";
        "Providers to which `/passthrough/{provider}/…` passes requests as they are, with the provider's key: audio, files, batches, moderations, reranking. Every client may then do with that key whatever the provider's API can." => |s, _, v| put(&mut s.server.passthrough, v.list());

    "teams.*.requests_per_minute", LIMIT, "", "600";
        "The most requests of all keys of the team together in any sixty seconds; 0 lets none pass." => |s, n, v| team(s, n).requests_per_minute = v.integer();
    "teams.*.tokens_per_minute", LIMIT, "", "1000000";
        "The most tokens of all keys of the team together in any sixty seconds, those of prompts and of answers." => |s, n, v| team(s, n).tokens_per_minute = v.integer();
    "teams.*.max_tokens", Kind::Integer { min: 1, max: 10_000_000 }, "", "4096";
        "The most tokens of one answer to a key of the team: a request that asks for more, or names none, gets these." => |s, n, v| team(s, n).max_tokens = v.integer();
    "teams.*.concurrency", Kind::Integer { min: 0, max: 1_000_000 }, "", "32";
        "The most requests of all keys of the team at once." => |s, n, v| team(s, n).concurrency = v.integer();
    "teams.*.models", Kind::List, "", "[\"openai/*\", \"fast\"]";
        "The models that the team's keys may ask: `provider/model`, a model's name or a route, `*` for anything; without it all." => |s, n, v| put(&mut team(s, n).models, v.list());

    "teams.*.budget_per_day", Kind::Dollars, "", "\"20.00\"";
        "The most money that all keys of the team together spend in a UTC day, in dollars." => |s, n, v| team(s, n).budget_per_day = v.integer();
    "teams.*.budget_per_month", Kind::Dollars, "", "\"250.00\"";
        "The most money that all keys of the team together spend in a UTC month, in dollars." => |s, n, v| team(s, n).budget_per_month = v.integer();
    "teams.*.unpriced", Kind::Flag, "false", "true";
        "Whether keys of a team with a budget may ask models whose price is unknown; such requests count as free." => |s, n, v| put(&mut team(s, n).unpriced, v.flag());

    "store.url", Kind::Secret, "", "\"redis://127.0.0.1:6379/0\"";
        "The Redis or Valkey server whose state all replicas share: `redis://`, `rediss://` for TLS, `unix://` for a socket. Without it state is in a file of this machine. An address with a password is better given by `url_env` or `url_file`." => joined;
    "store.url_env", Kind::VariableName, "", "\"ROUTER_STORE\"";
        "The variable that holds the address." => joined;
    "store.url_file", Kind::Path, "", "\"~/.secrets/store\"";
        "The file that holds the address." => joined;
    "store.prefix", Kind::Text, "\"llm-router\"", "\"llm-router-test\"";
        "What the names of all keys there begin with." => |s, _, v| put(&mut s.store.prefix, v.text());
    "store.ca_file", Kind::Path, "", "\"~/redis-ca.pem\"";
        "A PEM file of certificates to trust for `rediss://` in place of the public ones." => |s, _, v| s.store.ca_file = v.path();
    "store.patience", Kind::Duration, "\"50ms\"", "\"100ms\"";
        "How long a request waits until its limits are counted there." => |s, _, v| put(&mut s.store.patience, v.duration());
    "store.unreachable", Kind::Word(&["closed", "open", "local"]), "\"closed\"", "\"local\"";
        "What holds where they are not counted in time: requests of keys with limits are refused, all pass, or each replica allows its part of every limit." => |s, _, v| put(&mut s.store.unreachable, v.text());
    "store.replicas", COUNT, "1", "3";
        "How many replicas there are, for `unreachable = \"local\"`." => |s, _, v| put(&mut s.store.replicas, v.integer());
    "store.seal_file", Kind::Path, "", "\"/etc/ipfs-llm-router/key-seal\"";
        "The file of 32 bytes that closes the roots of derived keys, the same on all replicas; without it `key-seal` in the state folder, made when it is first needed." => |s, _, v| s.store.seal_file = v.path();

    "limits.max_tokens", Kind::Integer { min: 1, max: 10_000_000 }, "4096", "1024";
        "The most tokens of an answer to a key with a budget where the request names none: money is set aside for them, and the limit is sent." => |s, _, v| put(&mut s.limits.max_tokens, v.integer());

    "prices.*.input", Kind::Dollars, "", "\"0.15\"";
        "What a million tokens of a prompt cost at `provider/model`, in dollars. `*` stands for any characters; the first price that fits holds, before the table of the program." => |s, n, v| put(&mut price(s, n).input, v.integer());
    "prices.*.output", Kind::Dollars, "", "\"0.60\"";
        "What a million tokens of an answer cost." => |s, n, v| put(&mut price(s, n).output, v.integer());
    "prices.*.cached", Kind::Dollars, "", "\"0.075\"";
        "What a million tokens of a prompt cost that the provider has in its cache; without it as `input`." => |s, n, v| price(s, n).cached = v.integer();
    "prices.*.written", Kind::Dollars, "", "\"0.1875\"";
        "What a million tokens of a prompt cost that the provider writes to its cache; without it as `input`." => |s, n, v| price(s, n).written = v.integer();

    "peers.serve", Kind::Flag, "false", "true";
        "Whether `serve` answers peers too, and asks them: what `serve --peers` says." => |s, _, v| put(&mut s.peers.serve, v.flag());
    "peers.profile", Kind::Word(&["private", "lan", "public"]), "\"private\"", "\"lan\"";
        "Who may ask: peers with a ticket or in `trusted` (`private`); also anybody on this machine and its local networks, the embedded model, one request at a time each (`lan`); anybody (`public`)." => |s, _, v| put(&mut s.peers.profile, v.text());
    "peers.listen", Kind::List, "", "[\"/ip4/0.0.0.0/tcp/4101\"]";
        "Addresses on which a serving peer listens, TCP; without them `/ip4/0.0.0.0/tcp/4101`. Port 0 is any that is free; 4001, 5001 and 8080 are Kubo's." => |s, _, v| put(&mut s.peers.listen, v.list());
    "peers.announce", Kind::List, "", "[\"/dns4/router.example.org/tcp/4101\"]";
        "Addresses under which others reach this peer where it cannot know them: behind a port map, in a container. They come first in tickets." => |s, _, v| put(&mut s.peers.announce, v.list());
    "peers.bootstrap", Kind::List, "", "[\"/dns4/peer.example.org/tcp/4101/p2p/12D3KooW…\"]";
        "Peers to begin with, through whom others are found: each address ends with `/p2p/` and the peer's id. They are not trusted for that." => |s, _, v| put(&mut s.peers.bootstrap, v.list());
    "peers.trusted", Kind::List, "", "[\"12D3KooW…\"]";
        "Ids of peers that may see prompts and may ask, besides those that `llm-router peers join` and tickets made known." => |s, _, v| put(&mut s.peers.trusted, v.list());
    "peers.tools", Kind::List, "", "[\"12D3KooW…\"]";
        "Ids of peers whose answers may call tools; from all others such calls are refused, and in the profile `public` always." => |s, _, v| put(&mut s.peers.tools, v.list());
    "peers.swarm_key", Kind::Path, "", "\"~/.ipfs/swarm.key\"";
        "The file of a private network's key, in Kubo's form: whoever lacks it cannot even connect." => |s, _, v| s.peers.swarm_key = v.path();
    "peers.mdns", Kind::Flag, "true", "false";
        "Whether peers are found on the local network, and this one there. Whoever is found is not trusted for that." => |s, _, v| put(&mut s.peers.mdns, v.flag());
    "peers.share.providers", Kind::List, "\"local\"", "[\"local\", \"ollama\"]";
        "The providers that peers may use. Keys in the environment, agents and other peers are shared with nobody who is not named here; an agent with tools never is." => |s, _, v| put(&mut s.peers.share.providers, v.list());
    "peers.share.models", Kind::List, "", "[\"qwen3*\", \"ollama/llama3.2\"]";
        "The models among theirs: a name or `provider/model`, `*` for anything; without it all." => |s, _, v| put(&mut s.peers.share.models, v.list());
    "peers.share.places", COUNT, "8", "16";
        "How many requests are answered at once, those of this router's own users counted, past which no peer's begins." => |s, _, v| put(&mut s.peers.share.places, v.integer());
    "peers.share.reserve", Kind::Integer { min: 0, max: 1_000_000 }, "2", "4";
        "How many of those places are kept free for this router's own users." => |s, _, v| put(&mut s.peers.share.reserve, v.integer());
    "peers.limits.requests_per_minute", LIMIT, "", "60";
        "The most requests of one peer in any sixty seconds. What its ticket says holds besides, here and below." => |s, _, v| s.peers.limits.requests_per_minute = v.integer();
    "peers.limits.tokens_per_minute", LIMIT, "", "100000";
        "The most tokens of one peer in any sixty seconds, those of prompts and of answers." => |s, _, v| s.peers.limits.tokens_per_minute = v.integer();
    "peers.limits.max_tokens", Kind::Integer { min: 1, max: 10_000_000 }, "", "4096";
        "The most tokens of one answer to a peer: a request that asks for more, or names none, gets these." => |s, _, v| s.peers.limits.max_tokens = v.integer();
    "peers.limits.concurrency", Kind::Integer { min: 0, max: 1_000_000 }, "2", "4";
        "The most requests of one peer at once." => |s, _, v| s.peers.limits.concurrency = v.integer();
    "peers.limits.budget_per_day", Kind::Dollars, "", "\"1.00\"";
        "The most money that one peer spends in a UTC day, in dollars: for providers whose key costs something." => |s, _, v| s.peers.limits.budget_per_day = v.integer();
    "peers.limits.budget_per_month", Kind::Dollars, "", "\"10.00\"";
        "The most money that one peer spends in a UTC month, in dollars." => |s, _, v| s.peers.limits.budget_per_month = v.integer();
    "peers.limits.unpriced", Kind::Flag, "false", "true";
        "Whether a peer with a budget may ask models whose price is unknown; such requests count as free." => |s, _, v| put(&mut s.peers.limits.unpriced, v.flag());

    "mcp.enabled", Kind::Flag, "true", "false";
        "Whether the HTTP server answers on `/mcp`." => |s, _, v| put(&mut s.mcp.enabled, v.flag());

    "telemetry.otlp", Kind::Url, "", "\"http://127.0.0.1:4318\"";
        "Where spans and metrics go: an OpenTelemetry collector that takes OTLP over HTTP in JSON, below whose address `/v1/traces` and `/v1/metrics` are. Without it none are made." => |s, _, v| s.telemetry.otlp = v.text();
    "telemetry.otlp_headers", Kind::Secret, "", "\"authorization=Bearer%20…\"";
        "Headers that go with them: `name=value`, several with commas between, other signs as `%XX`." => |s, _, v| s.telemetry.otlp_headers = v.secret();
    "telemetry.service_name", Kind::Text, "\"llm-router\"", "\"router-eu\"";
        "What they call this program (`service.name`)." => |s, _, v| put(&mut s.telemetry.service_name, v.text());
    "telemetry.resource", Kind::Text, "", "\"deployment.environment.name=staging\"";
        "What they say besides of where it runs: `name=value`, several with commas between." => |s, _, v| s.telemetry.resource = v.text();
    "telemetry.sample", Kind::Integer { min: 0, max: 100 }, "100", "10";
        "Of each hundred traces that begin here, how many are sent. Whether one that a client began is sent, its `traceparent` says." => |s, _, v| put(&mut s.telemetry.sample, v.integer());
    "telemetry.metrics_every", Kind::Duration, "\"60s\"", "\"15s\"";
        "How often metrics are sent." => |s, _, v| put(&mut s.telemetry.metrics_every, v.duration());
    "telemetry.disabled", Kind::Flag, "false", "true";
        "Whether nothing is sent, whatever else is set." => |s, _, v| put(&mut s.telemetry.disabled, v.flag());
    "telemetry.log_prompts", Kind::Flag, "false", "true", later "prompts never reach a log";
        "Whether prompts and answers may be written to a log." => |s, _, v| put(&mut s.telemetry.log_prompts, v.flag());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::value::{Base, Raw};

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_types() {
        let mut settings = Settings::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty() && !key.path.contains(['*', '['])) {
            let text = key.default.trim_matches('"').to_owned();
            let value = key.kind.read(&Raw::Untyped(text), Base::default()).unwrap();
            (key.apply)(&mut settings, &[], &value);
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn paths_are_unique_and_found() {
        for key in KEYS {
            let (found, names) = Key::find(&key.path.replace(['*'], "x").replace("[]", "0")).unwrap();
            assert_eq!(found.path, key.path);
            assert_eq!(names.len(), key.path.matches(['*', '[']).count());
        }
        assert!(Key::find("server.prot").is_none());
    }

    #[test]
    fn a_path_is_shown_as_toml_would_write_it() {
        let (key, _) = Key::find("providers.x.credentials.0.api_key").unwrap();
        assert_eq!(key.named(&["my.lab".into(), "1".into()]), "providers.\"my.lab\".credentials[1].api_key");
    }
}
