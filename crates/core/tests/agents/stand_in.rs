//! What runs in a started copy of this test program: an agent's stand-in. It replays a transcript, and writes down how it was started.
//!
//! A transcript is one of the recorded ones (`../fixtures/agents`), or made by a test. Besides the recorder's lines (`out`, `err`, `in`, `exit`, `signal`) it may
//! hold what no well-meaning program does:
//!
//! | line | is |
//! |---|---|
//! | `{"out":"…","times":N}` | the text so often in a row, in one line; `err` as well |
//! | `{"part":"…"}` | text on standard output without a line's end |
//! | `{"gate":"PATH"}` | waits until somebody opens that named pipe for writing |
//! | `{"hold":"PATH"}` | opens that named pipe and keeps it open until the end: whoever reads it learns of that end |
//! | `{"child":true}` | starts a child that holds everything this program has open, for long |
//! | `{"write":"NAME","text":"…","anew":true}` | writes a file below `HOME`; `anew` by renaming another one over it |
//! | `{"report":"--option","text":"…"}` | writes the file that this option names, or this `$VARIABLE` |
//! | `{"deaf":true}` | its standard input is not read |
//! | `{"hang":true}` | goes on for ever |
#![allow(
    clippy::disallowed_methods,
    clippy::zombie_processes,
    reason = "a program of its own: it is ruled by variables, and leaves a child behind where it is told to"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{DEPTH, ROLE};

/// Not a test of its own: what a stand-in runs. Without its role in the environment it does nothing.
///
/// The test harness prints to standard output and error, so those of the stand-in have moved to descriptors 3 and 4 before this program starts.
#[test]
fn child() {
    let Ok(folder) = std::env::var(ROLE) else { return };
    let role: Value = serde_json::from_slice(&std::fs::read(Path::new(&folder).join("role.json")).unwrap()).unwrap();
    let mut stand_in = StandIn::new(Path::new(&folder), &role);
    let status = stand_in.play(&role);
    std::process::exit(status);
}

struct StandIn {
    out: File,
    err: File,
    seen: PathBuf,
    args: Vec<String>,
    stdin: Vec<u8>,
    /// What was opened to be held.
    held: Vec<File>,
}

impl StandIn {
    fn new(folder: &Path, role: &Value) -> Self {
        let open = |at: &str| File::options().write(true).open(at).unwrap();
        let args = std::env::args().skip_while(|word| word != "--").skip(1).collect();
        // The number of the run: made before anything is printed, so that runs are in their order.
        let number = (0..).find(|number| File::create_new(folder.join(format!("run-{number}"))).is_ok()).unwrap();
        let mut new = Self {
            out: open("/dev/fd/3"),
            err: open("/dev/fd/4"),
            seen: folder.join(format!("seen-{number}.json")),
            args,
            stdin: Vec::new(),
            held: Vec::new(),
        };
        let lines = role["lines"].as_array().unwrap();
        // Who talks with it is answered; all others have said everything before they hear anything.
        let talks = lines.iter().any(|line| line.get("in").is_some() || line.get("deaf").is_some());
        if !talks {
            std::io::stdin().read_to_end(&mut new.stdin).unwrap();
        }
        new.tell();
        new
    }

    /// Writes down how it was started, and what it was told so far.
    fn tell(&self) {
        let mine = |name: &str| name.starts_with("LLM_ROUTER_TEST_") || ["_", "SHLVL", "PWD", "OLDPWD"].contains(&name);
        let environment: serde_json::Map<_, _> =
            std::env::vars().filter(|(name, _)| !mine(name)).map(|(name, value)| (name, value.into())).collect();
        let home = environment.get("HOME").and_then(Value::as_str).unwrap_or_default();
        let seen = json!({
            "pid": std::process::id(),
            "args": self.args,
            "stdin": String::from_utf8_lossy(&self.stdin),
            "environment": environment,
            "folder": std::env::current_dir().unwrap(),
            "files": listed(&std::env::current_dir().unwrap()),
            "home": listed(Path::new(home)),
        });
        let new = self.seen.with_extension("new");
        std::fs::write(&new, seen.to_string()).unwrap();
        std::fs::rename(new, &self.seen).unwrap();
    }

    fn play(&mut self, role: &Value) -> i32 {
        let framed = role["framed"] == true;
        for line in role["lines"].as_array().unwrap() {
            let text = |name: &str| line[name].as_str();
            let sent = if let Some(out) = text("out") {
                let out = out.repeat(line["times"].as_u64().unwrap_or(1) as usize);
                let whole = if framed { format!("Content-Length: {}\r\n\r\n{out}", out.len()) } else { out + "\n" };
                self.out.write_all(whole.as_bytes())
            } else if let Some(part) = text("part") {
                self.out.write_all(part.as_bytes())
            } else if let Some(err) = text("err") {
                let err = err.repeat(line["times"].as_u64().unwrap_or(1) as usize);
                self.err.write_all(format!("{err}\n").as_bytes())
            } else {
                if let Some(status) = self.act(line, framed) {
                    return status;
                }
                Ok(())
            };
            if sent.is_err() {
                return 141;
            }
        }
        0
    }

    /// What is no output; a status where it is the end.
    fn act(&mut self, line: &Value, framed: bool) -> Option<i32> {
        let text = |name: &str| line[name].as_str();
        if let Some(status) = line["exit"].as_i64() {
            return Some(status as i32);
        } else if let Some(signal) = line["signal"].as_u64() {
            let me = std::process::id().to_string();
            std::process::Command::new("kill").args([format!("-{signal}"), me]).status().unwrap();
            loop {
                std::thread::park();
            }
        } else if text("in").is_some() {
            let told = if framed { frame(&mut std::io::stdin()) } else { line_of(&mut std::io::stdin()) };
            let Some(told) = told else { return Some(0) };
            self.stdin.extend(told);
            self.stdin.push(b'\n');
            self.tell();
        } else if let Some(path) = text("gate") {
            File::open(path).unwrap().read_to_end(&mut Vec::new()).unwrap();
        } else if let Some(path) = text("hold") {
            self.held.push(File::options().write(true).open(path).unwrap());
        } else if line["child"] == true {
            #[allow(clippy::zombie_processes, reason = "that nobody waits for it is what is tried")]
            std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        } else if let Some(name) = text("write") {
            let file = Path::new(&std::env::var_os("HOME").unwrap()).join(name);
            let text = text("text").unwrap_or_default();
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            if line["anew"] == true {
                std::fs::write(file.with_extension("new"), text).unwrap();
                std::fs::rename(file.with_extension("new"), file).unwrap();
            } else {
                std::fs::write(file, text).unwrap();
            }
        } else if let Some(option) = text("report") {
            let file = match option.strip_prefix('$') {
                Some(name) => std::env::var(name).unwrap(),
                None => self.args.iter().skip_while(|word| *word != option).nth(1).unwrap().clone(),
            };
            std::fs::write(file, text("text").unwrap_or_default()).unwrap();
        } else if line["hang"] == true {
            loop {
                std::thread::park();
            }
        }
        None
    }
}

/// One line of what it is told, without its end.
fn line_of(input: &mut impl Read) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while input.read(&mut byte).unwrap() == 1 {
        if byte == *b"\n" {
            return Some(line);
        }
        line.extend(byte);
    }
    (!line.is_empty()).then_some(line)
}

/// The body of one frame of Content-Length.
fn frame(input: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let line = String::from_utf8(line_of(input)?).unwrap();
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap()
            }
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    Some(body)
}

/// What is below a folder: each path with its kind and mode, links with where they lead.
fn listed(folder: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((at, depth)) = open.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            // What is gone by now was not there to be seen.
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let leads = std::fs::read_link(&path).ok();
            all.push(json!({"path": name, "mode": meta.mode() & 0o7777, "folder": meta.is_dir(), "leads": leads}));
            if meta.is_dir() && depth < DEPTH {
                open.push((path, depth + 1));
            }
        }
    }
    all.sort_by_key(|entry| entry["path"].to_string());
    all
}
