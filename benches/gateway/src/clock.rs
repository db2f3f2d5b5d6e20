//! The one clock that all processes here share, and the stamps made from it.
//!
//! A stamp is text inside a chunk of an answer, so that it survives whatever a gateway makes of the chunk.

use rustix::time::{ClockId, clock_gettime};

const OPEN: &[u8] = b"[ns ";
const CLOSE: u8 = b']';

/// Nanoseconds of the kernel's monotonic clock.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// CPU seconds that this process has taken.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The stamp of a moment.
pub(crate) fn stamp(at: u64) -> String {
    format!("[ns {at}]")
}

/// The moment that stands in a line, if one does.
pub(crate) fn find(line: &[u8]) -> Option<u64> {
    let from = line.windows(OPEN.len()).position(|window| window == OPEN)? + OPEN.len();
    let rest = line.get(from..)?;
    let end = rest.iter().position(|byte| *byte == CLOSE)?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_again_inside_json() {
        let line = format!(r#"data: {{"delta":{{"content":"{} word"}}}}"#, stamp(12_345));
        assert_eq!(find(line.as_bytes()), Some(12_345));
        assert_eq!(find(b"data: [DONE]"), None);
        assert_eq!(find(b"[ns 12"), None);
    }

    #[test]
    fn time_goes_on() {
        let before = now();
        assert!(before > 0 && now() >= before);
    }
}
