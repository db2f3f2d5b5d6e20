//! What Codex's app server says, as far as it is read: everything else in these messages is passed over.

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;

/// Whether anybody is logged in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    pub(super) account: Option<Value>,
    #[serde(default)]
    pub(super) requires_openai_auth: bool,
}

/// A thread that was begun.
#[derive(Deserialize)]
pub(super) struct Started {
    pub(super) thread: Named,
    #[serde(default)]
    pub(super) model: String,
}

/// What has an id.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
}

/// A piece of an item.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Piece {
    pub(super) thread_id: String,
    pub(super) item_id: String,
    #[serde(default)]
    pub(super) delta: String,
}

/// What is said of one thread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Of<T> {
    pub(super) thread_id: String,
    #[serde(flatten)]
    pub(super) what: T,
}

/// An item.
#[derive(Deserialize)]
pub(super) struct WithItem {
    pub(super) item: Item,
}

/// What a turn consists of.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum Item {
    AgentMessage {
        id: String,
        #[serde(default)]
        text: String,
    },
    Reasoning {
        id: String,
        #[serde(default)]
        summary: Vec<String>,
        #[serde(default)]
        content: Vec<String>,
    },
    #[serde(other)]
    Other,
}

/// Token counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WithUsage {
    pub(super) token_usage: Counted,
}

/// Counts of the thread, which are those of its one turn.
#[derive(Deserialize)]
pub(super) struct Counted {
    pub(super) total: Counts,
}

/// Counts.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) input_tokens: u64,
    pub(super) cached_input_tokens: u64,
    pub(super) cache_write_input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) reasoning_output_tokens: u64,
}

/// An error, and whether it would try again by itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WithError {
    pub(super) error: Failure,
    #[serde(default)]
    pub(super) will_retry: bool,
}

/// Another model answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rerouted {
    pub(super) to_model: String,
}

/// A turn that is over.
#[derive(Deserialize)]
pub(super) struct WithTurn {
    pub(super) turn: Last,
}

/// How it is over.
#[derive(Deserialize)]
pub(super) struct Last {
    #[serde(default)]
    pub(super) status: String,
    pub(super) error: Option<Failure>,
}
