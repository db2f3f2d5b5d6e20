//! What Codex is told: settings on its command line, which go before those of its files.
//!
//! Its servers of tools (MCP) have no switch for all of them: where it is to have few tools or none, each that stands in one of its files is turned off by its name. The other agents are
//! in `agents.rs`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use llm_router::config::Environment;
use serde_json::Value;
use toml::Table;

use super::agents::{Ask, Start, Tools, instructions};
use crate::output::Outcome;

/// The largest file of settings that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// The most servers that are turned off.
const MOST: usize = 256;

/// Codex takes everything as settings on its command line, which go before those of its file.
pub(super) fn codex(ask: &Ask<'_>, start: &mut Start) -> Outcome {
    let provider = format!(
        "model_providers.llm-router={{name=\"llm-router\",base_url={},env_key=\"{CODEX_KEY}\",wire_api=\"responses\"}}",
        Value::from(format!("{}/v1", ask.base))
    );
    let mut told = vec![
        format!("model={}", Value::from(ask.model)),
        "model_provider=\"llm-router\"".to_owned(),
        provider,
        format!("review_model={}", Value::from(ask.model)),
    ];
    if let Some(window) = ask.window {
        told.push(format!("model_context_window={window}"));
    }
    if ask.tools != Tools::All {
        let file = instructions(ask)?;
        told.push(format!("model_instructions_file={}", Value::from(file.display().to_string())));
        for less in [
            "web_search=\"disabled\"",
            "project_doc_max_bytes=0",
            "include_permissions_instructions=false",
            "skills.include_instructions=false",
            "skills.bundled.enabled=false",
        ] {
            told.push(less.to_owned());
        }
        told.extend(without_servers(ask.environment));
    }
    let without: &[&str] = match ask.tools {
        Tools::All => &[],
        Tools::Few => &["goals", "multi_agent", "apps", "plugins"],
        Tools::None => {
            told.push("include_environment_context=false".to_owned());
            told.push("tools.experimental_request_user_input.enabled=false".to_owned());
            &["goals", "multi_agent", "apps", "plugins", "shell_tool", "unified_exec", "view_image"]
        }
    };
    told.into_iter().for_each(|setting| start.args.extend(["-c".into(), setting.into()]));
    without.iter().for_each(|feature| start.args.extend(["--disable".into(), feature.into()]));
    start.set(CODEX_KEY, ask.key.expose());
    Ok(())
}

/// The variable in which Codex finds the key.
const CODEX_KEY: &str = "LLM_ROUTER_KEY";

/// A setting that turns off every server of tools that Codex would find in its files; none where there is no server.
fn without_servers(environment: &Environment) -> Option<String> {
    let mut off = BTreeMap::new();
    for file in files(environment) {
        let Some(settings) = read(&file) else { continue };
        let servers = settings.get("mcp_servers").and_then(toml::Value::as_table);
        for (name, server) in servers.into_iter().flatten().take(MOST) {
            // A file that does not count, of a folder that is not trusted, leaves the entry to stand for itself: it is whole, and of the kind that it is there.
            let kind = if server.get("url").is_some() { "url=\"http://127.0.0.1:9\"" } else { "command=\"true\"" };
            off.insert(name.clone(), format!("{}={{{kind},enabled=false}}", Value::from(name.as_str())));
        }
    }
    let off: Vec<String> = off.into_values().take(MOST).collect();
    (!off.is_empty()).then(|| format!("mcp_servers={{{}}}", off.join(",")))
}

/// The files in which Codex looks for settings: the system's, the user's with those of his profiles, and those of this folder and of every one above it.
fn files(environment: &Environment) -> Vec<PathBuf> {
    let named = environment.get("CODEX_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = named.or_else(|| environment.home().map(|home| home.join(".codex")));
    let mut files = vec![PathBuf::from("/etc/codex/config.toml")];
    if let Some(own) = own {
        let entries = fs::read_dir(&own).into_iter().flatten().flatten().map(|entry| entry.path());
        files.extend(entries.filter(|path| path.to_string_lossy().ends_with(".config.toml")));
        files.push(own.join("config.toml"));
    }
    let here = std::env::current_dir().unwrap_or_default();
    files.extend(here.ancestors().map(|folder| folder.join(".codex/config.toml")));
    files
}

/// The settings in a file. What cannot be read is Codex's to complain of.
fn read(file: &Path) -> Option<Table> {
    let mut text = String::new();
    // A pipe of that name would never be read to its end.
    fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    File::open(file).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    text.parse().ok()
}
