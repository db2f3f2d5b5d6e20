//! The tensor table of a GGUF file: shapes that can be multiplied, types llama.cpp computes with, and data that lies where it should,
//! inside the file, one after the other. No tensor's data is read.

use std::collections::HashMap;
use std::io::Read;

use super::read::Source;
use super::{GgufError, Reason, Result};

/// The most tensors: the largest mixtures of experts, unstacked, hold some tens of thousands.
pub(super) const MAX_TENSORS: u64 = 131_072;
/// llama.cpp keeps 64 bytes for a name, the last one zero.
const MAX_NAME: u64 = 63;
const MAX_DIMS: u32 = 4;

/// How a ggml type lies in memory: its number, its name, elements per block and bytes per block.
struct Kind(u32, &'static str, u64, u64);

/// The types llama.cpp multiplies with. Left out: the integers, `f64` and the two helper types `q8_1` and `q8_K`, on which it aborts.
const KINDS: [Kind; 31] = [
    Kind(0, "F32", 1, 4),
    Kind(1, "F16", 1, 2),
    Kind(2, "Q4_0", 32, 18),
    Kind(3, "Q4_1", 32, 20),
    Kind(6, "Q5_0", 32, 22),
    Kind(7, "Q5_1", 32, 24),
    Kind(8, "Q8_0", 32, 34),
    Kind(10, "Q2_K", 256, 84),
    Kind(11, "Q3_K", 256, 110),
    Kind(12, "Q4_K", 256, 144),
    Kind(13, "Q5_K", 256, 176),
    Kind(14, "Q6_K", 256, 210),
    Kind(16, "IQ2_XXS", 256, 66),
    Kind(17, "IQ2_XS", 256, 74),
    Kind(18, "IQ3_XXS", 256, 98),
    Kind(19, "IQ1_S", 256, 50),
    Kind(20, "IQ4_NL", 32, 18),
    Kind(21, "IQ3_S", 256, 110),
    Kind(22, "IQ2_S", 256, 82),
    Kind(23, "IQ4_XS", 256, 136),
    Kind(29, "IQ1_M", 256, 56),
    Kind(30, "BF16", 1, 2),
    Kind(34, "TQ1_0", 256, 54),
    Kind(35, "TQ2_0", 256, 66),
    Kind(39, "MXFP4", 32, 17),
    Kind(40, "NVFP4", 64, 36),
    Kind(41, "Q1_0", 128, 18),
    Kind(42, "Q2_0", 64, 18),
    // Types that were taken out of the format again, named so that the message can say what to do.
    Kind(31, "Q4_0_4_4", 0, 0),
    Kind(32, "Q4_0_4_8", 0, 0),
    Kind(33, "Q4_0_8_8", 0, 0),
];

/// llama.cpp's file types by number.
const FILE_TYPES: [(u32, &str); 34] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
];

pub(super) fn file_type_name(number: u32) -> Option<&'static str> {
    FILE_TYPES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// What the table holds: shapes by name, and the bytes of all data.
pub(super) struct Tensors {
    shapes: HashMap<String, Vec<u64>>,
    pub(super) bytes: u64,
}

pub(super) fn read<R: Read>(source: &mut Source<R>, count: u64, alignment: u64) -> Result<Tensors> {
    if count == 0 {
        return Err(GgufError::new(Reason::Unsupported, "it holds no tensors: it is a vocabulary, not a model"));
    }
    let mut tensors = Tensors { shapes: HashMap::new(), bytes: 0 };
    let mut end = 0u64;
    for index in 0..count {
        let name = source.text(&format!("the name of tensor {index}"), MAX_NAME)?;
        let wrong = |detail: String| GgufError::new(Reason::Inconsistent, format!("tensor {name}: {detail}"));
        let shape = shape(source, &name)?;
        let kind = source.u32(&name)?;
        let bytes = size(&name, &shape, kind)?;
        let offset = source.u64(&name)?;
        // llama.cpp wants the data in table order without gaps; so nothing can overlap.
        let begin = end.checked_next_multiple_of(alignment).ok_or_else(|| wrong("its offset overflows".to_owned()))?;
        if offset != begin {
            return Err(wrong(format!("its data is said to begin at {offset}, the one before it ends at {begin}")));
        }
        end = begin.checked_add(bytes).ok_or_else(|| wrong("its size overflows".to_owned()))?;
        tensors.bytes = tensors.bytes.saturating_add(bytes);
        if tensors.shapes.contains_key(&name) {
            return Err(wrong("its name stands twice".to_owned()));
        }
        tensors.shapes.insert(name, shape);
    }
    let data = source.at().next_multiple_of(alignment);
    let needed = data.saturating_add(end);
    if needed > source.length() {
        return Err(GgufError::new(
            Reason::Truncated,
            format!("its {count} tensors end at byte {needed} and the file has {}", source.length()),
        ));
    }
    Ok(tensors)
}

fn shape<R: Read>(source: &mut Source<R>, name: &str) -> Result<Vec<u64>> {
    let dims = source.u32(name)?;
    if !(1..=MAX_DIMS).contains(&dims) {
        return Err(GgufError::new(
            Reason::Inconsistent,
            format!("tensor {name}: it has {dims} dimensions, 1 to {MAX_DIMS} are possible"),
        ));
    }
    let mut shape = Vec::with_capacity(dims as usize);
    let mut elements = 1u64;
    for _ in 0..dims {
        let dim = source.u64(name)?;
        elements =
            elements.checked_mul(dim).filter(|elements| (1..=i64::MAX as u64).contains(elements)).ok_or_else(|| {
                GgufError::new(
                    Reason::Inconsistent,
                    format!("tensor {name}: a dimension is {dim}, so that it has no size or an impossible one"),
                )
            })?;
        shape.push(dim);
    }
    Ok(shape)
}

/// The bytes of a tensor. The shape's product is known to fit.
fn size(name: &str, shape: &[u64], kind: u32) -> Result<u64> {
    let Some(Kind(_, kind_name, block, bytes)) = KINDS.iter().find(|known| known.0 == kind) else {
        return Err(GgufError::new(
            Reason::Unsupported,
            format!("tensor {name}: its type {kind} is not one llama.cpp multiplies with"),
        ));
    };
    let row = shape.first().copied().unwrap_or(0);
    if *block == 0 {
        return Err(GgufError::new(
            Reason::Unsupported,
            format!("tensor {name}: the type {kind_name} was removed from llama.cpp; take a Q4_0 file"),
        ));
    }
    if row % block != 0 {
        return Err(GgufError::new(
            Reason::Inconsistent,
            format!("tensor {name}: its rows of {row} are no multiple of {kind_name}'s block of {block}"),
        ));
    }
    // Norms and biases are added and multiplied element by element, which llama.cpp does in f32 only, and aborts otherwise.
    let elementwise = shape.len() == 1 || name.contains("norm") || name.ends_with(".bias");
    if elementwise && kind != 0 {
        return Err(GgufError::new(
            Reason::Unsupported,
            format!("tensor {name}: it is {kind_name}, and llama.cpp needs F32 there"),
        ));
    }
    let elements: u64 = shape.iter().product();
    (elements / block)
        .checked_mul(*bytes)
        .ok_or_else(|| GgufError::new(Reason::Inconsistent, format!("tensor {name}: its size overflows")))
}

/// The one tensor every model has must agree with the metadata, or the file was put together from two.
pub(super) fn has_embedding_table(tensors: &Tensors, width: u32, vocabulary: u32) -> Result<()> {
    let Some(shape) = tensors.shapes.get("token_embd.weight") else {
        return Err(GgufError::new(
            Reason::Unsupported,
            "it has no tensor token_embd.weight: it is an adapter or a part of a model",
        ));
    };
    if shape.as_slice() != [u64::from(width), u64::from(vocabulary)] {
        return Err(GgufError::new(
            Reason::Inconsistent,
            format!("token_embd.weight is {shape:?}, the metadata says [{width}, {vocabulary}] (width, tokens)"),
        ));
    }
    Ok(())
}
