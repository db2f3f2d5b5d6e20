//! When an upstream wants to be asked again: from the headers and words that providers use for it. For every HTTP dialect.
//!
//! Codecs have no clock, so a date is compared with the answer's own `Date`. Whether the wait is obeyed is decided in `router/retry.rs`.

use std::time::Duration;

use http::{HeaderMap, header};

/// The longest wait believed; a quota's reset may be a month away.
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 31);

/// The wait that an answer names, in its headers or else in its text.
pub(crate) fn retry_after(headers: &HeaderMap, message: &str) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = || Some(Duration::from_secs_f64(positive(header("retry-after-ms")?)? / 1000.0));
    let named = || {
        let value = header(header::RETRY_AFTER.as_str())?;
        positive(value).map(Duration::from_secs_f64).or_else(|| until(value, header(header::DATE.as_str())?))
    };
    let now = || {
        let now = httpdate::parse_http_date(header(header::DATE.as_str())?).ok()?;
        now.duration_since(std::time::UNIX_EPOCH).ok()
    };
    let resets = || {
        // OpenAI and Groq name a reset for requests and for tokens: the one that is used up counts.
        ["requests", "tokens"].into_iter().find_map(|what| {
            let left = header(&format!("x-ratelimit-remaining-{what}"))?;
            (left == "0")
                .then(|| header(&format!("x-ratelimit-reset-{what}")))
                .flatten()
                .and_then(|reset| moment(reset, now()))
        })
    };
    let reset = || {
        // OpenRouter and others have one limit, and name the moment in seconds or milliseconds since 1970.
        let left = header("x-ratelimit-remaining")?;
        (left == "0").then(|| header("x-ratelimit-reset")).flatten().and_then(|reset| moment(reset, now()))
    };
    let moments = || {
        // Anthropic names the moment of each reset instead.
        ["requests", "tokens", "input-tokens", "output-tokens"].into_iter().find_map(|what| {
            let left = header(&format!("anthropic-ratelimit-{what}-remaining"))?;
            let reset = (left == "0").then(|| header(&format!("anthropic-ratelimit-{what}-reset"))).flatten()?;
            Some(since_1970(reset)?.saturating_sub(now()?))
        })
    };
    let headers = || resets().or_else(moments).or_else(reset);
    millis().or_else(named).or_else(|| in_words(message)).or_else(headers).map(|wait| wait.min(LONGEST))
}

/// The wait that a text names, for programs that have no headers: `try again in 3 days 4 hours`, `limit reached|1762952400`. `now` is the time since 1970.
pub(crate) fn told(text: &str, now: Duration) -> Option<Duration> {
    in_words(text).or_else(|| behind_a_bar(text, now)).map(|wait| wait.min(LONGEST))
}

/// Claude Code's `usage limit reached|1762952400`: a moment since 1970, in seconds or milliseconds.
fn behind_a_bar(text: &str, now: Duration) -> Option<Duration> {
    let (_, rest) = text.split_once("limit reached|")?;
    let digits = rest.get(..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()))?;
    (digits.len() >= 10).then(|| moment(digits, Some(now))).flatten()
}

/// A reset as it stands in a header: `6m0s`, a number of seconds, a moment of RFC 3339 or since 1970 in seconds or milliseconds.
fn moment(reset: &str, now: Option<Duration>) -> Option<Duration> {
    let Some(number) = positive(reset).or_else(|| reset.parse().ok().filter(|number| (0.0..1e14).contains(number)))
    else {
        return units(reset).or_else(|| Some(since_1970(reset)?.saturating_sub(now?)));
    };
    match number {
        number if number >= 1e11 => Some(Duration::from_secs_f64(number / 1000.0).saturating_sub(now?)),
        number if number >= 1e9 => Some(Duration::from_secs_f64(number).saturating_sub(now?)),
        number => Some(Duration::from_secs_f64(number)),
    }
}

/// `2025-05-14T00:49:37Z`, with or without fractions of a second, as the time since 1970.
fn since_1970(moment: &str) -> Option<Duration> {
    let (date, time) = moment.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split('.').next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years are counted from March, so that the leap day is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let seconds = (days.checked_sub(719_468)? * 86_400).checked_add(hours * 3600 + minutes * 60 + seconds)?;
    Some(Duration::from_secs(seconds))
}

/// What the answer says about trying the same again.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn positive(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| (0.0..1e12).contains(number))
}

fn until(date: &str, now: &str) -> Option<Duration> {
    let (date, now) = (httpdate::parse_http_date(date).ok()?, httpdate::parse_http_date(now).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

/// "Please try again in 7.66s", "retry in 19.3 seconds", "will reset after 2h3m4s".
fn in_words(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let phrases = ["try again in ", "retry in ", "reset after ", "retry after "];
    let (_, rest) = phrases.iter().find_map(|phrase| message.split_once(phrase))?;
    let mut words = rest.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ')']));
    let first = words.next()?;
    if let Some(wait) = units(first) {
        return Some(wait);
    }
    // "3 days 4 hours 12 minutes": numbers and units by turns, as long as they are that.
    let mut wait = units(&format!("{first}{}", words.next()?.get(..1)?))?;
    while let (Some(number), Some(unit)) = (words.next(), words.next()) {
        let Some(more) = unit.get(..1).and_then(|unit| units(&format!("{number}{unit}"))) else { break };
        wait = wait.saturating_add(more);
    }
    Some(wait)
}

/// `6m0s`, `1h30m`, `7.66s`, `20ms`, `2d`.
fn units(mut text: &str) -> Option<Duration> {
    const UNITS: &[(&str, f64)] = &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
    let mut seconds = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(digits);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += positive(number)? * scale;
        text = rest.strip_prefix(unit)?;
    }
    (seconds > 0.0 && seconds < 1e12).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wait(headers: &[(&'static str, &'static str)], message: &str) -> Option<f64> {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        retry_after(&HeaderMap::from_iter(headers), message).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn headers_of_every_kind() {
        assert_eq!(wait(&[("retry-after", "20")], ""), Some(20.0));
        assert_eq!(wait(&[("retry-after-ms", "1500"), ("retry-after", "2")], ""), Some(1.5));
        let date = ("date", "Sun, 22 Nov 2026 10:00:00 GMT");
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT"), date], ""), Some(90.0));
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT"), date], ""), Some(0.0));
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT")], ""), None);
        let tokens = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0.5s")];
        assert_eq!(wait(&tokens, ""), Some(360.5));
        let anthropic = [
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-22T10:00:45Z"),
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T11:00:00Z"),
        ];
        assert_eq!(wait(&[&anthropic[..], &[date]].concat(), ""), Some(45.0));
        assert_eq!(wait(&anthropic, ""), None);
        // 2026-11-22T10:00:00Z is 1795341600.
        for reset in ["1795341660", "1795341660000", "60", "1m0s", "2026-11-22T10:01:00Z"] {
            let single = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset), date];
            assert_eq!(wait(&single, ""), Some(60.0), "{reset}");
        }
        assert_eq!(wait(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "60")], ""), None);
        for bad in ["-1", "soon", "NaN", "inf", "1e300"] {
            assert_eq!(wait(&[("retry-after", bad)], ""), None, "{bad}");
        }
    }

    #[test]
    fn moments_are_seconds_since_1970() {
        for (moment, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-22T10:00:00.123Z", 1_795_341_600),
        ] {
            assert_eq!(since_1970(moment), Some(Duration::from_secs(seconds)), "{moment}");
        }
        for bad in
            ["", "2026-11-22", "2026-13-01T00:00:00Z", "x-1-1T0:0:0Z", "1969-01-01T00:00:00Z", "99999999999-1-1T0:0:0Z"]
        {
            assert_eq!(since_1970(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_of_messages() {
        assert_eq!(wait(&[], "Rate limit reached … Please try again in 7.66s. Visit"), Some(7.66));
        assert_eq!(wait(&[], "Please retry in 19.5 seconds."), Some(19.5));
        assert_eq!(wait(&[], "Please try again in 1h2m3s"), Some(3723.0));
        assert_eq!(wait(&[], "You've hit your usage limit. Try again in 3 days 4 hours 12 minutes."), Some(274_320.0));
        assert_eq!(wait(&[], "please try again in 5 minutes or upgrade"), Some(300.0));
        let now = Duration::from_secs(1_762_950_000);
        let told = |text: &str| told(text, now).map(|wait| wait.as_secs());
        assert_eq!(told("Claude AI usage limit reached|1762952400"), Some(2400));
        assert_eq!(told("Claude AI usage limit reached|1762952400000\n"), Some(2400));
        assert_eq!(told("Claude AI usage limit reached|1762940000"), Some(0), "it has passed");
        assert_eq!(told("limit reached|12"), None);
        assert_eq!(told("limit reached|"), None);
        assert_eq!(told("or try again in 5 days 22 hours 11\nminutes."), Some(511_860));
        assert_eq!(wait(&[], "try again in a moment"), None);
        assert_eq!(wait(&[], "try again in é"), None);
    }
}
