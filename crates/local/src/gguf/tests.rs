//! Headers that are right, and headers that break each of the rules.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::testing::tiny::{self, Family};
use crate::testing::writer::{Tensor, Value};

fn judge(bytes: &[u8]) -> Result<Header> {
    check_reader(bytes, bytes.len() as u64)
}

fn refused(bytes: &[u8]) -> GgufError {
    judge(bytes).expect_err("a wrong file was accepted")
}

#[test]
fn a_true_file_is_described() {
    let header = judge(&tiny::bytes(Family::Qwen, 1)).unwrap();
    assert_eq!(header.architecture, "qwen2");
    assert_eq!(header.name.as_deref(), Some("tiny-qwen"));
    assert_eq!(header.file_type_name(), Some("F32"));
    assert_eq!((header.context_length, header.embedding_length, header.block_count), (1024, 64, 2));
    assert_eq!(header.eos.as_ref().map(|token| token.text.as_str()), Some("<|im_end|>"));
    assert_eq!(header.eot, header.eos);
    assert_eq!(header.bos.map(|token| token.text).as_deref(), Some("<|endoftext|>"));
    assert!(!header.add_bos);
    assert_eq!(header.templates.choose(true), Some(Family::Qwen.template()));
    assert_eq!((header.pooling, header.causal), (None, true));
    assert!(header.tensor_bytes < header.file_bytes);
}

#[test]
fn every_family_passes_in_both_versions() {
    for family in Family::ALL {
        for version in [2, 3] {
            let mut file = tiny::file(family, 1);
            file.version = version;
            let header = judge(&file.bytes()).unwrap();
            assert_eq!(header.version, version);
        }
    }
    let header = judge(&tiny::bytes(Family::Llama, 1)).unwrap();
    assert!(header.add_bos);
    assert_eq!(header.bos.unwrap().text, "<s>");
    assert_eq!(judge(&tiny::bytes(Family::World, 1)).unwrap().eot.unwrap().text, "\\n\\n");
}

#[test]
fn named_templates_are_found_and_chosen() {
    let mut file = tiny::file(Family::Qwen, 1);
    file.set("tokenizer.chat_template.tool_use", "with tools").set("tokenizer.chat_template.rag", "with documents");
    let templates = judge(&file.bytes()).unwrap().templates;
    assert_eq!(templates.choose(true), Some("with tools"));
    assert_eq!(templates.choose(false), Some(Family::Qwen.template()));
    assert_eq!(templates.named.len(), 2);
}

#[test]
fn other_files_are_named_for_what_they_are() {
    for (bytes, reason, text) in [
        (&b""[..], Reason::NotGguf, "too short"),
        (b"<!DOCTYPE html><html>", Reason::NotGguf, "does not begin with GGUF"),
        (b"version https://git-lfs.github.com/spec/v1", Reason::NotGguf, "Git LFS"),
        (b"GGUF", Reason::Truncated, "version"),
        (b"GGUF\x01\0\0\0", Reason::Unsupported, "version 1"),
        (b"GGUF\x04\0\0\0", Reason::Unsupported, "version 4"),
        (b"GGUF\0\0\0\x03", Reason::Unsupported, "big-endian"),
        (b"tjgg\x03\0\0\0", Reason::Unsupported, "before GGUF"),
    ] {
        let error = refused(bytes);
        assert_eq!(error.reason, reason, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent.gguf")] {
        let error = check(&path).unwrap_err();
        assert_eq!(error.reason, Reason::Unreadable);
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
}

/// Each row lies in one thing. The text must name that thing.
#[test]
fn each_lie_is_refused_by_name() {
    type Change = fn(&mut crate::testing::writer::File);
    fn tensor<'a>(file: &'a mut crate::testing::writer::File, name: &str) -> &'a mut Tensor {
        file.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }
    fn array<'a>(file: &'a mut crate::testing::writer::File, name: &str) -> &'a mut Vec<Value> {
        let key = format!("tokenizer.ggml.{name}");
        match file.metadata.iter_mut().find(|(known, _)| *known == key) {
            Some((_, Value::Array(_, values))) => values,
            _ => panic!("no {key}"),
        }
    }
    #[rustfmt::skip]
    let lies: &[(Family, Change, &str)] = &[
        (Family::Qwen, |file| file.tensor_count = Some(u64::MAX), "tensors"),
        (Family::Qwen, |file| file.metadata_count = Some(1 << 40), "metadata pairs"),
        (Family::Qwen, |file| file.metadata_count = Some(3), "qwen2.block_count"),
        (Family::Qwen, |file| file.tensors.clear(), "no tensors"),
        (Family::Qwen, |file| file.metadata.push(("general.name".into(), "twice".into())), "general.name stands twice"),
        (Family::Qwen, |file| file.metadata.push((String::new(), "x".into())), "is empty"),
        (Family::Qwen, |file| { file.unset("general.architecture"); }, "general.architecture"),
        (Family::Qwen, |file| { file.set("general.architecture", 7u32); }, "general.architecture is a number"),
        (Family::Qwen, |file| { file.set("general.architecture", "clip"); }, "vision projector"),
        (Family::Qwen, |file| { file.set("general.architecture", "a b"); }, "not a name"),
        (Family::Qwen, |file| { file.set("general.alignment", 33u32); }, "general.alignment"),
        (Family::Qwen, |file| { file.set("split.count", 3u32); }, "split model"),
        (Family::Qwen, |file| { file.set("nested", Value::Array(9, vec![Value::Array(4, vec![])])); }, "array of arrays"),
        (Family::Qwen, |file| { file.set("strange", Value::Array(77, vec![])); }, "type 77"),
        (Family::Qwen, |file| { file.set("qwen2.block_count", 0u32); }, "block_count is 0"),
        (Family::Qwen, |file| { file.set("qwen2.block_count", 513u32); }, "block_count is 513"),
        (Family::Qwen, |file| { file.unset("qwen2.context_length"); }, "qwen2.context_length"),
        (Family::Qwen, |file| { file.set("qwen2.embedding_length", 128u32); }, "its width of 128"),
        (Family::Qwen, |file| { file.set("qwen2.attention.head_count", 0u32); }, "0 heads"),
        (Family::Qwen, |file| { file.set("qwen2.attention.head_count_kv", 3u32); }, "4 heads over 3"),
        (Family::Qwen, |file| { file.set("qwen2.attention.head_count_kv", Value::Array(4, vec![Value::U32(2); 3])); }, "head_count_kv"),
        (Family::Qwen, |file| { file.set("qwen2.attention.value_length", 8u32); }, "its values 8"),
        (Family::Qwen, |file| { file.set("qwen2.rope.dimension_count", 15u32); }, "rope.dimension_count"),
        (Family::World, |file| { file.set("gemma.rope.dimension_count", 0u32); }, "rope.dimension_count is 0"),
        (Family::Qwen, |file| { file.set("qwen2.context_length", u32::MAX); }, "context_length is 4294967295"),
        (Family::Qwen, |file| { file.set("qwen2.rope.scaling.type", "spiral"); }, "spiral"),
        (Family::Qwen, |file| { file.set("qwen2.attention.layer_norm_rms_epsilon", -1f32); }, "epsilon"),
        (Family::Qwen, |file| { file.set("qwen2.attention.layer_norm_rms_epsilon", f32::NAN); }, "epsilon"),
        (Family::Qwen, |file| { file.set("qwen2.expert_count", 8u32); }, "experts"),
        (Family::Qwen, |file| { file.set("qwen2.nextn_predict_layers", 2u32); }, "nextn_predict_layers"),
        (Family::Qwen, |file| { file.unset("tokenizer.ggml.model"); }, "no tokenizer"),
        (Family::Qwen, |file| { file.set("tokenizer.ggml.model", "none"); }, "\"none\""),
        (Family::Qwen, |file| { file.unset("tokenizer.ggml.tokens"); }, "no vocabulary"),
        (Family::Qwen, |file| { file.unset("tokenizer.ggml.merges"); }, "no merges"),
        (Family::Qwen, |file| { array(file, "tokens").pop(); }, "token_embd.weight"),
        (Family::Qwen, |file| array(file, "tokens")[5] = "a".into(), "stands twice"),
        (Family::Qwen, |file| { array(file, "tokens")[5] = "".into(); array(file, "tokens")[6] = "[EMPTY_5]".into() }, "stands twice"),
        (Family::Qwen, |file| array(file, "tokens")[5] = "a\0b".into(), "stands twice"),
        (Family::Qwen, |file| { file.set("qwen2.attention.head_count", 2u32); }, "do not make up its width"),
        (Family::Qwen, |file| array(file, "tokens")[5] = Value::Text("x".repeat(9000)), "9000 bytes"),
        (Family::Qwen, |file| { array(file, "scores").pop(); }, "scores for"),
        (Family::Qwen, |file| { array(file, "token_type").pop(); }, "token types for"),
        (Family::Qwen, |file| array(file, "token_type")[70] = Value::I32(6), "said to be a byte"),
        (Family::Qwen, |file| { file.set("tokenizer.ggml.add_bos_token", 1u32); }, "add_bos_token is a number"),
        (Family::World, |file| { file.unset("tokenizer.ggml.bos_token_id").set("tokenizer.ggml.add_bos_token", true); }, "adds a bos token"),
        (Family::World, |file| array(file, "token_type")[70] = Value::I32(6), "does not have"),
        (Family::World, |file| array(file, "tokens")[1 + b'u' as usize] = "uu".into(), "byte 0x75"),
        (Family::Llama, |file| array(file, "tokens")[3 + 0xE4] = "x y".into(), "byte"),
        (Family::Qwen, |file| tensor(file, "output_norm.weight").kind = 8, "needs F32"),
        (Family::Qwen, |file| tensor(file, "output.weight").kind = 26, "type 26"),
        (Family::Qwen, |file| tensor(file, "output.weight").kind = 31, "removed"),
        (Family::Qwen, |file| tensor(file, "output.weight").kind = 12, "Q4_K's block of 256"),
        (Family::Qwen, |file| tensor(file, "output.weight").dims = vec![64, 0], "a dimension is 0"),
        (Family::Qwen, |file| tensor(file, "output.weight").dims = vec![1 << 40, 1 << 40], "impossible"),
        (Family::Qwen, |file| tensor(file, "output.weight").dims = vec![64; 5], "5 dimensions"),
        (Family::Qwen, |file| tensor(file, "output.weight").dims = vec![1 << 61], "said to begin at"),
        (Family::Qwen, |file| tensor(file, "output.weight").offset = Some(0), "begin at 0"),
        (Family::Qwen, |file| tensor(file, "output.weight").name = "token_embd.weight".into(), "stands twice"),
        (Family::Qwen, |file| tensor(file, "output.weight").name = "n".repeat(64), "64 bytes"),
        (Family::Qwen, |file| tensor(file, "token_embd.weight").name = "lora".into(), "adapter"),
    ];
    for (family, lie, text) in lies {
        let mut file = tiny::file(*family, 1);
        lie(&mut file);
        let error = refused(&file.bytes());
        assert!(error.to_string().contains(text), "expected {text:?}: {error}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = tiny::bytes(Family::Qwen, 1);
    let header = whole.len() - judge(&whole).unwrap().tensor_bytes as usize;
    let cuts = (0..header).step_by(97).chain([whole.len() - 33]);
    for cut in cuts {
        let error = refused(&whole[..cut]);
        assert!(matches!(error.reason, Reason::Truncated | Reason::NotGguf), "{cut}: {error}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_refused() {
    let whole = tiny::bytes(Family::Qwen, 1);
    let error = check_reader(&whole[..500], whole.len() as u64).unwrap_err();
    assert_eq!(error.reason, Reason::Truncated);
}

/// Lying lengths must not reserve memory: each of these claims gigabytes in a file of a few bytes.
#[test]
fn a_claimed_length_is_not_believed() {
    let claim = |kind: u32, rest: &[u8]| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.push(b'k');
        bytes.extend(kind.to_le_bytes());
        bytes.extend(rest);
        refused(&bytes)
    };
    let huge = (1u64 << 60).to_le_bytes();
    assert_eq!(claim(8, &huge).reason, Reason::Truncated);
    let mut array = 8u32.to_le_bytes().to_vec();
    array.extend((1u64 << 23).to_le_bytes());
    assert_eq!(claim(9, &array).reason, Reason::Truncated);
    array.splice(4.., huge);
    assert_eq!(claim(9, &array).reason, Reason::TooLarge);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(bytes);
        let _ = judge(&file);
    }

    /// Whatever is flipped in a true file, the answer is a header or an error, and the error has a next step.
    #[test]
    fn no_flip_panics(at in 0usize..20_000, byte: u8, family in 0usize..3) {
        static MODELS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| Family::ALL.map(|family| tiny::bytes(family, 1)));
        let mut file = MODELS[family].clone();
        let place = at % file.len();
        file[place] = byte;
        if let Err(error) = judge(&file) {
            prop_assert!(error.to_string().contains("; "));
        }
    }
}
