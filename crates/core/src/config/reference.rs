//! The reference documents, made from the tables: `docs/environment.md` and `docs/configuration.md`.
//!
//! A test holds the files against these texts; `cargo run -p ipfs-llm-router --example environment_md > docs/environment.md` writes one anew.

use super::keys::{KEYS, Key};
use super::variables::{PREFIXES, Rule, Scope, VARIABLES, Variable};

/// The text of `docs/environment.md`.
pub fn environment_md() -> String {
    let mut out = String::from(
        "# Environment variables\n\n\
         This page is made from the table in `crates/core/src/config/variables.rs`; a test fails when it is stale. To write it anew:\n\
         `cargo run -p ipfs-llm-router --example environment_md > docs/environment.md`.\n\n",
    );
    out.push_str(&format!(
        "A name in the columns below stands for itself after each prefix ({}), and, where the column \"bare\" says so, for itself. The first that is \
         set wins: all prefixed names, then the bare ones. An empty variable is unset. For a switch `0`, `false`, `no` and `off` are off and anything \
         else is on. Variables come before the config file and after flags. Others with these prefixes belong to other parts of those projects and are \
         ignored; `llm-router doctor` lists those that look like slips.\n\n",
        PREFIXES.iter().map(|prefix| format!("`{prefix}`")).collect::<Vec<_>>().join(", ")
    ));
    out.push_str("| variable | prefixed | bare | sets | takes | default | meaning |\n|---|---|---|---|---|---|---|\n");
    for variable in VARIABLES {
        out.push_str(&variable_row(variable));
    }
    out
}

fn variable_row(variable: &Variable) -> String {
    let yes = |scope: bool| if scope { "yes" } else { "" };
    let sets = variable.sets.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    let takes = match (variable.rule, variable.key()) {
        (Rule::OllamaHost, _) => "`host`, `:port`, `host:port` or an address".to_owned(),
        (_, Some(key)) => key.kind.describe(),
        (_, None) => String::new(),
    };
    let default = variable.key().map_or("", |key| key.default);
    format!(
        "| `{}` | {} | {} | {sets} | {takes} | {} | {} |\n",
        variable.name,
        yes(variable.scope != Scope::Bare),
        yes(variable.scope != Scope::Prefixed),
        code(default),
        cell(variable.doc),
    )
}

/// The text of `docs/configuration.md`.
pub fn configuration_md() -> String {
    let mut out = String::from(
        "# Configuration file\n\n\
         This page is made from the table in `crates/core/src/config/keys.rs`; a test fails when it is stale. To write it anew:\n\
         `cargo run -p ipfs-llm-router --example configuration_md > docs/configuration.md`.\n\n\
         The file is the one that `--config` names, else `$IPFS_LLM_ROUTER_CONFIG`, else `config.toml` in `$XDG_CONFIG_HOME/ipfs-llm-router/` \
         (`~/.config/ipfs-llm-router/`), and never one found in the working directory. It is TOML, at most 1 MiB. A request comes before flags, flags \
         before [variables](environment.md), variables before the file, the file before defaults. Unknown keys and bad values are errors, all told at \
         once with their lines; `llm-router config check` reads the file and does nothing else, `llm-router config show --origin` shows each value with \
         its origin. Paths in the file are relative to its folder; `~/` is the home folder. [`config.example.toml`](config.example.toml) sets every key.\n\n\
         In a key, `NAME` is a name of your own and `[]` a table in a list (`[[providers.lab.credentials]]`). A key marked *later* is read and checked \
         but has no effect in this version, and using it says so.\n",
    );
    let mut section = "";
    for key in KEYS {
        let first = key.path.split('.').next().unwrap_or_default();
        if first != section {
            section = first;
            let title = if key.path.contains(".*.") { format!("[{section}.NAME]") } else { format!("[{section}]") };
            out.push_str(&format!(
                "\n## `{title}`\n\n| key | takes | default | example | meaning |\n|---|---|---|---|---|\n"
            ));
        }
        out.push_str(&key_row(key));
    }
    out
}

fn key_row(key: &Key) -> String {
    let later = if key.active() { String::new() } else { format!(" *Later: {}.*", key.later) };
    format!(
        "| `{}` | {} | {} | {} | {}{later} |\n",
        key.path.replace('*', "NAME").replace(".[]", "[]"),
        cell(&key.kind.describe()),
        code(key.default),
        code(key.example),
        cell(key.doc),
    )
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}
