//! How things are called and written: the names of keys, and a record's bytes. Pure.
//!
//! Of a prefix `P`: `P:format` holds the format of all this; `P:r:SPACE:KEY` a record, 8 bytes of its expiry in ms since 1970 (0: none) and then its value; `P:i:SPACE` the keys of a
//! space, a sorted set that is read by key (what limits draw of money stands in none: nobody lists it, and keys that were derived come and go); `P:w:ACCOUNT:requests2`, `:tokens2` the
//! windows of an account, `:running` those at once; `P:told:PROCESS` the last batch of corrections
//! of a process and the number up to which it knows what became of its asks, `P:asked:PROCESS` those above it that drew money, each `NUMBER:AMOUNT`. A counter is a record of 8 bytes with the highest first.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// Redis drops what has expired by its own clock a while later than it counts as gone: clocks differ.
const SLACK: Duration = Duration::from_secs(3600);
/// The longest that Redis is asked to keep anything, in ms: the time of its end must fit into its 64 bits, and what Lua makes of it into 53.
const LONGEST: u64 = 1 << 52;

/// The windows of requests and of tokens. The number is that of their form: another version that counts another way must not count in these.
pub(crate) const REQUESTS: &str = "requests2";
/// See [`REQUESTS`].
pub(crate) const TOKENS: &str = "tokens2";
/// Those at once.
pub(crate) const RUNNING: &str = "running";

/// The names of keys.
#[derive(Clone, Debug)]
pub(crate) struct Names(String);

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    pub(crate) fn format(&self) -> String {
        format!("{}:format", self.0)
    }

    /// What stands before a key in the name of its record.
    pub(crate) fn space(&self, space: &str) -> String {
        format!("{}:r:{space}:", self.0)
    }

    pub(crate) fn record(&self, space: &str, key: &str) -> String {
        format!("{}:r:{space}:{key}", self.0)
    }

    pub(crate) fn index(&self, space: &str) -> String {
        format!("{}:i:{space}", self.0)
    }

    pub(crate) fn window(&self, account: &str, of: &str) -> String {
        format!("{}:w:{account}:{of}", self.0)
    }

    pub(crate) fn told(&self, process: &str) -> String {
        format!("{}:told:{process}", self.0)
    }

    pub(crate) fn asked(&self, process: &str) -> String {
        format!("{}:asked:{process}", self.0)
    }
}

/// An expiry as a record begins with it.
pub(crate) fn header(expires: Option<SystemTime>) -> [u8; 8] {
    // What expires before 1970 expires at its first millisecond: 0 means that it does not.
    expires.map_or(0, |expires| millis(expires).max(1)).to_be_bytes()
}

/// A record's bytes.
pub(crate) fn record(value: &[u8], expires: Option<SystemTime>) -> Vec<u8> {
    [&header(expires), value].concat()
}

/// The value of a record that holds.
pub(crate) fn value(record: Option<Bytes>, now: SystemTime) -> Option<Bytes> {
    let record = record?;
    let header: [u8; 8] = record.get(..8)?.try_into().ok()?;
    let expires = u64::from_be_bytes(header);
    (expires == 0 || expires > millis(now)).then(|| record.slice(8..))
}

/// After how many milliseconds Redis may drop a record; 0 is never.
pub(crate) fn keep(expires: Option<SystemTime>, now: SystemTime) -> u64 {
    expires.map_or(0, |expires| {
        let left = expires.duration_since(now).unwrap_or_default().saturating_add(SLACK);
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(LONGEST)
    })
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_longer_than_redis_can_say_is_kept_as_long_as_it_can() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let end = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        assert_eq!(keep(None, now), 0);
        assert_eq!(keep(end(1), now), 3_600_000, "what has ended, too, for clocks differ");
        assert_eq!(keep(end(1_800_000_001), now), 3_601_000);
        assert_eq!(keep(end(9_000_000_000_000_000_000), now), LONGEST);
    }
}
