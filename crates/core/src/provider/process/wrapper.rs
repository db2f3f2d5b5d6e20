//! The original's wrapper types: an agent's program run with any arguments, its status and output as they come.
//!
//! They answer no prompts and are in no plan; the providers of the same programs are in `agents.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::agents::{Agent, agent};
use super::{Environment, Job, Resolved, Runner, resolve};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What a program left when it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed {
    /// Its exit status; `None` where a signal ended it.
    pub status: Option<i32>,
    /// What it printed, with what is no UTF-8 replaced.
    pub stdout: String,
    /// The end of what it wrote to standard error, key-shaped words masked.
    pub stderr: String,
}

macro_rules! wrappers {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            environment: Environment,
            hidden: Arc<[Secret]>,
            runner: Runner,
        }

        impl $name {
            /// A wrapper that sees its own part of `environment`, `PATH` included.
            pub fn new(environment: &Environment, runner: Runner) -> Self {
                let hidden = environment.secrets(&[""; 0]).into();
                let environment = agent($id).map(|agent| agent.environment(environment)).unwrap_or_default();
                Self { environment, hidden, runner }
            }

            /// Runs the program with these arguments and nothing on its standard input. Dropping the future ends it.
            ///
            /// # Errors
            /// `provider_unavailable` when it cannot be started, `provider_timeout`, `provider_protocol` when it prints too much. An exit status is none.
            pub async fn execute(&self, args: &[&str], timeout: Duration) -> Result<Completed> {
                match agent($id) {
                    Some(agent) => {
                        let mut job = job(agent, &self.environment, args)?;
                        job.hidden = self.hidden.clone();
                        execute(job, &self.runner, timeout).await
                    }
                    None => Err(Error::internal(concat!("no agent ", $id))),
                }
            }
        }
    )*};
}

wrappers! {
    /// The Gemini CLI.
    GeminiCli = "gemini_py";
    /// The Claude Code CLI.
    ClaudeCli = "claude_py";
}

fn job(agent: &Agent, environment: &Environment, args: &[&str]) -> Result<Job> {
    let program = match resolve(agent.program, environment.get("PATH")) {
        Resolved::Found(path) => path,
        other => return Err(super::missing(agent.program, &other, agent.install())),
    };
    Ok(Job::new(program).with_args(args.iter().copied()).with_environment(environment.clone()))
}

async fn execute(job: Job, runner: &Runner, timeout: Duration) -> Result<Completed> {
    let name = job.name();
    let run = async {
        let place = runner.place(&job.program).await;
        let mut process = runner.start(job, place)?;
        process.feed(bytes::Bytes::new());
        let mut stdout = Vec::new();
        while let Some(chunk) = process.chunk().await? {
            stdout.extend_from_slice(&chunk);
        }
        let status = process.status().await;
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        Ok(Completed { status, stdout, stderr: process.last_words("").await })
    };
    tokio::time::timeout(timeout, run)
        .await
        .unwrap_or_else(|_| Err(Error::timeout(format!("{name} did not end in {} s", timeout.as_secs_f64()))))
}
