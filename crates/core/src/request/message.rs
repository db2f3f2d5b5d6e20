//! What is said in a conversation: turns, and the blocks that they are made of. An answer is made of the same blocks (`response.rs`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Extra;
use crate::dialect::Dialect;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Instructions of the operator.
    System,
    /// Instructions of the application's developer, where a model tells them from the operator's.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls.
    Tool,
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Block>,
    /// The participant's name, where several share a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Fields without a place of their own.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl Message {
    /// A turn of `role` that is one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Block::text(text)], name: None, extra: Extra::new() }
    }

    /// A user's text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::text(Role::User, text)
    }

    /// A system text.
    pub fn system(text: impl Into<String>) -> Self {
        Self::text(Role::System, text)
    }

    /// The model's earlier answer: a response's blocks can be put back as they are.
    pub fn assistant(content: Vec<Block>) -> Self {
        Self { role: Role::Assistant, content, name: None, extra: Extra::new() }
    }
}

/// One block of content, in a request or an answer: the same words both ways.
///
/// In JSON the body's fields and `extra` stand side by side, with `type` first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    #[serde(flatten)]
    pub body: BlockBody,
    /// Fields without a place of their own (`cache_control` of Anthropic, for one): dialect → ordered map.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<Dialect, serde_json::Map<String, Value>>,
}

impl Block {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        BlockBody::Text { text: text.into(), annotations: Vec::new(), logprobs: Vec::new() }.into()
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.body {
            BlockBody::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

impl From<BlockBody> for Block {
    fn from(body: BlockBody) -> Self {
        Self { body, extra: BTreeMap::new() }
    }
}

/// The kinds of content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockBody {
    /// Text, with what a model says about it.
    Text {
        /// The text.
        text: String,
        /// Citations and the like, as the provider wrote them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        annotations: Vec<Value>,
        /// One entry a token, where asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        logprobs: Vec<TokenLogprob>,
    },
    /// A refusal in the model's words.
    Refusal {
        /// The words.
        text: String,
    },
    /// What the model thought, in the clear or sealed.
    Reasoning {
        /// The thoughts, or a summary; empty where the provider hides them.
        #[serde(default)]
        text: String,
        /// The provider's seal, to be returned unchanged to the same provider and model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// Whether the text is only an opaque blob (`signature` holds it).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        redacted: bool,
    },
    /// A function that the model wants called.
    ToolCall {
        /// The call's id, which its result repeats.
        id: String,
        /// The function's name.
        name: String,
        /// The arguments as the model wrote them: JSON, unless the model erred.
        arguments: String,
    },
    /// What a function returned.
    ToolResult {
        /// The call's id.
        call_id: String,
        /// The result.
        content: Vec<Block>,
        /// Whether the function failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// How closely to look, in the words of the OpenAI API: `low`, `high`, `auto`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A sound.
    Audio {
        /// Where it is.
        source: Source,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Sound or pictures that a model made.
    Media {
        /// The media type, `audio/wav` for example.
        mime: String,
        /// The bytes, in base 64.
        data: String,
    },
    /// Content that only its own dialect understands, returned to that dialect alone.
    Provider {
        /// The dialect it belongs to.
        dialect: Dialect,
        /// The provider's word for it.
        kind: String,
        /// The block as received.
        raw: Value,
    },
}

/// Where the bytes of an image, a sound or a file are. The router itself never fetches a URL of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// In the request, in base 64.
    Base64 {
        /// The media type.
        mime: String,
        /// The bytes.
        data: String,
    },
    /// Behind a URL that the upstream will fetch.
    Url(String),
    /// A file that the caller uploaded to the provider before.
    FileId(String),
}

/// One token with its log probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token as text.
    pub token: String,
    /// Its natural log probability.
    pub logprob: f64,
    /// Its bytes, where a token is not whole UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
    /// The likeliest alternatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TokenLogprob>,
}
