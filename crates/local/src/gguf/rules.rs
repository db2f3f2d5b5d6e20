//! What llama.cpp asserts about a model's numbers, asked before it does: each rule here stands for an abort of the whole process there
//! (`llama-model.cpp` `load_hparams`, the graphs' first lines, ggml's rope and norm). Shapes are not repeated: llama.cpp compares each
//! tensor's with these numbers itself and answers with an error.

use super::metadata::{Metadata, Value};
use super::{GgufError, Pooling, Reason, Result};

/// llama.cpp's `LLAMA_MAX_LAYERS`.
const MAX_BLOCKS: i128 = 512;
/// llama.cpp's `LLAMA_MAX_EXPERTS`.
const MAX_EXPERTS: i128 = 1024;
/// Wider than any model, and small enough that no product of two overflows.
const MAX_WIDTH: i128 = 1 << 20;

/// Longer than any context; llama.cpp counts positions in 32 bits with a sign.
const MAX_CONTEXT: i128 = 1 << 30;

/// Architectures without attention: no heads to count.
const RECURRENT: [&str; 6] = ["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"];
/// Architectures that mix: a layer may have no key-value heads, keys and values may differ in size.
const MIXED: [&str; 30] = [
    "jamba",
    "falcon-h1",
    "plamo2",
    "granitehybrid",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "qwen3next",
    "kimi-linear",
    "bailingmoe3",
    "kimi-k3",
    "glm5-next",
    "qwen35",
    "qwen35moe",
    "qwen4exp",
    "deepseek4",
    "minimax-01",
    "deepseek2",
    "deepseek2-ocr",
    "deepseek32",
    "minicpm3",
    "plm",
    "mimo2",
    "mistral4",
    "glm-dsa",
    "deci",
    "openelm",
    "bailingmoe",
    "dots3note",
];
/// Architectures whose attention is exactly as wide as the hidden state: the graph reshapes by it without asking.
#[rustfmt::skip]
const SQUARE: [&str; 35] = [
    "arctic", "baichuan", "bert", "bitnet", "chameleon", "codeshell", "cohere2", "command-r", "deepseek", "dream", "eurobert", "grok",
    "internlm2", "jina-bert-v2", "jina-bert-v3", "llada-moe", "nemotron", "nomic-bert", "nomic-bert-moe", "olmo", "olmo2", "olmoe",
    "orion", "phi2", "phi3", "phimoe", "plamo", "qwen2", "qwen2moe", "qwen2vl", "stablelm", "starcoder2", "xverse", "gpt2", "gptneox",
];
/// Files that llama.cpp reads and that are no language model of their own.
const NOT_A_MODEL: [(&str, &str); 6] = [
    ("clip", "a vision projector"),
    ("wavtokenizer-dec", "an audio decoder"),
    ("pockettts", "a speech model"),
    ("qwen3tts", "a speech model"),
    ("eagle3", "a draft head for another model"),
    ("gemma4-assistant", "a draft head for another model"),
];

/// The numbers the header shows.
pub(super) struct Model {
    pub(super) architecture: String,
    pub(super) context_length: u32,
    pub(super) embedding_length: u32,
    pub(super) block_count: u32,
    pub(super) pooling: Option<Pooling>,
    pub(super) causal: bool,
}

pub(super) fn check(metadata: &Metadata) -> Result<Model> {
    let architecture =
        metadata.text("general.architecture")?.ok_or_else(|| inconsistent("it has no general.architecture"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if architecture.is_empty() || architecture.len() > 64 || !architecture.bytes().all(plain) {
        return Err(inconsistent("general.architecture is not a name"));
    }
    if let Some((_, what)) = NOT_A_MODEL.iter().find(|(name, _)| *name == architecture) {
        return Err(GgufError::new(
            Reason::Unsupported,
            format!("it holds {what} ({architecture}), not a language model"),
        ));
    }
    if metadata.number("split.count")?.is_some_and(|count| count > 1) {
        return Err(GgufError::new(
            Reason::Unsupported,
            "it is one part of a split model; take a file that holds it whole",
        ));
    }
    let numbers = Numbers { metadata, architecture };
    let blocks = numbers.required("block_count", 1, MAX_BLOCKS)?;
    let width = numbers.required("embedding_length", 1, MAX_WIDTH)?;
    let context = numbers.required("context_length", 1, MAX_CONTEXT)?;
    if let Some(extra) = numbers.optional("nextn_predict_layers", 0, MAX_BLOCKS)?
        && extra >= blocks
    {
        return Err(inconsistent(format!("{architecture}.nextn_predict_layers is {extra} of {blocks} blocks")));
    }
    numbers.experts(blocks)?;
    numbers.attention(blocks, width)?;
    numbers.scaling()?;
    for key in ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "attention.group_norm_epsilon"] {
        let key = format!("{architecture}.{key}");
        if metadata.float(&key)?.is_some_and(|epsilon| !(epsilon.is_finite() && epsilon >= 0.0)) {
            return Err(inconsistent(format!("{key} is not a small positive number")));
        }
    }
    let causal = metadata.flag(&format!("{architecture}.attention.causal"))?.unwrap_or(true);
    Ok(Model {
        architecture: architecture.to_owned(),
        context_length: narrow(context),
        embedding_length: narrow(width),
        block_count: narrow(blocks),
        pooling: numbers.pooling()?,
        causal,
    })
}

fn inconsistent(detail: impl Into<String>) -> GgufError {
    GgufError::new(Reason::Inconsistent, detail)
}

/// A number that a bound has already made small.
fn narrow(number: i128) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The numbers of one architecture, under its prefix.
struct Numbers<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Numbers<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn optional(&self, name: &str, low: i128, high: i128) -> Result<Option<i128>> {
        let key = self.key(name);
        let Some(number) = self.metadata.number(&key)? else {
            return Ok(None);
        };
        if !(low..=high).contains(&number) {
            return Err(inconsistent(format!("{key} is {number}, not within {low} to {high}")));
        }
        Ok(Some(number))
    }

    fn required(&self, name: &str, low: i128, high: i128) -> Result<i128> {
        self.optional(name, low, high)?.ok_or_else(|| inconsistent(format!("it has no {}", self.key(name))))
    }

    /// One number for all blocks, or an array of one a block.
    fn per_block(&self, name: &str, blocks: i128, high: i128) -> Result<Option<Vec<i128>>> {
        let key = self.key(name);
        let numbers = match self.metadata.get(&key) {
            None => return Ok(None),
            Some(Value::Numbers(numbers)) if numbers.len() as i128 == blocks => numbers.clone(),
            Some(Value::Number(number)) => vec![*number],
            Some(_) => {
                return Err(inconsistent(format!("{key} is neither a number nor {blocks} numbers")));
            }
        };
        match numbers.iter().find(|number| !(0..=high).contains(*number)) {
            Some(number) => Err(inconsistent(format!("{key} holds {number}, not within 0 to {high}"))),
            None => Ok(Some(numbers)),
        }
    }

    fn experts(&self, blocks: i128) -> Result<()> {
        let experts = self.optional("expert_count", 0, MAX_EXPERTS)?.unwrap_or(0);
        let used = self
            .per_block("expert_used_count", blocks, MAX_EXPERTS)?
            .unwrap_or_default()
            .into_iter()
            .max()
            .unwrap_or(0);
        let groups = self.optional("expert_group_count", 0, MAX_EXPERTS)?.unwrap_or(0);
        let groups_used = self.optional("expert_group_used_count", 0, MAX_EXPERTS)?.unwrap_or(0);
        let fits = if experts == 0 {
            used == 0 && groups == 0
        } else {
            let grouped = groups <= 1 || (experts % groups == 0 && (1..groups).contains(&groups_used));
            (1..=experts).contains(&used) && groups < experts && grouped
        };
        if fits {
            return Ok(());
        }
        Err(inconsistent(format!(
            "its experts do not add up: {used} used of {experts}, {groups_used} groups used of {groups}"
        )))
    }

    fn attention(&self, blocks: i128, width: i128) -> Result<()> {
        if RECURRENT.contains(&self.architecture) {
            return Ok(());
        }
        let mixed = MIXED.contains(&self.architecture);
        let heads = self
            .per_block("attention.head_count", blocks, MAX_WIDTH)?
            .ok_or_else(|| inconsistent(format!("it has no {}", self.key("attention.head_count"))))?;
        let groups = self.per_block("attention.head_count_kv", blocks, MAX_WIDTH)?.unwrap_or_else(|| heads.clone());
        let first = heads.first().copied().unwrap_or(0);
        for (index, count) in heads.iter().enumerate().cycle().take(heads.len().max(groups.len())) {
            let group = groups.get(index).or(groups.first()).copied().unwrap_or(0);
            let divides = group > 0 && *count > 0 && count % group == 0;
            if !(divides || mixed) {
                return Err(inconsistent(format!("block {index} has {count} heads over {group} key-value heads")));
            }
        }
        if first == 0 {
            // Without heads in the first block the sizes of a head come from elsewhere.
            return if mixed { Ok(()) } else { Err(inconsistent("it has no attention heads")) };
        }
        let key = self.optional("attention.key_length", 1, MAX_WIDTH)?;
        let value = self.optional("attention.value_length", 1, MAX_WIDTH)?;
        if key.is_none() && width % first != 0 && !mixed {
            return Err(inconsistent(format!("its width {width} does not divide into {first} heads")));
        }
        let (key, value) = (key.unwrap_or(width / first), value.unwrap_or(width / first));
        if key != value && !mixed {
            return Err(inconsistent(format!("its keys have {key} elements and its values {value}")));
        }
        if SQUARE.contains(&self.architecture) && key * first != width {
            return Err(inconsistent(format!(
                "its {first} heads of {key} elements do not make up its width of {width}"
            )));
        }
        let rotated = self.optional("rope.dimension_count", 2, MAX_WIDTH)?.unwrap_or(key);
        if rotated % 2 != 0 || (rotated > key && !mixed) {
            return Err(inconsistent(format!("{} is {rotated} of {key}", self.key("rope.dimension_count"))));
        }
        Ok(())
    }

    fn scaling(&self) -> Result<()> {
        let key = self.key("rope.scaling.type");
        match self.metadata.text(&key)? {
            None | Some("none" | "linear" | "yarn" | "longrope") => Ok(()),
            Some(other) => {
                Err(GgufError::new(Reason::Unsupported, format!("{key} is {other:?}, which llama.cpp does not know")))
            }
        }
    }

    fn pooling(&self) -> Result<Option<Pooling>> {
        let Some(number) = self.optional("pooling_type", 0, 4)? else {
            return Ok(None);
        };
        Ok(Some(match number {
            1 => Pooling::Mean,
            2 => Pooling::Cls,
            3 => Pooling::Last,
            4 => Pooling::Rank,
            _ => Pooling::None,
        }))
    }
}
