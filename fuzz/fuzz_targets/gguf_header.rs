//! Any bytes behind the magic: a header or an error, never a panic and never more memory than the bytes there are.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend_from_slice(bytes);
    let _ = llm_router_local::gguf::check_reader(file.as_slice(), file.len() as u64);
});
