//! The known HTTP providers: what a row says, and how a key is sent.
//!
//! The rows are `presets/table.rs`, which also says how to add one; nothing else knows such a provider by name but the config's `names.rs` and
//! `variables.rs`, and a test holds the three together. What turns a row and a config section into a provider is `upstream.rs`.

mod table;
#[cfg(test)]
mod tests;

use http::HeaderName;

pub use self::table::{CHAT, PRESETS};
use super::Capabilities;
use crate::dialect::Dialect;
use crate::dialect::openai_chat::Quirks;

/// A row of the table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Preset {
    /// The provider's id.
    pub id: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Where it is; `None` where only its user knows.
    pub base_url: Option<&'static str>,
    /// The bare names of the variables that hold its key, the first one that is set winning. Empty: it needs no key.
    pub keys: &'static [&'static str],
    /// The model used when none is named; `None` takes the first that the server lists.
    pub default_model: Option<&'static str>,
    /// What it speaks, the preferred dialect first.
    pub speaks: &'static [Speaks],
    /// What it can do. Aggregators and servers of one's own judge for themselves.
    pub capabilities: Capabilities,
    /// How its `openai_chat` differs.
    pub quirks: Quirks,
    /// Whether it is known to go on behind the beginning of an answer that a conversation ends with. Where that depends on the model it is not known.
    pub prefill: bool,
    /// Whether the default address is tried by connecting, without having been configured.
    pub probe: bool,
}

/// A dialect and where and how it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaks {
    /// The dialect.
    pub dialect: Dialect,
    /// What stands between base URL and the dialect's own path.
    pub prefix: &'static str,
    /// How the key is sent.
    pub auth: Auth,
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer …`
    Bearer,
    /// The key alone in this header.
    Header(&'static str),
}

impl Auth {
    /// The header and its value.
    pub fn header(self, key: &str) -> (HeaderName, String) {
        match self {
            Self::Bearer => (http::header::AUTHORIZATION, format!("Bearer {key}")),
            Self::Header(name) => (HeaderName::from_static(name), key.to_owned()),
        }
    }
}

/// The row of an id or alias.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == name || preset.aliases.contains(&name))
}
