//! Looks through a frame's bytes before anything is made of them: one value of DAG-CBOR, not nested too deep, each key once.
//!
//! It allocates nothing and goes through the bytes once, whatever they claim: a length is believed only as far as there are bytes for it. Values of fields are
//! not its business: `message.rs` reads those that it knows and passes over the others.

use super::{Breach, MAX_DEPTH};

/// A value that is gone through: how many values are to come in it, and the last key where it is a map.
#[derive(Clone, Copy, Default)]
struct Level<'a> {
    left: u64,
    map: bool,
    last: Option<&'a [u8]>,
}

/// Whether these bytes are exactly one sound value.
///
/// # Errors
/// What is wrong with them first.
pub fn check(bytes: &[u8]) -> Result<(), Breach> {
    let mut walk = Walk { bytes, at: 0 };
    let mut levels = [Level::default(); MAX_DEPTH];
    let mut depth: usize = 0;
    loop {
        // A key comes before each second value of a map.
        if let Some(level) = depth.checked_sub(1).and_then(|top| levels.get_mut(top))
            && level.map
            && level.left % 2 == 0
        {
            let key = walk.key()?;
            if level.last.is_some_and(|last| !comes_before(last, key)) {
                return Err(Breach::Key);
            }
            level.last = Some(key);
            level.left -= 1;
            continue;
        }
        if let Some((left, map)) = walk.value()?
            && left > 0
        {
            *levels.get_mut(depth).ok_or(Breach::TooDeep)? = Level { left, map, last: None };
            depth += 1;
            continue;
        }
        // The value is whole, and with it perhaps those around it.
        loop {
            let Some(level) = depth.checked_sub(1).and_then(|top| levels.get_mut(top)) else {
                return if walk.at == bytes.len() { Ok(()) } else { Err(Breach::Trailing) };
            };
            level.left -= 1;
            if level.left > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

/// DAG-CBOR's order of keys: the shorter one first, then by bytes.
fn comes_before(one: &[u8], other: &[u8]) -> bool {
    (one.len(), one) < (other.len(), other)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// Goes over one value's head, and its content where it is no list or map: of those, how many values come.
    fn value(&mut self) -> Result<Option<(u64, bool)>, Breach> {
        let (major, info) = self.head()?;
        match major {
            0 | 1 => self.argument(info).map(|_| None),
            2 | 3 => self.content(info).map(|_| None),
            4 => self.count(info, 1).map(|left| Some((left, false))),
            5 => self.count(info, 2).map(|left| Some((left, true))),
            // A link: the one tag of DAG-CBOR, on bytes.
            6 if self.argument(info)? == 42 => match self.head()? {
                (2, info) => self.content(info).map(|_| None),
                _ => Err(Breach::Value),
            },
            7 => match info {
                20..=22 => Ok(None),
                27 => self.skip(8).map(|_| None),
                _ => Err(Breach::Value),
            },
            _ => Err(Breach::Value),
        }
    }

    fn key(&mut self) -> Result<&'a [u8], Breach> {
        match self.head()? {
            (3, info) => self.content(info),
            _ => Err(Breach::Key),
        }
    }

    fn head(&mut self) -> Result<(u8, u8), Breach> {
        let byte = *self.skip(1)?.first().ok_or(Breach::Truncated)?;
        Ok((byte >> 5, byte & 0x1f))
    }

    fn content(&mut self, info: u8) -> Result<&'a [u8], Breach> {
        let length = usize::try_from(self.argument(info)?).map_err(|_| Breach::Truncated)?;
        self.skip(length)
    }

    /// How many values a list or map has: each needs a byte at least.
    fn count(&mut self, info: u8, each: u64) -> Result<u64, Breach> {
        let values = self.argument(info)?.checked_mul(each).ok_or(Breach::Truncated)?;
        if values > (self.bytes.len() - self.at) as u64 { Err(Breach::Truncated) } else { Ok(values) }
    }

    fn argument(&mut self, info: u8) -> Result<u64, Breach> {
        let bytes = match info {
            0..=23 => return Ok(info.into()),
            24..=27 => self.skip(1 << (info - 24))?,
            _ => return Err(Breach::Value),
        };
        Ok(bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn skip(&mut self, length: usize) -> Result<&'a [u8], Breach> {
        let end = self.at.checked_add(length).ok_or(Breach::Truncated)?;
        let passed = self.bytes.get(self.at..end).ok_or(Breach::Truncated)?;
        self.at = end;
        Ok(passed)
    }
}
