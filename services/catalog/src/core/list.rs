//! Pages of lists, newest first, by index.
//!
//! The records' shown parts are copied into the answer as they stand. A page ends early when it would not fit into one
//! message, or when its filters have passed over very much: it then still says where the next one begins.

use super::framed;
use super::key::{By, Listed, SUFFIX, Suffix, id_of};
use super::store::{Base, Key, Start, StoreError};
use std::ops::ControlFlow;
use strongroom_domain::Rejection;
use strongroom_domain::view::ListQuestion;

/// How many items a page has when the question does not say, and at most.
const LIMIT: (u32, u32) = (50, 500);
/// How many bytes of items fit into one message beside the rest (NATS allows 1 MB).
const PAGE_BYTES: usize = 700 * 1024;
/// How many entries of an index one question may pass over.
const LOOKED_AT: usize = 50_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The question is not right.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store does not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A page of encoded items.
#[derive(Debug, Default)]
pub struct RawPage {
    items: Vec<u8>,
    count: usize,
    next: Option<String>,
}

impl RawPage {
    /// Adds an item. `false`: it does not fit any more, and the page ends before it.
    pub fn push(&mut self, item: &[u8]) -> bool {
        if self.count > 0 && self.items.len() + item.len() > PAGE_BYTES {
            return false;
        }
        self.items.extend_from_slice(item);
        self.count += 1;
        true
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Says where the next page begins.
    pub fn continued(&mut self, after: String) {
        self.next = Some(after);
    }

    /// The page as a `view::Browse::Ready` is encoded: a map of two with the page in it.
    pub fn encode_browse(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = b"\x82\xa5index\xa5ready\xa4page".to_vec();
        bytes.extend_from_slice(&self.encode()?);
        Ok(bytes)
    }

    /// The page as a `view::Page` is encoded: a map of two, in MessagePack.
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity(self.items.len() + 128);
        bytes.extend_from_slice(b"\x82\xa5items\xdd");
        let count = u32::try_from(self.count).map_err(|e| StoreError::damaged("a page", e))?;
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&self.items);
        bytes.extend_from_slice(b"\xa4next");
        bytes.extend_from_slice(&framed::value(&self.next)?);
        Ok(bytes)
    }
}

/// How many items are asked for.
pub fn limit(asked: Option<u32>, (usual, most): (u32, u32)) -> Result<usize, Rejection> {
    match asked.unwrap_or(usual) {
        n if n == 0 || n > most => Err(Rejection::field("limit", format!("must be 1 to {most}"))),
        n => Ok(n as usize),
    }
}

/// The usual limits of lists.
pub fn list_limit(question: &ListQuestion) -> Result<usize, Rejection> {
    limit(question.limit, LIMIT)
}

/// A page of jobs or archives.
pub fn newest_first(base: &dyn Base, listed: Listed, question: &ListQuestion) -> Result<Vec<u8>, Refused> {
    let limit = list_limit(question)?;
    if listed == Listed::Archives && question.phase.is_some() {
        return Err(Rejection::field("phase", "archives have no phase; leave it out").into());
    }
    let mut filters: Vec<Key> = Vec::new();
    // The one that usually leaves least comes first: its index is walked, the others are looked up.
    if let Some(plan) = &question.plan {
        filters.push(listed.index(By::Plan, plan.as_str()));
    }
    if let Some(repository) = &question.repository {
        filters.push(listed.index(By::Repository, repository.as_str()));
    }
    if let Some(phase) = question.phase {
        // Few jobs are under way at any time.
        let place = if phase.is_terminal() { filters.len() } else { 0 };
        filters.insert(place, listed.index(By::Phase, &phase.to_string()));
    }
    if let Some(server) = &question.server {
        filters.push(listed.index(By::Server, server.as_str()));
    }
    let (walked, others) = match filters.split_first() {
        Some((first, others)) => (first.clone(), others.to_vec()),
        None => (listed.index(By::All, ""), Vec::new()),
    };
    let after = question.after.as_deref().map(cursor).transpose()?;
    let from = after.map(|after| listed.block(&walked, &after));
    let mut others: Vec<Lookup> = others.into_iter().map(Lookup::new).collect();
    let mut page = RawPage::default();
    let mut looked_at = 0;
    let mut last = after.unwrap_or_default();
    let mut visit = |suffix: &Suffix| -> Result<ControlFlow<()>, StoreError> {
        if page.len() == limit || looked_at == LOOKED_AT {
            page.continued(hex(&last));
            return Ok(ControlFlow::Break(()));
        }
        looked_at += 1;
        for other in &mut others {
            if !other.holds(base, listed, suffix)? {
                last = *suffix;
                return Ok(ControlFlow::Continue(()));
            }
        }
        let id = id_of(suffix);
        let record = base
            .get(&listed.record(id))?
            .ok_or_else(|| StoreError::Damaged(format!("an index leads to {id}, which is not there")))?;
        if !page.push(framed::shown(&record)?) {
            page.continued(hex(&last));
            return Ok(ControlFlow::Break(()));
        }
        last = *suffix;
        Ok(ControlFlow::Continue(()))
    };
    base.scan(&walked, from.as_deref().map(Start::At), &mut |_, block| {
        for suffix in entries(block)?.iter().filter(|s| after.is_none_or(|after| **s > after)) {
            if visit(suffix)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page.encode()?)
}

/// Whether another index holds an entry, too. Neighbours are mostly in the same block, which is read once.
struct Lookup {
    index: Key,
    block: Option<(Key, Vec<u8>)>,
}

impl Lookup {
    fn new(index: Key) -> Self {
        Self { index, block: None }
    }

    fn holds(&mut self, base: &dyn Base, listed: Listed, suffix: &Suffix) -> Result<bool, StoreError> {
        let key = listed.block(&self.index, suffix);
        let block = match self.block.take().filter(|(read, _)| *read == key) {
            Some((_, block)) => block,
            None => base.get(&key)?.unwrap_or_default(),
        };
        let holds = entries(&block)?.binary_search(suffix).is_ok();
        self.block = Some((key, block));
        Ok(holds)
    }
}

fn entries(block: &[u8]) -> Result<&[Suffix], StoreError> {
    match block.as_chunks::<SUFFIX>() {
        (entries, []) => Ok(entries),
        _ => Err(StoreError::Damaged("a block of an index is cut".into())),
    }
}

fn hex(bytes: &[u8]) -> String {
    strongroom_bus::envelope::hex(bytes)
}

/// Reads a cursor: the last entry of the page before, in hex.
fn cursor(text: &str) -> Result<Suffix, Rejection> {
    let bad = || Rejection::field("after", "must be the 'next' of an earlier page of the same list");
    if text.len() != 2 * SUFFIX || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut suffix = [0; SUFFIX];
    for (i, byte) in suffix.iter_mut().enumerate() {
        let pair = text.get(2 * i..2 * i + 2);
        *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(bad)?;
    }
    Ok(suffix)
}
