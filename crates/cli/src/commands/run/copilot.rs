//! What Copilot is told: a variable for each thing, which go before its settings.
//!
//! Its servers of tools (MCP) are turned off by their names where it is to have few tools or none, as those of Codex are (`codex.rs`). The other agents are in `agents.rs`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use llm_router::config::Environment;

use super::agents::{Ask, Start, Tools, answer};
use super::home;
use crate::output::Outcome;

/// The most servers that are turned off.
const MOST: usize = 256;

/// Copilot has a variable for each thing, which go before its settings.
pub(super) fn copilot(ask: &Ask<'_>, start: &mut Start) -> Outcome {
    start.set("COPILOT_PROVIDER_BASE_URL", format!("{}/v1", ask.base));
    start.set("COPILOT_PROVIDER_TYPE", "openai");
    start.set("COPILOT_PROVIDER_WIRE_API", "completions");
    start.set("COPILOT_PROVIDER_API_KEY", ask.key.expose());
    start.set("COPILOT_MODEL", ask.model);
    if let Some(window) = ask.window {
        start.set("COPILOT_PROVIDER_MAX_PROMPT_TOKENS", (window - answer(window)).to_string());
    }
    if let Some(most) = ask.answer() {
        start.set("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS", most.to_string());
    }
    let tools = match ask.tools {
        Tools::All => return Ok(()),
        Tools::Few => "--available-tools=bash,view,create,edit",
        // An empty list is none at all, and a name that no tool has leaves none.
        Tools::None => "--available-tools=none",
    };
    start.args.extend([tools, "--disable-builtin-mcps", "--no-custom-instructions"].map(OsString::from));
    // Their tools are left out already; without this they would be started for nothing.
    start.args.extend(servers(ask.environment).into_iter().map(|name| format!("--disable-mcp-server={name}").into()));
    Ok(())
}

/// The names of the servers that stand in the user's file and in those of this folder and of every one above it. What cannot be read is Copilot's to complain of.
fn servers(environment: &Environment) -> BTreeSet<String> {
    let named = environment.get("COPILOT_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = named.or_else(|| environment.home().map(|home| home.join(".copilot")));
    let here = std::env::current_dir().unwrap_or_default();
    let folders = here.ancestors().flat_map(|folder| {
        [".mcp.json", ".github/mcp.json", ".vscode/mcp.json", ".copilot/mcp-config.json"].map(|name| folder.join(name))
    });
    let files = own.into_iter().map(|own| own.join("mcp-config.json")).chain(folders);
    let mut names = BTreeSet::new();
    for settings in files.filter(|file| file.is_file()).filter_map(|file| home::read(&file).ok()) {
        let servers = ["mcpServers", "servers"].into_iter().filter_map(|of| settings[of].as_object());
        names.extend(servers.flat_map(|servers| servers.keys().cloned()).filter(|name| !name.contains('\0')));
    }
    names.into_iter().take(MOST).collect()
}
