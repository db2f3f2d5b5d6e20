//! Where a frame begins and ends: its length as an unsigned varint, then its bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::{Breach, MAX_FRAME};

/// How many bytes a length has at most: [`MAX_FRAME`] takes three.
const LONGEST_PREFIX: usize = 3;

/// Takes the first whole frame out of what was read; none where more must be read. A length over the limit is refused as soon as it is seen.
///
/// # Errors
/// [`Breach::Length`] and [`Breach::TooLong`]: nothing behind can be found then.
pub fn take(read: &mut BytesMut) -> Result<Option<Bytes>, Breach> {
    let Some((length, prefix)) = length(read)? else { return Ok(None) };
    if read.len() < prefix + length {
        // Room for the rest of this one frame, and no more than a frame may have.
        read.reserve(prefix + length - read.len());
        return Ok(None);
    }
    read.advance(prefix);
    Ok(Some(read.split_to(length).freeze()))
}

/// Writes a frame: its length, then the payload.
///
/// # Errors
/// [`Breach::TooLong`] where the payload is longer than a frame may be; nothing is written then.
pub fn put(payload: &[u8], out: &mut BytesMut) -> Result<(), Breach> {
    if payload.len() > MAX_FRAME {
        return Err(Breach::TooLong);
    }
    out.reserve(LONGEST_PREFIX + payload.len());
    let mut rest = payload.len();
    while rest > 0x7f {
        out.extend_from_slice(&[(rest & 0x7f) as u8 | 0x80]);
        rest >>= 7;
    }
    out.extend_from_slice(&[(rest & 0x7f) as u8]);
    out.extend_from_slice(payload);
    Ok(())
}

/// The length that stands first, and how many bytes it takes itself.
fn length(read: &[u8]) -> Result<Option<(usize, usize)>, Breach> {
    let mut length = 0;
    for (place, &byte) in read.iter().enumerate().take(LONGEST_PREFIX) {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let shortest = place == 0 || byte != 0;
            return match length {
                _ if !shortest => Err(Breach::Length),
                0 => Err(Breach::Length),
                length if length > MAX_FRAME => Err(Breach::TooLong),
                length => Ok(Some((length, place + 1))),
            };
        }
    }
    if read.len() < LONGEST_PREFIX { Ok(None) } else { Err(Breach::TooLong) }
}
