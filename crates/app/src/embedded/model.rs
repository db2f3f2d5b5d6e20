//! One of the embedded engine's models: where its file comes from, whether it is here, and the engine that runs it once somebody asks.
//!
//! Which calls it gets is `embedded.rs`'s business; how it answers them, `llm_router_local::provider`'s.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llm_router::config::LocalSettings;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::worker::Worker;
use llm_router::provider::{Availability, Describe, DynProvider};
use llm_router_local::engine::EngineOptions;
use llm_router_local::manifest::mark;
use llm_router_local::provider::{EmbeddingProvider, LocalProvider, ModelFile, takes_tools};
use llm_router_local::source::{self, DEFAULT, Options, Resolved, Source};
use llm_router_local::{fetch, gguf};
use tokio::sync::OnceCell;

use super::{Around, ID, INSTALLER_SEES, Progress, Seen};
use crate::child::{self, Home, Makes};
use crate::hub::Hub;

/// What the models share: settings, the folder of files, the way to fetch them, and where engines run.
pub(super) struct Common {
    pub(super) settings: LocalSettings,
    pub(super) folder: Result<PathBuf>,
    pub(super) hub: Hub,
    pub(super) seen: Mutex<Option<Seen>>,
    pub(super) around: Around,
}

impl Common {
    pub(super) fn options(&self, folder: PathBuf) -> Options {
        let mut options = Options::new(folder);
        if let Some(hub) = &self.settings.hub {
            options.endpoint.clone_from(hub);
        }
        options.token.clone_from(&self.settings.hub_token);
        options.offline = self.settings.offline;
        options.environment = Some(self.around.environment.for_programs().for_program(INSTALLER_SEES));
        options
    }

    pub(super) async fn resolve(&self, source: &Source, options: &Options) -> Result<Resolved> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = name_of(source);
        let report = move |progress| {
            if let (Some(seen), fetch::Progress::Fetching { done, total }) = (&seen, progress) {
                seen(&Progress { name: name.clone(), done, total });
            }
        };
        source::resolve(source, options, &self.hub, &report).await.map_err(unfetched)
    }

    /// The tokens of a prompt and its answer together, unless the model was made for fewer.
    pub(super) fn window(&self) -> u64 {
        u64::try_from(self.engine_options().window).unwrap_or(u64::MAX)
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

/// One model.
pub(super) struct Model {
    makes: Makes,
    /// As the configuration names it.
    said: String,
    pub(super) source: Result<Source>,
    pub(super) name: ModelName,
    /// Whether it takes tools, once its file was looked at.
    tools: OnceLock<bool>,
    common: Arc<Common>,
    running: OnceCell<Running>,
}

/// The engine at its home.
enum Running {
    Here(Box<dyn DynProvider>),
    Child(Box<Worker>),
}

impl Model {
    /// The model of `said`, which is a path, a name on the hub, or empty for the default one.
    ///
    /// # Errors
    /// `caller_invalid_request` for a file whose name no model can have. A source that cannot be read is told to whoever asks.
    pub(super) fn new(makes: Makes, said: &str, common: Arc<Common>) -> Result<Self> {
        let source = Source::parse(said).map_err(unfetched);
        let name = ModelName::new(source.as_ref().map_or(DEFAULT.name.to_owned(), name_of))?;
        let (tools, running) = (OnceLock::new(), OnceCell::new());
        Ok(Self { makes, said: said.to_owned(), source, name, tools, common, running })
    }

    /// Looks into the file, if it is here, for whether the model takes tools.
    pub(super) fn look(&self) {
        if let Some(resolved) = self.present() {
            self.look_at(&resolved.path);
        }
    }

    fn look_at(&self, file: &Path) -> bool {
        *self.tools.get_or_init(|| takes_tools(file))
    }

    /// Whether it is known to take tools.
    pub(super) fn takes_tools(&self) -> bool {
        let here =
            matches!(self.running.get(), Some(Running::Here(provider)) if provider.describe().capabilities.tools);
        here || self.tools.get() == Some(&true)
    }

    /// The child's process id, where one runs.
    pub(super) fn process_id(&self) -> Option<u32> {
        match self.running.get()? {
            Running::Here(_) => None,
            Running::Child(worker) => worker.process_id(),
        }
    }

    /// Gets the file if it is not here, as far as that is allowed.
    pub(super) async fn fetch(&self) {
        if let (None, Ok(source), Ok(folder)) = (self.present(), &self.source, &self.common.folder) {
            let _ = self.common.resolve(source, &self.common.options(folder.clone())).await;
        }
    }

    /// The file, if it is here already.
    pub(super) fn present(&self) -> Option<Resolved> {
        let (source, folder) = (self.source.as_ref().ok()?, self.common.folder.as_ref().ok());
        source::present(source, folder.map_or(Path::new(""), PathBuf::as_path))
    }

    pub(super) fn availability(&self) -> Availability {
        let Common { folder, settings, around, .. } = &*self.common;
        let missing = |error: &Error| Availability::missing(error.message(), error.hint().unwrap_or_default());
        match (&self.source, folder) {
            (Err(error), _) => missing(error),
            // A path is enough: it needs no folder of ours.
            _ if self.present().is_some() => Availability::Ready,
            (Ok(Source::Path(path)), _) => Availability::missing(
                format!("there is no model file {}", path.display()),
                "name another in [local], or remove the line",
            ),
            (_, Err(error)) => missing(error),
            _ if settings.offline || around.home != Home::Here => {
                Availability::missing(format!("the model {} is not here", self.name), self.how_to_get())
            }
            _ => Availability::Ready,
        }
    }

    fn how_to_get(&self) -> String {
        let space = if self.said.is_empty() { "" } else { " " };
        format!("fetch it with `llm-router pull{space}{}`", self.said)
    }

    /// Its engine, at its home: prepared by the first call, loaded or started by what it is asked.
    pub(super) async fn provider(&self) -> Result<&dyn DynProvider> {
        Ok(match self.running.get_or_try_init(|| self.run()).await? {
            Running::Here(provider) => provider.as_ref(),
            Running::Child(worker) => worker.as_ref(),
        })
    }

    async fn run(&self) -> Result<Running> {
        let source = self.source.clone()?;
        let Around { home, environment, runner } = &self.common.around;
        let resolved = match (self.present(), home) {
            (Some(resolved), Home::Here) => resolved,
            (Some(resolved), Home::Child { .. }) => {
                // No child is started for a file that it could not load.
                gguf::check(&resolved.path).map_err(|error| unfetched(fetch::FetchError::Model(error)))?;
                resolved
            }
            (None, Home::Here) => {
                self.common.resolve(&source, &self.common.options(self.common.folder.clone()?)).await?
            }
            (None, Home::Child { .. }) => {
                return Err(
                    Error::unavailable(format!("the model {} is not here", self.name)).with_hint(self.how_to_get())
                );
            }
        };
        let file = ModelFile { path: resolved.path, name: self.name.clone() };
        let (id, options) = (ProviderId::new(ID)?, self.common.engine_options());
        let Home::Child { program, args } = home else {
            return Ok(Running::Here(self.makes.provider(id, file, options)));
        };
        let mut describe = self.makes.describe(id, &self.name);
        describe.capabilities.tools = self.makes == Makes::Text && self.look_at(&file.path);
        let worker =
            child::worker((program, args), describe, (self.makes, file), &options, environment, runner.clone())?;
        Ok(Running::Child(Box::new(worker)))
    }

    /// The name with the file's digest behind it, so that answers of one file are never taken for another's.
    pub(super) fn exact(&self) -> Option<ModelName> {
        let mark = mark(&self.present()?.path)?;
        ModelName::new(format!("{}@{}", self.name, mark.get(..16)?)).ok()
    }

    /// Whether `asked` is its name, with or without a digest behind it.
    pub(super) fn is_called(&self, asked: &ModelName) -> bool {
        let (asked, name) = (asked.as_str(), self.name.as_str());
        asked.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
    }
}

impl Makes {
    /// Who its provider is, as far as that does not depend on the file.
    pub(crate) fn describe(self, id: ProviderId, name: &ModelName) -> Describe {
        let file = ModelFile { path: PathBuf::new(), name: name.clone() };
        self.provider(id, file, EngineOptions::default()).describe().clone()
    }

    /// The provider of a model in a file that is here.
    pub(crate) fn provider(self, id: ProviderId, file: ModelFile, options: EngineOptions) -> Box<dyn DynProvider> {
        match self {
            Self::Text => Box::new(LocalProvider::new(id, file, options)),
            Self::Vectors => Box::new(EmbeddingProvider::new(id, file, options)),
        }
    }
}

/// What a model is called when it is asked for.
pub(super) fn name_of(source: &Source) -> String {
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

pub(super) fn unfetched(error: fetch::FetchError) -> Error {
    Error::new(ErrorKind::ProviderUnavailable, error.to_string())
}
