//! What a grammar would cost llama.cpp to read: it writes each repetition out as rules of its own, nested ones multiplied. A grammar
//! that passes here is small enough on every count. It does not check that rules exist; llama.cpp answers that itself.

use super::{GrammarError, Limits};

/// The deepest nesting of parentheses; llama.cpp parses them by recursion.
const MAX_NESTING: usize = 40;
/// What nested repetitions may multiply to; llama.cpp's own limit is 2000 and ends in an error there.
const MAX_PRODUCT: u64 = 2_000;
/// What all repetitions together may be written out as.
const MAX_TOTAL: u64 = 50_000;

/// Judges a grammar, one's own or a caller's.
///
/// # Errors
/// [`GrammarError::TooLarge`] with what is too large, [`GrammarError::Invalid`] for brackets and quotes that do not close.
pub fn check(grammar: &str, limits: &Limits) -> Result<(), GrammarError> {
    let too_large = |what, limit| Err(GrammarError::TooLarge { what, limit });
    let invalid = |detail: &str| Err(GrammarError::Invalid { detail: detail.to_owned(), at: "grammar".to_owned() });
    if grammar.len() > limits.output {
        return too_large("bytes of grammar", limits.output);
    }
    if grammar.contains('\0') {
        return invalid("it holds a NUL");
    }
    if grammar.matches("::=").count() > limits.rules {
        return too_large("rules", limits.rules);
    }
    let mut total = 0u64;
    // What the last item of each open parenthesis is written out as.
    let mut sums: Vec<u64> = vec![0];
    let mut last = 1u64;
    let mut letters = grammar.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' | '[' => {
                let close = if letter == '"' { '"' } else { ']' };
                loop {
                    match letters.next() {
                        None => return invalid("a quote or class does not close"),
                        Some('\\') => drop(letters.next()),
                        Some(letter) if letter == close => break,
                        Some(_) => {}
                    }
                }
                last = 1;
            }
            '#' => while !matches!(letters.next(), Some('\n') | None) {},
            '(' => {
                sums.push(0);
                if sums.len() > MAX_NESTING {
                    return too_large("nested parentheses", MAX_NESTING);
                }
            }
            ')' => {
                let inside = if sums.len() > 1 { sums.pop() } else { None };
                let Some(inside) = inside else {
                    return invalid("a parenthesis does not open");
                };
                last = inside.max(1);
                if let Some(sum) = sums.last_mut() {
                    *sum = sum.saturating_add(last);
                }
            }
            '*' | '+' | '?' => total = total.saturating_add(last),
            '{' => {
                let mut inside = String::new();
                while let Some(letter) = letters.next_if(|letter| *letter != '}') {
                    if inside.len() > 24 {
                        return invalid("a brace does not close");
                    }
                    inside.push(letter);
                }
                let highest =
                    inside.split(',').filter_map(|number| number.trim().parse::<u64>().ok()).max().unwrap_or(0);
                let cost = last.saturating_mul(highest.max(1));
                if highest > limits.repetitions.max(MAX_PRODUCT) || cost > MAX_PRODUCT {
                    return too_large("nested repetitions", MAX_PRODUCT as usize);
                }
                total = total.saturating_add(cost);
                last = cost;
                if let Some(sum) = sums.last_mut() {
                    *sum = sum.saturating_add(cost);
                }
            }
            letter if letter.is_alphanumeric() => last = 1,
            _ => {}
        }
        if total > MAX_TOTAL {
            return too_large("repetitions", MAX_TOTAL as usize);
        }
    }
    if sums.len() == 1 { Ok(()) } else { invalid("a parenthesis does not close") }
}
