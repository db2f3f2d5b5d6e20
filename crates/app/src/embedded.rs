//! The embedded model as the router sees it: a provider whose file is found, and fetched where that is allowed, on its first call.
//!
//! What happens to a request once the file is here is `llm_router_local::provider`'s business.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llm_router::config::{Environment, Loaded, LocalSettings};
use llm_router::delta::DeltaStream;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::Runner;
use llm_router::provider::worker::Worker;
use llm_router::provider::{Availability, Call, Describe, Provider};
use llm_router_local::engine::EngineOptions;
use llm_router_local::fetch;
use llm_router_local::gguf;
use llm_router_local::manifest::mark;
use llm_router_local::provider::{LocalProvider, ModelFile, takes_tools};
use llm_router_local::source::{self, DEFAULT, Options, Resolved, Source};
use tokio::sync::OnceCell;

use crate::child::{self, Home};
use crate::hub::Hub;

const ID: &str = "local";

/// What Python's installer sees besides the common variables: its own settings, and no provider's key.
const INSTALLER_SEES: &[&str] = &["PIP_*", "PYTHON*", "PYENV_*", "VIRTUAL_ENV"];

/// How a model file is coming along.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// The model.
    pub name: String,
    /// Bytes that are here.
    pub done: u64,
    /// All bytes, where known.
    pub total: Option<u64>,
}

/// A model file that is here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// Where it lies.
    pub path: PathBuf,
    /// Its digest, where it is known.
    pub sha256: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it was fetched just now.
    pub fetched: bool,
}

type Seen = Arc<dyn Fn(&Progress) + Send + Sync>;

/// The embedded model.
pub(crate) struct Embedded {
    settings: LocalSettings,
    folder: Result<PathBuf>,
    source: Result<Source>,
    name: ModelName,
    describe: Describe,
    /// The same for a model that takes tools.
    with_tools: Describe,
    /// Whether the model takes tools, once its file was looked at.
    tools: OnceLock<bool>,
    hub: Hub,
    seen: Mutex<Option<Seen>>,
    around: Around,
    engine: OnceCell<Running>,
}

/// Where the engine runs, and what a child needs to be started.
pub(crate) struct Around {
    pub(crate) home: Home,
    pub(crate) environment: Environment,
    pub(crate) runner: Runner,
}

/// The engine at its home.
enum Running {
    Here(Box<LocalProvider>),
    Child(Worker),
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Embedded {
    pub(crate) fn new(loaded: &Loaded, http: HttpClient, around: Around) -> Result<Self> {
        let settings = loaded.settings.local.clone();
        let source = Source::parse(settings.model.as_deref().unwrap_or_default()).map_err(unfetched);
        let name = ModelName::new(source.as_ref().map_or(DEFAULT.name.to_owned(), name_of))?;
        // But for tools, what it can do does not depend on the file.
        let file = ModelFile { path: PathBuf::new(), name: name.clone() };
        let describe = LocalProvider::new(ProviderId::new(ID)?, file, EngineOptions::default()).describe().clone();
        let mut with_tools = describe.clone();
        with_tools.capabilities.tools = true;
        let embedded = Self {
            settings,
            folder: loaded.models_dir(),
            source,
            name,
            describe,
            hub: Hub(http),
            with_tools,
            tools: OnceLock::new(),
            seen: Mutex::new(None),
            around,
            engine: OnceCell::new(),
        };
        // The default model takes none, which is known without reading its header at each start.
        if !matches!(embedded.source, Ok(Source::Default))
            && let Some(resolved) = embedded.present()
        {
            embedded.look_at(&resolved.path);
        }
        Ok(embedded)
    }

    fn look_at(&self, file: &Path) -> bool {
        *self.tools.get_or_init(|| takes_tools(file))
    }

    /// The child's process id, where one runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        match self.engine.get()? {
            Running::Here(_) => None,
            Running::Child(worker) => worker.process_id(),
        }
    }

    pub(crate) fn on_download(&self, seen: impl Fn(&Progress) + Send + Sync + 'static) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(seen));
    }

    /// Gets a model file: the configured one without a name.
    pub(crate) async fn pull(&self, model: Option<&str>, update: bool) -> Result<Pulled> {
        let source = match model {
            Some(name) => Source::parse(name).map_err(unfetched)?,
            None => self.source.clone()?,
        };
        let folder = self.folder.clone()?;
        let before = source::present(&source, &folder);
        let mut options = self.options(folder);
        options.check = true;
        options.update = update;
        let resolved = self.resolve(&source, &options).await?;
        let bytes = std::fs::metadata(&resolved.path).map_or(0, |file| file.len());
        let fetched = before.is_none_or(|before| before != resolved);
        let sha256 = resolved.manifest.map(|manifest| manifest.sha256);
        Ok(Pulled { path: resolved.path, sha256, bytes, fetched })
    }

    /// Gets the configured file if it is not here, as far as that is allowed.
    pub(crate) async fn fetch(&self) {
        if let (None, Ok(source), Ok(folder)) = (self.present(), &self.source, &self.folder) {
            let _ = self.resolve(source, &self.options(folder.clone())).await;
        }
    }

    fn options(&self, folder: PathBuf) -> Options {
        let mut options = Options::new(folder);
        if let Some(hub) = &self.settings.hub {
            options.endpoint.clone_from(hub);
        }
        options.token.clone_from(&self.settings.hub_token);
        options.offline = self.settings.offline;
        options.environment = Some(self.around.environment.for_programs().for_program(INSTALLER_SEES));
        options
    }

    async fn resolve(&self, source: &Source, options: &Options) -> Result<Resolved> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = name_of(source);
        let report = move |progress| {
            if let (Some(seen), fetch::Progress::Fetching { done, total }) = (&seen, progress) {
                seen(&Progress { name: name.clone(), done, total });
            }
        };
        source::resolve(source, options, &self.hub, &report).await.map_err(unfetched)
    }

    /// The file, if it is here already.
    fn present(&self) -> Option<Resolved> {
        let (source, folder) = (self.source.as_ref().ok()?, self.folder.as_ref().ok());
        source::present(source, folder.map_or(Path::new(""), PathBuf::as_path))
    }

    async fn engine(&self) -> Result<&Running> {
        let make = || async {
            let source = self.source.clone()?;
            let resolved = match (self.present(), &self.around.home) {
                (Some(resolved), Home::Here) => resolved,
                (Some(resolved), Home::Child { .. }) => {
                    // No child is started for a file that it could not load.
                    gguf::check(&resolved.path).map_err(|error| unfetched(fetch::FetchError::Model(error)))?;
                    resolved
                }
                (None, Home::Here) => self.resolve(&source, &self.options(self.folder.clone()?)).await?,
                (None, Home::Child { .. }) => {
                    return Err(Error::unavailable(format!("the model {} is not here", self.name))
                        .with_hint("fetch it with `llm-router pull`"));
                }
            };
            let file = ModelFile { path: resolved.path, name: self.name.clone() };
            let options = self.engine_options();
            let Around { home, environment, runner } = &self.around;
            Ok(match home {
                Home::Here => Running::Here(Box::new(LocalProvider::new(ProviderId::new(ID)?, file, options))),
                Home::Child { program, args } => {
                    let describe = if self.look_at(&file.path) { &self.with_tools } else { &self.describe };
                    let worker =
                        child::worker((program, args), describe.clone(), file, &options, environment, runner.clone())?;
                    Running::Child(worker)
                }
            })
        };
        self.engine.get_or_try_init(make).await
    }

    fn engine_options(&self) -> EngineOptions {
        // One-shot commands ask one thing at a time; memory for more would take longer to get than the answer.
        let mut options = match self.around.home {
            Home::Here => EngineOptions::single(),
            Home::Child { .. } => EngineOptions::default(),
        };
        let set = |to: &mut usize, from: Option<u32>| *to = from.map_or(*to, |from| from as usize);
        set(&mut options.window, self.settings.context);
        set(&mut options.parallel, self.settings.parallel);
        options.threads = self.settings.threads.and_then(|threads| NonZeroUsize::new(threads as usize));
        options
    }
}

impl Provider for Embedded {
    fn describe(&self) -> &Describe {
        match self.engine.get() {
            Some(Running::Here(provider)) if provider.describe().capabilities.tools => &self.with_tools,
            _ if self.tools.get() == Some(&true) => &self.with_tools,
            _ => &self.describe,
        }
    }

    fn availability(&self) -> Availability {
        let missing = |error: &Error| Availability::missing(error.message(), error.hint().unwrap_or_default());
        match (&self.source, &self.folder) {
            (Err(error), _) | (Ok(_), Err(error)) => missing(error),
            _ if self.present().is_some() => Availability::Ready,
            (Ok(Source::Path(path)), _) => Availability::missing(
                format!("there is no model file {}", path.display()),
                "name another in [local] model, or remove the line for the default model",
            ),
            _ if self.settings.offline || self.around.home != Home::Here => {
                Availability::missing(format!("the model {} is not here", self.name), "fetch it with `llm-router pull`")
            }
            _ => Availability::Ready,
        }
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        match self.engine().await? {
            Running::Here(provider) => Provider::generate(&**provider, call).await,
            Running::Child(worker) => Provider::generate(worker, call).await,
        }
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        match self.engine().await? {
            Running::Here(provider) => Provider::count_tokens(&**provider, call).await,
            Running::Child(worker) => Provider::count_tokens(worker, call).await,
        }
    }

    fn models(&self) -> Vec<ModelName> {
        vec![self.name.clone()]
    }

    /// The name with the file's digest behind it, so that answers of one file are never taken for another's.
    fn exact_model(&self, model: &ModelName) -> ModelName {
        let Some(resolved) = self.present().filter(|_| *model == self.name) else { return model.clone() };
        let exact = mark(&resolved.path).and_then(|mark| ModelName::new(format!("{model}@{}", mark.get(..16)?)).ok());
        exact.unwrap_or_else(|| model.clone())
    }
}

/// What a model is called when it is asked for.
fn name_of(source: &Source) -> String {
    let stem = |file: &str| Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    match source {
        Source::Path(path) => stem(&path.to_string_lossy()).unwrap_or_else(|| ID.to_owned()),
        Source::Hub { pick: source::Pick::File(file), .. } => stem(file).unwrap_or_else(|| ID.to_owned()),
        Source::Hub { repo, pick: source::Pick::Quantisation(tag), .. } => {
            format!("{}:{tag}", repo.rsplit('/').next().unwrap_or(repo))
        }
        _ => DEFAULT.name.to_owned(),
    }
}

fn unfetched(error: fetch::FetchError) -> Error {
    Error::new(ErrorKind::ProviderUnavailable, error.to_string())
}
