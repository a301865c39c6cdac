//! What mongodump prints: read along as it flows, so that what ends early is known from what is whole, and what is in it
//! is counted.
//!
//! The accident that this file prevents is P1: a program that ends early without an error, and half a dump that is kept as
//! a whole one. An archive is a magic number, a list of collections, and blocks of documents of one collection each; every
//! collection ends with a block that says so (mongo-tools, `common/archive`).

use std::collections::HashMap;

const MAGIC: u32 = 0x8199_e26d;
const END: u32 = 0xffff_ffff;
/// Documents may have 16 MiB, and what is around them a little more.
const DOCUMENT_BYTES: u32 = 32 << 20;
/// What the oplog is called.
const OPLOG: (&str, &str) = ("", "oplog");

/// Why it is no whole archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It begins in another way.
    #[error("it does not begin as an archive of mongodump")]
    Magic,
    /// It ends somewhere.
    #[error("it ends before its end")]
    CutOff,
    /// Something in it cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(&'static str),
    /// A collection is not in it to its end.
    #[error("the collection {0} is not in it to its end")]
    Unended(String),
}

/// What is in a whole one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// All collections.
    pub collections: Vec<Collection>,
    /// Whether what was written meanwhile is in it.
    pub oplog: bool,
}

/// A collection in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// How many documents; not known of what has none of its own, as views.
    pub documents: Option<u64>,
}

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Magic,
    /// Before a document of the list, or its end.
    Prelude,
    /// Before a block; here it may end.
    Block,
    /// In one, before a document or the end of the block.
    Documents,
}

/// A namespace whose documents are in it.
#[derive(Debug, Default)]
struct Counted {
    documents: u64,
    ended: bool,
}

/// A reader of an archive.
#[derive(Debug)]
pub struct Archive {
    at: At,
    /// What of the present number or document was seen, when it is kept.
    kept: Vec<u8>,
    /// How much of the present document is to come; 0 before one.
    left: usize,
    keeping: bool,
    first: bool,
    listed: Vec<Listed>,
    counted: HashMap<(String, String), Counted>,
    present: Option<(String, String)>,
    in_block: u64,
}

#[derive(Debug)]
struct Listed {
    database: String,
    name: String,
    kind: String,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            at: At::Magic,
            kept: Vec::new(),
            left: 0,
            keeping: false,
            first: true,
            listed: Vec::new(),
            counted: HashMap::new(),
            present: None,
            in_block: 0,
        }
    }
}

impl Archive {
    /// Takes in what comes next.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, rest) = bytes.split_at(self.left.min(bytes.len()));
                if self.keeping {
                    self.kept.extend_from_slice(now);
                }
                self.left -= now.len();
                bytes = rest;
                if self.left == 0 {
                    self.document()?;
                }
                continue;
            }
            let (now, rest) = bytes.split_at((4 - self.kept.len()).min(bytes.len()));
            self.kept.extend_from_slice(now);
            bytes = rest;
            if let Ok(number) = <[u8; 4]>::try_from(self.kept.as_slice()) {
                self.number(u32::from_le_bytes(number))?;
            }
        }
        Ok(())
    }

    /// The four bytes before a document, or in its place.
    fn number(&mut self, number: u32) -> Result<(), Wrong> {
        match (self.at, number) {
            (At::Magic, MAGIC) => {
                self.kept.clear();
                self.at = At::Prelude;
            }
            (At::Magic, _) => return Err(Wrong::Magic),
            (At::Prelude, END) if self.first => return Err(Wrong::Unreadable("it has no header")),
            (At::Prelude, END) => {
                self.kept.clear();
                self.at = At::Block;
            }
            (At::Documents, END) => {
                self.kept.clear();
                self.block_ends()?;
            }
            (At::Block, END) => return Err(Wrong::Unreadable("a block has no collection")),
            (_, 5..=DOCUMENT_BYTES) => {
                self.left = number as usize - 4;
                self.keeping = self.at != At::Documents;
                if !self.keeping {
                    self.kept.clear();
                }
            }
            _ => return Err(Wrong::Unreadable("a document has an impossible length")),
        }
        Ok(())
    }

    /// A document was seen to its end.
    fn document(&mut self) -> Result<(), Wrong> {
        match self.at {
            At::Documents => self.in_block += 1,
            At::Prelude => {
                if !std::mem::take(&mut self.first) {
                    let fields = Fields::read(&self.kept)?;
                    self.listed.push(Listed {
                        database: fields.database,
                        name: fields.collection,
                        kind: fields.kind,
                    });
                }
            }
            At::Block => {
                let fields = Fields::read(&self.kept)?;
                let namespace = (fields.database, fields.collection);
                let counted = self.counted.entry(namespace.clone()).or_default();
                if counted.ended {
                    return Err(Wrong::Unreadable("a collection goes on after its end"));
                }
                counted.ended = fields.ended;
                self.present = Some(namespace);
                self.in_block = 0;
                self.at = At::Documents;
            }
            At::Magic => {}
        }
        self.kept.clear();
        Ok(())
    }

    fn block_ends(&mut self) -> Result<(), Wrong> {
        self.at = At::Block;
        let Some(counted) = self.present.take().and_then(|namespace| self.counted.get_mut(&namespace)) else {
            return Err(Wrong::Unreadable("a block has no collection"));
        };
        counted.documents += self.in_block;
        Ok(())
    }

    /// That was all; what is in it, when it is whole.
    pub fn finish(mut self) -> Result<Held, Wrong> {
        if self.at != At::Block || self.left > 0 || !self.kept.is_empty() {
            return Err(Wrong::CutOff);
        }
        let shown = |(database, name): &(String, String)| format!("{database}.{name}");
        let mut unended: Vec<_> =
            self.counted.iter().filter(|(_, c)| !c.ended).map(|(n, _)| shown(n)).collect();
        unended.sort();
        if let Some(name) = unended.into_iter().next() {
            return Err(Wrong::Unended(name));
        }
        let oplog = self.counted.remove(&(OPLOG.0.to_owned(), OPLOG.1.to_owned())).is_some();
        let mut collections = Vec::new();
        for Listed { database, name, kind } in std::mem::take(&mut self.listed) {
            if (database.as_str(), name.as_str()) == OPLOG {
                continue;
            }
            let key = (database, name);
            let documents = self.counted.remove(&key).map(|counted| counted.documents);
            if documents.is_none() && kind == "collection" {
                return Err(Wrong::Unended(shown(&key)));
            }
            let documents = documents.filter(|_| matches!(kind.as_str(), "" | "collection"));
            let (database, name) = key;
            collections.push(Collection { database, name, documents });
        }
        // mongodump lists them in another order each time.
        collections.sort_by(|a, b| (&a.database, &a.name).cmp(&(&b.database, &b.name)));
        Ok(Held { collections, oplog })
    }
}

/// Of a document, what is looked at.
#[derive(Debug, Default)]
struct Fields {
    database: String,
    collection: String,
    kind: String,
    ended: bool,
}

impl Fields {
    /// Reads a document (bsonspec.org, version 1.1), as far as such documents go.
    fn read(document: &[u8]) -> Result<Self, Wrong> {
        let odd = || Wrong::Unreadable("a document is no BSON");
        let mut fields = Self::default();
        let (mut seen, mut rest) = (0, document.get(4..).ok_or_else(odd)?);
        loop {
            let (kind, after) = rest.split_first().ok_or_else(odd)?;
            if *kind == 0 {
                break;
            }
            let end = after.iter().position(|byte| *byte == 0).ok_or_else(odd)?;
            let (name, after) = after.split_at(end);
            let value = after.get(1..).ok_or_else(odd)?;
            let length = || -> Option<usize> {
                let length = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
                usize::try_from(length).ok()
            };
            let bytes = match kind {
                0x02 | 0x0d | 0x0e => length().ok_or_else(odd)?.checked_add(4),
                0x03 | 0x04 => length(),
                0x05 => length().ok_or_else(odd)?.checked_add(5),
                0x08 => Some(1),
                0x01 | 0x09 | 0x11 | 0x12 => Some(8),
                0x10 => Some(4),
                0x0a => Some(0),
                0x07 => Some(12),
                _ => None,
            };
            let bytes = bytes.filter(|bytes| *bytes <= value.len()).ok_or_else(odd)?;
            let (value, after) = value.split_at(bytes);
            let text = || {
                let text = value.get(4..value.len().saturating_sub(1)).unwrap_or_default();
                String::from_utf8_lossy(text).into_owned()
            };
            match (name, kind) {
                (b"db", 0x02) => {
                    fields.database = text();
                    seen += 1;
                }
                (b"collection", 0x02) => {
                    fields.collection = text();
                    seen += 1;
                }
                (b"type", 0x02) => fields.kind = text(),
                (b"EOF", 0x08) => fields.ended = value == [1],
                _ => {}
            }
            rest = after;
        }
        if seen == 2 { Ok(fields) } else { Err(odd()) }
    }
}

#[cfg(test)]
mod tests;
