//! Dates as Python's `strftime` writes them, in UTC and English: for templates that tell the model what day it is.

use std::fmt::Write as _;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The date as `strftime` writes it in the C locale, in UTC.
///
/// # Errors
/// The letter after `%` that is not known.
pub(super) fn strftime(now: i64, format: &str) -> Result<String, String> {
    let (days, seconds) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = DAYS.get(days.rem_euclid(7) as usize).copied().unwrap_or_default();
    let month_name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut code = letters.next().unwrap_or('%');
        let bare = code == '-';
        if bare {
            code = letters.next().unwrap_or('-');
        }
        let mut number = |number: i64, width: usize| {
            let _ = if bare { write!(out, "{number}") } else { write!(out, "{number:0width$}") };
        };
        match code {
            'Y' => number(year, 4),
            'y' => number(year.rem_euclid(100), 2),
            'm' => number(month, 2),
            'd' => number(day, 2),
            'H' => number(hour, 2),
            'I' => number(twelve, 2),
            'M' => number(minute, 2),
            'S' => number(second, 2),
            'j' => number(days - days_from_civil(year) + 1, 3),
            'B' => out.push_str(month_name),
            'b' | 'h' => out.push_str(month_name.get(..3).unwrap_or_default()),
            'A' => out.push_str(weekday),
            'a' => out.push_str(weekday.get(..3).unwrap_or_default()),
            'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'F' => out.push_str(&format!("{year:04}-{month:02}-{day:02}")),
            'T' => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            'Z' => out.push_str("UTC"),
            'z' => out.push_str("+0000"),
            '%' => out.push('%'),
            other => {
                return Err(format!("strftime_now: %{other} is not known"));
            }
        }
    }
    Ok(out)
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: years of 400 repeat, and begin in March so
/// that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a year's first of January.
fn days_from_civil(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_asked() {
        let noon = 1_772_366_400 + 13 * 3600 + 5 * 60 + 9;
        assert_eq!(
            strftime(noon, "%d %b %Y|%A %-d. %B|%I:%M %p|%j|%F %T|%%").ok().as_deref(),
            Some("02 Mar 2026|Monday 2. March|01:05 AM|061|2026-03-02 01:05:09|%")
        );
        assert_eq!(strftime(0, "%Y-%m-%d %a").ok().as_deref(), Some("1970-01-01 Thu"));
        assert_eq!(strftime(951_782_400, "%F").ok().as_deref(), Some("2000-02-29"));
        assert!(strftime(0, "%Q").is_err());
    }
}
