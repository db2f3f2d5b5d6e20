//! Handlers that are not the dialects' one: one file a surface.

mod arrived;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod health;
pub(crate) mod images;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod native;
pub(crate) mod passthrough;
pub(crate) mod responses;
pub(crate) mod tokens;
