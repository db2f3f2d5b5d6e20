//! A tiny embedding model with random weights: an encoder of architecture `bert` with two layers and WordPiece tokens, complete enough that llama.cpp loads
//! and runs it. Its vectors mean nothing; the same seed always makes the same ones. Models that make text are [`super::tiny`]'s.

use std::io;
use std::path::{Path, PathBuf};

use super::tiny::Noise;
use super::writer::{File, Value};

/// The numbers of a vector.
pub const WIDTH: usize = 32;
/// The most tokens of a text, its two marks among them.
pub const WINDOW: usize = 64;

const LAYERS: usize = 2;
const FEED_FORWARD: usize = 64;
const MARKS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const WORDS: [&str; 6] = ["the", "cat", "dog", "hello", "world", "ing"];

/// `bert.pooling_type` of the mean of all tokens, of the first one, and of what makes no vector of a text.
pub const MEAN: u32 = 1;
/// The first token.
pub const CLS: u32 = 2;
/// A rank for a query.
pub const RANK: u32 = 4;

/// Builds the model as a file one can still change.
pub fn file(pooling: u32, seed: u64) -> File {
    let mut file = File::default();
    file.set("general.architecture", "bert")
        .set("general.name", "tiny-encoder")
        .set("general.file_type", 0u32)
        .set("bert.context_length", WINDOW as u32)
        .set("bert.embedding_length", WIDTH as u32)
        .set("bert.block_count", LAYERS as u32)
        .set("bert.feed_forward_length", FEED_FORWARD as u32)
        .set("bert.attention.head_count", 4u32)
        .set("bert.attention.layer_norm_epsilon", 1e-12f32)
        .set("bert.attention.causal", false)
        .set("bert.pooling_type", pooling);
    let tokens = vocabulary(&mut file);
    let mut noise = Noise::new(seed);
    let mut random = |file: &mut File, name: &str, dims: &[usize]| {
        let scale = (dims[0] as f32).sqrt().recip();
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| noise.next() * scale).collect();
        let dims: Vec<u64> = dims.iter().map(|&dim| dim as u64).collect();
        file.tensor(name, &dims, &values);
    };
    let norm = |file: &mut File, name: &str| {
        file.tensor(&format!("{name}.weight"), &[WIDTH as u64], &[1.0; WIDTH]);
        file.tensor(&format!("{name}.bias"), &[WIDTH as u64], &[0.0; WIDTH]);
    };
    random(&mut file, "token_embd.weight", &[WIDTH, tokens]);
    random(&mut file, "token_types.weight", &[WIDTH, 2]);
    random(&mut file, "position_embd.weight", &[WIDTH, WINDOW]);
    norm(&mut file, "token_embd_norm");
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for (part, from, to) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_up", WIDTH, FEED_FORWARD),
            ("ffn_down", FEED_FORWARD, WIDTH),
        ] {
            random(&mut file, &name(&format!("{part}.weight")), &[from, to]);
            random(&mut file, &name(&format!("{part}.bias")), &[to]);
        }
        norm(&mut file, &name("attn_output_norm"));
        norm(&mut file, &name("layer_output_norm"));
    }
    file
}

/// Writes the model into `folder` as `tiny-encoder.gguf` and says where.
pub fn write(folder: &Path, pooling: u32, seed: u64) -> io::Result<PathBuf> {
    let path = folder.join("tiny-encoder.gguf");
    std::fs::write(&path, file(pooling, seed).bytes())?;
    Ok(path)
}

/// WordPiece's way, as GGUF files write it: `▁` before what begins a word, nothing before what goes on. Says how many tokens there are.
fn vocabulary(file: &mut File) -> usize {
    let mut tokens: Vec<(String, i32)> = MARKS.iter().map(|mark| ((*mark).to_owned(), 3)).collect();
    tokens[1].1 = 2;
    for letter in ('a'..='z').chain('0'..='9') {
        tokens.push((format!("▁{letter}"), 1));
        tokens.push((letter.to_string(), 1));
    }
    tokens.extend(WORDS.iter().map(|word| (format!("▁{word}"), 1)));
    let text = |(text, _): &(String, i32)| Value::Text(text.clone());
    let kind = |(_, kind): &(String, i32)| Value::I32(*kind);
    file.set("tokenizer.ggml.model", "bert")
        .set("tokenizer.ggml.token_type_count", 2u32)
        .set("tokenizer.ggml.tokens", Value::Array(8, tokens.iter().map(text).collect()))
        .set("tokenizer.ggml.token_type", Value::Array(5, tokens.iter().map(kind).collect()));
    for (key, id) in
        [("padding", 0u32), ("unknown", 1), ("cls", 2), ("bos", 2), ("seperator", 3), ("eos", 3), ("mask", 4)]
    {
        file.set(&format!("tokenizer.ggml.{key}_token_id"), id);
    }
    tokens.len()
}
