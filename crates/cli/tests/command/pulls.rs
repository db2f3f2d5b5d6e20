//! `pull` from a hub on this machine, as separate programs: two at once, one killed in the middle, a disk that fills up, a file that changed, a path
//! that holds no model. What one program does alone is tested in `crates/local/tests/fetch.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::testing::upstream::{Answer, Received, Upstream};
use llm_router_local::fetch::hash;
use llm_router_local::testing::tiny::{self, Family};
use tokio::sync::Semaphore;

use crate::support::{Home, Run};

const MODEL: &str = "hf:owner/repo/m.gguf";

/// The hub and the runtime it lives on.
struct Hub {
    upstream: Upstream,
    _runtime: tokio::runtime::Runtime,
}

impl Hub {
    fn answering<const N: usize>(answers: [Answer; N]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let upstream = runtime.block_on(Upstream::serve(answers));
        Self { upstream, _runtime: runtime }
    }

    fn pull<'a>(&self, home: &'a Home) -> Run<'a> {
        home.run(["pull", MODEL]).env("HF_ENDPOINT", self.upstream.url(""))
    }

    fn requests(&self) -> Vec<Received> {
        self.upstream.seen().requests
    }
}

fn model() -> Vec<u8> {
    tiny::bytes(Family::Qwen, 1)
}

/// A file under a tag, whole, or from a byte on.
fn file(bytes: &[u8], tag: &str, from: usize) -> Answer {
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    let headers = [("etag", tag), ("x-repo-commit", "c0ffee"), ("content-range", &range)];
    let (status, headers) = if from == 0 { (200, &headers[..2]) } else { (206, &headers[..]) };
    Answer::with_headers(status, headers, bytes[from..].to_vec())
}

fn folder(home: &Home) -> PathBuf {
    home.path("cache/ipfs-llm-router/models/owner--repo")
}

/// What lies in the repository's folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Looks until something is so: what another program did to a file is no event that can be waited for.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come to be");
        std::thread::yield_now();
    }
}

/// Whether a program has a file open.
fn holds(child: &Child, path: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|open| open == path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn two_programs_share_one_transfer() {
    let home = Home::new();
    let gate = Arc::new(Semaphore::new(0));
    let bytes = model();
    let half = bytes.len() / 2;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: \"v1\"\r\n\r\n", bytes.len());
    let whole = [head.as_bytes(), &bytes].concat();
    let slow = Answer::raw(whole[..half].to_vec()).gate(&gate).then(whole[half..].to_vec());
    let hub = Hub::answering([slow, Answer::json(500, "{}")]);
    let first = hub.pull(&home).start();
    until("the first one's request", || hub.requests().len() == 1);
    let second = hub.pull(&home).start();
    until("the second one's waiting", || holds(&second, &folder(&home).join("m.gguf.lock")));
    gate.add_permits(1);
    let (first, second) = (first.wait_with_output().unwrap(), second.wait_with_output().unwrap());
    assert_eq!(good(&first), good(&second));
    assert_eq!(hub.requests().len(), 1);
    assert_eq!(fs::read(folder(&home).join("m.gguf")).unwrap(), bytes);
    assert_eq!(files(&folder(&home)), ["m.gguf", "m.gguf.lock", "m.gguf.manifest.json"]);
}

#[test]
fn a_killed_one_is_gone_on_with() {
    let home = Home::new();
    let bytes = model();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: \"v1\"\r\n\r\n", bytes.len());
    let some = [head.as_bytes(), &bytes[..100_000]].concat();
    let hub = Hub::answering([Answer::raw(some).stall()]);
    let part = folder(&home).join("m.gguf.part");
    let mut child = hub.pull(&home).start();
    until("a part on the disk", || fs::metadata(&part).is_ok_and(|part| part.len() >= 50_000));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files(&folder(&home)), ["m.gguf.lock", "m.gguf.part", "m.gguf.part.json"]);

    let there = fs::metadata(&part).unwrap().len() as usize;
    let hub = Hub::answering([file(&bytes, "\"v1\"", there)]);
    hub.pull(&home).succeeds();
    let requests = hub.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].header("range"), requests[0].header("if-range")), (&*format!("bytes={there}-"), "\"v1\""));
    assert_eq!(fs::read(folder(&home).join("m.gguf")).unwrap(), bytes);
    assert_eq!(files(&folder(&home)), ["m.gguf", "m.gguf.lock", "m.gguf.manifest.json"]);
}

/// Pulls in a shell that does `before` with a folder for the cache, and says what it printed and what it left in the repository's folder.
fn pull_in(shell: &[&str], before: &str) -> (String, Vec<String>) {
    let home = Home::new();
    let hub = Hub::answering([file(&model(), "\"v1\"", 0)]);
    let disk = home.path("disk");
    fs::create_dir(&disk).unwrap();
    // A disk that is mounted for one program is gone when it ends, so its folder is listed before that.
    let script = format!(
        "{before} || exit 9; XDG_CACHE_HOME=\"$1\" \"$2\" pull \"$3\" 2>&1; echo \"status $?\"; ls \"$1/ipfs-llm-router/models/owner--repo\""
    );
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", &script, "sh"]).arg(&disk).args([env!("CARGO_BIN_EXE_llm-router"), MODEL]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path(""))
        .env("HF_ENDPOINT", hub.upstream.url(""));
    let output = command.output().unwrap();
    let printed = text(&output.stdout);
    let (said, left) = printed.split_once("status 1\n").unwrap_or_else(|| panic!("{printed} {}", text(&output.stderr)));
    (said.to_owned(), left.lines().map(str::to_owned).collect())
}

/// Once by a bound on the size of files, and once more by a disk of 64 KiB where the system lets a test have one.
#[test]
fn a_disk_that_fills_up_is_one_clear_error() {
    let unshare = ["unshare", "-rm", "sh"];
    let mut ways = vec![(&unshare[2..], "trap '' XFSZ; ulimit -f 128", "ulimit -f")];
    if Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|ended| ended.status.success()) {
        ways.push((&unshare, "mount -t tmpfs -o size=64k tmpfs \"$1\"", "free some space"));
    }
    for (shell, before, step) in ways {
        let (said, left) = pull_in(shell, before);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("error: ") && said.contains("m.gguf.part") && said.contains(step), "{said}");
        // What came may be gone on with; nothing of it passes for a model.
        assert!(
            left.iter().all(|name| ["m.gguf.lock", "m.gguf.part", "m.gguf.part.json"].contains(&name.as_str())),
            "{left:?}"
        );
    }
}

#[test]
fn a_changed_file_waits_for_an_update() {
    let home = Home::new();
    let (old, new) = (model(), tiny::bytes(Family::Llama, 5));
    let digest = |bytes: &[u8]| hash(&home.file("digest", bytes)).unwrap();
    let (old_digest, new_digest) = (digest(&old), digest(&new));
    let stated = |bytes: &[u8], digest: &str| {
        Answer::with_headers(200, &[("etag", "\"x\""), ("x-linked-etag", &format!("\"{digest}\""))], bytes.to_vec())
    };
    let hub = Hub::answering([stated(&old, &old_digest), stated(&new, &new_digest)]);
    hub.pull(&home).succeeds();
    let said = hub.pull(&home).fails(1);
    assert!(said.contains("has changed upstream") && said.contains("pull --update"), "{said}");
    assert!(said.contains(&old_digest[..12]) && said.contains(&new_digest[..12]), "{said}");
    assert_eq!(fs::read(folder(&home).join("m.gguf")).unwrap(), old);
    hub.pull(&home).word("--update").succeeds();
    assert_eq!(fs::read(folder(&home).join("m.gguf")).unwrap(), new);
}

#[test]
fn a_path_is_checked_before_anything_else() {
    let home = Home::new();
    let good = home.file("work/good.gguf", model());
    home.run(["pull", "good.gguf"]).succeeds();
    home.file("work/page.gguf", "<html>not found</html>");
    let bytes = fs::read(good).unwrap();
    home.file("work/half.gguf", &bytes[..bytes.len() / 2]);
    home.file("work/lies.gguf", [b"GGUF\x03\0\0\0", &u64::MAX.to_le_bytes()[..], &u64::MAX.to_le_bytes()[..]].concat());
    home.file("work/empty.gguf", "");
    for (name, part) in [
        ("page.gguf", "does not begin with GGUF"),
        ("half.gguf", "the download did not finish"),
        ("lies.gguf", "claims 18446744073709551615 tensors"),
        ("empty.gguf", "too short"),
        ("none.gguf", "No such file"),
        (".", "it is a folder"),
    ] {
        let said = home.run(["pull", name]).fails(1);
        assert!(said.contains(part) && said.contains(name) && said.lines().count() <= 2, "{name}: {said}");
    }
}

/// A digest behind a model's name is a promise: this very file, or an error.
#[test]
fn a_name_with_a_digest_is_that_file_or_an_error() {
    let home = Home::new();
    let path = home.file("m.gguf", model());
    let digest = hash(&path).unwrap();
    home.file("config/ipfs-llm-router/config.toml", format!("[local]\nmodel = \"{}\"\n", path.display()));
    let ask = |model: String| home.run(["generate", "hi", "--max-tokens", "2", "--json", "-m"]).word(model);
    for asked in [format!("local/m@{}", &digest[..16]), format!("m@{digest}"), "local/m".to_owned()] {
        let answer = ask(asked).succeeds().json();
        let named = answer["model"].as_str().unwrap().to_owned();
        // The name in an answer leads to the same file again.
        ask(format!("local/{named}")).succeeds();
    }
    for asked in ["local/m@0123456789abcdef", "m@0123456789abcdef", "local/other@0123456789abcdef"] {
        let said = ask(asked.to_owned()).ends();
        assert_eq!((said.status, &said.json()["error"]["kind"]), (1, &"caller_model_unknown".into()), "{said:?}");
        assert!(said.json()["error"]["hint"].as_str().unwrap().contains("m@"), "{said:?}");
    }
}
