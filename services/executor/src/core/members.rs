//! What stands before each member of a tar (POSIX.1-2001, "pax Interchange Format", and GNU's long names) and of a zip
//! (PKWARE, APPNOTE 4.3.7).

/// The size of a block of a tar.
pub const BLOCK: usize = 512;
/// Names and the like are no longer than this.
pub const NAME_BYTES: u64 = 64 << 10;
/// The size of what stands before a member of a zip, without its name.
pub const ZIP_HEADER: usize = 30;

/// What stands before a member of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarHeader {
    /// Its name.
    pub name: String,
    /// Its bytes; they are filled up to whole blocks.
    pub size: u64,
    /// `0` or NUL for a file, `L` and `x` for what is said of the next one.
    pub kind: u8,
}

/// Reads it; nothing, when it is none.
pub fn tar_header(block: &[u8]) -> Option<TarHeader> {
    let field = |from: usize, to: usize| {
        let bytes = block.get(from..to)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.get(..end)
    };
    let text = |from, to| Some(String::from_utf8_lossy(field(from, to)?).into_owned());
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(n, byte)| if (148..156).contains(&n) { 32 } else { u64::from(*byte) })
        .sum();
    if octal(field(148, 156)?)? != sum {
        return None;
    }
    let size = match block.get(124..136)? {
        // Larger than eight octal gigabytes: binary, big end first.
        [first, rest @ ..] if first & 0x80 != 0 => {
            rest.iter().try_fold(u64::from(first & 0x7f), |sum, byte| {
                sum.checked_mul(256)?.checked_add(u64::from(*byte))
            })?
        }
        _ => octal(field(124, 136)?)?,
    };
    let (prefix, name) = (text(345, 500)?, text(0, 100)?);
    let is_posix = block.get(257..263)? == b"ustar\0" && !prefix.is_empty();
    let name = if is_posix { format!("{prefix}/{name}") } else { name };
    Some(TarHeader { name, size, kind: *block.get(156)? })
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim();
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// The path and the size that a pax header gives to the next member.
pub fn pax(records: &[u8]) -> (Option<String>, Option<u64>) {
    let (mut path, mut size) = (None, None);
    let mut rest = records;
    while let Some(at) = rest.iter().position(|byte| *byte == b' ') {
        let length = rest.get(..at).and_then(|n| std::str::from_utf8(n).ok()?.parse::<usize>().ok());
        let Some(record) = length.and_then(|length| rest.get(at + 1..length.saturating_sub(1))) else {
            break;
        };
        let record = String::from_utf8_lossy(record);
        match record.split_once('=') {
            Some(("path", value)) => path = Some(value.to_owned()),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {}
        }
        rest = length.and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    (path, size)
}

/// What stands before a member of a zip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipHeader {
    /// How it is compressed: 0 not at all, 8 deflate.
    pub method: u16,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether sizes and sum come after it.
    pub described_after: bool,
    /// The sum of its bytes, unless it comes after.
    pub crc: u32,
    /// Its bytes as they are stored, unless they are told after.
    pub stored_bytes: u32,
    /// How long its name is.
    pub name_bytes: u16,
    /// How much else is said of it.
    pub extra_bytes: u16,
}

/// Reads it, behind its first four bytes.
pub fn zip_header(bytes: &[u8]) -> Option<ZipHeader> {
    let small = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let large = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let flags = small(6)?;
    Some(ZipHeader {
        method: small(8)?,
        encrypted: flags & 1 != 0,
        described_after: flags & 8 != 0,
        crc: large(14)?,
        stored_bytes: large(18)?,
        name_bytes: small(26)?,
        extra_bytes: small(28)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn block(name: &str, size: &[u8], kind: u8) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size);
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn headers_of_tar_are_read_and_others_are_none() {
        let header = tar_header(&block("a/b.sql", b"00000000017\0", b'0')).unwrap();
        assert_eq!(header, TarHeader { name: "a/b.sql".into(), size: 15, kind: b'0' });
        let large = [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1];
        assert_eq!(tar_header(&block("x", &large, b'0')).unwrap().size, 0x2_0000_0001);
        let mut damaged = block("x", b"1", b'0');
        damaged[0] = b'y';
        assert_eq!(tar_header(&damaged), None);
        assert_eq!(pax(b"12 path=a/b\n11 size=42\n"), (Some("a/b".into()), Some(42)));
        assert_eq!(pax(b"nonsense"), (None, None));
        assert_eq!(pax(b"99 path=x\n"), (None, None));
    }
}
