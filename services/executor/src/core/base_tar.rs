//! A tar as `pg_basebackup` prints it, read along piece by piece: where the backup in it begins, and the list of its files.
//!
//! The accident that this file prevents: an archive of changes on a list that is not that of its base. What the tar itself
//! says of its base is compared, and the list is taken out of the very bytes that are kept.

use super::members::{BLOCK, TarHeader, tar_header};
use strongroom_domain::chain::Lsn;

/// Where the server says what the backup is.
const LABEL: &str = "backup_label";
/// What it says is a few lines.
const LABEL_BYTES: usize = 64 << 10;
/// The server's list of the files, which its program adds as the last one.
pub const MANIFEST: &str = "backup_manifest";

/// Why it cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It has something else where a file should begin.
    #[error("what pg_basebackup prints is no tar")]
    NoTar,
    /// It ends before its end.
    #[error("what pg_basebackup has printed ends in the middle")]
    Cut,
    /// It does not say what it is.
    #[error("what pg_basebackup has printed has no {0}, or one that is not understood")]
    Without(&'static str),
}

/// What the server says of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Where it begins.
    pub start_lsn: Lsn,
    /// Where the one begins since which it has what has changed; nothing, when it has everything.
    pub since_lsn: Option<Lsn>,
}

/// Reads along.
#[derive(Default)]
pub struct BaseTar {
    head: Vec<u8>,
    /// Bytes of the present file that are still to come, and those that fill its last block.
    left: u64,
    fill: u64,
    of: Member,
    label: Vec<u8>,
    lists: u32,
    ended: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Member {
    #[default]
    Any,
    Label,
    Manifest,
}

impl BaseTar {
    /// The next piece; what of it belongs to the list of files.
    pub fn take<'a>(&mut self, mut piece: &'a [u8]) -> Result<Vec<&'a [u8]>, Wrong> {
        let mut listed = Vec::new();
        while !piece.is_empty() && !self.ended {
            if self.left > 0 {
                let (content, rest) = split(piece, self.left);
                match self.of {
                    Member::Manifest => listed.push(content),
                    Member::Label if self.label.len() + content.len() > LABEL_BYTES => {
                        return Err(Wrong::Without(LABEL));
                    }
                    Member::Label => self.label.extend_from_slice(content),
                    Member::Any => {}
                }
                self.left -= content.len() as u64;
                piece = rest;
            } else if self.fill > 0 {
                let (filled, rest) = split(piece, self.fill);
                self.fill -= filled.len() as u64;
                piece = rest;
            } else {
                let (more, rest) = split(piece, (BLOCK - self.head.len()) as u64);
                self.head.extend_from_slice(more);
                piece = rest;
                if self.head.len() == BLOCK {
                    let head = std::mem::take(&mut self.head);
                    self.begin(&head)?;
                }
            }
        }
        Ok(listed)
    }

    /// What it was, when that was all.
    pub fn finish(&self) -> Result<Label, Wrong> {
        if !self.ended {
            return Err(Wrong::Cut);
        }
        if self.lists != 1 {
            return Err(Wrong::Without(MANIFEST));
        }
        label(&String::from_utf8_lossy(&self.label)).ok_or(Wrong::Without(LABEL))
    }

    /// A file begins, or the tar ends with a block of nothing.
    fn begin(&mut self, head: &[u8]) -> Result<(), Wrong> {
        if head.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(());
        }
        let TarHeader { name, size, .. } = entry(head).ok_or(Wrong::NoTar)?;
        self.of = match name.as_str() {
            LABEL => Member::Label,
            MANIFEST => Member::Manifest,
            _ => Member::Any,
        };
        self.lists += u32::from(self.of == Member::Manifest);
        self.left = size;
        self.fill = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }
}

fn split(piece: &[u8], at: u64) -> (&[u8], &[u8]) {
    piece.split_at(usize::try_from(at).unwrap_or(usize::MAX).min(piece.len()))
}

/// What begins with this block. What has no size, or one that has no whole last block, is none.
fn entry(head: &[u8]) -> Option<TarHeader> {
    let says_size = head.get(124..136)?.iter().any(|byte| !matches!(byte, 0 | b' '));
    let is_ustar = head.get(257..262)? == b"ustar";
    let file = tar_header(head).filter(|file| file.size <= u64::MAX - BLOCK as u64)?;
    (says_size && is_ustar).then_some(file)
}

fn label(text: &str) -> Option<Label> {
    let after = |what: &str| text.lines().find_map(|line| line.strip_prefix(what));
    let start_lsn = after("START WAL LOCATION: ")?.split_whitespace().next()?.parse().ok()?;
    let since_lsn = match after("INCREMENTAL FROM LSN: ") {
        Some(lsn) => Some(lsn.trim().parse().ok()?),
        None => None,
    };
    Some(Label { start_lsn, since_lsn })
}

#[cfg(test)]
mod tests;
