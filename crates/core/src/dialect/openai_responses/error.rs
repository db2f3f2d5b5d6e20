//! Errors of this dialect: OpenAI's bodies, read and written as in `openai_chat/error.rs`, and the two forms that only its streams have.

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::dialect::openai_chat::error;
use crate::dialect::sse;
use crate::error::{Error, ErrorKind};

/// Codes of an answer that failed after its head had gone out, so that no status says whose fault it is.
const CODES: &[(&str, ErrorKind)] = &[
    ("invalid_prompt", ErrorKind::CallerContentFilter),
    ("image_content_policy_violation", ErrorKind::CallerContentFilter),
    ("invalid_request_error", ErrorKind::CallerInvalidRequest),
    ("invalid_image", ErrorKind::CallerInvalidRequest),
    ("invalid_image_format", ErrorKind::CallerInvalidRequest),
    ("invalid_image_mode", ErrorKind::CallerInvalidRequest),
    ("invalid_image_url", ErrorKind::CallerInvalidRequest),
    ("invalid_base64_image", ErrorKind::CallerInvalidRequest),
    ("image_too_large", ErrorKind::CallerInvalidRequest),
    ("image_too_small", ErrorKind::CallerInvalidRequest),
    ("image_parse_error", ErrorKind::CallerInvalidRequest),
    ("image_file_too_large", ErrorKind::CallerInvalidRequest),
    ("image_file_not_found", ErrorKind::CallerInvalidRequest),
    ("unsupported_image_media_type", ErrorKind::CallerInvalidRequest),
    ("empty_image_file", ErrorKind::CallerInvalidRequest),
    ("failed_to_download_image", ErrorKind::CallerInvalidRequest),
    ("server_is_overloaded", ErrorKind::ProviderOverloaded),
];

/// An error where an answer should be: an `error` event, a response with status `failed`, or a body with status 200.
pub(super) fn in_answer(data: &[u8]) -> Error {
    let error = error::in_answer(data);
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    let inner = value.get("error").filter(|inner| inner.is_object()).unwrap_or(&value);
    let words = ["code", "type"].iter().filter_map(|name| inner.get(*name)?.as_str());
    let known = words.filter_map(|word| CODES.iter().find(|(code, _)| *code == word)).map(|(_, kind)| *kind).next();
    match known {
        // A more telling word or text was found already.
        Some(kind) if error.kind() == ErrorKind::ProviderServerError => error.with_kind(kind),
        _ => error,
    }
}

/// Writes an error into a stream, number `sequence` of its events, and gives back the next number. `response` is the answer so far, be it empty.
///
/// Twice, because clients differ: OpenAI's SDKs raise what stands under `error`, and Codex reads `response.failed` alone.
pub(super) fn write(error: &Error, sequence: u64, mut response: Value, out: &mut BytesMut) -> u64 {
    let said = error::described(error);
    let event = json!({
        "type": "error", "sequence_number": sequence, "code": said["code"], "message": said["message"], "param": null, "error": said,
    });
    sse::write(Some("error"), event.to_string().as_bytes(), out);
    response["status"] = "failed".into();
    response["error"] = json!({"code": said["code"], "message": said["message"]});
    let event = json!({"type": "response.failed", "sequence_number": sequence + 1, "response": response});
    sse::write(Some("response.failed"), event.to_string().as_bytes(), out);
    sequence + 2
}
