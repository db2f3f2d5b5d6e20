//! What every dialect's errors have in common: recorded error answers become the kind that stands beside them, and what is no answer is an error.
//!
//! The rows are `tests/fixtures/<dialect>/errors.json`; what only one dialect does is in its `*_errors.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use llm_router::dialect::{Codec, Dialect, Framing, codec, decode_whole};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use llm_router::{Error, Result};
use serde::Deserialize;

use crate::fixtures::{DIALECTS, file};
use crate::support::{call, frame, read};

/// An error answer, or, with status 200, an event in the middle of a stream.
#[derive(Deserialize)]
pub(crate) struct Row {
    /// Who answers so, or where that stands.
    #[serde(alias = "from")]
    pub(crate) source: String,
    pub(crate) status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) kind: ErrorKind,
    retry_after: Option<f64>,
}

impl Row {
    /// Whether this is what the row says.
    pub(crate) fn check(&self, error: &Error) {
        let Self { source, body, kind, retry_after, .. } = self;
        assert_eq!(error.kind(), *kind, "{source}: {body}");
        assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs_f64), "{source}: {body}");
        let message = error.message();
        assert!(!message.is_empty() && !message.starts_with(['{', '[']), "{source}: {message}");
    }
}

/// The rows of a dialect.
pub(crate) fn rows(codec: &dyn Codec) -> Vec<Row> {
    serde_json::from_slice(&file(codec.dialect(), "errors.json")).unwrap()
}

/// A whole body as an answer.
pub(crate) fn whole(codec: &dyn Codec, body: &str) -> Result<()> {
    let mut decoder = codec.decoder(&call(Request::new("x")), Framing::Whole);
    decode_whole(&mut *decoder, body.to_owned().into()).map(drop)
}

/// Frames without names as a streamed answer.
pub(crate) fn streamed(codec: &dyn Codec, frames: &[&str]) -> Result<()> {
    let frames = frames.iter().map(|data| frame(data.as_bytes().to_vec())).collect();
    read(codec, &Request::new("x"), Framing::Stream, frames).map(drop)
}

/// None of these bodies and streams is an answer; a stream's error says why.
pub(crate) fn are_no_answers(codec: &dyn Codec, bodies: &[&str], streams: &[(&[&str], &str)]) {
    for body in ["", " ", "<html><title>Login</title></html>", "[]", "null", "{}"].iter().chain(bodies) {
        let error = whole(codec, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{body}: {error}");
    }
    assert!(whole(codec, "<html>").unwrap_err().message().contains("web page"));
    for (frames, says) in streams {
        let error = streamed(codec, frames).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{frames:?}");
        assert!(error.message().contains(says), "{frames:?}: {error}");
    }
}

#[test]
fn every_recorded_error_is_understood() {
    for codec in DIALECTS.map(codec) {
        for row in rows(&*codec) {
            let status = StatusCode::from_u16(row.status).unwrap();
            if (codec.dialect(), status) == (Dialect::OpenaiResponses, StatusCode::OK) {
                // An event of a stream, which has a test of its own.
                continue;
            }
            let headers: HeaderMap = (row.headers.iter())
                .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap()))
                .collect();
            let error = codec.decode_error(status, &headers, row.body.as_bytes());
            row.check(&error);
            assert!(status == StatusCode::OK || error.status() == Some(status), "{}: {error:?}", row.source);
        }
    }
}
