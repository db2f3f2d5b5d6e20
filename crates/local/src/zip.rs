//! Reads one file out of a zip archive: enough for a Python wheel, which is one. The archive is found by its central directory, the file
//! is unpacked in pieces, and its size and checksum must be those the archive states. No folders, no encryption, no parts, no zip64.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// The largest central directory read, in bytes.
const MAX_DIRECTORY: u32 = 1 << 20;
const PIECE: usize = 64 << 10;

/// Writes the first file whose name ends with `ending` to `out` and says its size, of at most `limit` bytes.
pub(crate) fn extract(archive: &mut File, ending: &str, limit: u64, out: &mut impl Write) -> io::Result<u64> {
    let entry = find(archive, ending)?;
    if entry.size > limit {
        return Err(wrong("the file in it is larger than expected"));
    }
    archive.seek(SeekFrom::Start(entry.header))?;
    let mut header = [0; 30];
    archive.read_exact(&mut header)?;
    if header.get(..4) != Some(b"PK\x03\x04") {
        return Err(wrong("the file is not where its directory says"));
    }
    let skip = i64::from(u16_at(&header, 26)) + i64::from(u16_at(&header, 28));
    archive.seek(SeekFrom::Current(skip))?;
    let mut data = archive.take(entry.packed);
    let mut sum = Checked { out, size: 0, crc: !0, limit: entry.size };
    match entry.method {
        0 => drop(io::copy(&mut data, &mut sum)?),
        8 => unpack(&mut data, &mut sum)?,
        _ => return Err(wrong("it is packed in an unknown way")),
    }
    if sum.size != entry.size || !sum.crc != entry.crc {
        return Err(wrong("the file in it is damaged"));
    }
    Ok(entry.size)
}

struct Entry {
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    header: u64,
}

fn find(archive: &mut File, ending: &str) -> io::Result<Entry> {
    let length = archive.seek(SeekFrom::End(0))?;
    // The directory's end is 22 bytes and a comment of at most 65535.
    let tail_at = length.saturating_sub(22 + 65_535);
    archive.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    archive.take(length - tail_at).read_to_end(&mut tail)?;
    let end = tail
        .windows(4)
        .rposition(|bytes| bytes == b"PK\x05\x06")
        .and_then(|at| tail.get(at..))
        .filter(|end| end.len() >= 22)
        .ok_or_else(|| wrong("it is no zip archive"))?;
    let (size, start) = (u32_at(end, 12), u32_at(end, 16));
    if size > MAX_DIRECTORY {
        return Err(wrong("its directory is too large"));
    }
    archive.seek(SeekFrom::Start(start.into()))?;
    let mut directory = vec![0; size as usize];
    archive.read_exact(&mut directory)?;
    let mut rest = directory.as_slice();
    while rest.get(..4) == Some(b"PK\x01\x02") {
        let name_end = 46 + usize::from(u16_at(rest, 28));
        let name = rest.get(46..name_end).unwrap_or_default();
        if name.ends_with(ending.as_bytes()) {
            return Ok(Entry {
                method: u16_at(rest, 10),
                crc: u32_at(rest, 16),
                packed: u32_at(rest, 20).into(),
                size: u32_at(rest, 24).into(),
                header: u32_at(rest, 42).into(),
            });
        }
        let next = name_end + usize::from(u16_at(rest, 30)) + usize::from(u16_at(rest, 32));
        rest = rest.get(next..).unwrap_or_default();
    }
    Err(wrong("it does not hold the file"))
}

fn unpack(data: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut packed, mut plain) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let count = data.read(&mut packed)?;
        let mut input = packed.get(..count).unwrap_or_default();
        loop {
            let step = inflate(&mut state, input, &mut plain, MZFlush::None);
            out.write_all(plain.get(..step.bytes_written).unwrap_or_default())?;
            input = input.get(step.bytes_consumed..).unwrap_or_default();
            match step.status {
                Ok(MZStatus::StreamEnd) => return Ok(()),
                Ok(_) if step.bytes_written > 0 || !input.is_empty() && step.bytes_consumed > 0 => {}
                Ok(_) | Err(MZError::Buf) if count > 0 => break,
                _ => return Err(wrong("the file in it is damaged")),
            }
        }
    }
}

/// Counts and sums what passes through.
struct Checked<'a, W> {
    out: &'a mut W,
    size: u64,
    crc: u32,
    limit: u64,
}

impl<W: Write> Write for Checked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(wrong("the file in it is larger than its directory says"));
        }
        for byte in bytes {
            let place = (self.crc ^ u32::from(*byte)) & 0xFF;
            self.crc = (self.crc >> 8) ^ CRC.get(place as usize).copied().unwrap_or_default();
        }
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// CRC-32 of each byte.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xEDB8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes).unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An archive of one file, packed by deflate or stored.
    pub(crate) fn archive(name: &str, data: &[u8], packed: bool) -> Vec<u8> {
        let mut sum = Checked { out: &mut io::sink(), size: 0, crc: !0, limit: u64::MAX };
        sum.write_all(data).unwrap();
        let crc = !sum.crc;
        let body = if packed { miniz_oxide::deflate::compress_to_vec(data, 6) } else { data.to_vec() };
        let common = |out: &mut Vec<u8>| {
            out.extend([20, 0, 0, 0, if packed { 8 } else { 0 }, 0, 0, 0, 0, 0]);
            out.extend(crc.to_le_bytes());
            out.extend((body.len() as u32).to_le_bytes());
            out.extend((data.len() as u32).to_le_bytes());
            out.extend((name.len() as u16).to_le_bytes());
            out.extend([0, 0]);
        };
        let mut out = b"PK\x03\x04".to_vec();
        common(&mut out);
        out.extend(name.as_bytes());
        out.extend(&body);
        let directory = out.len() as u32;
        out.extend(b"PK\x01\x02\x14\0");
        common(&mut out);
        out.extend([0; 14]);
        out.extend(name.as_bytes());
        let size = out.len() as u32 - directory;
        out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        out.extend(size.to_le_bytes());
        out.extend(directory.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    fn take(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut out = Vec::new();
        extract(&mut file, ".gguf", limit, &mut out).map(|_| out)
    }

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        let data: Vec<u8> = (0..300_000u32).flat_map(|number| number.wrapping_mul(number).to_le_bytes()).collect();
        for packed in [true, false] {
            assert_eq!(take(&archive("a/b.gguf", &data, packed), 1 << 30).unwrap(), data);
            assert_eq!(take(&archive("a/b.gguf", b"", packed), 1).unwrap(), b"");
        }
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let good = archive("b.gguf", &[7; 1000], true);
        assert!(take(&archive("b.txt", b"x", true), 10).is_err());
        assert!(take(&good, 999).is_err());
        for cut in 0..good.len() {
            assert!(take(&good[..cut], 1000).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xFF;
            if let Ok(data) = take(&bad, 1000) {
                assert_eq!(data, [7; 1000]);
            }
        }
    }
}
