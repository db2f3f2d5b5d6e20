//! Where an answer's words come from: Google's grounding and citation metadata as annotations that clients of other dialects know, and the way back.
//!
//! The shape between is OpenAI's `url_citation`. Google counts in bytes of UTF-8 and OpenAI in characters; both begin at the answer's first word.

use serde_json::{Map, Value, json};

/// The most annotations made of one answer.
const MAX_NOTES: usize = 1024;

/// Fields of a candidate that say where words come from.
pub(super) const FIELDS: &[&str] = &["groundingMetadata", "citationMetadata"];

/// The annotations that a candidate's metadata makes on `text`.
pub(super) fn read(field: &str, metadata: &Value, text: &str) -> Vec<Value> {
    let list = |name: &str| metadata.get(name).and_then(Value::as_array).into_iter().flatten();
    let place = |from: &Value, name: &str| from.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut notes = Vec::new();
    if field == "citationMetadata" {
        for cited in list("citations").chain(list("citationSources")) {
            let (start, end) = (place(cited, "startIndex"), place(cited, "endIndex"));
            notes.extend(note(cited, (start, end), text));
        }
    } else {
        let chunks: Vec<&Value> = list("groundingChunks").collect();
        for support in list("groundingSupports") {
            let segment = support.get("segment").unwrap_or(&Value::Null);
            let span = (place(segment, "startIndex"), place(segment, "endIndex"));
            let indices = support.get("groundingChunkIndices").and_then(Value::as_array).into_iter().flatten();
            for index in indices.filter_map(Value::as_u64).filter_map(|index| usize::try_from(index).ok()) {
                let source = chunks.get(index).and_then(|chunk| chunk.as_object()?.values().find(|v| v.is_object()));
                notes.extend(source.and_then(|source| note(source, span, text)));
            }
            if notes.len() >= MAX_NOTES {
                break;
            }
        }
    }
    notes.truncate(MAX_NOTES);
    notes
}

fn note(source: &Value, (start, end): (u64, u64), text: &str) -> Option<Value> {
    let url = source.get("uri").and_then(Value::as_str)?;
    let mut citation = Map::new();
    citation.insert("start_index".into(), characters(text, start).into());
    citation.insert("end_index".into(), characters(text, end).into());
    citation.insert("title".into(), source.get("title").and_then(Value::as_str).unwrap_or_default().into());
    citation.insert("url".into(), url.into());
    Some(json!({"type": "url_citation", "url_citation": citation}))
}

/// How many characters begin before a byte.
fn characters(text: &str, byte: u64) -> usize {
    let byte = usize::try_from(byte).unwrap_or(usize::MAX);
    if text.is_ascii() { byte.min(text.len()) } else { text.char_indices().take_while(|(at, _)| *at < byte).count() }
}

/// How many bytes the first characters have.
fn bytes(text: &str, characters: u64) -> usize {
    let characters = usize::try_from(characters).unwrap_or(usize::MAX);
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// Annotations of any dialect as `groundingMetadata`; `None` where none of them names a page.
pub(super) fn write(notes: &[Value], text: &str) -> Option<Value> {
    let (mut chunks, mut supports): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for note in notes.iter().take(MAX_NOTES) {
        let inner = note.get("url_citation").unwrap_or(note);
        let Some(url) = inner.get("url").and_then(Value::as_str) else { continue };
        let page =
            json!({"web": {"uri": url, "title": inner.get("title").and_then(Value::as_str).unwrap_or_default()}});
        let index = chunks.iter().position(|chunk| *chunk == page).unwrap_or_else(|| {
            chunks.push(page);
            chunks.len() - 1
        });
        let place = |name: &str| inner.get(name).and_then(Value::as_u64).map(|at| bytes(text, at));
        if let (Some(start), Some(end)) = (place("start_index"), place("end_index")) {
            let words = text.get(start..end).unwrap_or_default();
            let segment = json!({"startIndex": start, "endIndex": end, "text": words});
            supports.push(json!({"segment": segment, "groundingChunkIndices": [index]}));
        }
    }
    (!chunks.is_empty()).then(|| json!({"groundingChunks": chunks, "groundingSupports": supports}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn grounding_becomes_citations_and_back() {
        let text = "Es ist 9° in Köln.";
        let metadata = json!({
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"retrievedContext": {"uri": "gs://b"}}],
            "groundingSupports": [{"segment": {"startIndex": 14, "endIndex": 20, "text": "Köln."}, "groundingChunkIndices": [0, 1, 7]}],
        });
        let notes = read("groundingMetadata", &metadata, text);
        assert_eq!(notes.len(), 2);
        assert_eq!(
            notes[0]["url_citation"],
            json!({"start_index": 13, "end_index": 18, "title": "A", "url": "https://a"})
        );
        let again = write(&notes[..1], text).unwrap();
        assert_eq!(
            again["groundingSupports"][0]["segment"],
            json!({"startIndex": 14, "endIndex": 20, "text": "Köln."})
        );
        assert_eq!(again["groundingChunks"], json!([{"web": {"uri": "https://a", "title": "A"}}]));
    }

    #[test]
    fn odd_places_and_shapes_are_borne() {
        for metadata in [
            json!(null),
            json!({"groundingSupports": [{"groundingChunkIndices": [0]}]}),
            json!({"groundingChunks": [1]}),
        ] {
            assert!(read("groundingMetadata", &metadata, "x").is_empty());
        }
        let cited = json!({"citationSources": [{"startIndex": 5, "endIndex": 900, "uri": "https://a"}]});
        assert_eq!(read("citationMetadata", &cited, "é")[0]["url_citation"]["end_index"], 1);
        assert!(write(&[json!({"type": "file_citation"})], "x").is_none());
    }
}
