//! The coding agents that this router drives as commands: a table, and how a row becomes a provider.
//!
//! Plain form: the prompt goes to standard input, the agent may use none of its tools or only reading ones, and its text is given on once it has ended
//! well. A command line of the user's own (`*_CLI_CMD`, or `command` in the config) replaces all of it. An agent has a plain form here only where its exit
//! status tells a whole answer from a cut one; the others say what to set.

use std::path::PathBuf;
use std::sync::Arc;

use super::agent::{
    AgentSettings, CLAUDE as CLAUDE_DRIVER, CODEX as CODEX_DRIVER, COPILOT as COPILOT_DRIVER, COPILOT_SERVER, Driver,
    GEMINI as GEMINI_DRIVER, Tools,
};
use super::{AgentProvider, CommandProvider, CommandSettings, Environment, Folder, Output, Runner, Template, command};
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
    /// How its program is driven, where this router knows more of it than that it prints text.
    driver: Option<&'static Driver>,
    /// The arguments of its plain form, where it has one.
    plain: Option<&'static [&'static str]>,
    /// Words that name the model, where one is named.
    model_words: &'static [&'static str],
    /// The variable by which the program learns the model.
    model_variable: Option<&'static str>,
    /// The model used when none is named.
    pub default_model: Option<&'static str>,
    /// The original's command line, which fetches the program first: run only for calls that name the provider.
    named_only: Option<&'static str>,
    /// Variables of its own that the program may see.
    passed: &'static [&'static str],
    /// Variables that it is given, unless the command is the user's own.
    given: &'static [(&'static str, &'static str)],
    /// How to come by the program.
    install: &'static str,
}

const CODEX: Agent = Agent {
    id: "codex_cli",
    aliases: &["codex"],
    variable: None,
    program: "codex",
    driver: Some(&CODEX_DRIVER),
    plain: None,
    model_words: &[],
    model_variable: None,
    default_model: Some("gpt-5.1-codex-mini"),
    named_only: None,
    passed: &["CODEX_*", "OPENAI_API_KEY", "OPENAI_BASE_URL"],
    given: &[],
    install: "install it with: npm install -g @openai/codex",
};

const COPILOT: Agent = Agent {
    id: "copilot_cli",
    aliases: &[],
    variable: Some("COPILOT_CLI_CMD"),
    program: "copilot",
    driver: Some(&COPILOT_DRIVER),
    plain: None,
    model_words: &[],
    model_variable: None,
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
    given: &[],
    install: "install it with: npm install -g @github/copilot",
};

const GEMINI: Agent = Agent {
    id: "gemini_cli",
    aliases: &[],
    variable: Some("GEMINI_CLI_CMD"),
    program: "gemini",
    driver: Some(&GEMINI_DRIVER),
    plain: None,
    model_words: &[],
    model_variable: None,
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
    given: &[],
    install: "install it with: npm install -g @google/gemini-cli",
};

const CLAUDE: Agent = Agent {
    id: "claude_code",
    aliases: &[],
    variable: Some("CLAUDE_CODE_CLI_CMD"),
    program: "claude",
    driver: Some(&CLAUDE_DRIVER),
    plain: None,
    model_words: &[],
    model_variable: None,
    default_model: None,
    named_only: None,
    passed: &["ANTHROPIC_*", "CLAUDE_*", "IS_SANDBOX", "AWS_REGION", "CLOUD_ML_REGION"],
    given: &[],
    install: "install it with: npm install -g @anthropic-ai/claude-code",
};

/// Every agent under each of its provider ids, in the order of automatic plans.
pub const AGENTS: &[Agent] = &[
    CODEX,
    COPILOT,
    GEMINI,
    CLAUDE,
    Agent { id: "copilot_sdk", variable: None, driver: Some(&COPILOT_SERVER), named_only: None, ..COPILOT },
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
        match self.driver.filter(|_| own.is_none()) {
            Some(driver) => {
                if Output::of(settings)? != Output::Text {
                    return Err(Error::invalid(format!("{} has an output of its own, and no command", self.id))
                        .with_hint("leave output out, or give the command whose output it is"));
                }
                let provider = self.driven(driver, settings, environment, runner)?;
                let program = provider.program();
                Ok((Arc::new(provider), program))
            }
            None => {
                let provider = self.commanded(own, settings, environment, runner)?;
                let program = provider.program();
                Ok((Arc::new(provider), program))
            }
        }
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
    fn driven(
        &self,
        driver: &'static Driver,
        settings: &ProviderSettings,
        environment: &Environment,
        runner: Runner,
    ) -> Result<AgentProvider> {
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
            hidden: environment.secrets(&passed).into_iter().chain(keys).collect(),
            tools: self.tools(driver, settings)?,
            install: self.install,
            named_only: match self.named_only {
                Some(line) => Some(self.commanded(Some(line), settings, environment, runner.clone())?),
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

    /// The provider of a command line: the user's own, or the agent's plain form.
    fn commanded(
        &self,
        own: Option<&str>,
        settings: &ProviderSettings,
        environment: &Environment,
        runner: Runner,
    ) -> Result<CommandProvider> {
        let mut describe = self.described(settings)?;
        // What it does with its tools is not known.
        describe.agent = true;
        let command = match own {
            Some(line) => Some(Template::parse(line)?),
            None => self.plain_form()?,
        };
        let mut made = CommandSettings::new(describe, command, environment, &self.passed(settings));
        if own.is_none() {
            made.environment = self.given.iter().fold(made.environment, |all, (name, value)| all.with(*name, *value));
        }
        made.named_only = if own.is_none() { self.named_only.map(Template::parse).transpose()? } else { None };
        made.model_variable = if own.is_none() { self.model_variable.map(str::to_owned) } else { None };
        // An agent in the caller's folder would read its files and obey instructions in them; a command of the user's own is his to place, and
        // who wants Codex to look for a repository means the one he stands in.
        let placed = own.is_some() || settings.skip_git_repo_check == Some(false);
        made.folder = if placed { Folder::Inherited } else { Folder::Private };
        made.hold = true;
        if own.is_some() {
            made.output = Output::of(settings)?;
        }
        made.models = command::models(settings)?;
        made.hide_credentials(settings);
        made.install = self.install.to_owned();
        if let Some(variable) = self.variable {
            made.absent = (
                format!("{} has no command: {variable} is not set", self.id),
                format!("set IPFS_KIT_{variable} to a command line with {{prompt}} in it"),
            );
        }
        Ok(CommandProvider::new(made, runner))
    }

    /// The agent's own plain form, where it has one.
    fn plain_form(&self) -> Result<Option<Template>> {
        let Some(args) = self.plain else { return Ok(None) };
        let words = [&[self.program], args].concat();
        Ok(Some(Template::of(&words, self.model_words)))
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
    async fn a_command_of_the_users_own_replaces_the_plain_form() {
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
            match answer(&*provider, None).await {
                Ok(text) => assert!(agent.named_only.is_some() && text.starts_with("<npx>"), "{text}"),
                Err(error) => {
                    assert!(agent.named_only.is_none() && error.kind() == ErrorKind::ProviderUnavailable, "{error}");
                }
            }
        }
        let gemini = made(&GEMINI, &ProviderSettings::default(), &environment).unwrap();
        let Availability::Missing { what, .. } = gemini.availability() else { panic!() };
        assert!(what.contains("GEMINI_CLI_CMD"), "{what}");
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
