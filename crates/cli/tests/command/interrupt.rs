//! Ctrl-C while nobody reads: the program stands still in a system call, and ends all the same.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, Run};

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn start(run: Run<'_>, stdout: impl Into<Stdio>) -> Child {
    let mut command = run.into_command();
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
}

/// Presses Ctrl-C; the program must end with 130 and say nothing.
fn interrupted(child: Child) {
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b""[..]));
}

/// Presses Ctrl-C as often as it takes: in a conversation the first one may come while the program still turns, and then ends the answer alone.
fn interrupted_until_it_ends(mut child: Child) {
    let id = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    while child.try_wait().unwrap().is_none() {
        kill_process(id, Signal::INT).unwrap();
        std::thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b""[..]));
}

/// Waits until a pipe takes no more: whoever writes to it stands still.
fn until_full(pipe: &impl AsFd) {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    while poll(&mut [PollFd::new(pipe, PollFlags::OUT)], Some(&at_once)).unwrap() > 0 {
        std::thread::yield_now();
    }
}

/// Waits until a program hears Ctrl-C.
fn until_it_listens(child: &Child) {
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&caught, 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
    };
    while !listens() {
        std::thread::yield_now();
    }
}

#[test]
fn a_full_pipe_that_nobody_reads() {
    for words in [["generate", "hi"], ["chat", "--no-cache"]] {
        let home = Home::new();
        let started = home.path("started");
        make_fifo(&started);
        let script = format!("sh -c 'echo $$ > {}; exec yes'", started.display());
        home.file("config/ipfs-llm-router/config.toml", format!("[providers.flood]\ncommand = \"{script}\"\n"));
        home.file("question", "hello\n");
        let (reader, writer): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let run = home.run(words).word("--provider").word("flood");
        let mut command = run.into_command();
        let input: Stdio =
            if words[0] == "chat" { File::open(home.path("question")).unwrap().into() } else { Stdio::null() };
        let child = command.stdin(input).stdout(writer.try_clone().unwrap()).stderr(Stdio::piped()).spawn().unwrap();
        let mut flood = String::new();
        BufReader::new(File::open(&started).unwrap()).read_line(&mut flood).unwrap();
        until_full(&writer);
        if words[0] == "chat" {
            interrupted_until_it_ends(child)
        } else {
            interrupted(child)
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", flood.trim())).unwrap_or_default();
        // What nobody has waited for yet is dead all the same.
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        drop(reader);
    }
}

#[test]
fn a_fifo_that_nobody_opened() {
    let home = Home::new();
    make_fifo(&home.path("work/nobody"));
    let child = start(home.run(["generate", "hi", "--provider", "echo", "-o", "nobody"]), Stdio::piped());
    until_it_listens(&child);
    interrupted(child);
    assert_eq!(home.work(), ["nobody"]);
}

/// In a conversation Ctrl-C ends the answer, and the next question is answered.
#[test]
fn an_answer_of_a_conversation() {
    for (json, said) in [(false, "\nstill here\n"), (true, "caller_cancelled")] {
        let home = Home::new();
        let started = home.path("started");
        make_fifo(&started);
        let script = format!("sh -c 'echo $$ > {}; exec sleep 1000'", started.display());
        let config = format!("[providers.slow]\ncommand = \"{script}\"\n[providers.echo]\ncommand = \"tail -n 1\"\n");
        home.file("config/ipfs-llm-router/config.toml", config);
        let run = home.run(["chat", "--provider", "slow"]);
        let mut child = if json { run.word("--json") } else { run }.start();
        let mut person = child.stdin.take().unwrap();
        person.write_all(b"hello\n").unwrap();
        let mut slow = String::new();
        BufReader::new(File::open(&started).unwrap()).read_line(&mut slow).unwrap();
        kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
        person.write_all(b"/provider echo\nstill here\n").unwrap();
        drop(person);
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stdout}");
        assert!(stdout.contains(said) && stdout.contains("still here"), "{stdout}");
        assert_eq!(stdout.lines().count(), 2, "{stdout}");
        let stat = fs::read_to_string(format!("/proc/{}/stat", slow.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}
