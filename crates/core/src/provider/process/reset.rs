//! When a limit ends, as a time of a clock: `resets 3pm`, `resets at 15:00 (Europe/Rome)`, `resets Oct 6, 1pm (America/Los_Angeles)`.
//!
//! Programs say it in the time zone of the machine, and most name that. Times that stand for themselves are read in `dialect/retry_after.rs`.

use std::path::Path;
use std::time::Duration;

use super::zone::{Zone, date, days};

/// Where the system keeps its zones, and its own one.
const ZONES: &str = "/usr/share/zoneinfo";
const OWN: &str = "/etc/localtime";

/// Seconds for which a time that has passed is this one and not tomorrow's: clocks differ, and minutes are left out.
const JUST_NOW: i64 = 900;

/// The longest wait believed, in seconds: another date than the one that was meant would be a year away.
const LONGEST: i64 = 31 * DAY;

const DAY: i64 = 86_400;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The wait until the time that a text names; nothing where it names none, or a zone that is not known here. `now` is the time since 1970. Reads the zone's file.
pub(super) fn told(text: &str, now: Duration) -> Option<Duration> {
    let reset = Reset::parse(text)?;
    let zone = match reset.zone {
        Some("UTC" | "GMT" | "Etc/UTC" | "Z") => Zone::default(),
        Some(name) => Zone::read(&Path::new(ZONES).join(name))?,
        // A machine without one counts in UTC.
        None => Zone::read(Path::new(OWN)).or_else(|| (!Path::new(OWN).exists()).then(Zone::default))?,
    };
    reset.wait(&zone, i64::try_from(now.as_secs()).ok()?)
}

/// A time of a clock.
#[derive(Debug, PartialEq, Eq)]
struct Reset<'a> {
    /// Month and day, where they are named.
    date: Option<(i64, i64)>,
    /// Seconds since midnight.
    time: i64,
    zone: Option<&'a str>,
}

impl<'a> Reset<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let mut at = lower.find("resets ")? + "resets ".len();
        let mut word = || {
            let rest = lower.get(at..)?;
            let begin = at + rest.len() - rest.trim_start_matches(' ').len();
            let rest = lower.get(begin..)?;
            let end = begin + rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len());
            // A comma belongs to the word before it.
            at = end + usize::from(lower.get(end..)?.starts_with(','));
            lower.get(begin..end).map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty())
        };
        let mut next = word()?;
        if ["at", "on"].contains(&next) {
            next = word()?;
        }
        let month = MONTHS.iter().position(|month| next.get(..3) == Some(*month));
        let date = match month {
            Some(month) => {
                let day = word()?.parse::<i64>().ok().filter(|day| (1..=31).contains(day))?;
                next = word()?;
                if next == "at" {
                    next = word()?;
                }
                Some((month as i64 + 1, day))
            }
            None => None,
        };
        let half = ["am", "pm"].iter().find(|half| next.ends_with(**half)).copied();
        let time = clock(
            next,
            half.or_else(|| {
                // `3 pm`: looked at without being taken, for a zone may stand there.
                let rest = lower.get(at..)?.trim_start_matches(' ');
                ["am", "pm"].iter().find(|half| rest.starts_with(**half)).copied()
            }),
        )?;
        let zone = text.get(at..)?.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let zone = zone.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(name, _)| name.trim());
        let sane = |name: &&str| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte)) && !name.starts_with('/')
        };
        match zone {
            Some(name) if !sane(&name) || name.is_empty() => None,
            zone => Some(Self { date, time, zone }),
        }
    }

    fn wait(&self, zone: &Zone, now: i64) -> Option<Duration> {
        // The offset of a moment that is on a clock: the second look is after the turn, where the first was before it.
        let moment = |clock: i64| clock - zone.offset(clock - zone.offset(clock - zone.offset(now)));
        let today = (now + zone.offset(now)).div_euclid(DAY);
        let coming = match self.date {
            None => [today - 1, today, today + 1],
            Some((month, day)) => {
                let (year, ..) = date(today);
                [year - 1, year, year + 1].map(|year| days(year, month, day))
            }
        };
        let moments = coming.into_iter().map(|day| moment(day * DAY + self.time));
        let wait = moments.map(|moment| moment - now).find(|wait| *wait > -JUST_NOW)?;
        (wait <= LONGEST).then(|| Duration::from_secs(wait.max(0).unsigned_abs()))
    }
}

/// `3pm`, `12:50am`, `15:00` in seconds; a bare number is no time.
fn clock(word: &str, half: Option<&str>) -> Option<i64> {
    let digits = half.and_then(|half| word.strip_suffix(half)).unwrap_or(word);
    let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
    if half.is_none() && !digits.contains(':') {
        return None;
    }
    let number = |text: &str, most: i64| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| digits && *number <= most)
    };
    let (hour, minute) = (number(hour, 23)?, number(minute, 59)?);
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("pm") => hour % 12 + 12,
        Some(_) => hour % 12,
        None => hour,
    };
    Some(hour * 3600 + minute * 60)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_of_a_clock_are_known_in_their_forms() {
        let parsed = |text: &'static str| Reset::parse(text).map(|reset| (reset.date, reset.time, reset.zone));
        assert_eq!(parsed("Limit reached ∙ resets 3pm."), Some((None, 54_000, None)));
        assert_eq!(
            parsed("You've hit your limit · resets 4:50am (Europe/Rome)"),
            Some((None, 17_400, Some("Europe/Rome")))
        );
        assert_eq!(parsed("resets at 15:00 (UTC)."), Some((None, 54_000, Some("UTC"))));
        assert_eq!(parsed("Resets 12:50am (America/Los_Angeles)"), Some((None, 3_000, Some("America/Los_Angeles"))));
        assert_eq!(parsed("resets 12 pm (UTC)"), Some((None, 43_200, Some("UTC"))));
        assert_eq!(parsed("weekly limit · resets Oct 6, 1pm (UTC)"), Some((Some((10, 6)), 46_800, Some("UTC"))));
        assert_eq!(parsed("resets on October 6 at 13:00"), Some((Some((10, 6)), 46_800, None)));
        for bad in [
            "resets",
            "resets ",
            "resets soon",
            "resets 3",
            "resets 25:00",
            "resets 13pm",
            "resets 3pm (../../etc/passwd)",
            "resets é",
            "resets 3pm (/etc/x)",
            "resets Oct 32, 1pm",
            "resets Oct",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_wait_is_until_the_next_such_time() {
        // 2026-11-22T10:00:00Z, a Sunday.
        let now = Duration::from_secs(1_795_341_600);
        let wait = |text: &str| told(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("resets 3pm (UTC)"), Some(5 * 3600));
        assert_eq!(wait("resets at 09:00 (UTC)"), Some(23 * 3600));
        assert_eq!(wait("resets 9:55am (UTC)"), Some(0), "it has just passed");
        assert_eq!(wait("resets Nov 25, 10am (UTC)"), Some(3 * 86_400));
        assert_eq!(wait("resets Oct 6, 1pm (UTC)"), None, "no limit lasts a year");
        assert_eq!(wait("resets 3pm (Nowhere/Such)"), None);
        let zone = Zone::default();
        let new_year = Reset::parse("resets Jan 1, 1am").unwrap();
        assert_eq!(new_year.wait(&zone, 1_798_761_600 - 3600).unwrap().as_secs(), 7200);
    }
}
