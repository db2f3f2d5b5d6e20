//! The embedded engine as the router sees it: a provider of one or two models, for text and for vectors, whose files are found, and fetched where that is
//! allowed, when they are first asked for.
//!
//! What becomes of one model is `embedded/model.rs`; what happens to a request once the file is here is `llm_router_local::provider`'s business.

mod model;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use llm_router::config::{Environment, Loaded};
use llm_router::delta::DeltaStream;
use llm_router::embedding::{EmbedRequest, EmbedResponse};
use llm_router::error::{Error, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::Runner;
use llm_router::provider::{Availability, Call, Describe, Provider};
use llm_router_local::provider::unsaid;
use llm_router_local::source::{self, Source};

use self::model::{Common, Model, unfetched};
use crate::child::{Home, Makes};
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

/// The embedded engine.
pub(crate) struct Embedded {
    describe: Describe,
    /// The same for a model that takes tools.
    with_tools: Describe,
    text: Model,
    /// The model for embeddings, where one is configured.
    vectors: Option<Model>,
    common: Arc<Common>,
}

/// Where the engine runs, and what a child needs to be started.
pub(crate) struct Around {
    pub(crate) home: Home,
    pub(crate) environment: Environment,
    pub(crate) runner: Runner,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("name", &self.text.name).finish_non_exhaustive()
    }
}

impl Embedded {
    pub(crate) fn new(loaded: &Loaded, http: HttpClient, around: Around) -> Result<Self> {
        let settings = loaded.settings.local.clone();
        let (said, vectors) = (settings.model.clone().unwrap_or_default(), settings.embedding_model.clone());
        let common =
            Arc::new(Common { settings, folder: loaded.models_dir(), hub: Hub(http), seen: Mutex::new(None), around });
        let text = Model::new(Makes::Text, &said, Arc::clone(&common))?;
        let vectors = vectors.map(|said| Model::new(Makes::Vectors, &said, Arc::clone(&common))).transpose()?;
        // The default model takes no tools, which is known without reading its header at each start.
        if !matches!(text.source, Ok(Source::Default)) {
            text.look();
        }
        // But for tools, what it can do does not depend on the file.
        let mut describe = Makes::Text.describe(ProviderId::new(ID)?, &text.name);
        describe.embedding_model = vectors.as_ref().map(|model| model.name.clone());
        describe.window = Some(common.window());
        let mut with_tools = describe.clone();
        with_tools.capabilities.tools = true;
        Ok(Self { describe, with_tools, text, vectors, common })
    }

    /// The process id of the child that makes text, where one runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.text.process_id()
    }

    pub(crate) fn on_download(&self, seen: impl Fn(&Progress) + Send + Sync + 'static) {
        *self.common.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(seen));
    }

    /// Gets a model file: the configured one without a name.
    pub(crate) async fn pull(&self, model: Option<&str>, update: bool) -> Result<Pulled> {
        let source = match model {
            Some(name) => Source::parse(name).map_err(unfetched)?,
            None => self.text.source.clone()?,
        };
        let folder = self.common.folder.clone()?;
        let before = source::present(&source, &folder);
        let mut options = self.common.options(folder);
        options.check = true;
        options.update = update;
        let resolved = self.common.resolve(&source, &options).await?;
        let bytes = std::fs::metadata(&resolved.path).map_or(0, |file| file.len());
        let fetched = before.is_none_or(|before| before != resolved);
        let sha256 = resolved.manifest.map(|manifest| manifest.sha256);
        Ok(Pulled { path: resolved.path, sha256, bytes, fetched })
    }

    /// Gets the file of the model that makes text if it is not here, as far as that is allowed.
    pub(crate) async fn fetch(&self) {
        self.text.fetch().await;
    }

    /// The model for embeddings, if `call` may have its vectors: another one that is named is not replaced by it.
    fn for_vectors(&self, call: &Call) -> Result<&Model> {
        let Some(model) = &self.vectors else {
            return Err(Error::unsupported("the embedded engine has no model for embeddings")
                .with_hint("name a GGUF file made for them as embedding_model under [local] in the config"));
        };
        match &call.target.model {
            Some(asked) if !model.is_called(asked) && self.text.is_called(asked) => {
                Err(Error::unsupported(format!("{} makes text and no vectors", self.text.name))
                    .with_hint(format!("name {}", model.name)))
            }
            _ => Ok(model),
        }
    }

    /// The model of a call for text, or for a count of a text's tokens: an embedding model says for itself that it makes none.
    fn for_text(&self, call: &Call) -> &Model {
        let asked = call.target.model.as_ref().filter(|asked| !self.text.is_called(asked));
        let vectors = self.vectors.as_ref().filter(|model| asked.is_some_and(|asked| model.is_called(asked)));
        vectors.unwrap_or(&self.text)
    }
}

impl Provider for Embedded {
    fn describe(&self) -> &Describe {
        if self.text.takes_tools() { &self.with_tools } else { &self.describe }
    }

    fn availability(&self) -> Availability {
        match (self.text.availability(), &self.vectors) {
            (Availability::Ready, _) | (_, None) => self.text.availability(),
            // Each call is told of its own model.
            (missing, Some(vectors)) => {
                if vectors.availability().is_ready() {
                    Availability::Ready
                } else {
                    missing
                }
            }
        }
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let model = self.for_text(&call);
        whole_or_not(&call).await.map_err(|error| error.at(&self.describe.id, Some(&model.name)))?;
        model.provider().await?.generate(call).await
    }

    async fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        self.for_vectors(&call)?.provider().await?.embed(call, ask).await
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        let model = self.for_text(&call);
        whole_or_not(&call).await.map_err(|error| error.at(&self.describe.id, Some(&model.name)))?;
        model.provider().await?.count_tokens(call).await
    }

    fn models(&self) -> Vec<ModelName> {
        [Some(&self.text), self.vectors.as_ref()].into_iter().flatten().map(|model| model.name.clone()).collect()
    }

    fn has_model(&self, model: &ModelName) -> bool {
        [Some(&self.text), self.vectors.as_ref()].into_iter().flatten().any(|known| known.name == *model)
    }

    /// The name with the file's digest behind it, so that answers of one file are never taken for another's.
    fn exact_model(&self, model: &ModelName) -> ModelName {
        let known = [Some(&self.text), self.vectors.as_ref()].into_iter().flatten().find(|known| known.name == *model);
        known.and_then(Model::exact).unwrap_or_else(|| model.clone())
    }
}

/// Refuses a strict request that the embedded engine cannot be told whole: before a model is fetched, and before a child is started for it.
///
/// # Errors
/// `caller_unsupported` naming what would be lost.
async fn whole_or_not(call: &Call) -> Result<()> {
    if call.request.riders.strict {
        call.note_dropped(unsaid(Arc::clone(&call.request)).await?)?;
    }
    Ok(())
}
