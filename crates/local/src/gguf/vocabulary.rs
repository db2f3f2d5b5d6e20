//! The tokenizer of a GGUF file: arrays of one length, texts that stand once, byte tokens a byte can be read from, and special tokens
//! that are there when the tokenizer reaches for them. Each rule stands for an assertion or an uncaught exception in `llama-vocab.cpp`.

use std::collections::HashSet;

use super::metadata::{F32, I32, Metadata, TEXT, Value};
use super::{GgufError, Reason, Result};

/// More tokens than any vocabulary has.
const MAX_TOKENS: usize = 4 << 20;

/// `tokenizer.ggml.token_type` of a token that stands for one byte.
const BYTE: i128 = 6;

/// A special token: its number and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// Its place in the vocabulary.
    pub id: u32,
    /// Its text, as a chat template writes it.
    pub text: String,
}

/// What the header shows of the tokenizer.
pub(super) struct Vocabulary {
    pub(super) model: String,
    pub(super) count: u32,
    pub(super) bos: Option<Special>,
    pub(super) eos: Option<Special>,
    pub(super) eot: Option<Special>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
}

/// How llama.cpp's tokenizers differ, as far as it concerns a check.
struct Kind {
    name: &'static str,
    /// The ids used where the file names none.
    bos: Option<usize>,
    eos: Option<usize>,
    sep: Option<usize>,
    adds_bos: bool,
    adds_eos: bool,
    adds_sep: bool,
    merges: bool,
    /// Whether a token of the type byte is read as `<0xHH>`; `None`: such a token aborts.
    bytes: Option<bool>,
}

#[rustfmt::skip]
const KINDS: [Kind; 7] = [
    Kind { name: "gpt2",   bos: Some(11),  eos: Some(11), sep: None,      adds_bos: false, adds_eos: false, adds_sep: false, merges: true,  bytes: Some(true) },
    Kind { name: "llama",  bos: Some(1),   eos: Some(2),  sep: None,      adds_bos: true,  adds_eos: false, adds_sep: false, merges: false, bytes: Some(true) },
    Kind { name: "bert",   bos: Some(101), eos: None,     sep: Some(102), adds_bos: true,  adds_eos: false, adds_sep: true,  merges: false, bytes: None },
    Kind { name: "t5",     bos: None,      eos: Some(1),  sep: None,      adds_bos: false, adds_eos: true,  adds_sep: false, merges: false, bytes: Some(true) },
    Kind { name: "rwkv",   bos: None,      eos: None,     sep: None,      adds_bos: false, adds_eos: false, adds_sep: false, merges: false, bytes: None },
    Kind { name: "plamo2", bos: Some(1),   eos: Some(2),  sep: None,      adds_bos: false, adds_eos: false, adds_sep: false, merges: false, bytes: Some(false) },
    Kind { name: "gemma4", bos: None,      eos: None,     sep: None,      adds_bos: true,  adds_eos: false, adds_sep: false, merges: true,  bytes: Some(true) },
];

/// Pre-tokenizers of `gpt2` that put the first token without being told.
const PRE_WITH_BOS: [&str; 11] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
    "chameleon",
];

pub(super) fn check(metadata: &Metadata) -> Result<Vocabulary> {
    let model = metadata
        .text("tokenizer.ggml.model")?
        .ok_or_else(|| unsupported("it has no tokenizer (tokenizer.ggml.model)"))?;
    let Some(kind) = KINDS.iter().find(|kind| kind.name == model) else {
        return Err(unsupported(format!("its tokenizer is {model:?}, which the engine does not know")));
    };
    let tokens = metadata
        .texts("tokenizer.ggml.tokens")?
        .ok_or_else(|| inconsistent("it has no vocabulary (tokenizer.ggml.tokens)"))?;
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        return Err(inconsistent(format!("its vocabulary has {} tokens", tokens.len())));
    }
    let types = types(metadata, tokens.len())?;
    scores(metadata, tokens.len())?;
    unique(tokens)?;
    byte_tokens(kind, tokens, types)?;
    match model {
        "llama" => every_byte(tokens, |byte| format!("<0x{byte:02X}>"))?,
        "rwkv" => first_bytes(tokens)?,
        "t5" => no_character_map(metadata)?,
        _ => {}
    }
    let merges = matches!(metadata.get("tokenizer.ggml.merges"), Some(Value::Array(TEXT, _)));
    if kind.merges && !merges && metadata.text("tokenizer.ggml.pre")? != Some("kimi-k2") {
        return Err(inconsistent("its vocabulary has no merges (tokenizer.ggml.merges)"));
    }
    specials(metadata, kind, tokens)
}

fn inconsistent(detail: impl Into<String>) -> GgufError {
    GgufError::new(Reason::Inconsistent, detail)
}

fn unsupported(detail: impl Into<String>) -> GgufError {
    GgufError::new(Reason::Unsupported, detail)
}

fn types(metadata: &Metadata, count: usize) -> Result<&[i128]> {
    match metadata.get("tokenizer.ggml.token_type") {
        None => Ok(&[]),
        Some(Value::Numbers(types)) if types.len() >= count => Ok(types),
        Some(Value::Numbers(types)) => Err(inconsistent(format!("{} token types for {count} tokens", types.len()))),
        Some(_) => Err(inconsistent("tokenizer.ggml.token_type is no array of i32")),
    }
}

fn scores(metadata: &Metadata, count: usize) -> Result<()> {
    let length = match metadata.get("tokenizer.ggml.scores") {
        None => return Ok(()),
        Some(Value::Array(F32 | I32, length)) => *length as usize,
        Some(Value::Numbers(numbers)) => numbers.len(),
        Some(_) => return Err(inconsistent("tokenizer.ggml.scores is no array of f32")),
    };
    if length < count { Err(inconsistent(format!("{length} scores for {count} tokens"))) } else { Ok(()) }
}

fn unique(tokens: &[String]) -> Result<()> {
    let mut seen = HashSet::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        // llama.cpp gives an empty token this text; another token may have it already.
        let stand_in = if token.is_empty() { Some(format!("[EMPTY_{index}]")) } else { None };
        if !seen.insert(stand_in.map_or(std::borrow::Cow::Borrowed(token.as_str()), std::borrow::Cow::Owned)) {
            return Err(inconsistent(format!("token {index} ({token:?}) stands twice in the vocabulary")));
        }
    }
    Ok(())
}

fn byte_tokens(kind: &Kind, tokens: &[String], types: &[i128]) -> Result<()> {
    for (index, (token, _)) in tokens.iter().zip(types).enumerate().filter(|(_, (_, kind))| **kind == BYTE) {
        let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).unwrap_or("");
        let named = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match kind.bytes {
            None => {
                return Err(inconsistent(format!(
                    "token {index} is a byte, which the tokenizer {} does not have",
                    kind.name
                )));
            }
            Some(_) if named => {}
            Some(true) => {
                return Err(inconsistent(format!(
                    "token {index} ({token:?}) is said to be a byte and is not <0x00> to <0xFF>"
                )));
            }
            Some(false) => {}
        }
    }
    Ok(())
}

/// What no piece covers is spelled in bytes, so each byte must have a token.
fn every_byte(tokens: &[String], spelled: impl Fn(u8) -> String) -> Result<()> {
    let known: HashSet<&str> = tokens.iter().map(String::as_str).collect();
    let missing = (0..=255u8).find(|byte| {
        let bare = char::from(*byte);
        let alone = matches!(byte, 1..=127) && known.contains(bare.encode_utf8(&mut [0; 4]) as &str);
        !alone && !known.contains(spelled(*byte).as_str())
    });
    match missing {
        Some(byte) => Err(inconsistent(format!("its vocabulary has no token for the byte 0x{byte:02X}"))),
        None => Ok(()),
    }
}

/// RWKV's longest match never ends where a token begins with a byte that is no token by itself.
fn first_bytes(tokens: &[String]) -> Result<()> {
    let mut alone = [false; 256];
    let mut first = [false; 256];
    for (index, token) in tokens.iter().enumerate() {
        let stand_in = format!("[EMPTY_{index}]");
        let bytes = unescape(if token.is_empty() { &stand_in } else { token });
        let Some(byte) = bytes.first() else { continue };
        let place = usize::from(*byte);
        if let (Some(first), Some(alone)) = (first.get_mut(place), alone.get_mut(place)) {
            *first = true;
            *alone |= bytes.len() == 1;
        }
    }
    match first.iter().zip(alone).position(|(first, alone)| *first && !alone) {
        Some(byte) => Err(inconsistent(format!("its vocabulary has no token for the byte 0x{byte:02X}"))),
        None => Ok(()),
    }
}

/// An RWKV token's bytes, read as llama.cpp reads them: `\t`, `\n`, `\r`, `\xHH`, and any other escaped character for itself.
fn unescape(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b't') => bytes.push(b'\t'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b'x') => {
                let digit = |byte: u8| {
                    if byte >= b'a' { byte.wrapping_sub(b'a').wrapping_add(10) } else { byte.wrapping_sub(b'0') }
                };
                if let (Some(high), Some(low)) = (rest.next(), rest.next()) {
                    bytes.push((digit(high) << 4).wrapping_add(digit(low)));
                }
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    bytes
}

/// A `t5` vocabulary may carry a compiled automaton that llama.cpp walks while it tokenizes and that throws when it is wrong.
fn no_character_map(metadata: &Metadata) -> Result<()> {
    if metadata.get("tokenizer.ggml.precompiled_charsmap").is_some() {
        return Err(unsupported("its t5 tokenizer carries a precompiled character map, which cannot be checked"));
    }
    Ok(())
}

fn specials(metadata: &Metadata, kind: &Kind, tokens: &[String]) -> Result<Vocabulary> {
    let special = |key: &str, usual: Option<usize>| -> Result<Option<Special>> {
        let named = metadata.number(&format!("tokenizer.ggml.{key}_token_id"))?.and_then(|id| usize::try_from(id).ok());
        // Like llama.cpp: an id beyond the vocabulary counts as none given.
        let id = named.filter(|id| *id < tokens.len()).or(usual.filter(|id| *id < tokens.len()));
        Ok(id.and_then(|id| Some(Special { id: u32::try_from(id).ok()?, text: tokens.get(id)?.clone() })))
    };
    let adds = |key: &str, usual: bool| -> Result<bool> {
        Ok(metadata.flag(&format!("tokenizer.ggml.add_{key}_token"))?.unwrap_or(usual))
    };
    let pre = metadata.text("tokenizer.ggml.pre")?.unwrap_or("");
    let gemma = kind.name == "gemma4" || matches!(pre, "gemma4" | "granite-embed-multi-311m");
    let add_bos = adds("bos", kind.adds_bos || PRE_WITH_BOS.contains(&pre))? || gemma;
    let add_eos = adds("eos", kind.adds_eos)?;
    let add_sep = adds("sep", kind.adds_sep)?;
    let bos = special("bos", kind.bos)?;
    let eos = special("eos", kind.eos)?;
    let separator = special("seperator", kind.sep)?;
    for (name, added, found) in [
        ("bos", add_bos, bos.is_some()),
        ("eos", add_eos, eos.is_some()),
        ("separator", add_sep && kind.name == "bert", separator.is_some()),
    ] {
        if added && !found {
            return Err(inconsistent(format!("its tokenizer adds a {name} token, and the vocabulary has none")));
        }
    }
    Ok(Vocabulary {
        model: kind.name.to_owned(),
        count: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
        bos,
        eos,
        eot: special("eot", None)?.or_else(|| end_of_turn(tokens)),
        add_bos,
        add_eos,
    })
}

/// llama.cpp finds the end of a turn by its text where the file names none.
fn end_of_turn(tokens: &[String]) -> Option<Special> {
    const TEXTS: [&str; 7] = [
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<｜end▁of▁sentence｜>",
    ];
    TEXTS.iter().find_map(|text| {
        let id = tokens.iter().position(|token| token == text)?;
        Some(Special { id: u32::try_from(id).ok()?, text: (*text).to_owned() })
    })
}
