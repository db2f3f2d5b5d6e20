//! `cache` and `clear-cache`: the stored answers of this user, on disk.
//!
//! An export is one JSON object a line: the key's digest, the content identifier of the value's canonical bytes, and the value. An import believes
//! nothing that its identifier does not confirm, and takes all lines or none.

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use llm_router::Error;
use llm_router::cache::canonical::canonical;
use llm_router::cache::cid::{Base, Codec, Sha256Digest};
use llm_router::cache::response::Stored;
use llm_router::cache::{DiskTier, StorageKey, Tier};
use llm_router::ids::Namespace;
use llm_router_app::App;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::args::{Cache, Global};
use crate::output::{self, Failure, Outcome};
use crate::prompt::read_text;

/// Entries read at a time.
const PAGE: usize = 256;

pub(crate) async fn clear(app: &App, global: &Global) -> Outcome {
    let cleared = app.disk()?.clear(None).await?;
    if global.json {
        return output::print_json(&json!({ "cleared": cleared }));
    }
    output::print(&format!("cleared {cleared} stored {}\n", if cleared == 1 { "answer" } else { "answers" }))
}

pub(crate) async fn run(app: &App, global: &Global, args: &Cache) -> Outcome {
    match args {
        Cache::Stat => stat(app.disk()?, global).await,
        Cache::Ls { limit } => list(app.disk()?, global, *limit).await,
        Cache::Get { key } => get(app.disk()?, key).await,
        Cache::Put { file } | Cache::Import { file } => import(app.disk()?, global, file).await,
        Cache::Export { file } => export(app.disk()?, file).await,
        Cache::Cid { file, base, codec } => cid(global, file, base, codec),
    }
}

async fn stat(disk: &DiskTier, global: &Global) -> Outcome {
    let stat = disk.stat().await?;
    if global.json {
        let body = json!({ "entries": stat.entries, "bytes": stat.bytes, "limit": stat.limit, "file": disk.path() });
        return output::print_json(&body);
    }
    output::print(&output::table(&[
        vec!["entries".to_owned(), stat.entries.to_string()],
        vec!["bytes".to_owned(), stat.bytes.to_string()],
        vec!["limit".to_owned(), stat.limit.to_string()],
        vec!["file".to_owned(), disk.path().display().to_string()],
    ]))
}

/// A stored answer with its key.
struct Item {
    digest: Sha256Digest,
    value: Bytes,
}

/// A page of stored answers, those after a digest.
async fn page(disk: &DiskTier, after: Option<Sha256Digest>, limit: usize) -> Outcome<Vec<Item>> {
    let namespace = Namespace::default();
    let mut items = Vec::new();
    for listed in disk.list(&namespace, after, limit).await? {
        let place = StorageKey { namespace: namespace.clone(), digest: listed.digest };
        // One that went away meanwhile is not there any more.
        if let Some(value) = disk.get(&place).await? {
            items.push(Item { digest: listed.digest, value });
        }
    }
    Ok(items)
}

fn printed(digest: Sha256Digest) -> String {
    format!("llm_response_cid::{}", digest.cid(Codec::Raw, Base::default()))
}

async fn list(disk: &DiskTier, global: &Global, limit: usize) -> Outcome {
    let mut rows = Vec::new();
    for item in page(disk, None, limit).await? {
        let stored = serde_json::from_slice::<Stored>(&item.value).ok();
        let provider = stored.as_ref().map(|stored| stored.provenance.provider.clone()).unwrap_or_default();
        let model = stored.as_ref().and_then(|stored| stored.provenance.model.as_ref()).map(ToString::to_string);
        let text = stored.map(|stored| stored.response.text()).unwrap_or_default();
        rows.push((printed(item.digest), provider, model.unwrap_or_default(), item.value.len(), text));
    }
    if global.json {
        let entries: Vec<_> = rows
            .iter()
            .map(|(key, provider, model, bytes, _)| json!({ "key": key, "provider": provider, "model": model, "bytes": bytes }))
            .collect();
        return output::print_json(&json!({ "entries": entries }));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(key, provider, model, bytes, text)| {
            let start: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(40).collect();
            let model = if model.is_empty() { "-".to_owned() } else { model };
            vec![key, provider, model, bytes.to_string(), start]
        })
        .collect();
    output::print(&output::table(&rows))
}

async fn get(disk: &DiskTier, key: &str) -> Outcome {
    let digest = Sha256Digest::of_key(key)
        .ok_or_else(|| Failure::usage(format!("{key:?} is not a key"), "use one that `llm-router cache ls` prints"))?;
    let place = StorageKey { namespace: Namespace::default(), digest };
    match disk.get(&place).await? {
        Some(value) => output::print(&format!("{}\n", String::from_utf8_lossy(&value))),
        None => Err(Failure::Failed(
            Error::invalid("no answer is stored under this key")
                .with_hint("`llm-router cache ls` lists what is stored"),
        )),
    }
}

/// One line of an export.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The digest of the key, in hexadecimal.
    key: String,
    /// The identifier of the value's canonical bytes.
    cid: String,
    value: Box<RawValue>,
}

/// The identifier of a value's canonical bytes.
fn identifier(value: &[u8]) -> Outcome<String> {
    let bytes = canonical(value).map_err(|error| Error::invalid(format!("no canonical form: {error}")))?;
    Ok(Sha256Digest::of(&bytes).cid(Codec::Raw, Base::default()))
}

async fn export(disk: &DiskTier, file: &Path) -> Outcome {
    let what = format!("cannot write {}", file.display());
    let failed = |error: io::Error| Failure::io(&what, &error);
    let mut out: Box<dyn Write> = if file == Path::new("-") {
        Box::new(io::BufWriter::new(output::Stdout))
    } else {
        Box::new(io::BufWriter::new(std::fs::File::create(file).map_err(failed)?))
    };
    let mut after = None;
    loop {
        let items = page(disk, after, PAGE).await?;
        for item in &items {
            let Ok(value) = serde_json::from_slice::<Box<RawValue>>(&item.value) else { continue };
            let line = Line { key: item.digest.to_string(), cid: identifier(&item.value)?, value };
            let text = serde_json::to_string(&line).unwrap_or_default();
            writeln!(out, "{text}").map_err(failed)?;
        }
        match items.last() {
            Some(last) => after = Some(last.digest),
            None => return out.flush().map_err(failed),
        }
    }
}

async fn import(disk: &DiskTier, global: &Global, file: &Path) -> Outcome {
    let text = read_text(file)?;
    let mut items = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let item = checked(line).map_err(|why| {
            Failure::usage(
                format!("{}:{number}: {why}; nothing was stored", file.display()),
                "export it again with `llm-router cache export`",
            )
        })?;
        items.push(item);
    }
    let count = items.len();
    for Item { digest, value } in items {
        disk.put(&StorageKey { namespace: Namespace::default(), digest }, value, None).await?;
    }
    if global.json {
        return output::print_json(&json!({ "stored": count }));
    }
    output::print(&format!("stored {count} {}\n", if count == 1 { "answer" } else { "answers" }))
}

/// A line whose value is what its identifier says, and an answer.
fn checked(line: &str) -> Result<Item, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| format!("not a line of an export: {error}"))?;
    let digest = Sha256Digest::of_key(&line.key).ok_or("its key is no digest")?;
    let value = line.value.get().as_bytes();
    let cid = identifier(value).map_err(|_| "its value has no canonical form")?;
    if cid != line.cid {
        return Err(format!("its value is not what its identifier says: {cid} is not {}", line.cid));
    }
    serde_json::from_slice::<Stored>(value).map_err(|error| format!("its value is no answer: {error}"))?;
    Ok(Item { digest, value: Bytes::copy_from_slice(value) })
}

fn cid(global: &Global, file: &Path, base: &str, codec: &str) -> Outcome {
    let base: Base =
        base.parse().map_err(|error| Failure::usage(format!("{error}"), "use base32, base58btc or base36"))?;
    let codec = match codec {
        "raw" => Codec::Raw,
        "dag-json" => Codec::DagJson,
        other => return Err(Failure::usage(format!("unknown codec {other:?}"), "use raw or dag-json")),
    };
    let text = read_text(file)?;
    let bytes = canonical(text.as_bytes()).map_err(|error| {
        Failure::usage(format!("{} is not JSON: {error}", file.display()), "a CID is made of canonical JSON")
    })?;
    let cid = Sha256Digest::of(&bytes).cid(codec, base);
    if global.json {
        return output::print_json(&json!({ "cid": cid, "bytes": bytes.len() }));
    }
    output::print(&format!("{cid}\n"))
}
