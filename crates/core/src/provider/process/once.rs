//! A program that is run to its end for what it prints, in a process group of its own: the programs that print a key.
//!
//! Unlike what the [`Runner`](super::Runner) starts it keeps this process's environment, because password stores need their agents, sockets and terminals,
//! and it gets no grace: nothing of it is worth waiting for once nobody wants the answer.

use std::io;
use std::process::{Command, ExitStatus, Stdio};

use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use super::group::{After, Group};

/// Runs a program; what it printed, `limit` bytes and one more at most, and how it ended. Dropping the wait kills its whole group at once, and so
/// does its end: whatever it left behind does not stay. Needs a tokio runtime with I/O.
///
/// # Errors
/// What keeps it from being started or read.
pub(crate) async fn printed(mut command: Command, limit: u64) -> io::Result<(Vec<u8>, Option<ExitStatus>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (group, pipes) = Group::spawn(command, After::default())?;
    let group = Killed(group);
    let mut bytes = Vec::new();
    if let Some(pipe) = pipes.stdout {
        ChildStdout::from_std(pipe)?.take(limit + 1).read_to_end(&mut bytes).await?;
    }
    // One that would print more is not waited for: it may never end.
    let status = if bytes.len() as u64 > limit { None } else { group.0.exited().await };
    Ok((bytes, status))
}

/// A group that is killed when nobody waits for it any more.
struct Killed(Group);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_it_prints_is_bounded_and_its_end_is_told() {
        let mut echo = Command::new("sh");
        echo.args(["-c", "echo key; exit 3"]);
        let (bytes, status) = printed(echo, 100).await.unwrap();
        assert_eq!((bytes.as_slice(), status.and_then(|status| status.code())), (&b"key\n"[..], Some(3)));
        assert_eq!(printed(Command::new("yes"), 10).await.unwrap(), (b"y\ny\ny\ny\ny\ny".to_vec(), None));
        assert!(printed(Command::new("/nonexistent/program"), 10).await.is_err());
    }

    #[tokio::test]
    async fn its_whole_group_ends_with_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Neither heeds a polite signal; both hold the pipe open.
        let script = format!("trap '' TERM; exec 3>{}; sleep 1000 & wait", fifo.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let running = tokio::spawn(printed(command, 100));
        let pipe = tokio::task::spawn_blocking(move || std::fs::File::open(fifo).unwrap()).await.unwrap();
        running.abort();
        let ended = tokio::task::spawn_blocking(move || io::read_to_string(pipe));
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap().unwrap(), "");
    }
}
