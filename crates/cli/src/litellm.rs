//! A LiteLLM proxy's `config.yaml` as a configuration of this program: what can be said here is said, everything else is listed with its line.
//!
//! YAML becomes plain nodes in `litellm/yaml.rs`, a deployment becomes a target in `litellm/deployment.rs`, the whole becomes text here with `litellm/toml.rs`.
//! The file's own words are in the notes, its values never: they may be keys.

mod deployment;
mod routes;
mod settings;
mod toml;
mod yaml;

use serde::Serialize;

use self::deployment::Deployments;
use self::toml::Toml;
use self::yaml::Node;

/// The largest file.
pub(crate) const LARGEST: u64 = 1 << 20;

/// What became of a file.
#[derive(Debug, Serialize)]
pub(crate) struct Converted {
    /// The configuration.
    pub(crate) toml: String,
    /// What it does not say, in the order of the file.
    pub(crate) notes: Vec<Note>,
}

/// Something that was not converted, or not as it stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Note {
    /// Where it stands, from 1.
    pub(crate) line: usize,
    /// Its key.
    pub(crate) key: String,
    /// What became of it, or what to do.
    pub(crate) why: String,
}

/// What is found while a file is read.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, node: &Node, key: impl Into<String>, why: impl Into<String>) {
        self.0.push(Note { line: node.line, key: key.into(), why: why.into() });
    }

    /// Tells of every key of a table that is not in `known`.
    fn others(&mut self, table: &Node, above: &str, known: &[&str]) {
        for (key, node) in table.entries().filter(|(key, _)| !known.contains(key)) {
            let why = reason(key).unwrap_or("it has no counterpart here");
            self.add(node, format!("{above}{key}"), why);
        }
    }
}

/// Why well-known keys are left out.
fn reason(key: &str) -> Option<&'static str> {
    let row = REASONS
        .iter()
        .find(|(keys, _)| keys.iter().any(|known| key == *known || (known.ends_with('_') && key.starts_with(known))));
    row.map(|(_, why)| *why)
}

const REASONS: &[(&[&str], &str)] = &[
    (&["redis_"], "how replicas share their state is the router's own configuration"),
    (
        &["success_callback", "failure_callback", "callbacks", "service_callbacks", "callback_settings", "langfuse_"],
        "answers are not sent to other services; metrics are at /metrics",
    ),
    (
        &["database_url"],
        "there is no database: keys and usage are kept in the router's own store; for keys of clients set `virtual_keys = true` under [server], then `llm-router keys create NAME`",
    ),
    (
        &["database_", "store_model_in_db", "proxy_batch_write_at", "proxy_budget_"],
        "there is no database: keys and usage are kept in the router's own store",
    ),
    (
        &["allowed_fails", "allowed_fails_policy", "cooldown_time", "disable_cooldowns"],
        "a target that fails is left alone by its breaker, whose times are its own",
    ),
    (
        &["num_retries", "max_retries", "retry_after", "retry_policy"],
        "a target is tried three times at most, within a budget: `router.retry_percent`",
    ),
    (
        &["rpm", "tpm", "max_parallel_requests"],
        "it is no limit here: a provider's own limits are heeded when it says so, and its calls at once are `max_in_flight`",
    ),
    (&["guardrails", "guardrail_"], "there are no guardrails"),
    (&["environment_variables"], "set them in the environment of the program"),
    (&["pass_through_endpoints"], "a provider's other paths are under /passthrough: `server.passthrough`"),
    (&["default_team_settings", "team_", "key_generation_settings"], "teams and their limits are [teams.NAME]"),
    (&["temperature", "max_tokens", "top_p", "stop", "seed", "n", "stream"], "a request says it for itself"),
    (&["set_verbose", "json_logs", "debug"], "say --debug on the command line"),
];

/// Converts a file's text.
///
/// # Errors
/// Where it is no YAML, and what of it is wrong.
pub(crate) fn convert(text: &str) -> Result<Converted, String> {
    let root = yaml::read(text)?;
    let (mut notes, mut toml) = (Notes::default(), Toml::default());
    notes.others(&root, "", &["model_list", "litellm_settings", "router_settings", "general_settings"]);
    let (library, router, general) =
        (root.at("litellm_settings"), root.at("router_settings"), root.at("general_settings"));
    let mut deployments = Deployments::default();
    for node in root.at("model_list").items() {
        deployments.add(node, &mut notes);
    }
    settings::general(general, &mut toml, &mut notes);
    settings::library(library, router, &deployments, &mut toml, &mut notes);
    deployments.write(&mut toml);
    routes::write(&deployments, library, router, &mut toml, &mut notes);
    let mut notes = notes.0;
    notes.sort();
    notes.dedup();
    Ok(Converted { toml: toml.text(), notes })
}

#[cfg(test)]
mod tests;
