//! Where a path of a dialect is at one provider: below its base URL, and at Azure, with a dated `api_version`, below a deployment of it.
//!
//! Azure has two ways. The newer one (`…/openai/v1`) is everybody else's, a key header apart; it takes no version, or `preview`. The older one names the API's date in
//! the query, and the deployment in the path of what one model does; there the body's model counts for nothing.

use crate::error::{Error, Result};

/// Beginnings of paths that a deployment answers; others are the resource's.
const DEPLOYED: &[&str] = &["/chat/completions", "/completions", "/embeddings", "/images/", "/audio/"];

/// The version of the API that a provider wants to hear in the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(String);

impl Version {
    /// # Errors
    /// `caller_invalid_request` for what is no version.
    pub(super) fn new(version: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if !version.is_empty() && version.len() <= 64 && version.bytes().all(plain) {
            return Ok(Self(version.to_owned()));
        }
        Err(Error::invalid("api_version is no version").with_hint("one looks like 2024-10-21, or is `preview`"))
    }

    fn is_dated(&self) -> bool {
        self.0.starts_with(|first: char| first.is_ascii_digit())
    }
}

/// The URL of a path. `prefix` is the dialect's place below the base URL, and taken as it is where that ends in it already.
pub(super) fn url(
    base: &str,
    prefix: &str,
    path: &str,
    query: Option<&str>,
    version: Option<&Version>,
    model: Option<&str>,
) -> String {
    let mut url = match (version.filter(|version| version.is_dated()), model) {
        (None, _) => {
            let prefix = if base.ends_with(prefix) { "" } else { prefix };
            format!("{base}{prefix}{path}")
        }
        (Some(_), model) => {
            let resource = base.strip_suffix("/v1").unwrap_or(base);
            let resource = resource.strip_suffix("/openai").unwrap_or(resource);
            match model.filter(|_| DEPLOYED.iter().any(|beginning| path.starts_with(beginning))) {
                Some(model) => format!("{resource}/openai/deployments/{}{path}", escaped(model)),
                None => format!("{resource}/openai{path}"),
            }
        }
    };
    let version = version.map(|Version(version)| format!("api-version={version}"));
    for (at, pair) in query.map(str::to_owned).into_iter().chain(version).enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        url.push_str(&pair);
    }
    url
}

/// A name as one segment of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_where_the_manual_has_them() {
        const AZURE: &str = "https://lab.openai.azure.com";
        const V1: &str = "/openai/v1";
        let dated = "2024-10-21";
        for (base, prefix, path, query, version, model, expected) in [
            ("https://h/v1", "", "/chat/completions", None, None, Some("m"), "https://h/v1/chat/completions"),
            ("https://h/v1beta", "", "/m:generate", Some("alt=sse"), None, None, "https://h/v1beta/m:generate?alt=sse"),
            (AZURE, V1, "/responses", None, None, Some("gpt"), "https://lab.openai.azure.com/openai/v1/responses"),
            (AZURE, V1, "/embeddings", None, None, Some("e"), "https://lab.openai.azure.com/openai/v1/embeddings"),
            (
                "https://lab.openai.azure.com/openai/v1",
                V1,
                "/chat/completions",
                None,
                Some("preview"),
                Some("gpt"),
                "https://lab.openai.azure.com/openai/v1/chat/completions?api-version=preview",
            ),
            (
                AZURE,
                V1,
                "/chat/completions",
                None,
                Some(dated),
                Some("gpt-4o"),
                "https://lab.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://lab.openai.azure.com/openai",
                V1,
                "/embeddings",
                None,
                Some(dated),
                Some("my embed/1"),
                "https://lab.openai.azure.com/openai/deployments/my%20embed%2F1/embeddings?api-version=2024-10-21",
            ),
            (
                "https://lab.openai.azure.com/openai/v1",
                V1,
                "/responses",
                None,
                Some(dated),
                Some("gpt-4o"),
                "https://lab.openai.azure.com/openai/responses?api-version=2024-10-21",
            ),
            (
                AZURE,
                V1,
                "/files",
                Some("limit=2"),
                Some(dated),
                None,
                "https://lab.openai.azure.com/openai/files?limit=2&api-version=2024-10-21",
            ),
        ] {
            let version = version.map(|version| Version::new(version).unwrap());
            assert_eq!(url(base, prefix, path, query, version.as_ref(), model), expected);
        }
    }

    #[test]
    fn a_version_is_a_version() {
        assert!(Version::new("2025-03-01-preview").is_ok());
        for bad in ["", "a&b=c", "2024 10", &"9".repeat(65)] {
            assert!(Version::new(bad).is_err(), "{bad}");
        }
    }
}
