//! One body or chunk of an answer under construction: parts by candidate, and what stands beside them. What goes into it is decided in `response.rs`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::dialect::gemini::types;
use crate::dialect::json::Writer;
use crate::request::TokenLogprob;
use crate::usage::Usage;

/// What a chunk says.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    candidates: BTreeMap<u32, Said>,
    /// Fields of the outermost object that this router does not know.
    pub(super) top: Map<String, Value>,
}

/// What it says of one candidate.
#[derive(Debug, Default)]
pub(super) struct Said {
    parts: Vec<Piece>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) finish: Option<&'static str>,
    pub(super) finish_message: Option<String>,
    /// Fields of the candidate that this router does not know.
    pub(super) beside: Map<String, Value>,
}

#[derive(Debug)]
enum Piece {
    Text {
        words: String,
        thought: bool,
        seal: Option<String>,
    },
    /// A part as JSON text.
    Part(Vec<u8>),
}

impl Chunk {
    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.top.is_empty()
    }

    pub(super) fn of(&mut self, choice: u32) -> &mut Said {
        self.candidates.entry(choice).or_default()
    }

    /// Writes it. A chunk of a stream has at least one part in each candidate, since clients look for one.
    pub(super) fn write(&self, id: &str, model: &str, usage: Option<&Usage>, streamed: bool) -> Vec<u8> {
        let mut to = Writer::with_capacity(512);
        to.open(b'{');
        if !self.candidates.is_empty() {
            to.key("candidates");
            to.open(b'[');
            for (index, said) in &self.candidates {
                said.write(*index, streamed, &mut to);
            }
            to.close(b']');
        }
        for (name, value) in &self.top {
            to.field(name, value);
        }
        if let Some(usage) = usage {
            to.key("usageMetadata");
            types::write_usage(usage, &mut to);
        }
        to.field("modelVersion", model);
        to.some("responseId", Some(id).filter(|id| !id.is_empty()));
        to.close(b'}');
        to.finish()
    }
}

impl Said {
    /// Words of the answer or of thoughts; they go on in the part before where that is of the same kind.
    pub(super) fn words(&mut self, more: &str, thought: bool, seal: Option<String>) {
        match self.parts.last_mut() {
            Some(Piece::Text { words, thought: of, .. }) if *of == thought && seal.is_none() => words.push_str(more),
            _ => self.parts.push(Piece::Text { words: more.to_owned(), thought, seal }),
        }
    }

    /// The seal of the thoughts just given.
    pub(super) fn seal_thought(&mut self, seal: String) {
        match self.parts.last_mut() {
            Some(Piece::Text { thought: true, seal: place @ None, .. }) => *place = Some(seal),
            _ => self.parts.push(Piece::Text { words: String::new(), thought: true, seal: Some(seal) }),
        }
    }

    /// A part of another kind.
    pub(super) fn part(&mut self, name: &str, value: &(impl Serialize + ?Sized), seal: Option<&str>) {
        let mut to = Writer::with_capacity(256);
        to.open(b'{');
        to.field(name, value);
        to.some("thoughtSignature", seal);
        to.close(b'}');
        self.parts.push(Piece::Part(to.finish()));
    }

    /// A part as it came.
    pub(super) fn raw(&mut self, part: &Value) {
        self.parts.push(Piece::Part(part.to_string().into_bytes()));
    }

    fn write(&self, index: u32, streamed: bool, to: &mut Writer) {
        to.open(b'{');
        to.key("content");
        to.open(b'{');
        if !self.parts.is_empty() || streamed {
            to.key("parts");
            to.open(b'[');
            self.parts.iter().for_each(|piece| piece.write(to));
            if self.parts.is_empty() {
                to.value(&json!({"text": ""}));
            }
            to.close(b']');
        }
        to.field("role", "model");
        to.close(b'}');
        to.some("finishReason", self.finish.as_ref());
        to.some("finishMessage", self.finish_message.as_ref());
        to.field("index", &index);
        if !self.logprobs.is_empty() {
            to.field("logprobsResult", &types::logprobs_json(&self.logprobs));
        }
        for (name, value) in self.beside.iter().filter(|(name, _)| *name != "index" && *name != "finishMessage") {
            to.field(name, value);
        }
        if let Some(message) = self.beside.get("finishMessage").filter(|_| self.finish_message.is_none()) {
            to.field("finishMessage", message);
        }
        to.close(b'}');
    }
}

impl Piece {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::Text { words, thought, seal } => {
                to.open(b'{');
                to.field("text", words);
                to.some("thought", Some(true).filter(|_| *thought).as_ref());
                to.some("thoughtSignature", seal.as_ref());
                to.close(b'}');
            }
            // Made by a serialiser, so that it is UTF-8.
            Self::Part(json) => to.raw(std::str::from_utf8(json).unwrap_or("{}")),
        }
    }
}
