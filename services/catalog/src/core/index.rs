//! The index of an archive's files: how its entries are laid out so that a folder is one walk.
//!
//! A key is the folder, a zero byte, `d` or `f`, and the name: so what lies directly in a folder stands together, folders
//! before all else, each by name. Folders that lead to an entry and have none of their own are made up.

use super::framed;
use super::list::{self, RawPage, Refused};
use super::store::{Base, Key, Start, StoreError};
use std::collections::HashSet;
use std::ops::ControlFlow;
use strongroom_domain::Rejection;
use strongroom_domain::view::{BrowseQuestion, Entry};

/// How many entries a page has when the question does not say, and at most.
const LIMIT: (u32, u32) = (200, 1000);

/// Lays entries out, one after the other.
#[derive(Debug, Default)]
pub struct Layout {
    folders: HashSet<String>,
}

impl Layout {
    /// What is to be written for this entry: itself, and the folders that lead to it and were not seen before.
    pub fn place(&mut self, entry: &Entry, writes: &mut Vec<(Key, Vec<u8>)>) -> Result<(), StoreError> {
        let path = entry.path.trim_matches('/');
        if path.is_empty() || path == "." {
            return Ok(());
        }
        let is_folder = entry.kind == "d";
        if is_folder {
            self.folders.insert(path.to_owned());
        }
        writes.push((key(path, is_folder), framed::value(entry)?));
        let mut below = path;
        while let Some((folder, _)) = below.rsplit_once('/') {
            if !self.folders.insert(folder.to_owned()) {
                break;
            }
            writes.push((key(folder, true), framed::value(&made_up(folder))?));
            below = folder;
        }
        Ok(())
    }
}

/// Where an entry stands.
fn key(path: &str, is_folder: bool) -> Key {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut key = inside(folder);
    key.push(if is_folder { b'd' } else { b'f' });
    key.extend_from_slice(name.as_bytes());
    key
}

/// What the keys of all entries in a folder begin with.
fn inside(folder: &str) -> Key {
    let mut key = folder.as_bytes().to_vec();
    key.push(0);
    key
}

/// A folder that leads to an entry, and of which nothing more is known.
fn made_up(path: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: "d".into(),
        size_bytes: 0,
        mode: "drwxr-xr-x".into(),
        user: String::new(),
        group: String::new(),
        modified_at: String::new(),
        link_target: None,
    }
}

/// A folder's path as it stands in the index: without a slash at either end.
pub fn folder(path: &str) -> Result<String, Rejection> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || path.contains('\0') {
        return Err(Rejection::field("path", "must not hold '..' or a NUL"));
    }
    Ok(parts.join("/"))
}

/// A page of a folder.
pub fn browse(base: &dyn Base, question: &BrowseQuestion) -> Result<RawPage, Refused> {
    let limit = list::limit(question.limit, LIMIT)?;
    let folder = folder(&question.path)?;
    if !folder.is_empty() && !base.holds(&key(&folder, true))? {
        return Err(Rejection::NotFound { kind: "folder".into(), id: question.path.clone() }.into());
    }
    let prefix = inside(&folder);
    let after = match &question.after {
        Some(text) if text.starts_with("d/") || text.starts_with("f/") => {
            let (sort, name) = text.split_at(2);
            Some([&*prefix, sort.trim_end_matches('/').as_bytes(), name.as_bytes()].concat())
        }
        Some(_) => {
            let text = "must be the 'next' of an earlier page of the same folder";
            return Err(Rejection::field("after", text).into());
        }
        None => None,
    };
    let mut page = RawPage::default();
    let mut last = String::new();
    base.scan(&prefix, after.as_deref().map(Start::After), &mut |key, value| {
        if page.len() == limit || !page.push(value) {
            page.continued(last.clone());
            return Ok(ControlFlow::Break(()));
        }
        let place = key.get(prefix.len()..).unwrap_or_default();
        let (sort, name) = place.split_at_checked(1).unwrap_or_default();
        last = format!("{}/{}", String::from_utf8_lossy(sort), String::from_utf8_lossy(name));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}
