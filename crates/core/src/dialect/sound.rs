//! Sound that upstreams stream in pieces of base 64, for every dialect that does so. What a piece belongs to is the codecs' business.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::delta::{Delta, Part};
use crate::error::{Error, Result};

/// A sound that comes in pieces of base 64, each padded by itself: they are cut anew so that they can be joined.
#[derive(Debug)]
pub(crate) struct Sound {
    block: u32,
    /// Bytes that do not fill a group of three yet.
    rest: Vec<u8>,
}

impl Sound {
    /// A sound in this block.
    pub(crate) fn new(block: u32) -> Self {
        Self { block, rest: Vec::new() }
    }

    /// The next piece.
    ///
    /// # Errors
    /// `provider_protocol` when it is not base 64.
    pub(crate) fn push(&mut self, choice: u32, data: &str, deltas: &mut Vec<Delta>) -> Result<()> {
        let joinable = self.rest.is_empty() && data.len().is_multiple_of(4) && !data.ends_with('=');
        let bytes = if joinable {
            data.to_owned()
        } else {
            let more = STANDARD.decode(data).map_err(|_| Error::protocol("the answer's sound is not in base 64"))?;
            self.rest.extend_from_slice(&more);
            let left = self.rest.split_off(self.rest.len() / 3 * 3);
            STANDARD.encode(std::mem::replace(&mut self.rest, left))
        };
        if !bytes.is_empty() {
            deltas.push(Delta::BlockDelta { choice, block: self.block, part: Part::Bytes(bytes) });
        }
        Ok(())
    }

    /// Gives what is left, and ends the block.
    pub(crate) fn end(self, choice: u32, deltas: &mut Vec<Delta>) {
        if !self.rest.is_empty() {
            let part = Part::Bytes(STANDARD.encode(&self.rest));
            deltas.push(Delta::BlockDelta { choice, block: self.block, part });
        }
        deltas.push(Delta::BlockEnd { choice, block: self.block });
    }
}
