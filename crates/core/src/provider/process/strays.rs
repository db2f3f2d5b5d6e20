//! Descendants of a program that left its group (`setsid`): tools of agents start such ones, and a signal to the group does not reach them.
//!
//! Two things give them away, on Linux: they are below the program in the tree of processes as long as whoever started them lives, and their environment names
//! the private home of the agent, which no other process knows. One that is an orphan and has thrown away its environment is not found; neither is any on other
//! systems. Being told of orphans by the kernel (`PR_SET_CHILD_SUBREAPER`) would be for this whole process, whose library users have children of their own.
//! Signals go by a descriptor of the process that was looked at, never by a number that another may have by now.

#[cfg(target_os = "linux")]
pub(super) use linux::{below, marked};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{below, marked};

use rustix::process::Signal;
#[cfg(target_os = "linux")]
use {
    rustix::fd::OwnedFd,
    rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};

/// A process that left its group.
#[derive(Debug)]
pub(super) struct Stray {
    #[cfg(target_os = "linux")]
    process: OwnedFd,
}

impl Stray {
    /// Sends it a signal; one that has ended needs none.
    pub(super) fn send(&self, signal: Signal) {
        #[cfg(target_os = "linux")]
        let _ = pidfd_send_signal(&self.process, signal);
        #[cfg(not(target_os = "linux"))]
        let _ = signal;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use memchr::memmem;

    use super::{OwnedFd, Pid, PidfdFlags, Stray, pidfd_open};

    /// The most processes that are looked at below one.
    const MOST: usize = 4096;

    /// The processes below a group's leader that are in other groups.
    pub(in super::super) fn below(leader: Pid) -> Vec<Stray> {
        let mut tree = vec![leader];
        let mut strays = Vec::new();
        let mut at = 0;
        while let Some(parent) = tree.get(at).copied().filter(|_| tree.len() < MOST) {
            at += 1;
            for child in children(parent) {
                // Looked at after it was taken hold of: whoever has its number by now is no child.
                let Some(process) = held(child) else { continue };
                let Some((above, group)) = family(child) else { continue };
                if above != parent.as_raw_pid() {
                    continue;
                }
                tree.push(child);
                if group != leader.as_raw_pid() {
                    strays.push(Stray { process });
                }
            }
        }
        strays
    }

    /// The processes of this user whose environment holds these words.
    pub(in super::super) fn marked(words: &[u8]) -> Vec<Stray> {
        let (me, mine) = (std::process::id().cast_signed(), rustix::process::geteuid().as_raw());
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut strays = Vec::new();
        for entry in all {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Some(process) = Pid::from_raw(number).filter(|_| number != me) else { continue };
            if !entry.metadata().is_ok_and(|meta| meta.uid() == mine) {
                continue;
            }
            let Some(process) = held(process) else { continue };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if memmem::find(&environment, words).is_some() {
                strays.push(Stray { process });
            }
        }
        strays
    }

    fn held(process: Pid) -> Option<OwnedFd> {
        pidfd_open(process, PidfdFlags::empty()).ok()
    }

    /// The children of each of a process's threads.
    fn children(parent: Pid) -> Vec<Pid> {
        let threads = fs::read_dir(format!("/proc/{}/task", parent.as_raw_pid())).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let numbers = lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        numbers.filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect()
    }

    /// Who is above a process, and its group.
    fn family(process: Pid) -> Option<(i32, i32)> {
        let text = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid())).ok()?;
        // Its name, in parentheses, may hold anything.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use rustix::process::Pid;

    use super::Stray;

    /// None is known.
    pub(in super::super) fn below(_: Pid) -> Vec<Stray> {
        Vec::new()
    }

    /// None is known.
    pub(in super::super) fn marked(_: &[u8]) -> Vec<Stray> {
        Vec::new()
    }
}
