//! A tar of what lies in a dump store, and a zip of what is in a tar, as it comes.

use crate::jobs::store::members::{Lonely, Members, Wanted, broken, reader};
use crate::zipping::{Zipping, options};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tar::{Builder, EntryType, Header};
use zip::write::SimpleFileOptions;

/// How much is passed on at once.
const PIECE_BYTES: usize = 256 << 10;
/// What waits to be written into a zip.
const STEPS: usize = 4;
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

    /// Puts in the members of another tar that are at or below these paths; all of them, when there is none. A file whose own
    /// name is not wanted comes under the first of its names that is.
    pub async fn put_members(
        &mut self,
        come: mpsc::Receiver<Vec<u8>>,
        paths: &[String],
        lonely: &[Lonely],
    ) -> Result<(), Failure> {
        let mut wanted = Wanted::new(paths);
        let mut members = Members::of(come)?;
        while let Some(mut member) = members.next().await? {
            let path = member.path().map_err(broken)?.into_owned();
            let is_wanted = wanted.takes(&path);
            let mut header = member.header().clone();
            header.set_size(member.effective_size());
            if let Some(alone) = lonely.iter().find(|lonely| lonely.target == path) {
                self.builder.append_data(&mut header, &alone.link, &mut member).await.map_err(broken)?;
                continue;
            }
            if !is_wanted {
                continue;
            }
            if let Some(mut link) = member.link_name().map_err(broken)?.map(|link| link.into_owned()) {
                if member.header().entry_type() == EntryType::Link
                    && let Some(alone) = lonely.iter().find(|lonely| lonely.target == link)
                {
                    if alone.link == path {
                        continue;
                    }
                    link.clone_from(&alone.link);
                }
                self.long_link(&link).await.map_err(broken)?;
                // The short form of a long one is not looked at; one that fits is the whole.
                let _ = header.set_link_name(&link);
            }
            self.builder.append_data(&mut header, &path, &mut member).await.map_err(broken)?;
        }
        members.end().await?;
        match wanted.missing() {
            Some(path) => Err(not_there(path)),
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

/// What a member of a tar is that is asked for alone.
pub enum Single {
    /// Its content was given.
    Given,
    /// It is another name of this one.
    LinkTo(PathBuf),
}

/// Gives the content of one member of a tar; the rest is read for the digest of all.
pub async fn member(
    come: mpsc::Receiver<Vec<u8>>,
    give: &mpsc::Sender<Vec<u8>>,
    wanted: &Path,
) -> Result<Single, Failure> {
    let mut members = Members::of(come)?;
    let mut found = None;
    while let Some(mut member) = members.next().await? {
        if found.is_some() || member.path().map_err(broken)? != wanted {
            continue;
        }
        let kind = member.header().entry_type();
        let target = member.link_name().map_err(broken)?.map(|target| target.into_owned());
        found = Some((kind, target));
        if kind != EntryType::Regular {
            continue;
        }
        loop {
            let mut piece = vec![0_u8; PIECE_BYTES];
            let n = member.read(&mut piece).await.map_err(broken)?;
            piece.truncate(n);
            // Nobody who goes away is told: he knows.
            if n == 0 || give.send(piece).await.is_err() {
                break;
            }
        }
    }
    members.end().await?;
    match found {
        Some((EntryType::Regular, _)) => Ok(Single::Given),
        Some((EntryType::Link, Some(target))) => Ok(Single::LinkTo(target)),
        Some(_) => {
            let message = format!("'{}' is no file with content: ask for a tar or a zip", wanted.display());
            Err(Failure::new(FailureCode::WrongForm, message))
        }
        None => Err(not_there(&wanted.display().to_string())),
    }
}

fn not_there(path: &str) -> Failure {
    Failure::new(FailureCode::PathNotInArchive, format!("'{path}' is not in the archive"))
}

/// What is to be written next into a zip.
enum Step {
    File(String, SimpleFileOptions),
    Piece(Vec<u8>),
    Folder(String, SimpleFileOptions),
    Link(String, String, SimpleFileOptions),
    End,
}

/// Makes a zip of a tar. Links to files that are in it and devices have no form that all programs read: a file in the zip tells which
/// were left out.
pub async fn zip(
    come: mpsc::Receiver<Vec<u8>>,
    give: mpsc::Sender<Vec<u8>>,
    limits: Limits,
) -> Result<(), Failure> {
    let (steps, coming) = mpsc::channel(STEPS);
    let writing = tokio::task::spawn_blocking(move || write_zip(coming, give));
    let read = read_for_zip(come, &steps, limits).await;
    drop(steps);
    let written = writing.await.map_err(|e| failed("the zip", &e))?;
    // What it is made of says more than that it broke off.
    read?;
    written.map_err(|e| failed("the zip", &e))
}

/// Writes what it is told, as long as somebody takes it.
fn write_zip(mut coming: mpsc::Receiver<Step>, give: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut zipping = Zipping::new(io::BufWriter::with_capacity(PIECE_BYTES, Giving(give)));
    while let Some(step) = coming.blocking_recv() {
        match step {
            Step::File(name, options) => zipping.file(&name, options)?,
            Step::Piece(piece) => zipping.write_all(&piece)?,
            Step::Folder(name, options) => zipping.folder(&name, options)?,
            Step::Link(name, target, options) => zipping.link(&name, &target, options)?,
            Step::End => return zipping.end()?.flush(),
        }
    }
    Err(io::Error::new(io::ErrorKind::BrokenPipe, "what it is made of broke off"))
}

/// Gives away what is written.
struct Giving(mpsc::Sender<Vec<u8>>);

impl Write for Giving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let given = self.0.blocking_send(bytes.to_vec());
        given.map(|()| bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says what is to be written, as long as somebody hears it.
async fn read_for_zip(
    come: mpsc::Receiver<Vec<u8>>,
    steps: &mpsc::Sender<Step>,
    limits: Limits,
) -> Result<(), Failure> {
    let mut members = Members::of(come)?;
    let (mut left_out, mut count) = (Vec::new(), 0_usize);
    while let Some(mut entry) = members.next().await? {
        count += 1;
        if count > limits.entries {
            let message = format!("a zip holds {} entries at most: ask for a tar", limits.entries);
            return Err(Failure::new(FailureCode::WrongForm, message));
        }
        let path = String::from_utf8_lossy(&entry.path_bytes().map_err(broken)?).into_owned();
        let header = entry.header();
        let options = options(header.mode().unwrap_or(0o644) & 0o7777, header.mtime().unwrap_or_default());
        let step = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Step::File(path, options),
            EntryType::Directory => Step::Folder(path, options),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().map_err(broken)?.unwrap_or_default().into_owned();
                Step::Link(path, String::from_utf8_lossy(&target).into_owned(), options)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().map_err(broken)?.unwrap_or_default().into_owned();
                left_out.push(format!(
                    "{path}: a hard link, the same file as {}",
                    String::from_utf8_lossy(&target)
                ));
                continue;
            }
            _ => {
                left_out.push(format!("{path}: a device or a pipe"));
                continue;
            }
        };
        let is_file = matches!(step, Step::File(..));
        if steps.send(step).await.is_err() {
            return Ok(());
        }
        if is_file && !give_content(&mut entry, steps).await? {
            return Ok(());
        }
    }
    members.end().await?;
    let mut rest = Vec::new();
    if !left_out.is_empty() {
        let text = format!("A zip has no form for these; a tar has.\n\n{}\n", left_out.join("\n"));
        rest.push(Step::File(LEFT_OUT.into(), options(0o644, 0)));
        rest.push(Step::Piece(text.into_bytes()));
    }
    rest.push(Step::End);
    for step in rest {
        if steps.send(step).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Gives the content of a file; whether somebody took it.
async fn give_content(
    content: &mut (impl AsyncRead + Unpin),
    steps: &mpsc::Sender<Step>,
) -> Result<bool, Failure> {
    loop {
        let mut piece = vec![0_u8; PIECE_BYTES];
        let n = content.read(&mut piece).await.map_err(broken)?;
        piece.truncate(n);
        if n == 0 {
            return Ok(true);
        }
        if steps.send(Step::Piece(piece)).await.is_err() {
            return Ok(false);
        }
    }
}
