//! The network's half of fetching: redirects, ranges, and going on where a transfer was cut.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{HeaderMap, Uri, header};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::land::{disk, land};
use super::{Answer, FetchError, Get, Job, Progress, Report};
use crate::manifest::{Manifest, beside};

/// Transfers begun anew after a cut, in one run.
const TRIES: usize = 6;
/// How long a host that went away is left alone.
const PAUSE: Duration = Duration::from_millis(500);
const MAX_REDIRECTS: usize = 6;
/// The largest file fetched: larger than any model for one machine.
const MAX_FILE: u64 = 2 << 40;

/// What is known of a part that lies there, for asking for the rest of the very same file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Part {
    etag: Option<String>,
    sha256: Option<String>,
    total: Option<u64>,
}

/// What the answers on the way said of the file.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) commit: Option<String>,
    /// The digest that the hub states for the file behind its redirect.
    pub(crate) sha256: Option<String>,
}

pub(super) async fn run(get: &dyn Get, job: &Job<'_>, report: Report<'_>) -> Result<Manifest, FetchError> {
    let (path, notes) = (beside(job.to, "part"), beside(job.to, "part.json"));
    let recorded =
        std::fs::read(Manifest::path(job.to)).ok().and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
    let mut last = None;
    for _ in 0..TRIES {
        let mut part: Part =
            std::fs::read(&notes).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let mut done = std::fs::metadata(&path).map_or(0, |about| about.len());
        let strong = part.etag.clone().filter(|etag| !etag.starts_with("W/"));
        let mut headers = vec![(header::ACCEPT_ENCODING.as_str(), "identity".to_owned())];
        let whole = done > 0 && part.total == Some(done);
        if let Some(etag) = strong.filter(|_| done > 0) {
            // One byte of what is there is asked for again when all is there: a range must not be empty.
            headers.push((header::RANGE.as_str(), format!("bytes={}-", if whole { done - 1 } else { done })));
            headers.push((header::IF_RANGE.as_str(), etag));
        } else {
            done = 0;
        }
        let (answer, facts) = match ask(get, job, &headers).await {
            Ok(answered) => answered,
            // After a first cut a host that is away for a moment is asked again.
            Err(FetchError::Unreachable { .. }) if last.is_some() => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let expected = job.sha256.map(str::to_owned).or_else(|| facts.sha256.clone());
        if let (Some(had), Some(has), false) = (&recorded, &expected, job.update)
            && had.sha256 != *has
        {
            return Err(FetchError::Changed {
                source: job.source.to_owned(),
                had: had.sha256.clone(),
                has: has.clone(),
            });
        }
        let begin = match answer.status {
            206 => range_start(&answer.headers)
                .filter(|start| *start <= done)
                .ok_or_else(|| FetchError::Protocol("the answer holds another range than asked for".to_owned()))?,
            200 => 0,
            416 => {
                // What lies there is no beginning of what is offered.
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_file(&notes);
                last = Some((0, None));
                continue;
            }
            status => return Err(FetchError::Refused { url: plain(job.url), status }),
        };
        let length = number(&answer.headers, header::CONTENT_LENGTH.as_str());
        part = Part {
            etag: text(&answer.headers, header::ETAG.as_str()),
            sha256: expected.clone(),
            total: length.map(|length| begin + length),
        };
        if part.total.is_some_and(|total| total > MAX_FILE) {
            return Err(FetchError::Protocol("the file is larger than 2 TiB".to_owned()));
        }
        std::fs::write(&notes, serde_json::to_vec(&part).unwrap_or_default()).map_err(disk(&notes))?;
        let (done, ended) = receive(answer, &path, begin, part.total, report).await?;
        if part.total.map_or(ended, |total| done == total) && done > 0 {
            let mut manifest = Manifest::new(job.source, "", 0, job.now);
            manifest.commit = facts.commit;
            manifest.etag = part.etag;
            let landed = land(&path, job.to, expected.as_deref(), manifest, report).await;
            let _ = std::fs::remove_file(&notes);
            return landed;
        }
        last = Some((done, part.total));
    }
    let (done, total) = last.unwrap_or_default();
    Err(FetchError::Cut { done, total })
}

/// Writes a body behind the first `begin` bytes of the part and says how many are there then and whether it came to its
/// end. A cut is no error; a disk that refuses is.
async fn receive(
    mut answer: Answer,
    path: &Path,
    begin: u64,
    total: Option<u64>,
    report: Report<'_>,
) -> Result<(u64, bool), FetchError> {
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(disk(path))?;
    file.set_len(begin).map_err(disk(path))?;
    let mut file = tokio::fs::File::from_std(file);
    tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(begin)).await.map_err(disk(path))?;
    let mut done = begin;
    report(Progress::Fetching { done, total });
    let mut ended = true;
    while let Some(piece) = answer.body.next().await {
        let Ok(piece) = piece else {
            ended = false;
            break;
        };
        done += piece.len() as u64;
        if done > total.unwrap_or(MAX_FILE) {
            return Err(FetchError::Protocol("the answer is longer than it said".to_owned()));
        }
        file.write_all(&piece).await.map_err(disk(path))?;
        report(Progress::Fetching { done, total });
    }
    file.flush().await.map_err(disk(path))?;
    Ok((done, ended))
}

/// Asks what upstream has now, without taking the body.
pub(crate) async fn probe(get: &dyn Get, job: &Job<'_>) -> Result<Facts, FetchError> {
    let (answer, facts) = ask(get, job, &[]).await?;
    if answer.status == 200 {
        Ok(facts)
    } else {
        Err(FetchError::Refused { url: plain(job.url), status: answer.status })
    }
}

/// Takes a small answer whole.
pub(crate) async fn page(get: &dyn Get, job: &Job<'_>, limit: usize) -> Result<Vec<u8>, FetchError> {
    let (mut answer, _) = ask(get, job, &[]).await?;
    if answer.status != 200 {
        return Err(FetchError::Refused { url: plain(job.url), status: answer.status });
    }
    let mut whole = Vec::new();
    while let Some(piece) = answer.body.next().await {
        whole.extend_from_slice(&piece.map_err(FetchError::Protocol)?);
        if whole.len() > limit {
            return Err(FetchError::Protocol(format!("{} is larger than {limit} bytes", plain(job.url))));
        }
    }
    Ok(whole)
}

/// Sends a GET and follows redirects. The token goes to the first host only: where a redirect leaves it, the header stays behind.
async fn ask(get: &dyn Get, job: &Job<'_>, headers: &[(&'static str, String)]) -> Result<(Answer, Facts), FetchError> {
    let mut facts = Facts::default();
    let mut url = job.url.to_owned();
    let home = origin(&url)?;
    for _ in 0..MAX_REDIRECTS {
        let here = origin(&url)?;
        let mut headers = headers.to_vec();
        if let Some(token) = job.token.filter(|token| here == home && !token.is_empty()) {
            headers.push((header::AUTHORIZATION.as_str(), format!("Bearer {}", token.expose())));
        }
        let answer = get
            .get(&url, &headers, job.connect)
            .await
            .map_err(|why| FetchError::Unreachable { host: here.1.clone(), why: why.0 })?;
        facts.commit = facts.commit.or_else(|| text(&answer.headers, "x-repo-commit"));
        let linked = text(&answer.headers, "x-linked-etag").map(|etag| etag.trim_matches('"').to_ascii_lowercase());
        facts.sha256 = facts
            .sha256
            .or(linked.filter(|digest| digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit())));
        if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
            return Ok((answer, facts));
        }
        let target = text(&answer.headers, header::LOCATION.as_str())
            .ok_or_else(|| FetchError::Protocol("a redirect without a target".to_owned()))?;
        url = join(&url, &target)?;
        if here.0 == "https" && origin(&url)?.0 != "https" {
            return Err(FetchError::Protocol("a redirect away from https".to_owned()));
        }
    }
    Err(FetchError::Protocol(format!("more than {MAX_REDIRECTS} redirects")))
}

/// Scheme and authority of an absolute URL.
fn origin(url: &str) -> Result<(String, String), FetchError> {
    let parsed = url.parse::<Uri>().ok();
    let parts = parsed
        .and_then(|uri| Some((uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?.as_str().to_ascii_lowercase())));
    parts
        .filter(|(scheme, authority)| matches!(scheme.as_str(), "http" | "https") && !authority.contains('@'))
        .ok_or_else(|| FetchError::Protocol(format!("{:?} is no URL to fetch from", plain(url))))
}

fn join(base: &str, target: &str) -> Result<String, FetchError> {
    if target.contains("://") {
        return Ok(target.to_owned());
    }
    let (scheme, authority) = origin(base)?;
    Ok(match target.strip_prefix("//") {
        Some(rest) => format!("{scheme}://{rest}"),
        None if target.starts_with('/') => format!("{scheme}://{authority}{target}"),
        None => {
            let path = plain(base);
            let folder = path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder);
            format!("{folder}/{target}")
        }
    })
}

/// A URL without its query, which may be signed.
fn plain(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_RANGE.as_str())?.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
