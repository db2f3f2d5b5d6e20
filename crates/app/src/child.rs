//! The embedded engine in a child of this program: what the parent tells it, and what the child does with that.
//!
//! The child gets one model file and the engine's settings, and nothing else: no configuration, no keys, no network. It cannot fetch a model. How calls pass
//! between the two is `llm_router::provider::worker`'s business.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use llm_router::config::Environment;
use llm_router::deps::SystemClock;
use llm_router::error::{Error, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::Runner;
use llm_router::provider::worker::{self, Worker, WorkerSettings};
use llm_router::provider::{Context, Describe, DynProvider};
use llm_router_local::engine::EngineOptions;
use llm_router_local::provider::ModelFile;
use serde::{Deserialize, Serialize};

/// Where the embedded engine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Home {
    /// In this process: for one-shot commands and libraries. A missing model may be fetched.
    #[default]
    Here,
    /// In a child that is started again when it crashes: for servers. A missing model is an error; nothing is fetched while callers wait.
    Child {
        /// The program: this one, as a rule.
        program: PathBuf,
        /// Its arguments, behind which the task is put that it gives to [`serve_worker`].
        args: Vec<String>,
    },
}

impl Home {
    /// A child of the running program, by its hidden command `worker`.
    ///
    /// # Errors
    /// `router_internal` where the system does not say which program runs.
    pub fn child() -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|error| Error::internal(format!("the path of this program cannot be found: {error}")))?;
        Ok(Self::Child { program, args: vec!["worker".to_owned()] })
    }
}

/// What a model makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Makes {
    #[default]
    Text,
    Vectors,
}

/// What a child is told on its command line, in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    id: ProviderId,
    #[serde(default)]
    makes: Makes,
    model: ModelName,
    file: PathBuf,
    window: usize,
    parallel: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    threads: Option<NonZeroUsize>,
}

/// The parent's side: a worker for one model file, started on its first call.
pub(crate) fn worker(
    (program, args): (&PathBuf, &[String]),
    describe: Describe,
    (makes, file): (Makes, ModelFile),
    options: &EngineOptions,
    environment: &Environment,
    runner: Runner,
) -> Result<Worker> {
    let models = vec![file.name.clone()];
    let EngineOptions { window, parallel, threads, .. } = *options;
    let task = Task { id: describe.id.clone(), makes, model: file.name, file: file.path, window, parallel, threads };
    let task = serde_json::to_string(&task).map_err(|error| {
        Error::unavailable(format!("the model file {} cannot be named to a child: {error}", task.file.display()))
            .with_hint("give it a name in UTF-8")
    })?;
    let args = args.iter().cloned().chain([task]).collect();
    let mut settings = WorkerSettings::new(describe, program, args);
    settings.models = models;
    // What the loader of a program may need, and how much is to be said; keys and settings stay with the parent.
    settings.environment = environment.for_programs().for_program(&["LD_LIBRARY_PATH", "IPFS_LLM_ROUTER_LOG"]);
    Ok(Worker::new(settings, runner))
}

/// The child's side: answers calls over standard input and output until the parent is gone or says stop. `task` is the last argument that [`Home::Child`] was
/// started with.
///
/// # Errors
/// `caller_invalid_request` for a task that is none; `router_internal` when the pipes break.
pub async fn serve_worker(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task).map_err(|error| {
        Error::invalid(format!("the worker's task: {error}; it is started by another process only"))
    })?;
    let mut options = EngineOptions::default();
    (options.window, options.parallel, options.threads) = (task.window, task.parallel, task.threads);
    let file = ModelFile { path: task.file, name: task.model };
    let provider: Arc<dyn DynProvider> = task.makes.provider(task.id, file, options).into();
    let (input, output) =
        worker::stdio().map_err(|error| Error::internal(format!("standard input and output: {error}")))?;
    let http = HttpClient::default();
    worker::serve(provider, |id| Context::new(http.clone(), Arc::new(SystemClock), id), input, output).await
}
