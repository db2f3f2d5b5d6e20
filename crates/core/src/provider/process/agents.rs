//! The coding agents that this router drives: a table, and how a row becomes a provider.
//!
//! Each has a driver that knows its program's structured form (`agent.rs`). A command line of the user's own (`*_CLI_CMD`, or `command` in the config)
//! replaces all of it: the prompt goes where it says, and its text is given on once it has ended well (`command.rs`).

use std::path::PathBuf;
use std::sync::Arc;

use super::agent::{
    AgentSettings, CLAUDE as CLAUDE_DRIVER, CODEX as CODEX_DRIVER, COPILOT as COPILOT_DRIVER, COPILOT_SERVER, Driver,
    GEMINI as GEMINI_DRIVER, Tools,
};
use super::{AgentProvider, CommandProvider, CommandSettings, Environment, Output, Runner, Template, command};
use crate::config::{Credential, ProviderSettings};
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId};
use crate::provider::{Describe, DynProvider, Liveness};

/// One agent, under one of its provider ids.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Agent {
    /// The provider's id.
    pub id: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// The variable for a command line of the user's own, without its prefix.
    pub variable: Option<&'static str>,
    /// The executable.
    pub program: &'static str,
    /// How its program is driven.
    driver: &'static Driver,
    /// The model used when none is named.
    pub default_model: Option<&'static str>,
    /// The original's command line, which fetches the program first: run only for calls that name the provider.
    named_only: Option<&'static str>,
    /// Variables of its own that the program may see.
    passed: &'static [&'static str],
    /// How to come by the program.
    install: &'static str,
}

const CODEX: Agent = Agent {
    id: "codex_cli",
    aliases: &["codex"],
    variable: None,
    program: "codex",
    driver: &CODEX_DRIVER,
    default_model: Some("gpt-5.1-codex-mini"),
    named_only: None,
    passed: &["CODEX_*", "OPENAI_API_KEY", "OPENAI_BASE_URL"],
    install: "install it with: npm install -g @openai/codex",
};

const COPILOT: Agent = Agent {
    id: "copilot_cli",
    aliases: &[],
    variable: Some("COPILOT_CLI_CMD"),
    program: "copilot",
    driver: &COPILOT_DRIVER,
    default_model: None,
    named_only: Some("npx --yes @github/copilot -p {prompt}"),
    // By name: COPILOT_ALLOW_ALL would undo its permissions, and COPILOT_CUSTOM_INSTRUCTIONS_DIRS its empty folder.
    passed: &[
        "COPILOT_HOME",
        "COPILOT_MODEL",
        "COPILOT_PROVIDER_*",
        "COPILOT_OFFLINE",
        "COPILOT_GITHUB_TOKEN",
        "COPILOT_GH_HOST",
        "COPILOT_CACHE_HOME",
        "COPILOT_PKG_CACHE_HOME",
        "COPILOT_PROXY_KERBEROS_SPN",
        "GH_TOKEN",
        "GITHUB_TOKEN",
        "GH_HOST",
        "GH_CONFIG_DIR",
        // Where the system's store of passwords is reached, which may hold its login.
        "DBUS_SESSION_BUS_ADDRESS",
    ],
    install: "install it with: npm install -g @github/copilot",
};

const GEMINI: Agent = Agent {
    id: "gemini_cli",
    aliases: &[],
    variable: Some("GEMINI_CLI_CMD"),
    program: "gemini",
    driver: &GEMINI_DRIVER,
    default_model: None,
    named_only: Some("npx @google/gemini-cli {prompt}"),
    // By name, not all that begin with GEMINI_CLI_: what an editor's terminal sets would open the editor's folders to a prompt.
    passed: &[
        "GEMINI_API_KEY",
        "GEMINI_API_KEY_AUTH_MECHANISM",
        "GEMINI_CLI_CUSTOM_HEADERS",
        "GEMINI_CLI_HOME",
        "GEMINI_CLI_USE_COMPUTE_ADC",
        "GEMINI_MODEL",
        "GOOGLE_*",
        "CLOUDSDK_*",
        "CLOUD_SHELL",
        "CODE_ASSIST_*",
    ],
    install: "install it with: npm install -g @google/gemini-cli",
};

const CLAUDE: Agent = Agent {
    id: "claude_code",
    aliases: &[],
    variable: Some("CLAUDE_CODE_CLI_CMD"),
    program: "claude",
    driver: &CLAUDE_DRIVER,
    default_model: None,
    named_only: None,
    passed: &["ANTHROPIC_*", "CLAUDE_*", "IS_SANDBOX", "AWS_REGION", "CLOUD_ML_REGION"],
    install: "install it with: npm install -g @anthropic-ai/claude-code",
};

/// Every agent under each of its provider ids, in the order of automatic plans.
pub const AGENTS: &[Agent] = &[
    CODEX,
    COPILOT,
    GEMINI,
    CLAUDE,
    Agent { id: "copilot_sdk", variable: None, driver: &COPILOT_SERVER, named_only: None, ..COPILOT },
    Agent { id: "claude_py", aliases: &["claude"], ..CLAUDE },
    Agent { id: "gemini_py", ..GEMINI },
];

/// The agent of a provider id or an alias of it.
pub fn agent(id: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.id == id || agent.aliases.contains(&id))
}

impl Agent {
    /// What its program may see of the environment.
    pub(super) fn environment(&self, all: &Environment) -> Environment {
        all.for_program(self.passed)
    }

    /// How to come by its program.
    pub(super) fn install(&self) -> &'static str {
        self.install
    }

    /// The provider of this agent, and its program, where that resolves. `environment` is all that was read: the agent sees its own part of it and what
    /// `pass_env` names.
    ///
    /// # Errors
    /// `caller_invalid_request` for a command line that cannot be read, a sandbox or a permission mode that the agent does not know, and tools without a folder.
    pub fn provider(
        &self,
        settings: &ProviderSettings,
        environment: &Environment,
        runner: Runner,
    ) -> Result<(Arc<dyn DynProvider>, Option<PathBuf>)> {
        let own = settings.command.as_deref().map(str::trim).filter(|line| !line.is_empty());
        let Some(line) = own else {
            if Output::of(settings)? != Output::Text {
                return Err(Error::invalid(format!("{} has an output of its own, and no command", self.id))
                    .with_hint("leave output out, or give the command whose output it is"));
            }
            let provider = self.driven(settings, environment, runner)?;
            let program = provider.program();
            return Ok((Arc::new(provider), program));
        };
        let provider = self.commanded(line, Output::of(settings)?, settings, environment, runner)?;
        let program = provider.program();
        Ok((Arc::new(provider), program))
    }

    fn described(&self, settings: &ProviderSettings) -> Result<Describe> {
        let mut describe = command::described(ProviderId::new(self.id)?, settings);
        if describe.default_model.is_none() {
            describe.default_model = self.default_model.map(ModelName::new).transpose()?;
        }
        Ok(describe)
    }

    fn passed<'a>(&'a self, settings: &'a ProviderSettings) -> Vec<&'a str> {
        self.passed.iter().copied().chain(settings.pass_env.iter().map(String::as_str)).collect()
    }

    /// The provider that knows the program's own structured form.
    fn driven(&self, settings: &ProviderSettings, environment: &Environment, runner: Runner) -> Result<AgentProvider> {
        let driver = self.driver;
        let mut describe = self.described(settings)?;
        describe.capabilities = driver.takes.without(&settings.lacks);
        // It says when it is at work, also before its first word.
        describe.liveness = if settings.agent { Liveness::End } else { Liveness::Progress };
        let passed = self.passed(settings);
        let keys =
            settings.credentials.iter().filter_map(Credential::at_hand).chain(settings.headers.values()).cloned();
        let made = AgentSettings {
            describe,
            models: command::models(settings)?,
            driver,
            program: self.program,
            environment: environment.for_program(&passed),
            // What it is passed because of its own name is hidden where that name calls it secret: a model's name is none.
            hidden: environment.secrets(&settings.pass_env).into_iter().chain(keys).collect(),
            tools: self.tools(driver, settings)?,
            install: self.install,
            named_only: match self.named_only {
                Some(line) => Some(self.commanded(line, Output::Text, settings, environment, runner.clone())?),
                None => None,
            },
        };
        Ok(AgentProvider::new(made, runner))
    }

    /// Where and how it may use its tools.
    fn tools(&self, driver: &Driver, settings: &ProviderSettings) -> Result<Option<Tools>> {
        let named = settings.permission_mode.as_deref().or(settings.sandbox.as_deref());
        let mode = named.or(driver.modes.first().copied()).unwrap_or_default();
        if !driver.modes.contains(&mode) {
            return Err(Error::invalid(format!("{} knows no permission mode {mode:?}", self.id))
                .with_hint(format!("use one of {}", driver.modes.join(", "))));
        }
        if !settings.agent {
            return Ok(None);
        }
        let Some(folder) = settings.folder.clone() else {
            return Err(Error::invalid(format!("{} may use its tools, and no folder is named for them", self.id))
                .with_hint(format!("set folder under [providers.{}]", self.id)));
        };
        if settings.skip_git_repo_check == Some(false) && !folder.ancestors().any(|above| above.join(".git").exists()) {
            return Err(Error::invalid(format!("{} is in no git repository", folder.display())).with_hint(format!(
                "name another folder, or leave out skip_git_repo_check under [providers.{}]",
                self.id
            )));
        }
        Ok(Some(Tools { folder, mode: mode.to_owned() }))
    }

    /// The provider of a command line: the user's own, or the one that fetches the program first.
    fn commanded(
        &self,
        line: &str,
        output: Output,
        settings: &ProviderSettings,
        environment: &Environment,
        runner: Runner,
    ) -> Result<CommandProvider> {
        let mut describe = self.described(settings)?;
        // What it does with its tools is not known.
        describe.agent = true;
        let command = Some(Template::parse(line)?);
        // It works in the caller's folder: a command of the user's own is his to place.
        let mut made = CommandSettings::new(describe, command, environment, &self.passed(settings));
        made.hold = true;
        made.output = output;
        made.models = command::models(settings)?;
        made.hide_credentials(settings);
        made.install = self.install.to_owned();
        Ok(CommandProvider::new(made, runner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::deps::SystemClock;
    use crate::error::ErrorKind;
    use crate::ids::RequestId;
    use crate::provider::{Availability, Call, Context, Target, http::HttpClient};
    use crate::request::Request;
    use crate::response::collect;

    /// A folder of stand-ins that print how they were called: arguments, standard input, variables.
    fn stand_ins(names: &[&str]) -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().unwrap();
        let draft = folder.path().join("draft");
        std::fs::write(&draft, "#!/bin/sh\nprintf '<%s>' \"${0##*/}\" \"$@\"; echo; cat; echo; env; ls -A\n").unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in names {
            // Copied by another program: a file that this process still has open for writing would be busy.
            let copied = std::process::Command::new("cp").arg("-p").arg(&draft).arg(folder.path().join(name)).status();
            assert!(copied.unwrap().success());
        }
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let planted = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GITHUB_TOKEN", "OPENROUTER_API_KEY"];
        let environment = Environment::from_vars(planted.map(|name| (name.to_owned(), format!("canary {name}"))));
        (folder, environment.with("PATH", path))
    }

    fn made(agent: &Agent, settings: &ProviderSettings, environment: &Environment) -> Result<Arc<dyn DynProvider>> {
        agent.provider(settings, environment, Runner::default()).map(|(provider, _)| provider)
    }

    async fn answer(provider: &dyn DynProvider, model: Option<&str>) -> Result<String> {
        let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(1, 2));
        let target = Target::new(provider.describe().id.clone(), model.map(|name| ModelName::new(name).unwrap()));
        let call = Arc::new(Call::new(Arc::new(Request::new("-say it")), target, cx));
        Ok(collect(provider.generate(call).await?).await?.text())
    }

    #[tokio::test]
    async fn a_command_of_the_users_own_replaces_all_of_it() {
        let (_folder, environment) = stand_ins(&["mine"]);
        let settings = ProviderSettings { command: Some("mine -p {prompt}".into()), ..Default::default() };
        for agent in AGENTS {
            let provider = made(agent, &settings, &environment).unwrap();
            let text = answer(&*provider, None).await.unwrap();
            assert_eq!(text.lines().next(), Some("<mine><-p><"), "{}", agent.id);
        }
        let broken = ProviderSettings { command: Some("mine 'x".into()), ..Default::default() };
        assert!(made(&CODEX, &broken, &environment).unwrap_err().message().contains("character 6"));
    }

    #[tokio::test]
    async fn what_is_missing_is_said_and_npx_only_serves_who_names_it() {
        let (_folder, environment) = stand_ins(&["npx"]);
        for agent in AGENTS {
            let provider = made(agent, &ProviderSettings::default(), &environment).unwrap();
            let Availability::Missing { what, hint } = provider.availability() else { panic!("{}", agent.id) };
            assert!(!what.is_empty() && !hint.is_empty());
            let error = answer(&*provider, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{error}");
            let instead = provider.instead();
            assert_eq!(instead.is_some(), agent.named_only.is_some(), "{}", agent.id);
            if let Some(other) = instead {
                let text = answer(&*other, None).await.unwrap();
                assert!(text.starts_with("<npx>"), "{text}");
                // What it does with its tools nobody knows.
                assert!(other.describe().agent && !provider.describe().agent && other.describe().id == *agent.id);
            }
        }
    }

    #[test]
    fn the_configuration_and_the_resolution_order_know_the_same_agents() {
        use crate::config::names::{self, Sort};
        use crate::config::variables::VARIABLES;
        for agent in AGENTS {
            let known = names::builtin(agent.id).filter(|known| known.sort == Sort::Agent);
            let known = known.unwrap_or_else(|| panic!("{} has no row in config/names.rs", agent.id));
            assert_eq!(known.aliases, agent.aliases, "{}", agent.id);
            let id = ProviderId::new(agent.id).unwrap();
            assert!(crate::provider::registry::has_place(&id), "{id} has no place in ORDER of provider/registry.rs");
            let sets = |name: &str| VARIABLES.iter().any(|variable| variable.name == name);
            assert!(agent.variable.is_none_or(sets), "{:?} is not in config/variables.rs", agent.variable);
        }
    }

    #[test]
    fn codex_keeps_its_sandbox() {
        let tools = |sandbox: &str, agent, folder: &str, skip| {
            let settings = ProviderSettings {
                agent,
                sandbox: Some(sandbox.to_owned()),
                folder: Some(folder.into()),
                skip_git_repo_check: skip,
                ..Default::default()
            };
            CODEX.tools(&CODEX_DRIVER, &settings)
        };
        assert_eq!(tools("workspace-write", true, "/", None).unwrap().unwrap().mode, "workspace-write");
        assert_eq!(tools("workspace-write", false, "/", None).unwrap(), None);
        assert!(tools("none", false, "/", None).unwrap_err().hint().unwrap().contains("read-only"));
        let here = env!("CARGO_MANIFEST_DIR");
        assert!(tools("read-only", true, here, Some(false)).unwrap().is_some());
        assert!(tools("read-only", true, "/proc", Some(false)).unwrap_err().message().contains("/proc"));
    }
}
