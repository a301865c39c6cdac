//! Objects as files of a folder that the node sees.
//!
//! A file gets its name when its bytes are on the disk, and a name is on the disk when its folder is: a power cut leaves
//! whole objects or none (`man 2 fsync`).

use super::{Object, Store, Upload};
use crate::jobs::file_failure;
use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strongroom_domain::probe::Space;
use strongroom_domain::{Failure, FailureCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How much is read or written at once.
const PIECE_BYTES: usize = 1 << 20;
/// After so many bytes the disk begins to write them.
const SYNC_BYTES: usize = 32 << 20;
/// How the name of a file ends that is not whole.
const PARTIAL: &str = ".partial";

/// The folder.
pub struct Local(PathBuf);

impl Local {
    /// The folder of a repository.
    pub fn at(location: &str) -> Self {
        Self(PathBuf::from(location))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let path = self.0.join(name);
        let done = tokio::task::spawn_blocking(move || work(&path).map_err(|e| failed(&path, &e))).await;
        done.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?
    }
}

#[async_trait]
impl Store for Local {
    async fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.blocking(name, move |path| {
            let Some(file) = present(File::open(path))? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(io::Error::new(
                    ErrorKind::FileTooLarge,
                    format!("it has more than {limit} bytes"),
                ));
            }
            Ok(Some(bytes))
        })
        .await
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Failure> {
        self.blocking(name, move |path| {
            make_folders(path.parent().unwrap_or(path))?;
            // Two may do so at once.
            let aside = with_suffix(path, &format!(".{}{PARTIAL}", uuid::Uuid::now_v7().simple()));
            let written = open_new(&aside).and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            });
            let named = written.and_then(|()| name_it(&aside, path));
            if !matches!(named, Ok(true)) {
                let _ = fs::remove_file(&aside);
            }
            named
        })
        .await
    }

    async fn upload(&self, name: &str, _expected_bytes: Option<u64>) -> Result<Box<dyn Upload>, Failure> {
        let file = self
            .blocking(name, |path| {
                make_folders(path.parent().unwrap_or(path))?;
                open_new(&with_suffix(path, PARTIAL))
            })
            .await?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(PIECE_BYTES);
        Ok(Box::new(Writing { path: self.0.join(name), file, waiting: 0, syncing: None }))
    }

    async fn fetch(&self, name: &str, give: mpsc::Sender<Bytes>) -> Result<bool, Failure> {
        self.blocking(name, move |path| {
            let Some(mut file) = present(File::open(path))? else { return Ok(false) };
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let n = file.read(&mut piece)?;
                piece.truncate(n);
                if n == 0 || give.blocking_send(piece.into()).is_err() {
                    return Ok(true);
                }
            }
        })
        .await
    }

    async fn list(&self, below: &str) -> Result<Vec<Object>, Failure> {
        let name = below.to_owned();
        self.blocking(below, move |path| {
            let mut found = Vec::new();
            walk(path, &name, &mut found, &|name| !name.ends_with(PARTIAL))?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), Failure> {
        self.blocking(name, |path| {
            present(fs::remove_file(path))?;
            // That it is gone is to be known after a power cut as well.
            let folder = path.parent().unwrap_or(path);
            present(File::open(folder).and_then(|folder| folder.sync_all())).map(|_| ())
        })
        .await
    }

    async fn clear(&self, below: &str) -> Result<(), Failure> {
        // What a failed attempt leaves is the folder of its archive, in which nobody else writes.
        let attempt = below.split('/').count() > 2;
        self.blocking(below, move |path| {
            present(fs::remove_dir_all(path))?;
            if let Some(archive) = path.parent().filter(|_| attempt) {
                // It stays where there is something else in it.
                let _ = fs::remove_dir(archive);
            }
            Ok(())
        })
        .await
    }

    async fn clear_partial(&self, below: &str) -> Result<(), Failure> {
        self.blocking(below, |path| {
            let mut found = Vec::new();
            walk(path, "", &mut found, &|name| name.ends_with(PARTIAL))?;
            let mut names = found.iter().map(|object| object.name.trim_start_matches('/'));
            names.try_for_each(|name| present(fs::remove_file(path.join(name))).map(|_| ()))
        })
        .await
    }

    async fn space(&self) -> Result<Option<Space>, Failure> {
        self.blocking("", |path| {
            let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
            room(there).map(Some)
        })
        .await
    }
}

/// The room of the file system that has this folder.
pub fn room(folder: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { total_bytes: bytes(found.f_blocks), free_bytes: bytes(found.f_bavail) })
}

struct Writing {
    path: PathBuf,
    file: tokio::fs::File,
    /// Bytes since the disk was last told to write.
    waiting: usize,
    /// The disk at work.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Writing {
    /// Lets the disk write while more comes, so that the end has not to wait for all of it.
    async fn sync(&mut self) -> io::Result<()> {
        if self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return Ok(());
        }
        self.synced().await?;
        self.waiting = 0;
        let file = self.file.try_clone().await?;
        self.syncing = Some(tokio::spawn(async move { file.sync_data().await }));
        Ok(())
    }

    /// What came of it: an error is told once, to who asks first.
    async fn synced(&mut self) -> io::Result<()> {
        match self.syncing.take() {
            Some(syncing) => syncing.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Upload for Writing {
    async fn write(&mut self, piece: Bytes) -> Result<(), Failure> {
        let written = async {
            self.file.write_all(&piece).await?;
            self.waiting += piece.len();
            if self.waiting >= SYNC_BYTES { self.sync().await } else { Ok(()) }
        };
        written.await.map_err(|e| failed(&self.path, &e))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        let synced = self.synced().await;
        let Self { path, file, .. } = *self;
        let finished = async {
            synced?;
            let mut file = file;
            file.flush().await?;
            file.sync_all().await?;
            drop(file);
            let named = path.clone();
            let name = move || name_it(&with_suffix(&named, PARTIAL), &named);
            tokio::task::spawn_blocking(name).await.map_err(io::Error::other)?
        };
        match finished.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(&path, &ErrorKind::AlreadyExists.into())),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    async fn abort(self: Box<Self>) {
        let aside = with_suffix(&self.path, PARTIAL);
        drop(self.file);
        if let Err(e) = tokio::fs::remove_file(&aside).await {
            tracing::warn!(file = %aside.display(), error = %e, "what was half written was not removed");
        }
    }
}

/// Gives a file its name, unless another has it, and says whether it did.
fn name_it(aside: &Path, path: &Path) -> io::Result<bool> {
    let renamed = match renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE) {
        // A file system that cannot do so can make a second name, which is refused where there is one.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            fs::hard_link(aside, path).and_then(|()| fs::remove_file(aside))
        }
        renamed => renamed.map_err(io::Error::from),
    };
    match renamed {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(e),
    }
    File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(true)
}

/// Makes a folder and those above it, each on the disk when this returns.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(folder);
    make_folders(above)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    File::open(above)?.sync_all()
}

fn open_new(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// All files below a folder whose names are wanted.
fn walk(
    folder: &Path,
    name: &str,
    found: &mut Vec<Object>,
    is_wanted: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    let Some(entries) = present(fs::read_dir(folder))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        // What is not text is none of ours.
        let Ok(last) = entry.file_name().into_string() else { continue };
        let name = format!("{name}/{last}");
        let Some(metadata) = present(entry.metadata())? else { continue };
        if metadata.is_dir() {
            walk(&entry.path(), &name, found, is_wanted)?;
        } else if metadata.is_file() && is_wanted(&name) {
            found.push(Object { name, size_bytes: metadata.len() });
        }
    }
    Ok(())
}

/// Nothing, where there is nothing.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    file_failure(&path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn names(objects: &[Object]) -> Vec<(&str, u64)> {
        objects.iter().map(|o| (o.name.as_str(), o.size_bytes)).collect()
    }

    #[tokio::test]
    async fn an_object_is_seen_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Local::at(folder.path().join("s/r").to_str().unwrap());
        assert_eq!(store.list("a").await.unwrap(), []);
        let mut upload = store.upload("a/b/x", None).await.unwrap();
        upload.write(Bytes::from_static(b"12")).await.unwrap();
        upload.write(Bytes::from_static(b"345")).await.unwrap();
        assert_eq!(store.list("a").await.unwrap(), [], "it is not whole");
        assert_eq!(store.read("a/b/x", 9).await.unwrap(), None);
        upload.finish().await.unwrap();
        assert_eq!(names(&store.list("a").await.unwrap()), [("a/b/x", 5)]);
        assert_eq!(store.read("a/b/x", 5).await.unwrap().unwrap(), b"12345");
        assert!(store.read("a/b/x", 4).await.is_err(), "nobody asked for so much");
        let (give, mut come) = mpsc::channel(9);
        assert!(store.fetch("a/b/x", give).await.unwrap());
        assert_eq!(come.recv().await.unwrap(), "12345");
        let (give, _come) = mpsc::channel(9);
        assert!(!store.fetch("a/b/y", give).await.unwrap());

        let mut given_up = store.upload("a/c", None).await.unwrap();
        given_up.write(Bytes::from_static(b"12")).await.unwrap();
        given_up.abort().await;
        drop(store.upload("a/d/left", None).await.unwrap());
        assert!(folder.path().join("s/r/a/d/left.partial").exists());
        store.clear_partial("a").await.unwrap();
        assert!(!folder.path().join("s/r/a/d/left.partial").exists());
        assert_eq!(names(&store.list("a").await.unwrap()), [("a/b/x", 5)]);
        store.clear("a/d").await.unwrap();
        assert!(!folder.path().join("s/r/a/d").exists() && !folder.path().join("s/r/a/c.partial").exists());
        store.clear("a/d").await.unwrap();
        store.delete("a/b/x").await.unwrap();
        store.delete("a/b/x").await.unwrap();
        assert_eq!(store.list("a").await.unwrap(), []);
    }

    #[tokio::test]
    async fn of_two_that_make_an_object_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let store = Local::at(folder.path().to_str().unwrap());
        let (a, b) = tokio::join!(store.create("m", b"a".to_vec()), store.create("m", b"b".to_vec()));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a != b);
        let expected: &[u8] = if a { b"a" } else { b"b" };
        assert_eq!(store.read("m", 9).await.unwrap().unwrap(), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of the other");
    }
}
