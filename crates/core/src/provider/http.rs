//! The HTTP client that providers share.

/// The HTTP client: a connection pool, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HttpClient {}
