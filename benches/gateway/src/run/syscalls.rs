//! The system calls of 1,000 requests, by strace: that none touches a file is a promise of the router's, and this fails if it is broken.
//!
//! Calls are judged by what they work on, not by name alone: a `read` of a socket is the request's, a `read` of a file is not.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::process::Program;
use super::stage::{self, LANES, ROUTER, Stage, settle};
use crate::load::closed;

const REQUESTS: u64 = 1_000;
/// Calls that work on the file system without an open file.
const FILES: &[&str] = &[
    "access",
    "chdir",
    "chmod",
    "creat",
    "faccessat",
    "faccessat2",
    "fallocate",
    "fdatasync",
    "flock",
    "fsync",
    "ftruncate",
    "getdents64",
    "link",
    "linkat",
    "lseek",
    "lstat",
    "mkdir",
    "mkdirat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "readlink",
    "readlinkat",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "stat",
    "statfs",
    "statx",
    "symlink",
    "sync_file_range",
    "truncate",
    "unlink",
    "unlinkat",
];

/// How to watch.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stage: stage::Options,
    /// The core that strace runs on
    #[arg(long, default_value_t = 1)]
    strace_core: usize,
}

/// Watches and prints.
///
/// # Errors
/// No strace, or none that may watch; a call that touched a file.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut stage = Stage::set(&options.stage)?;
    stage.start_router()?;
    let lane = LANES.iter().find(|lane| lane.name == ROUTER).context("no lane through the router")?;
    // Pools and first uses are not the request path.
    stage.load::<closed::Found>(lane, &["closed", "--connections", "4", "--requests", "200"])?;
    settle();
    let pid = stage.pid(lane).context("the router has no process")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("calls");
    let strace = watch(pid, &file, options.strace_core)?;
    settle();
    stage.load::<closed::Found>(lane, &["closed", "--connections", "4", "--requests", &REQUESTS.to_string()])?;
    strace.end(Signal::INT, Duration::from_secs(20))?;
    let trace = std::fs::read_to_string(&file).context("strace wrote nothing")?;
    let seen = judge(&trace);

    let mut out = std::io::stdout().lock();
    writeln!(out, "| Call | {REQUESTS} requests | per request |\n|---|---|---|")?;
    let mut calls: Vec<_> = seen.calls.iter().collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (name, count) in calls {
        writeln!(out, "| {name} | {count} | {:.2} |", *count as f64 / REQUESTS as f64)?;
    }
    let some: Vec<&str> = seen.files.iter().copied().take(10).collect();
    let sends = seen.calls.values().sum::<u64>();
    ensure!(sends >= REQUESTS, "strace saw {sends} calls for {REQUESTS} requests: it did not watch the router");
    ensure!(
        some.is_empty(),
        "{} calls touched files while requests were answered:\n{}",
        seen.files.len(),
        some.join("\n")
    );
    writeln!(out, "\nno call touched a file")?;
    Ok(())
}

fn watch(pid: u32, file: &Path, core: usize) -> Result<Program> {
    let mut command = Command::new("strace");
    // -y: what each descriptor is.
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(file).args(["-p", &pid.to_string()]);
    let mut strace = Program::start("strace", &mut command, core, "on Debian: apt-get install strace")?;
    // Where watching another process is forbidden it ends at once, and says so.
    strace.wait_for(Duration::from_secs(20), || file.is_file().then_some(()))?;
    Ok(strace)
}

#[derive(Debug, Default)]
struct Seen<'a> {
    calls: BTreeMap<&'a str, u64>,
    files: Vec<&'a str>,
}

fn judge(trace: &str) -> Seen<'_> {
    let mut seen = Seen::default();
    for line in trace.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        // The second half of a call that another thread's cut in two, and signals.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        *seen.calls.entry(name).or_default() += 1;
        let arguments = rest.rsplit_once(" = ").map_or(rest, |(arguments, _)| arguments);
        if FILES.contains(&name) || arguments.contains("</") {
            seen.files.push(line);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_judged_by_what_they_work_on() {
        let trace = "\
            11 epoll_wait(3<anon_inode:[eventpoll]>, [{events=EPOLLIN}], 1024, -1) = 1\n\
            11 recvfrom(12<socket:[99]>, \"\"..., 4096, 0, NULL, NULL) = 900\n\
            12 write(2<pipe:[5]>, \"\"..., 80) = 80\n\
            12 read(7<socket:[98]>,  <unfinished ...>\n\
            12 <... read resumed>\"\"..., 4096) = 10\n\
            12 read(9</var/lib/keys>, \"\"..., 4096) = 10\n\
            12 openat(AT_FDCWD</>, \"\"..., O_RDONLY) = 9</var/lib/keys>\n\
            11 --- SIGINT {si_signo=SIGINT} ---\n";
        let seen = judge(trace);
        assert_eq!(seen.calls.get("read"), Some(&2));
        assert_eq!(seen.calls.len(), 5);
        assert_eq!(seen.files.len(), 2, "{:?}", seen.files);
        assert!(seen.files.iter().all(|line| line.contains("/var/lib/keys")));
    }
}
