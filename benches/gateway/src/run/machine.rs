//! What the kernel says in `/proc`: CPU time and memory of a process with all its descendants, and what the whole machine does.
//!
//! A process that has just ended counts as nothing: none here ends while it is measured.

use std::fs;

use crate::clock;

/// The fields of `/proc/PID/stat` that follow the name: the state first, then the parent.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets.
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn tree(pid: u32) -> Vec<u32> {
    let mut known = vec![pid];
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|child| Some((child, stat(child)?.get(1)?.parse().ok()?)))
        .collect();
    let mut at = 0;
    while let Some(parent) = known.get(at).copied() {
        known.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        at += 1;
    }
    known
}

fn per_tick() -> f64 {
    1.0 / rustix::param::clock_ticks_per_second() as f64
}

/// CPU seconds, of user and kernel, that a process and its descendants have taken; counted by the kernel in hundredths.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let (user, kernel) = cpu_shares(pid);
    user + kernel
}

/// The same, of user and of kernel. The kernel knows their sum well, and how it falls into two from samples.
pub(crate) fn cpu_shares(pid: u32) -> (f64, f64) {
    let ticks = |fields: &[String], at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    let all: Vec<Vec<String>> = tree(pid).into_iter().filter_map(stat).collect();
    let sum = |at| all.iter().map(|fields| ticks(fields, at)).sum::<u64>() as f64 * per_tick();
    (sum(11), sum(12))
}

/// Resident memory of a process and its descendants, in MiB; pages of the program itself count.
pub(crate) fn rss(pid: u32) -> f64 {
    let kibibytes = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    tree(pid).into_iter().filter_map(kibibytes).sum::<u64>() as f64 / 1024.0
}

/// How busy the whole machine has been.
#[derive(Debug)]
pub(crate) struct Busy {
    at: u64,
    /// CPU seconds since it was started.
    pub(crate) busy: f64,
}

impl Busy {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let fields: Vec<u64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is within these.
        let ticks: u64 = fields.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, n)| n).sum();
        Self { at: clock::now(), busy: ticks as f64 * per_tick() }
    }

    pub(crate) fn seconds_since(&self, before: &Self) -> f64 {
        (self.at - before.at) as f64 / 1e9
    }
}

/// Load average over the last minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_takes_time() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(rss(own) > 0.5, "{}", rss(own));
        let before = cpu_seconds(own);
        let (mut sum, mut turns) = (1_u64, 0_u64);
        while cpu_seconds(own) - before < 0.02 {
            turns += 1;
            sum = sum.wrapping_mul(31).wrapping_add(turns);
        }
        assert!(std::hint::black_box(sum) > 0 && Busy::now().busy > 0.0);
    }

    #[test]
    fn a_process_that_is_gone_has_nothing() {
        assert_eq!((cpu_seconds(u32::MAX), rss(u32::MAX)), (0.0, 0.0));
    }
}
