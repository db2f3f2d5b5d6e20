//! Handlers that are not the dialects' one: one file a surface.

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod passthrough;
pub(crate) mod responses;
