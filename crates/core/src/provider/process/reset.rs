//! When a limit ends, as a time of a clock: `resets 3pm`, `resets at 15:00 (Europe/Rome)`, `resets Oct 6, 1pm (America/Los_Angeles)`, `resets Monday at 3pm`.
//!
//! Programs say it in the time zone of the machine, and most name that. Times that stand for themselves are read in `dialect/retry_after.rs`.

use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

/// For how long a time that has passed is this one and not tomorrow's: clocks differ, and minutes are left out.
const JUST_NOW: SignedDuration = SignedDuration::from_mins(15);

/// The longest wait believed: another date than the one that was meant would be a year away.
const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// The wait until the time that a text names; nothing where it names none, or a zone that is not known here. `now` is the time since 1970. Reads the system's
/// database of zones.
pub(super) fn told(text: &str, now: Duration) -> Option<Duration> {
    let reset = Reset::parse(text)?;
    let zone = match reset.zone {
        Some("UTC" | "GMT" | "Etc/UTC" | "Z") => TimeZone::UTC,
        Some(name) => TimeZone::get(name).ok()?,
        // A machine without one counts in UTC.
        None => TimeZone::try_system().unwrap_or(TimeZone::UTC),
    };
    let now = Timestamp::from_second(i64::try_from(now.as_secs()).ok()?).ok()?;
    reset.wait(&now.to_zoned_datetime(zone))
}

/// On which day a clock shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// The next on which it does.
    Next,
    /// Month and day.
    Date(i8, i8),
    Weekday(Weekday),
}

/// A time of a clock.
#[derive(Debug, PartialEq, Eq)]
struct Reset<'a> {
    day: Day,
    time: Time,
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
        let mut day = Day::Next;
        if let Some(weekday) = weekday(next) {
            (day, next) = (Day::Weekday(weekday), word()?);
        }
        // A date beside the weekday says more.
        if let Some(month) = MONTHS.iter().position(|month| next.get(..3) == Some(*month)) {
            let of_month = word()?.parse::<i8>().ok().filter(|day| (1..=31).contains(day))?;
            (day, next) = (Day::Date(i8::try_from(month).ok()? + 1, of_month), word()?);
        }
        if next == "at" && day != Day::Next {
            next = word()?;
        }
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
            zone => Some(Self { day, time, zone }),
        }
    }

    fn wait(&self, now: &ZonedDateTime) -> Option<Duration> {
        let today = now.date();
        let days = |from: i64, to: i64| (from..=to).filter_map(|more| today.checked_add(more.days()).ok());
        let coming: Vec<Date> = match self.day {
            Day::Next => days(-1, 1).collect(),
            Day::Weekday(weekday) => days(-1, 7).filter(|day| day.weekday() == weekday).collect(),
            Day::Date(month, day) => {
                let years = today.year() - 1..=today.year() + 1;
                years.filter_map(|year| Date::new(year, month, day).ok()).collect()
            }
        };
        let moments = coming.into_iter().filter_map(|day| {
            let moment = day.to_datetime(self.time).to_zoned_datetime(now.time_zone().clone()).ok()?;
            Some(now.duration_until(&moment))
        });
        let wait = moments.into_iter().find(|wait| *wait > -JUST_NOW)?;
        (wait <= LONGEST).then(|| Duration::try_from(wait).unwrap_or_default())
    }
}

/// A day of the week by its name or the first letters of it, three at least.
fn weekday(word: &str) -> Option<Weekday> {
    let named = WEEKDAYS.iter().find(|(name, _)| word.len() >= 3 && name.starts_with(word))?;
    Some(named.1)
}

/// `3pm`, `12:50am`, `15:00`; a bare number is no time.
fn clock(word: &str, half: Option<&str>) -> Option<Time> {
    let digits = half.and_then(|half| word.strip_suffix(half)).unwrap_or(word);
    let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
    if half.is_none() && !digits.contains(':') {
        return None;
    }
    let number = |text: &str, most: i8| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i8>().ok().filter(|number| digits && *number <= most)
    };
    let (hour, minute) = (number(hour, 23)?, number(minute, 59)?);
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("pm") => hour % 12 + 12,
        Some(_) => hour % 12,
        None => hour,
    };
    Time::new(hour, minute, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jiff::civil::time;

    #[test]
    fn times_of_a_clock_are_known_in_their_forms() {
        let parsed = |text: &'static str| Reset::parse(text).map(|reset| (reset.day, reset.time, reset.zone));
        assert_eq!(parsed("Limit reached ∙ resets 3pm."), Some((Day::Next, time(15, 0, 0, 0), None)));
        assert_eq!(
            parsed("You've hit your limit · resets 4:50am (Europe/Rome)"),
            Some((Day::Next, time(4, 50, 0, 0), Some("Europe/Rome")))
        );
        assert_eq!(parsed("resets at 15:00 (UTC)."), Some((Day::Next, time(15, 0, 0, 0), Some("UTC"))));
        assert_eq!(
            parsed("Resets 12:50am (America/Los_Angeles)"),
            Some((Day::Next, time(0, 50, 0, 0), Some("America/Los_Angeles")))
        );
        assert_eq!(parsed("resets 12 pm (UTC)"), Some((Day::Next, time(12, 0, 0, 0), Some("UTC"))));
        assert_eq!(
            parsed("weekly limit · resets Oct 6, 1pm (UTC)"),
            Some((Day::Date(10, 6), time(13, 0, 0, 0), Some("UTC")))
        );
        assert_eq!(parsed("resets on October 6 at 13:00"), Some((Day::Date(10, 6), time(13, 0, 0, 0), None)));
        let monday = Some((Day::Weekday(Weekday::Monday), time(15, 0, 0, 0), Some("UTC")));
        for text in ["resets Monday 3pm (UTC)", "resets Mon, 3pm (UTC)", "resets on Monday at 15:00 (UTC)"] {
            assert_eq!(parsed(text), monday, "{text}");
        }
        assert_eq!(parsed("resets Thurs 3:30 PM").map(|found| found.0), Some(Day::Weekday(Weekday::Thursday)));
        assert_eq!(parsed("resets Tuesday, Oct 6, 1pm").map(|found| found.0), Some(Day::Date(10, 6)));
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
            "resets Monday",
            "resets mo 3pm",
            "resets mondays 3pm",
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
        assert_eq!(wait("resets Monday 3pm (UTC)"), Some(29 * 3600));
        assert_eq!(wait("resets Sun 11am (UTC)"), Some(3600));
        assert_eq!(wait("resets Sunday at 9am (UTC)"), Some(7 * 86_400 - 3600));
        assert_eq!(wait("resets Sunday 9:55am (UTC)"), Some(0), "it has just passed");
        assert_eq!(wait("resets 3pm (Nowhere/Such)"), None);
        // An hour before a year ends, and on either side of the nights in which Rome turns its clocks.
        let rome = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let from = |now: i64, text: &'static str| {
            let now = Timestamp::from_second(now).unwrap().to_zoned_datetime(rome.clone());
            Reset::parse(text).unwrap().wait(&now).map(|wait| wait.as_secs())
        };
        assert_eq!(from(1_798_758_000 - 3600, "resets Jan 1, 1am"), Some(7200));
        assert_eq!(from(1_774_746_000 - 3600, "resets 6am"), Some(4 * 3600));
        assert_eq!(from(1_792_890_000 - 3600, "resets 6am"), Some(5 * 3600));
    }
}
