//! Whole numbers between two bounds, as a grammar: the numbers are cut into pieces that share leading digits. It knows no schema.

/// The most digits a number may have when a side is open.
const DIGITS: usize = 16;

/// An expression for every whole number from `low` to `high`, either of which may be open. `None` if there is no such number.
pub(super) fn integers(low: Option<i64>, high: Option<i64>) -> Option<String> {
    let mut parts = Vec::new();
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        return None;
    }
    if low.is_none_or(|low| low < 0) {
        // The negative ones are the positive ones of the mirrored bounds, behind a sign.
        let from = high.filter(|high| *high < 0).map_or(1, i64::unsigned_abs);
        let to = low.map(i64::unsigned_abs);
        if to.is_none_or(|to| to >= from) {
            parts.push(format!("\"-\" ({})", positive(from, to)));
        }
    }
    if high.is_none_or(|high| high >= 0) {
        let from = low.map_or(0, |low| low.max(0).unsigned_abs());
        parts.push(positive(from, high.map(i64::unsigned_abs)));
    }
    Some(parts.join(" | "))
}

fn positive(from: u64, to: Option<u64>) -> String {
    let mut parts = Vec::new();
    match to {
        Some(to) => between(&digits(from), &digits(to), &mut parts),
        None => {
            // All of the same length from `from` on, then all longer ones.
            let first = digits(from);
            let width = first.len();
            between(&first, &vec![9; width], &mut parts);
            if width < DIGITS {
                parts.push(format!("[1-9] [0-9]{{{width},{}}}", DIGITS - 1));
            }
        }
    }
    parts.join(" | ")
}

fn digits(number: u64) -> Vec<u8> {
    number.to_string().bytes().map(|digit| digit - b'0').collect()
}

/// All numbers from `from` to `to`, both written out; those of different lengths are split by length first.
fn between(from: &[u8], to: &[u8], parts: &mut Vec<String>) {
    if from.len() == to.len() {
        same_length(String::new(), from, to, parts);
        return;
    }
    same_length(String::new(), from, &vec![9; from.len()], parts);
    for width in from.len() + 1..to.len() {
        parts.push(format!("[1-9]{}", any(width - 1)));
    }
    let mut least = vec![0; to.len()];
    if let Some(first) = least.first_mut() {
        *first = 1;
    }
    same_length(String::new(), &least, to, parts);
}

fn same_length(prefix: String, from: &[u8], to: &[u8], parts: &mut Vec<String>) {
    let (Some((low, from)), Some((high, to))) = (from.split_first(), to.split_first()) else {
        parts.push(prefix.trim_end().to_owned());
        return;
    };
    if low == high {
        same_length(format!("{prefix}\"{low}\" "), from, to, parts);
        return;
    }
    let (all_low, all_high) = (from.iter().all(|digit| *digit == 0), to.iter().all(|digit| *digit == 9));
    let middle = (low + u8::from(!all_low), high.saturating_sub(u8::from(!all_high)));
    if !all_low {
        same_length(format!("{prefix}\"{low}\" "), from, &vec![9; from.len()], parts);
    }
    if middle.0 <= middle.1 {
        parts.push(format!("{prefix}[{}-{}]{}", middle.0, middle.1, any(from.len())));
    }
    if !all_high {
        same_length(format!("{prefix}\"{high}\" "), &vec![0; to.len()], to, parts);
    }
}

fn any(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " [0-9]".to_owned(),
        _ => format!(" [0-9]{{{count}}}"),
    }
}
