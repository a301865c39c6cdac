//! The members of `files.tar`, the part of an archive that holds files, as they come.
//!
//! A file with several names is in a tar once, under the name that came first; the others say of which it is a link. Whoever
//! wants one of the others alone wants the file all the same.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_tar::{Archive, Entries, Entry, EntryType};
use tokio_util::io::StreamReader;

/// Bytes that come in pieces.
pub type Source = Box<dyn AsyncRead + Unpin + Send + Sync>;
/// One of them.
pub type Member = Entry<Archive<Source>>;

/// What comes in pieces, to be read.
pub fn reader(come: mpsc::Receiver<Vec<u8>>) -> Source {
    Box::new(StreamReader::new(Pieces(come)))
}

struct Pieces(mpsc::Receiver<Vec<u8>>);

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Bytes::from(piece))))
    }
}

/// A tar that could not be read.
pub fn broken(error: io::Error) -> Failure {
    Failure::new(FailureCode::Unknown, format!("the files of the archive: {error}"))
}

/// The members, one after the other.
pub struct Members {
    archive: Archive<Source>,
    entries: Entries<Source>,
}

impl Members {
    /// Those of what comes.
    pub fn of(come: mpsc::Receiver<Vec<u8>>) -> Result<Self, Failure> {
        let mut archive = Archive::new(reader(come));
        let entries = archive.entries().map_err(broken)?;
        Ok(Self { archive, entries })
    }

    /// The next one.
    pub async fn next(&mut self) -> Result<Option<Member>, Failure> {
        self.entries.next().await.transpose().map_err(broken)
    }

    /// Reads what is behind the last one: there may be more zeros, and its digest is of all.
    pub async fn end(self) -> Result<(), Failure> {
        let Self { archive, entries } = self;
        drop(entries);
        let Ok(mut rest) = archive.into_inner() else {
            return Err(broken(io::Error::other("it is still being read")));
        };
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map_err(broken)?;
        Ok(())
    }
}

/// Which paths are wanted, and which of them were there.
pub struct Wanted<'a> {
    paths: &'a [String],
    found: Vec<bool>,
}

impl<'a> Wanted<'a> {
    /// These; all, when there is none.
    pub fn new(paths: &'a [String]) -> Self {
        Self { paths, found: vec![false; paths.len()] }
    }

    /// Whether this one is, and it was there.
    pub fn takes(&mut self, path: &Path) -> bool {
        let mut takes = self.paths.is_empty();
        for (found, wanted) in self.found.iter_mut().zip(self.paths) {
            let below = path.starts_with(wanted);
            *found |= below;
            takes |= below;
        }
        takes
    }

    /// The first that was not there.
    pub fn missing(&self) -> Option<&'a String> {
        self.paths.iter().zip(&self.found).find(|(_, found)| !**found).map(|(path, _)| path)
    }
}

/// A name of a file that is in the tar under another name, which is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lonely {
    /// The wanted name.
    pub link: PathBuf,
    /// The name that it has in the tar.
    pub target: PathBuf,
}

/// Those among the wanted ones; each target once, with the first of its names.
pub async fn lonely(come: mpsc::Receiver<Vec<u8>>, paths: &[String]) -> Result<Vec<Lonely>, Failure> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut wanted = Wanted::new(paths);
    let mut members = Members::of(come)?;
    while let Some(member) = members.next().await? {
        if member.header().entry_type() != EntryType::Link {
            continue;
        }
        let link = member.path().map_err(broken)?.into_owned();
        let Some(target) = member.link_name().map_err(broken)?.map(|target| target.into_owned()) else {
            continue;
        };
        if wanted.takes(&link) && !wanted.takes(&target) && seen.insert(target.clone()) {
            found.push(Lonely { link, target });
        }
    }
    members.end().await?;
    Ok(found)
}
