//! Just enough HTTP/1.1 to send one prepared request again and again and read what comes back, at a cost that leaves the core to what is measured.
//!
//! Not a client for the world: an answer must have a `content-length` or be chunked, as every gateway here does it. Pure: bytes in, facts out.

use anyhow::{Context, Result, bail, ensure};

/// The most a head may take.
const MAX_HEAD: usize = 16 << 10;

/// A request ready to be sent.
pub(crate) fn request(address: &str, path: &str, headers: &[String], body: &str) -> Vec<u8> {
    let mut out = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for header in headers {
        out.push_str(header);
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    out.push_str(body);
    out.into_bytes()
}

/// Reads one answer as it comes. Start a new one for the next answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    kept: Vec<u8>,
    state: State,
    status: u16,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Head,
    Sized(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Done,
}

impl Reader {
    /// The status, 0 before the head has come.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Takes what was read from the socket, hands on the bytes of the body, says whether the answer is complete.
    ///
    /// # Errors
    /// What is not HTTP/1.1 as described above; bytes after the end, as nothing more was asked for.
    pub(crate) fn feed(&mut self, mut input: &[u8], body: &mut impl FnMut(&[u8])) -> Result<bool> {
        loop {
            match self.state {
                State::Head => {
                    let Some(rest) = self.until(&mut input, b"\r\n\r\n")? else { return Ok(false) };
                    (self.status, self.state) = head(&rest)?;
                }
                State::Sized(0) | State::Done => {
                    self.state = State::Done;
                    ensure!(input.is_empty(), "{} bytes follow the end of an answer", input.len());
                    return Ok(true);
                }
                State::Sized(left) => {
                    let taken = take(&mut input, left, body);
                    if taken == 0 {
                        return Ok(false);
                    }
                    self.state = State::Sized(left - taken);
                }
                State::ChunkSize => {
                    let Some(line) = self.until(&mut input, b"\r\n")? else { return Ok(false) };
                    let digits = line.split(|byte| matches!(byte, b';' | b'\r')).next().unwrap_or_default();
                    let size = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
                    let size = size.with_context(|| format!("no size of a chunk: {:?}", line.escape_ascii()))?;
                    self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
                }
                State::Chunk(0) => self.state = State::ChunkEnd,
                State::Chunk(left) => {
                    let taken = take(&mut input, left, body);
                    if taken == 0 {
                        return Ok(false);
                    }
                    self.state = State::Chunk(left - taken);
                }
                State::ChunkEnd => {
                    let Some(line) = self.until(&mut input, b"\r\n")? else { return Ok(false) };
                    ensure!(line == b"\r\n", "a chunk is longer than it says");
                    self.state = State::ChunkSize;
                }
                State::Trailer => {
                    let Some(line) = self.until(&mut input, b"\r\n")? else { return Ok(false) };
                    if line == b"\r\n" {
                        self.state = State::Done;
                    }
                }
            }
        }
    }

    /// All up to and with `mark`, or nothing yet; what has come so far is then kept.
    fn until(&mut self, input: &mut &[u8], mark: &[u8]) -> Result<Option<Vec<u8>>> {
        // The mark may have begun in what is kept.
        let from = self.kept.len().saturating_sub(mark.len() - 1);
        let before = self.kept.len();
        self.kept.extend_from_slice(input);
        let found = self.kept.get(from..).and_then(|part| part.windows(mark.len()).position(|window| window == mark));
        let Some(at) = found else {
            ensure!(self.kept.len() <= MAX_HEAD, "no end of a head or line after {MAX_HEAD} bytes");
            *input = &[];
            return Ok(None);
        };
        let end = from + at + mark.len();
        self.kept.truncate(end);
        *input = input.get(end - before..).unwrap_or_default();
        Ok(Some(std::mem::take(&mut self.kept)))
    }
}

fn take(input: &mut &[u8], most: usize, body: &mut impl FnMut(&[u8])) -> usize {
    let (now, later) = input.split_at(most.min(input.len()));
    if !now.is_empty() {
        body(now);
    }
    *input = later;
    now.len()
}

fn head(bytes: &[u8]) -> Result<(u16, State)> {
    let text = std::str::from_utf8(bytes).context("the head is not text")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no answer of HTTP/1.1: {first:?}"))?;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().with_context(|| format!("no length: {line:?}"))?;
            return Ok((status, State::Sized(length)));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(value.trim().eq_ignore_ascii_case("chunked"), "not read here: {line:?}");
            return Ok((status, State::ChunkSize));
        }
    }
    bail!("an answer {status} with neither a length nor chunks")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";

    fn read(parts: &[&[u8]]) -> Result<(bool, String)> {
        let (mut reader, mut body, mut done) = (Reader::default(), Vec::new(), false);
        for part in parts {
            done = reader.feed(part, &mut |bytes| body.extend_from_slice(bytes))?;
        }
        Ok((done, String::from_utf8(body)?))
    }

    #[test]
    fn an_answer_may_be_cut_anywhere() {
        for text in [SIZED, CHUNKED] {
            for cut in 0..text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(read(&[first, second]).unwrap(), (true, "hello".to_owned()), "{text:?} cut at {cut}");
                assert!(!read(&[first]).unwrap().0, "{text:?} is not over at {cut}");
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes).unwrap(), (true, "hello".to_owned()));
        }
    }

    #[test]
    fn what_is_no_answer_is_named() {
        for (text, said) in [
            ("HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0"),
            ("HTTP/1.1 200 OK\r\n\r\n", "neither a length nor chunks"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", "1 bytes follow"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "no size of a chunk"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than it says"),
        ] {
            let error = read(&[text.as_bytes()]).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_request_carries_its_length_and_headers() {
        let bytes = request("127.0.0.1:1", "/v1/x", &["x-api-key: k".to_owned()], "{}");
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:1\r\n"), "{text}");
        assert!(text.ends_with("content-length: 2\r\nx-api-key: k\r\n\r\n{}"), "{text}");
    }
}
