//! What pg_dump prints in its custom format: read along as it flows, so that what ends early is known from what is whole,
//! and the rows in it are counted.
//!
//! The accident that this file prevents is P1: half a dump that is kept as a whole one. And it is the dump itself that is
//! counted, of whatever size, without a second look at every row by the server.
//!
//! An archive is a head, a list of what is in it, and blocks of data, of which each says whose it is, comes in pieces, and
//! ends with a piece of no length (PostgreSQL, `pg_backup_archiver.c` and `pg_backup_custom.c`). The data of a table is what
//! `COPY` writes as text, where a line is a row, and its last line is `\.`.

use crate::core::census::Table;
use std::collections::HashMap;

/// The oldest version of the format that is read, of pg_dump 9.0.
const OLDEST: (u8, u8) = (1, 12);
/// Since then a table is listed with the way it is kept.
const WITH_ACCESS_METHOD: (u8, u8) = (1, 14);
/// Since then the compression is named by a byte.
const WITH_COMPRESSION: (u8, u8) = (1, 15);
/// Since then it is said what kind of relation it is. And the newest that is known, of pg_dump 17 and 18.
const WITH_KIND: (u8, u8) = (1, 16);
/// How much that has data is known by name; the rest is only known to be there.
const NAMED: usize = 100_000;
/// How much that has data is told apart at all.
const OWNERS: usize = 10_000_000;
/// How much is kept of a name, which is far more than a table's can have. That of a function names its arguments as well.
const NAME_BYTES: usize = 1 << 10;
/// What ends the rows of a table.
const LAST: &[u8] = b"\\.\n\n\n";
/// How many ends of lines are in that.
const LAST_LINES: u64 = 3;

/// Why it is no whole archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It begins in another way.
    #[error("it does not begin as an archive of pg_dump")]
    Magic,
    /// It ends somewhere.
    #[error("it ends before its end")]
    CutOff,
    /// Something in it cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(&'static str),
    /// Something has data, which is not there.
    #[error("the data of {0} is not in it")]
    Missing(String),
}

/// The rows of each table, by schema and name. Of what did not come as text there is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows(HashMap<(String, String), Option<u64>>);

impl Rows {
    /// Those of a table.
    pub fn of(&self, table: &Table) -> Option<u64> {
        let schema = table.schema.clone().unwrap_or_default();
        self.0.get(&(schema, table.name.clone())).copied().flatten()
    }
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The magic word, three bytes of version, the size of numbers and of places, and the form.
    #[default]
    Head,
    /// How it is compressed, as a number or a byte, and when it was made.
    Compression(u8),
    /// The names of the database and of two versions.
    Names(u8),
    /// How much is listed.
    Count,
    /// A field of what is listed.
    Field(usize),
    /// Whose block comes, if one does: here it may end.
    Block,
    /// The number of whose it is.
    Owner(u8),
    /// The number of a large object, or that there are no more.
    Object,
    /// The length of a piece.
    Piece,
}

/// A field of what is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    /// Whether it has a block.
    HasData,
    Number,
    Text,
    Tag,
    What,
    Copy,
    Schema,
    /// Texts, until one that is none.
    DependsOn,
    Place,
}

/// What is listed, as far as it was read.
#[derive(Debug, Default)]
struct Listed {
    id: u64,
    has_data: bool,
    tag: String,
    what: String,
    is_copied: bool,
    schema: String,
}

/// Something that has a block.
#[derive(Debug)]
struct Owner {
    /// Schema and name, of a table.
    table: Option<Box<(String, String)>>,
    /// The rows come as text.
    is_copied: bool,
    /// Its block was seen to its end, with so many rows.
    seen: Option<Option<u64>>,
}

/// What follows of a text whose length was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Keep,
    Skip,
}

/// A reader of an archive.
#[derive(Debug, Default)]
pub struct Archive {
    at: At,
    /// What of the present number, or text, was seen.
    kept: Vec<u8>,
    /// How much of the present text, or piece, is to come.
    left: u64,
    text: Option<Text>,
    in_piece: bool,
    version: (u8, u8),
    number_bytes: usize,
    place_bytes: usize,
    fields: Vec<Field>,
    to_list: u64,
    listed: Listed,
    owners: HashMap<u64, Owner>,
    /// Whose block it is.
    owner: Option<u64>,
    is_of_objects: bool,
    lines: u64,
    bytes: u64,
    end: Vec<u8>,
    /// It is in no form that is known here.
    unknown: bool,
}

impl Archive {
    /// Takes in what comes next.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() && !self.unknown {
            if self.left > 0 {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                let (now, rest) = bytes.split_at(most.min(bytes.len()));
                self.left -= now.len() as u64;
                bytes = rest;
                if self.in_piece {
                    self.piece(now);
                } else if self.text == Some(Text::Keep) {
                    let room = NAME_BYTES.saturating_sub(self.kept.len()).min(now.len());
                    self.kept.extend_from_slice(now.get(..room).unwrap_or_default());
                }
                if self.left == 0 {
                    self.passed()?;
                }
                continue;
            }
            let wanted = self.wanted();
            let (now, rest) = bytes.split_at(wanted.saturating_sub(self.kept.len()).min(bytes.len()));
            self.kept.extend_from_slice(now);
            bytes = rest;
            if self.kept.len() == wanted {
                let seen = std::mem::take(&mut self.kept);
                self.step(&seen)?;
            }
        }
        Ok(())
    }

    /// How many bytes make the next step.
    fn wanted(&self) -> usize {
        match self.at {
            At::Head => b"PGDMP".len() + 6,
            At::Block => 1,
            At::Compression(0) if self.version >= WITH_COMPRESSION => 1,
            At::Field(n) if self.fields.get(n) == Some(&Field::Place) => 1 + self.place_bytes,
            _ => 1 + self.number_bytes,
        }
    }

    /// A text, or a piece, was seen to its end.
    fn passed(&mut self) -> Result<(), Wrong> {
        if std::mem::take(&mut self.in_piece) {
            return Ok(());
        }
        self.text = None;
        let seen = std::mem::take(&mut self.kept);
        self.text_ended(&String::from_utf8_lossy(&seen))
    }

    fn step(&mut self, seen: &[u8]) -> Result<(), Wrong> {
        let number = || Number::read(seen);
        match self.at {
            At::Head => self.head(seen)?,
            At::Compression(0) => {
                let compressed =
                    if self.version >= WITH_COMPRESSION { seen != [0] } else { number() != Number(0) };
                self.unknown = compressed;
                self.at = At::Compression(1);
            }
            // Seven numbers of a time.
            At::Compression(7) => self.at = At::Names(0),
            At::Compression(n) => self.at = At::Compression(n + 1),
            At::Names(_) => self.text(number(), Text::Skip)?,
            At::Count => {
                self.to_list = number().positive()?;
                self.unknown = self.to_list == 0;
                self.at = At::Field(0);
            }
            At::Field(n) => self.field(n, number())?,
            At::Block => match seen {
                [kind @ (1 | 3)] => self.at = At::Owner(*kind),
                _ => return Err(Wrong::Unreadable("a block is of no kind that there is")),
            },
            At::Owner(kind) => {
                self.owner = Some(number().positive()?);
                self.is_of_objects = kind == 3;
                (self.lines, self.bytes) = (0, 0);
                self.end.clear();
                self.at = if self.is_of_objects { At::Object } else { At::Piece };
            }
            At::Object if number() == Number(0) => self.block_ends()?,
            At::Object => self.at = At::Piece,
            At::Piece => match number().positive()? {
                0 if self.is_of_objects => self.at = At::Object,
                0 => self.block_ends()?,
                bytes => {
                    self.left = bytes;
                    self.in_piece = true;
                }
            },
        }
        Ok(())
    }

    fn head(&mut self, seen: &[u8]) -> Result<(), Wrong> {
        let [b'P', b'G', b'D', b'M', b'P', major, minor, _, number_bytes, place_bytes, form] = *seen else {
            return Err(Wrong::Magic);
        };
        self.version = (major, minor);
        self.number_bytes = number_bytes.into();
        self.place_bytes = place_bytes.into();
        self.unknown = self.version < OLDEST
            || self.version > WITH_KIND
            || !(1..=8).contains(&number_bytes)
            || !(1..=8).contains(&place_bytes)
            || form != 1;
        self.fields = fields(self.version);
        self.at = At::Compression(0);
        Ok(())
    }

    /// A number of what is listed: itself, or the length of a text.
    fn field(&mut self, n: usize, number: Number) -> Result<(), Wrong> {
        match self.fields.get(n) {
            Some(Field::Id) => {
                self.listed.id = number.positive()?;
                self.at = At::Field(n + 1);
                Ok(())
            }
            Some(Field::HasData) => {
                self.listed.has_data = number.0 != 0;
                self.at = At::Field(n + 1);
                Ok(())
            }
            Some(Field::Number) => {
                self.at = At::Field(n + 1);
                Ok(())
            }
            Some(Field::Tag | Field::What | Field::Schema) => self.text(number, Text::Keep),
            Some(Field::Copy) => {
                self.listed.is_copied = number.0 > 0;
                self.text(number, Text::Skip)
            }
            Some(Field::DependsOn) if number.0 < 0 => {
                self.at = At::Field(n + 1);
                Ok(())
            }
            Some(Field::Text | Field::DependsOn) => self.text(number, Text::Skip),
            Some(Field::Place) | None => self.listed(),
        }
    }

    /// A text of this length comes; below zero it is none.
    fn text(&mut self, length: Number, text: Text) -> Result<(), Wrong> {
        self.left = length.0.max(0).unsigned_abs();
        self.text = Some(text);
        if self.left == 0 { self.passed() } else { Ok(()) }
    }

    fn text_ended(&mut self, text: &str) -> Result<(), Wrong> {
        match self.at {
            At::Names(2) => self.at = At::Count,
            At::Names(n) => self.at = At::Names(n + 1),
            At::Field(n) => {
                match self.fields.get(n) {
                    Some(Field::Tag) => text.clone_into(&mut self.listed.tag),
                    Some(Field::What) => text.clone_into(&mut self.listed.what),
                    Some(Field::Schema) => text.clone_into(&mut self.listed.schema),
                    // There may be more.
                    Some(Field::DependsOn) => return Ok(()),
                    _ => {}
                }
                self.at = At::Field(n + 1);
            }
            _ => return Err(Wrong::Unreadable("a text is where there is none")),
        }
        Ok(())
    }

    /// One of what is listed was read to its end.
    fn listed(&mut self) -> Result<(), Wrong> {
        let Listed { id, has_data, tag, what, is_copied, schema } = std::mem::take(&mut self.listed);
        if has_data {
            let table = (what == "TABLE DATA" && self.owners.len() < NAMED).then(|| Box::new((schema, tag)));
            self.owners.insert(id, Owner { table, is_copied, seen: None });
            self.unknown = self.owners.len() > OWNERS;
        }
        self.to_list -= 1;
        self.at = if self.to_list == 0 { At::Block } else { At::Field(0) };
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) {
        if self.is_of_objects {
            return;
        }
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.bytes += bytes.len() as u64;
        // With the end of the line before it.
        let most = LAST.len() + 1;
        self.end.extend_from_slice(bytes.get(bytes.len().saturating_sub(most)..).unwrap_or_default());
        let more = self.end.len().saturating_sub(most);
        self.end.drain(..more);
    }

    fn block_ends(&mut self) -> Result<(), Wrong> {
        self.at = At::Block;
        let Some(owner) = self.owner.take().and_then(|id| self.owners.get_mut(&id)) else {
            return Err(Wrong::Unreadable("a block is of nothing that is listed"));
        };
        if owner.seen.is_some() {
            return Err(Wrong::Unreadable("something has two blocks"));
        }
        let is_ended = match self.end.strip_suffix(LAST) {
            Some([]) => self.bytes == LAST.len() as u64,
            Some([before]) => *before == b'\n',
            _ => false,
        };
        let is_counted = owner.table.is_some() && owner.is_copied && is_ended;
        owner.seen = Some(is_counted.then(|| self.lines.saturating_sub(LAST_LINES)));
        Ok(())
    }

    /// That was all. Says nothing of what is in another form than the known ones.
    pub fn finish(self) -> Result<Option<Rows>, Wrong> {
        if self.unknown {
            return Ok(None);
        }
        if self.at != At::Block || !self.kept.is_empty() {
            return Err(Wrong::CutOff);
        }
        let mut rows = Rows::default();
        for (id, Owner { table, seen, .. }) in self.owners {
            match (table, seen) {
                (Some(table), Some(seen)) => {
                    rows.0.insert(*table, seen);
                }
                (Some(table), None) => return Err(Wrong::Missing(format!("{}.{}", table.0, table.1))),
                (None, None) => return Err(Wrong::Missing(format!("its entry {id}"))),
                (None, Some(_)) => {}
            }
        }
        Ok(Some(rows))
    }
}

/// The fields of what is listed, in their order (`WriteToc`).
fn fields(version: (u8, u8)) -> Vec<Field> {
    use Field::{Copy, DependsOn, HasData, Id, Number, Place, Schema, Tag, Text, What};
    // Its number, whether it has data, the server's two numbers of it, its name, what it is, its section, how it is made,
    // dropped and filled, its schema, its tablespace.
    let mut all = vec![Id, HasData, Text, Text, Tag, What, Number, Text, Text, Copy, Schema, Text];
    if version >= WITH_ACCESS_METHOD {
        all.push(Text);
    }
    if version >= WITH_KIND {
        all.push(Number);
    }
    // Its owner, and whether it has numbers of rows.
    all.extend([Text, Text, DependsOn, Place]);
    all
}

/// A number: whether it is below zero, and then its bytes, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number(i64);

impl Number {
    fn read(seen: &[u8]) -> Self {
        let (sign, bytes) = seen.split_first().unwrap_or((&0, &[]));
        let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        Self(if *sign == 0 { value } else { -value })
    }

    fn positive(self) -> Result<u64, Wrong> {
        u64::try_from(self.0).map_err(|_| Wrong::Unreadable("a number is below zero"))
    }
}

#[cfg(test)]
mod tests;
