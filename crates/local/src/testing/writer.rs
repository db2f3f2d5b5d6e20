//! Writes GGUF files, true ones and, on request, lying ones: every field is written as told and nothing is checked. It knows no model;
//! `tiny.rs` builds those.

/// The default data alignment of the format, in bytes.
pub const ALIGNMENT: usize = 32;

/// One metadata value of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Type 0.
    U8(u8),
    /// Type 4.
    U32(u32),
    /// Type 5.
    I32(i32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Text(String),
    /// Type 10.
    U64(u64),
    /// Type 9: the element type and the elements. An element of another type than the one named makes a lying file.
    Array(u32, Vec<Value>),
}

impl Value {
    /// The type number the format gives this value.
    pub fn type_id(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::Text(_) => 8,
            Value::Array(..) => 9,
            Value::U64(_) => 10,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::U8(value) => out.push(*value),
            Value::U32(value) => out.extend(value.to_le_bytes()),
            Value::I32(value) => out.extend(value.to_le_bytes()),
            Value::F32(value) => out.extend(value.to_le_bytes()),
            Value::Bool(value) => out.push(u8::from(*value)),
            Value::Text(value) => write_text(out, value),
            Value::U64(value) => out.extend(value.to_le_bytes()),
            Value::Array(element, values) => {
                out.extend(element.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                for value in values {
                    value.write(out);
                }
            }
        }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::U32(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Value::F32(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

/// A tensor: what its header line says, and the bytes that are written for it.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name; llama.cpp takes at most 63 bytes.
    pub name: String,
    /// Elements per dimension, the fastest first.
    pub dims: Vec<u64>,
    /// The ggml type number (0 is `f32`).
    pub kind: u32,
    /// Offset in the data section; the writer's own running offset when absent.
    pub offset: Option<u64>,
    /// The data, before padding.
    pub data: Vec<u8>,
}

/// A GGUF file in the making.
#[derive(Debug, Clone)]
pub struct File {
    /// Format version: 2 or 3 for a true file.
    pub version: u32,
    /// The tensor count of the header; the true one when absent.
    pub tensor_count: Option<u64>,
    /// The metadata count of the header; the true one when absent.
    pub metadata_count: Option<u64>,
    /// Metadata, in order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors, in order.
    pub tensors: Vec<Tensor>,
}

impl Default for File {
    fn default() -> Self {
        Self { version: 3, tensor_count: None, metadata_count: None, metadata: Vec::new(), tensors: Vec::new() }
    }
}

impl File {
    /// Adds a metadata pair, or replaces the value of a key that is there.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some(pair) => pair.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Takes a metadata key out.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(known, _)| known != key);
        self
    }

    /// Adds an `f32` tensor.
    pub fn tensor(&mut self, name: &str, dims: &[u64], values: &[f32]) -> &mut Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            kind: 0,
            offset: None,
            data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        });
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.metadata_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            write_text(&mut out, key);
            out.extend(value.type_id().to_le_bytes());
            value.write(&mut out);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            write_text(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            for dim in &tensor.dims {
                out.extend(dim.to_le_bytes());
            }
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(ALIGNMENT) as u64;
        }
        for tensor in &self.tensors {
            pad(&mut out);
            out.extend(&tensor.data);
        }
        pad(&mut out);
        out
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}
