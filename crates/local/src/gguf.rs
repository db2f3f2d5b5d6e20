//! Reads and judges the header of a GGUF file before llama.cpp sees the file: llama.cpp trusts a model more than a file from the network
//! deserves, and ends the process where it is disappointed. What is accepted here has true sizes and offsets, a vocabulary that agrees
//! with itself, and dimensions llama.cpp can compute with. It reads no tensor data and runs nothing.
//!
//! [`read`] is the bounded reader, [`tensors`] the tensor table, [`rules`] what llama.cpp would abort on, [`vocabulary`] the tokenizer.
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

mod metadata;
mod read;
mod rules;
mod tensors;
mod vocabulary;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

pub use vocabulary::Special;

use read::Source;

/// What a GGUF file says about its model; every field has been checked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// GGUF version: 2 or 3.
    pub version: u32,
    /// `general.architecture`, as in `llama`.
    pub architecture: String,
    /// `general.name`, for people.
    pub name: Option<String>,
    /// `general.file_type`: llama.cpp's number of the quantisation.
    pub file_type: Option<u32>,
    /// The context the model was trained for, in tokens.
    pub context_length: u32,
    /// The width of a hidden state, in elements.
    pub embedding_length: u32,
    /// Transformer blocks.
    pub block_count: u32,
    /// `tokenizer.ggml.model`: `gpt2`, `llama`, `rwkv`, ….
    pub tokenizer: String,
    /// Number of tokens.
    pub vocabulary: u32,
    /// Chat templates: the default one and those kept under a name.
    pub templates: Templates,
    /// The token a text begins with.
    pub bos: Option<Special>,
    /// The token a text ends with.
    pub eos: Option<Special>,
    /// The token a turn ends with.
    pub eot: Option<Special>,
    /// The tokenizer puts `bos` first by itself: a template that writes it too would double it.
    pub add_bos: bool,
    /// The tokenizer puts `eos` last by itself.
    pub add_eos: bool,
    /// How the model pools hidden states to an embedding; `None` where it does not say (a plain chat model).
    pub pooling: Option<Pooling>,
    /// False where each token sees all others: an encoder, which embeds and does not generate.
    pub causal: bool,
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of all tensors together.
    pub tensor_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl Header {
    /// The quantisation's usual name, as in `Q4_K_M`.
    pub fn file_type_name(&self) -> Option<&'static str> {
        self.file_type.and_then(tensors::file_type_name)
    }
}

/// The chat templates of a file: Jinja texts, not yet parsed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Templates {
    /// `tokenizer.chat_template`.
    pub default: Option<String>,
    /// `tokenizer.chat_template.NAME`, in file order: `tool_use`, `rag`, ….
    pub named: Vec<(String, String)>,
}

impl Templates {
    /// The template for a request: the one named `tool_use` where there are tools and the file has it, else the default one.
    pub fn choose(&self, tools: bool) -> Option<&str> {
        let special = self.named.iter().find(|(name, _)| tools && name == "tool_use");
        special.map(|(_, text)| text.as_str()).or(self.default.as_deref())
    }
}

/// `pooling_type` of an embedding model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// None: one vector a token.
    None,
    /// The mean of all tokens.
    Mean,
    /// The first token.
    Cls,
    /// The last token.
    Last,
    /// A classification head.
    Rank,
}

/// Why a file was refused. The text names the file where it is known, the part that is wrong, and the next step.
#[derive(Debug)]
pub struct GgufError {
    /// Which of the closed reasons.
    pub reason: Reason,
    detail: String,
    path: Option<String>,
}

/// The closed list of reasons a file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The file cannot be opened or read.
    Unreadable,
    /// It does not begin as a GGUF file.
    NotGguf,
    /// It ends before what its header promises.
    Truncated,
    /// Its parts contradict each other or the format.
    Inconsistent,
    /// A count or size is above what any real model needs.
    TooLarge,
    /// It is true, and the engine cannot run it.
    Unsupported,
}

impl GgufError {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), path: None }
    }

    fn next_step(&self) -> &'static str {
        match self.reason {
            Reason::Unreadable => "check that the path exists and may be read",
            Reason::NotGguf => {
                "give a .gguf file; an error page or a Git LFS pointer saved under that name looks like this"
            }
            Reason::Truncated => "the download did not finish: delete the file and fetch it again",
            Reason::Inconsistent | Reason::TooLarge => {
                "the file is damaged or was not made for llama.cpp: fetch it again, or take another conversion"
            }
            Reason::Unsupported => "choose another model or another conversion of this one",
        }
    }
}

impl std::fmt::Display for GgufError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.as_deref().unwrap_or("the model file");
        write!(out, "{path}: {}; {}", self.detail, self.next_step())
    }
}

impl std::error::Error for GgufError {}

pub(crate) type Result<T> = std::result::Result<T, GgufError>;

/// Opens the file and checks its header. Reads the header only: about 2 MB of a usual model, at most 256 MiB.
///
/// # Errors
/// One [`GgufError`], whatever is wrong first.
pub fn check(path: &Path) -> Result<Header> {
    let named = |error: GgufError| GgufError { path: Some(path.display().to_string()), ..error };
    let open = || -> io::Result<(File, u64)> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        Ok((file, about.len()))
    };
    let (file, length) = open().map_err(|error| named(GgufError::new(Reason::Unreadable, error.to_string())))?;
    check_reader(BufReader::with_capacity(1 << 16, file), length).map_err(named)
}

/// Checks a header from any reader of a file `length` bytes long.
///
/// # Errors
/// As [`check`].
pub fn check_reader(reader: impl Read, length: u64) -> Result<Header> {
    let mut source = Source::new(reader, length);
    let version = magic(&mut source)?;
    let tensor_count = source.count("tensors", tensors::MAX_TENSORS)?;
    let pair_count = source.count("metadata pairs", metadata::MAX_PAIRS)?;
    let metadata = metadata::read(&mut source, pair_count)?;
    let model = rules::check(&metadata)?;
    let vocabulary = vocabulary::check(&metadata)?;
    let tensors = tensors::read(&mut source, tensor_count, metadata.alignment()?)?;
    tensors::has_embedding_table(&tensors, model.embedding_length, vocabulary.count)?;
    Ok(Header {
        version,
        name: metadata.text("general.name")?.map(str::to_owned),
        file_type: metadata.number("general.file_type")?.map(|number| number as u32),
        context_length: model.context_length,
        embedding_length: model.embedding_length,
        block_count: model.block_count,
        pooling: model.pooling,
        causal: model.causal,
        architecture: model.architecture,
        tokenizer: vocabulary.model,
        vocabulary: vocabulary.count,
        templates: metadata.templates()?,
        bos: vocabulary.bos,
        eos: vocabulary.eos,
        eot: vocabulary.eot,
        add_bos: vocabulary.add_bos,
        add_eos: vocabulary.add_eos,
        tensors: tensor_count,
        tensor_bytes: tensors.bytes,
        file_bytes: length,
    })
}

fn magic<R: Read>(source: &mut Source<R>) -> Result<u32> {
    let not = |detail: &str| GgufError::new(Reason::NotGguf, detail);
    let magic: [u8; 4] = source.bytes("the magic").map_err(|_| not("it is too short for a GGUF file"))?;
    match &magic {
        b"GGUF" => {}
        b"ggml" | b"ggjt" | b"lmgg" | b"tjgg" => {
            return Err(GgufError::new(Reason::Unsupported, "it is in a format from before GGUF"));
        }
        b"FUGG" => {
            return Err(GgufError::new(Reason::Unsupported, "it is written for a big-endian machine"));
        }
        _ => return Err(not("it does not begin with GGUF")),
    }
    let version = source.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(GgufError::new(Reason::Unsupported, "it is GGUF version 1, which llama.cpp no longer reads")),
        _ if version & 0xFFFF == 0 => {
            Err(GgufError::new(Reason::Unsupported, "it is written for a big-endian machine"))
        }
        _ => Err(GgufError::new(
            Reason::Unsupported,
            format!("it is GGUF version {version}; versions 2 and 3 are known"),
        )),
    }
}

#[cfg(test)]
mod tests;
