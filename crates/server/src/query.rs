//! Values of a query as text: `%2F` and the like as the signs that they stand for.
//!
//! What is no escape stays as it is, since a client that does not know of escapes meant it. Who wants such a value refused reads it itself (`routes/native/usage.rs`).

/// A value without its percent signs. A `+` is a `+`: whoever takes it for a space replaces it first.
pub(crate) fn unescaped(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [byte, after @ ..] = rest {
        let escaped = after.first_chunk::<2>().filter(|_| *byte == b'%').and_then(|hex| decoded(*hex));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
        out.push(escaped.unwrap_or(*byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The byte of two digits.
fn decoded(hex: [u8; 2]) -> Option<u8> {
    let [high, low] = hex.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_all_else_stays() {
        for (value, meant) in [
            ("", ""),
            ("a%2Fb%2f", "a/b/"),
            ("%C3%A9", "é"),
            ("a+b/c=", "a+b/c="),
            ("a%2Bb%3D", "a+b="),
            ("%zz+%4", "%zz+%4"),
            ("%+4%-1%", "%+4%-1%"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(unescaped(value), meant, "{value}");
        }
    }
}
