//! An HTTP/1.1 answer as bytes that were read off a connection to its end: for clients in tests, which look at what really came over the socket.
//!
//! It is no reader for streams that are still open, and it panics at what is no answer: a test is to fail there.

use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, its chunks put together.
    pub body: Vec<u8>,
}

impl Heard {
    /// Reads a whole answer.
    ///
    /// # Panics
    /// Where the bytes are none.
    #[allow(clippy::expect_used, clippy::panic)]
    pub fn read(bytes: &[u8]) -> Self {
        let shown = || String::from_utf8_lossy(bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, rest) = end.and_then(|end| bytes.split_at_checked(end)).unwrap_or_else(|| panic!("{}", shown()));
        let head = std::str::from_utf8(head).expect("a head is text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            headers.append(name, value.trim().parse().expect("a header's value"));
        }
        let rest = rest.get(4..).unwrap_or_default();
        let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let body = if chunked { unchunked(rest) } else { rest.to_vec() };
        Self { status: status.unwrap_or_else(|| panic!("{}", shown())), headers, body }
    }

    /// A header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[allow(clippy::panic)]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The chunks of a body put together, as far as they came.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let (line, rest) = body.split_at(end);
        let size = std::str::from_utf8(line).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some((size, rest)) = size.filter(|size| *size > 0).zip(rest.get(2..)) else { break };
        let Some((chunk, rest)) = rest.split_at_checked(size) else {
            all.extend_from_slice(rest);
            break;
        };
        all.extend_from_slice(chunk);
        body = rest.get(2..).unwrap_or_default();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_as_far_as_they_came() {
        let head = "HTTP/1.1 200 OK\r\nx-a:  b\r\ntransfer-encoding: chunked\r\n\r\n";
        for (body, text) in [("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"), ("3\r\nabc\r\n5\r\nde", "abcde"), ("", "")]
        {
            let heard = Heard::read(format!("{head}{body}").as_bytes());
            assert_eq!((heard.status, heard.header("X-A"), heard.text().as_str()), (200, "b", text));
        }
        assert_eq!(Heard::read(b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\n{}").json(), serde_json::json!({}));
    }
}
