//! What a provider says of itself before anybody asks it anything: who it is, what it can do, whether it could answer now.

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::ids::{ModelName, ProviderId};
use crate::request::Privacy;

/// Who a provider is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Describe {
    /// Its id.
    pub id: ProviderId,
    /// The model it uses when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<ModelName>,
    /// The model that makes its vectors when none is named, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_model: Option<ModelName>,
    /// The dialects it takes, the preferred one first.
    pub dialects: Vec<Dialect>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Who sees what is sent to it.
    pub privacy: Privacy,
    /// Whether it may use tools on this machine: such a provider answers the command and the library only.
    pub agent: bool,
    /// Whether nobody said that it is there: its address is a default one, and only connecting tells.
    #[serde(default)]
    pub guess: bool,
    /// What shows that it is at work on a streamed answer.
    #[serde(default)]
    pub liveness: Liveness,
    /// Whether it is known to go on behind the beginning of an answer that a conversation ends with.
    #[serde(default)]
    pub prefill: bool,
    /// The context window of its model in tokens, where it knows it and the tables of vendors' models cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
}

/// What shows that a provider is at work on a streamed answer, and so by which deadline it is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Liveness {
    /// Content alone: what comes before it may come from anything that stands in between.
    #[default]
    Content,
    /// Any event: it sends empty ones as it gets on with the prompt.
    Progress,
    /// The answer's end: it says nothing before.
    End,
}

impl Describe {
    /// A provider that takes text and is seen by anyone.
    pub fn new(id: ProviderId) -> Self {
        Self {
            id,
            default_model: None,
            embedding_model: None,
            dialects: vec![Dialect::Native],
            capabilities: Capabilities::default(),
            privacy: Privacy::Any,
            agent: false,
            guess: false,
            liveness: Liveness::default(),
            prefill: false,
            window: None,
        }
    }

    /// With the model used when none is named.
    #[must_use]
    pub fn with_default_model(mut self, model: ModelName) -> Self {
        self.default_model = Some(model);
        self
    }

    /// With the model that makes its vectors when none is named.
    #[must_use]
    pub fn with_embedding_model(mut self, model: ModelName) -> Self {
        self.embedding_model = Some(model);
        self
    }

    /// With the dialects it takes.
    #[must_use]
    pub fn with_dialects(mut self, dialects: Vec<Dialect>) -> Self {
        self.dialects = dialects;
        self
    }

    /// With what it can do.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// With what shows that it is at work.
    #[must_use]
    pub fn with_liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = liveness;
        self
    }

    /// With whether it goes on behind the beginning of an answer.
    #[must_use]
    pub fn with_prefill(mut self, prefill: bool) -> Self {
        self.prefill = prefill;
        self
    }

    /// With who sees what is sent to it.
    #[must_use]
    pub fn with_privacy(mut self, privacy: Privacy) -> Self {
        self.privacy = privacy;
        self
    }
}

/// What a provider can do. A plan with a choice leaves out a target that lacks what the request needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Capabilities {
    /// Function calls.
    pub tools: bool,
    /// Pictures as input.
    pub images: bool,
    /// Sound as input.
    pub audio: bool,
    /// Documents as input.
    pub files: bool,
    /// Answers that fit a JSON Schema.
    pub json_schema: bool,
    /// Several answers to one request.
    pub multiple_choices: bool,
}

impl Capabilities {
    /// Everything: for upstreams that judge for themselves.
    pub const ALL: Capabilities =
        Capabilities { tools: true, images: true, audio: true, files: true, json_schema: true, multiple_choices: true };

    /// Without those of these names.
    #[must_use]
    pub(crate) fn without(mut self, names: &[String]) -> Self {
        let lacks = |name: &str| names.iter().any(|other| other == name);
        self.tools &= !lacks("tools");
        self.images &= !lacks("images");
        self.audio &= !lacks("audio");
        self.files &= !lacks("files");
        self.json_schema &= !lacks("json_schema");
        self.multiple_choices &= !lacks("multiple_choices");
        self
    }
}

/// Whether a provider could answer now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// It could.
    Ready,
    /// It could not: what is missing and the next step.
    Missing {
        /// What is missing, `OPENAI_API_KEY is not set` for example.
        what: String,
        /// What to do about it.
        hint: String,
    },
}

impl Availability {
    /// It could not, because something is missing.
    pub fn missing(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), hint: hint.into() }
    }

    /// Whether it could.
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}
