//! A tar of what lies in a dump store, and a zip of what is in a tar, as it comes.

use async_zip::base::write::ZipFileWriter;
use async_zip::{AttributeCompatibility, Compression, ZipDateTimeBuilder, ZipEntryBuilder, ZipString};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::io;
use std::path::Path;
use strongroom_domain::{Failure, FailureCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tar::{Archive, Builder, EntryType, Header};
use tokio_util::compat::TokioAsyncWriteCompatExt;
use tokio_util::io::StreamReader;

/// How much is passed on at once.
const PIECE_BYTES: usize = 256 << 10;
/// What a zip tells of what it does not hold.
const LEFT_OUT: &str = "LEFT-OUT.txt";

/// What a zip may hold: its list is kept in memory until its end.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files, folders and links.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 200_000 }
    }
}

/// What comes in pieces, to be read.
fn reader(mut come: mpsc::Receiver<Vec<u8>>) -> impl AsyncRead + Unpin + Send + Sync {
    let pieces = futures::stream::poll_fn(move |context| {
        come.poll_recv(context).map(|piece| piece.map(|piece| Ok::<_, io::Error>(Bytes::from(piece))))
    });
    StreamReader::new(Synced(pieces))
}

/// Whoever polls it has it for itself alone.
struct Synced<S>(S);

impl<S: Stream + Unpin> Stream for Synced<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

/// What is written, in pieces.
fn writer(give: mpsc::Sender<Vec<u8>>) -> (DuplexStream, JoinHandle<()>) {
    let (near, mut far) = tokio::io::duplex(PIECE_BYTES);
    let passing = tokio::spawn(async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match far.read_buf(&mut piece).await {
                Ok(0) | Err(_) => return,
                // Who writes learns that nobody reads any more: this end is dropped.
                Ok(_) if give.send(piece).await.is_err() => return,
                Ok(_) => {}
            }
        }
    });
    (near, passing)
}

fn failed(what: &str, error: &impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::Unknown, format!("{what}: {error}"))
}

/// A tar that is made.
pub struct Tar {
    builder: Builder<DuplexStream>,
    passing: JoinHandle<()>,
}

impl Tar {
    /// An empty one.
    pub fn new(give: mpsc::Sender<Vec<u8>>) -> Self {
        let (writer, passing) = writer(give);
        Self { builder: Builder::new_non_terminated(writer), passing }
    }

    /// Puts in a file of which the size is known.
    pub async fn put(
        &mut self,
        path: &str,
        size: u64,
        at_s: u64,
        come: mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), Failure> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(at_s);
        let put = self.builder.append_data(&mut header, path, reader(come).take(size)).await;
        put.map_err(|e| failed(path, &e))
    }

    /// Puts in the members of another tar that are at or below these paths; all of them, when there is none.
    pub async fn put_members(
        &mut self,
        come: mpsc::Receiver<Vec<u8>>,
        wanted: &[String],
    ) -> Result<(), Failure> {
        let broken = |e: io::Error| failed("the files of the archive", &e);
        let mut found = vec![false; wanted.len()];
        let mut tar = reader(come);
        let mut archive = Archive::new(&mut tar);
        let mut entries = archive.entries().map_err(broken)?;
        while let Some(entry) = entries.next().await {
            let mut entry = entry.map_err(broken)?;
            let path = entry.path().map_err(broken)?.into_owned();
            let mut is_wanted = wanted.is_empty();
            for (found, wanted) in found.iter_mut().zip(wanted) {
                let below = path.starts_with(wanted);
                *found |= below;
                is_wanted |= below;
            }
            if !is_wanted {
                continue;
            }
            let mut header = entry.header().clone();
            header.set_size(entry.effective_size());
            if let Some(link) = entry.link_name().map_err(broken)?.map(|link| link.into_owned()) {
                self.long_link(&link).await.map_err(broken)?;
                // The short form of a long one is not looked at; one that fits is the whole.
                let _ = header.set_link_name(&link);
            }
            self.builder.append_data(&mut header, &path, &mut entry).await.map_err(broken)?;
        }
        drop(entries);
        drop(archive);
        // Behind its end mark there may be more zeros: its digest is of all.
        tokio::io::copy(&mut tar, &mut tokio::io::sink()).await.map_err(broken)?;
        match wanted.iter().zip(found).find(|(_, found)| !found) {
            Some((path, _)) => {
                let message = format!("'{path}' is not in the archive");
                Err(Failure::new(FailureCode::PathNotInArchive, message))
            }
            None => Ok(()),
        }
    }

    /// GNU's form of a link that is too long for a header.
    async fn long_link(&mut self, link: &Path) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = link.as_os_str().as_bytes();
        if bytes.len() <= 100 {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_path("././@LongLink")?;
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64 + 1);
        header.set_entry_type(EntryType::GNULongLink);
        header.set_cksum();
        self.builder.append(&header, bytes.chain(&[0][..])).await
    }

    /// That is all.
    pub async fn end(self) -> Result<(), Failure> {
        let mut writer = self.builder.into_inner().await.map_err(|e| failed("the tar", &e))?;
        writer.shutdown().await.map_err(|e| failed("the tar", &e))?;
        drop(writer);
        self.passing.await.map_err(|e| failed("the tar", &e))
    }
}

/// Gives the content of one member of a tar; the rest is read for the digest of all.
pub async fn member(
    come: mpsc::Receiver<Vec<u8>>,
    give: mpsc::Sender<Vec<u8>>,
    wanted: &str,
) -> Result<(), Failure> {
    let broken = |e: io::Error| failed("the files of the archive", &e);
    let mut tar = reader(come);
    let mut archive = Archive::new(&mut tar);
    let mut entries = archive.entries().map_err(broken)?;
    let mut found = None;
    while let Some(entry) = entries.next().await {
        let mut entry = entry.map_err(broken)?;
        if found.is_some() || entry.path().map_err(broken)? != Path::new(wanted) {
            continue;
        }
        found = Some(entry.header().entry_type());
        if found == Some(EntryType::Regular) {
            loop {
                let mut piece = vec![0_u8; PIECE_BYTES];
                let n = entry.read(&mut piece).await.map_err(broken)?;
                piece.truncate(n);
                // Nobody who goes away is told: he knows.
                if n == 0 || give.send(piece).await.is_err() {
                    break;
                }
            }
        }
    }
    drop(entries);
    drop(archive);
    tokio::io::copy(&mut tar, &mut tokio::io::sink()).await.map_err(broken)?;
    match found {
        Some(EntryType::Regular) => Ok(()),
        Some(_) => {
            let message = format!("'{wanted}' is no file with content: ask for a tar or a zip");
            Err(Failure::new(FailureCode::WrongForm, message))
        }
        None => {
            let message = format!("'{wanted}' is not in the archive");
            Err(Failure::new(FailureCode::PathNotInArchive, message))
        }
    }
}

/// Makes a zip of a tar. Links to files that are in it and devices have no form that all programs read: a file in the zip tells which
/// were left out.
pub async fn zip(
    come: mpsc::Receiver<Vec<u8>>,
    give: mpsc::Sender<Vec<u8>>,
    limits: Limits,
) -> Result<(), Failure> {
    let broken = |e: io::Error| failed("the tar", &e);
    let unwritten = |e: async_zip::error::ZipError| failed("the zip", &e);
    let (writer, passing) = writer(give);
    let mut zip = ZipFileWriter::new(writer.compat_write());
    let mut tar = reader(come);
    let mut archive = Archive::new(&mut tar);
    let mut entries = archive.entries().map_err(broken)?;
    let (mut left_out, mut count) = (Vec::new(), 0_usize);
    while let Some(entry) = entries.next().await {
        let mut entry = entry.map_err(broken)?;
        count += 1;
        if count > limits.entries {
            let message = format!("a zip holds {} entries at most: ask for a tar", limits.entries);
            return Err(Failure::new(FailureCode::WrongForm, message));
        }
        let path = String::from_utf8_lossy(&entry.path_bytes().map_err(broken)?).into_owned();
        let header = entry.header();
        let mode = u16::try_from(header.mode().unwrap_or(0o644) & 0o7777).unwrap_or(0o644);
        let at = date(header.mtime().unwrap_or_default());
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let new = made(path, 0o100_000 | mode, at, Compression::Deflate);
                let mut file = zip.write_entry_stream(new).await.map_err(unwritten)?;
                let mut piece = vec![0_u8; PIECE_BYTES];
                loop {
                    let n = entry.read(&mut piece).await.map_err(broken)?;
                    let Some(read) = piece.get(..n).filter(|read| !read.is_empty()) else { break };
                    futures::AsyncWriteExt::write_all(&mut file, read).await.map_err(broken)?;
                }
                file.close().await.map_err(unwritten)?;
            }
            EntryType::Directory => {
                let path = if path.ends_with('/') { path } else { format!("{path}/") };
                let new = made(path, 0o040_000 | mode, at, Compression::Stored);
                zip.write_entry_whole(new, &[]).await.map_err(unwritten)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().map_err(broken)?.unwrap_or_default().into_owned();
                let new = made(path, 0o120_777, at, Compression::Stored);
                zip.write_entry_whole(new, &target).await.map_err(unwritten)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().map_err(broken)?.unwrap_or_default().into_owned();
                left_out.push(format!(
                    "{path}: a hard link, the same file as {}",
                    String::from_utf8_lossy(&target)
                ));
            }
            _ => left_out.push(format!("{path}: a device or a pipe")),
        }
    }
    drop(entries);
    drop(archive);
    // Behind its end mark there may be more zeros, and who writes them is not to be told that nobody reads.
    tokio::io::copy(&mut tar, &mut tokio::io::sink()).await.map_err(broken)?;
    if !left_out.is_empty() {
        let text = format!("A zip has no form for these; a tar has.\n\n{}\n", left_out.join("\n"));
        let new = made(LEFT_OUT.into(), 0o100_644, date(0), Compression::Deflate);
        zip.write_entry_whole(new, text.as_bytes()).await.map_err(unwritten)?;
    }
    let mut writer = zip.close().await.map_err(unwritten)?;
    futures::AsyncWriteExt::close(&mut writer).await.map_err(broken)?;
    drop(writer);
    passing.await.map_err(|e| failed("the zip", &e))
}

fn made(path: String, mode: u16, at: async_zip::ZipDateTime, compression: Compression) -> ZipEntryBuilder {
    ZipEntryBuilder::new(ZipString::from(path), compression)
        .attribute_compatibility(AttributeCompatibility::Unix)
        .unix_permissions(mode)
        .last_modification_date(at)
}

/// A time as a zip has it: from 1980 on, in UTC.
fn date(at_s: u64) -> async_zip::ZipDateTime {
    let at = i64::try_from(at_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let part = |n: i8| u32::try_from(n).unwrap_or_default();
    let builder = ZipDateTimeBuilder::new();
    if !(1980..2108).contains(&at.year()) {
        return builder.year(1980).month(1).day(1).build();
    }
    builder
        .year(i32::from(at.year()))
        .month(part(at.month()))
        .day(part(at.day()))
        .hour(part(at.hour()))
        .minute(part(at.minute()))
        .second(part(at.second()))
        .build()
}
