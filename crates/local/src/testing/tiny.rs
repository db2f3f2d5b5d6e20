//! Tiny chat models with random weights, for tests of the engine: two layers, a few hundred tokens, under a megabyte, and yet complete:
//! llama.cpp loads and runs them. Three families that share nothing a loader could lean on: another architecture, tokenizer and
//! template each. Their text is noise; the same seed always makes the same noise. `writer.rs` does the bytes.

use std::io;
use std::path::{Path, PathBuf};

use super::writer::{File, Value};

const EMBEDDING: u64 = 64;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const FEED_FORWARD: u64 = 128;
const LAYERS: u64 = 2;

/// Which kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Architecture `qwen2`, byte-level BPE tokens, a ChatML template with Hermes-style tools.
    Qwen,
    /// Architecture `llama`, SentencePiece tokens with byte fallback, an `[INST]` template that refuses what it cannot say.
    Llama,
    /// Architecture `gemma`, RWKV's longest-match tokens, a plain `User:` / `Assistant:` template.
    World,
}

impl Family {
    /// Every family, for a test that loops.
    pub const ALL: [Family; 3] = [Family::Qwen, Family::Llama, Family::World];

    /// A short name, also the file's stem.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The chat template the file carries.
    pub fn template(self) -> &'static str {
        self.row().template
    }

    fn row(self) -> Row {
        match self {
            Family::Qwen => {
                Row { name: "tiny-qwen", architecture: "qwen2", own_output: true, biases: true, template: CHATML }
            }
            Family::Llama => {
                Row { name: "tiny-llama", architecture: "llama", own_output: true, biases: false, template: INST }
            }
            Family::World => {
                Row { name: "tiny-world", architecture: "gemma", own_output: false, biases: false, template: WORLD }
            }
        }
    }
}

struct Row {
    name: &'static str,
    architecture: &'static str,
    own_output: bool,
    biases: bool,
    template: &'static str,
}

const CHATML: &str = "{%- if tools %}<|im_start|>system\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\nAnswer a call as <tool_call>{\"name\": …, \"arguments\": …}</tool_call>.<|im_end|>\n{% endif %}\
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}\
{%- for call in message.tool_calls or [] %}{{- '\\n<tool_call>' + (call.function | tojson) + '</tool_call>' }}{% endfor %}{{- '<|im_end|>\\n' }}{% endfor %}\
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}";

const INST: &str = "{{- bos_token }}{%- for message in messages %}{%- if message.role == 'user' %}{{- '[INST] ' + message.content + ' [/INST]' }}\
{%- elif message.role == 'assistant' %}{{- ' ' + message.content + eos_token }}{%- elif message.role == 'system' and loop.first %}{{- '[SYS] ' + message.content + ' [/SYS]' }}\
{%- else %}{{- raise_exception('this model knows no role ' + message.role + ' here') }}{%- endif %}{%- endfor %}";

const WORLD: &str = "{%- for message in messages %}{{- (message.role | capitalize) + ': ' + (message.content | trim) + '\\n\\n' }}{% endfor %}\
{%- if add_generation_prompt %}{{- 'Assistant:' }}{% endif %}";

/// What a token is to the model; the numbers are the format's.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    Byte = 6,
}

struct Token {
    text: String,
    kind: Kind,
    score: f32,
    /// Whether a greedy answer may hold it: control tokens and pieces of a character may not, so that answers run on and are text.
    spoken: bool,
}

/// Builds the model as a file one can still change: set a key, drop a tensor.
pub fn file(family: Family, seed: u64) -> File {
    let row = family.row();
    let mut file = File::default();
    let arch = row.architecture;
    file.set("general.architecture", arch)
        .set("general.name", row.name)
        .set("general.file_type", 0u32)
        .set(&format!("{arch}.context_length"), 1024u32)
        .set(&format!("{arch}.embedding_length"), EMBEDDING as u32)
        .set(&format!("{arch}.block_count"), LAYERS as u32)
        .set(&format!("{arch}.feed_forward_length"), FEED_FORWARD as u32)
        .set(&format!("{arch}.attention.head_count"), HEADS as u32)
        .set(&format!("{arch}.attention.head_count_kv"), KV_HEADS as u32)
        .set(&format!("{arch}.attention.key_length"), (EMBEDDING / HEADS) as u32)
        .set(&format!("{arch}.attention.value_length"), (EMBEDDING / HEADS) as u32)
        .set(&format!("{arch}.attention.layer_norm_rms_epsilon"), 1e-5f32)
        .set(&format!("{arch}.rope.dimension_count"), (EMBEDDING / HEADS) as u32)
        .set(&format!("{arch}.rope.freq_base"), 10_000f32)
        .set("tokenizer.chat_template", row.template);
    let tokens = match family {
        Family::Qwen => bpe(&mut file),
        Family::Llama => sentencepiece(&mut file),
        Family::World => world(&mut file),
    };
    let array = |element: u32, values: Vec<Value>| Value::Array(element, values);
    file.set("tokenizer.ggml.tokens", array(8, tokens.iter().map(|token| Value::Text(token.text.clone())).collect()))
        .set("tokenizer.ggml.scores", array(6, tokens.iter().map(|token| Value::F32(token.score)).collect()))
        .set("tokenizer.ggml.token_type", array(5, tokens.iter().map(|token| Value::I32(token.kind as i32)).collect()));
    weights(&mut file, &row, &tokens, seed);
    file
}

/// The model's bytes.
pub fn bytes(family: Family, seed: u64) -> Vec<u8> {
    file(family, seed).bytes()
}

/// Writes the model into `folder` as `<name>.gguf` and says where.
pub fn write(folder: &Path, family: Family, seed: u64) -> io::Result<PathBuf> {
    let path = folder.join(family.name()).with_extension("gguf");
    std::fs::write(&path, bytes(family, seed))?;
    Ok(path)
}

fn weights(file: &mut File, row: &Row, tokens: &[Token], seed: u64) {
    let mut noise = Noise::new(seed);
    let vocabulary = tokens.len() as u64;
    let head = EMBEDDING / HEADS;
    let mut matrix = |file: &mut File, name: &str, rows: u64, columns: u64| {
        let scale = (rows as f32).sqrt().recip() * 1.7;
        let values: Vec<f32> = (0..rows * columns).map(|_| noise.next() * scale).collect();
        file.tensor(name, &[rows, columns], &values);
    };
    matrix(file, "token_embd.weight", EMBEDDING, vocabulary);
    let ones = [1.0; EMBEDDING as usize];
    file.tensor("output_norm.weight", &[EMBEDDING], &ones);
    if row.own_output {
        matrix(file, "output.weight", EMBEDDING, vocabulary);
    }
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        file.tensor(&name("attn_norm.weight"), &[EMBEDDING], &ones);
        for (part, width) in [("attn_q", head * HEADS), ("attn_k", head * KV_HEADS), ("attn_v", head * KV_HEADS)] {
            matrix(file, &name(&format!("{part}.weight")), EMBEDDING, width);
            if row.biases {
                file.tensor(&name(&format!("{part}.bias")), &[width], &vec![0.01; width as usize]);
            }
        }
        matrix(file, &name("attn_output.weight"), head * HEADS, EMBEDDING);
        file.tensor(&name("ffn_norm.weight"), &[EMBEDDING], &ones);
        matrix(file, &name("ffn_gate.weight"), EMBEDDING, FEED_FORWARD);
        matrix(file, &name("ffn_up.weight"), EMBEDDING, FEED_FORWARD);
        matrix(file, &name("ffn_down.weight"), FEED_FORWARD, EMBEDDING);
    }
    let output = if row.own_output { "output.weight" } else { "token_embd.weight" };
    let width = EMBEDDING as usize * size_of::<f32>();
    if let Some(tensor) = file.tensors.iter_mut().find(|tensor| tensor.name == output) {
        for (token, row) in tokens.iter().zip(tensor.data.chunks_exact_mut(width)) {
            if !token.spoken {
                row.fill(0);
            }
        }
    }
}

/// The special tokens' ids, by the format's key.
fn specials(file: &mut File, tokens: &[Token], ids: &[(&str, &str)]) {
    for (key, text) in ids {
        if let Some(at) = tokens.iter().position(|token| token.text == *text) {
            file.set(&format!("tokenizer.ggml.{key}_token_id"), at as u32);
        }
    }
}

const WORDS: [&str; 16] = [
    "the",
    "and",
    "ing",
    "is",
    "of",
    "to",
    "in",
    "hello",
    "world",
    "name",
    "user",
    "assistant",
    "system",
    "model",
    "er",
    "on",
];

/// GPT-2's way: each byte is one printable character, words grow by merges.
fn bpe(file: &mut File) -> Vec<Token> {
    let mut tokens: Vec<Token> = (0..=255u8)
        .map(|byte| Token {
            text: printable(byte).to_string(),
            kind: Kind::Normal,
            score: 0.0,
            spoken: byte.is_ascii_graphic() || byte == b' ',
        })
        .collect();
    let mut merges = Vec::new();
    for word in WORDS {
        for text in [word.to_owned(), format!("\u{120}{word}")] {
            let mut letters = text.chars();
            let mut grown: String = letters.next().into_iter().collect();
            for letter in letters {
                merges.push(format!("{grown} {letter}"));
                grown.push(letter);
                if tokens.iter().all(|token| token.text != grown) {
                    tokens.push(Token { text: grown.clone(), kind: Kind::Normal, score: 0.0, spoken: true });
                }
            }
        }
    }
    merges.sort_by_key(String::len);
    merges.dedup();
    for text in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] {
        tokens.push(Token { text: text.to_owned(), kind: Kind::Control, score: 0.0, spoken: false });
    }
    file.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "qwen2")
        .set("tokenizer.ggml.add_bos_token", false);
    file.set("tokenizer.ggml.merges", Value::Array(8, merges.into_iter().map(Value::Text).collect()));
    specials(file, &tokens, &[("bos", "<|endoftext|>"), ("padding", "<|endoftext|>"), ("eos", "<|im_end|>")]);
    tokens
}

/// The character GPT-2's byte-level tokens write for a byte: itself where it is printable, else the next free one from U+0100.
fn printable(byte: u8) -> char {
    let keeps = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if keeps(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|earlier| !keeps(*earlier)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or('?')
}

/// SentencePiece's way: scored pieces, `▁` for a space, a token for each byte to fall back on.
fn sentencepiece(file: &mut File) -> Vec<Token> {
    let token = |text: &str, kind, score, spoken| Token { text: text.to_owned(), kind, score, spoken };
    let mut tokens = vec![
        token("<unk>", Kind::Unknown, 0.0, false),
        token("<s>", Kind::Control, 0.0, false),
        token("</s>", Kind::Control, 0.0, false),
    ];
    tokens.extend((0..=255u8).map(|byte| token(&format!("<0x{byte:02X}>"), Kind::Byte, 0.0, false)));
    let mut rank = 0.0;
    let mut add = |tokens: &mut Vec<Token>, text: &str| {
        if tokens.iter().all(|known| known.text != text) {
            rank -= 1.0;
            tokens.push(token(text, Kind::Normal, rank, true));
        }
    };
    for word in WORDS {
        let spaced = format!("▁{word}");
        for text in [word, &spaced] {
            for (end, _) in text.char_indices().skip(2) {
                add(&mut tokens, &text[..end]);
            }
            add(&mut tokens, text);
        }
    }
    for letter in ('!'..='~').chain(['▁', 'é', 'ü', '你', '好']) {
        add(&mut tokens, &letter.to_string());
    }
    file.set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.add_bos_token", true)
        .set("tokenizer.ggml.add_eos_token", false);
    specials(file, &tokens, &[("bos", "<s>"), ("eos", "</s>"), ("unknown", "<unk>")]);
    tokens
}

/// RWKV's way: escaped byte strings, the longest match wins, every byte is a token.
fn world(file: &mut File) -> Vec<Token> {
    let mut tokens = vec![Token { text: "<s>".to_owned(), kind: Kind::Control, score: 0.0, spoken: false }];
    tokens.extend((0..=255u8).map(|byte| Token {
        text: match byte {
            b'\\' => "\\\\".to_owned(),
            b'!'..=b'~' | b' ' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        },
        kind: Kind::Normal,
        score: 0.0,
        spoken: byte.is_ascii_graphic() || byte == b' ',
    }));
    for word in WORDS.into_iter().chain(["User:", "Assistant:", "System:"]) {
        for text in [word.to_owned(), format!(" {word}")] {
            tokens.push(Token { text, kind: Kind::Normal, score: 0.0, spoken: true });
        }
    }
    tokens.push(Token { text: "\\n\\n".to_owned(), kind: Kind::Normal, score: 0.0, spoken: false });
    file.set("tokenizer.ggml.model", "rwkv").set("tokenizer.ggml.add_bos_token", false);
    specials(file, &tokens, &[("bos", "<s>"), ("eos", "<s>"), ("unknown", "<s>"), ("eot", "\\n\\n")]);
    tokens
}

/// Numbers that look random, the same on every machine: SplitMix64, shaped to about a normal distribution.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
    }

    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(super) fn next(&mut self) -> f32 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 3f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_file_and_another_makes_another() {
        for family in Family::ALL {
            assert_eq!(bytes(family, 1), bytes(family, 1));
            assert_ne!(bytes(family, 1), bytes(family, 2));
            assert!(bytes(family, 1).len() < 1 << 20, "{}", family.name());
        }
    }

    #[test]
    fn no_token_text_stands_twice() {
        for family in Family::ALL {
            let file = file(family, 0);
            let Some((_, Value::Array(8, tokens))) =
                file.metadata.iter().find(|(key, _)| key == "tokenizer.ggml.tokens")
            else {
                panic!()
            };
            let mut texts: Vec<_> = tokens.iter().map(|token| format!("{token:?}")).collect();
            texts.sort();
            let before = texts.len();
            texts.dedup();
            assert_eq!(before, texts.len(), "{}", family.name());
        }
    }
}
