//! The programs that a program started, and those that they started, as the system's table of processes has them.
//!
//! At a terminal an agent is in a group with others that are none of ours, so that it is not ended by its group. Who left his parent is found no more: he wanted to stay.

use std::collections::HashMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A program that runs. Its number may be another's when it has ended; the moment of its start tells them apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    id: Pid,
    began: u64,
}

/// Whom a program and its like started. Nobody where the system has no table.
pub(super) fn below(root: Pid) -> Vec<Member> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let mut children: HashMap<i32, Vec<Member>> = HashMap::new();
    for id in numbers {
        if let Some((parent, began)) = about(id) {
            children.entry(parent).or_default().push(Member { id, began });
        }
    }
    let (mut all, mut parents) = (Vec::new(), vec![root]);
    while let Some(parent) = parents.pop() {
        let own = children.remove(&parent.as_raw_pid()).unwrap_or_default();
        parents.extend(own.iter().map(|member| member.id));
        all.extend(own);
    }
    all
}

/// Sends a signal to those that still run.
pub(super) fn signal(members: &[Member], signal: Signal) {
    for member in members.iter().filter(|member| about(member.id).is_some_and(|(_, began)| began == member.began)) {
        // Who is gone already needs none.
        let _ = kill_process(member.id, signal);
    }
}

/// A program's parent, and when it began.
fn about(id: Pid) -> Option<(i32, u64)> {
    let line = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_pid())).ok()?;
    // Its name may hold anything, and stands in parentheses.
    let mut words = line.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    let parent = words.next()?.parse().ok()?;
    Some((parent, words.nth(17)?.parse().ok()?))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_programs_children_and_theirs_are_found() {
        let script = "sh -c 'sh -c \"echo ready; read line\"; :'; :";
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        let own = Pid::from_child(&child);
        let found = below(own);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(below(rustix::process::getpid()).iter().any(|member| member.id == own));
        signal(&[Member { began: 0, ..found[0] }], Signal::KILL);
        assert_eq!(below(own).len(), 2, "it is another one by the same number");
        signal(&found, Signal::KILL);
        child.wait().unwrap();
        assert!(below(own).is_empty());
    }
}
