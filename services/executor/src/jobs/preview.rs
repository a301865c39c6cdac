//! What a restore of files would do: what is in the archive is held against what stands there, and nothing is touched.

use super::ground::Ground;
use super::restore::{LINES, Part};
use super::store::files::chosen;
use super::store::members::{Members, Wanted, broken};
use super::{Bench, Finished, finished, index};
use crate::control::NoOutcome;
use crate::core::command;
use crate::core::findings::Findings;
use crate::core::paths;
use crate::core::surrogates::without_lone;
use crate::dump_store::Opened;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use strongroom_domain::job::{Conflict, JobResult, RestoreSpec};
use strongroom_domain::preview::FilesPreview;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;
use tokio_tar::EntryType;

/// An entry of an archive, as `borg list --json-lines` has it.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    mtime: Option<String>,
    size: u64,
}

/// Looks.
pub async fn run(
    bench: &Bench<'_>,
    spec: &RestoreSpec,
    store: Option<&Opened<'_>>,
    parts: &[Part],
    roots: &[PathBuf],
    target: String,
) -> Result<Finished, NoOutcome> {
    bench.step("look");
    let mut preview = FilesPreview { target, ..FilesPreview::default() };
    for part in parts {
        let entries = entries(bench, spec, store, part);
        let (give, come) = mpsc::channel::<Entry>(LINES);
        let (base, roots, policy) = (part.base.clone(), roots.to_owned(), spec.on_conflict);
        let free = rustix::fs::statvfs(&part.near).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize));
        preview.free_bytes = [preview.free_bytes, free].into_iter().flatten().min();
        let comparing =
            tokio::task::spawn_blocking(move || Comparing::new(base, roots, policy, preview).all(come));
        let (listed, compared) = tokio::join!(entries.give(give), comparing);
        let compared = compared.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
        listed?;
        preview = compared;
    }
    if preview.in_the_way.total > 0 {
        let why =
            format!("{} of them stand there already, and nothing is overwritten", preview.in_the_way.total);
        preview.refusal.get_or_insert(why);
    }
    if preview.free_bytes.is_some_and(|free| free < preview.size_bytes) {
        preview.refusal.get_or_insert_with(|| "there is not enough space for them".to_owned());
    }
    Ok(finished(JobResult::PreviewRestore { preview }, Findings::default(), Vec::new()))
}

/// Where entries come from.
struct Entries<'a> {
    bench: &'a Bench<'a>,
    spec: &'a RestoreSpec,
    store: Option<&'a Opened<'a>>,
    paths: &'a [String],
}

fn entries<'a>(
    bench: &'a Bench<'a>,
    spec: &'a RestoreSpec,
    store: Option<&'a Opened<'a>>,
    part: &'a Part,
) -> Entries<'a> {
    Entries { bench, spec, store, paths: &part.paths }
}

impl Entries<'_> {
    /// Gives all entries at and below the paths; each of these must have one.
    async fn give(&self, give: mpsc::Sender<Entry>) -> Result<(), NoOutcome> {
        let mut unseen: Vec<&String> = self.paths.iter().collect();
        let mut seen = |path: &str| unseen.retain(|wanted| !Path::new(path).starts_with(wanted));
        match self.store {
            Some(opened) => {
                let archive = opened.target(&self.spec.archive).await?;
                let chosen = chosen(&archive.manifest.dump.artefacts, self.paths)?;
                let parts: Vec<_> =
                    chosen.whole.iter().chain(chosen.inside.iter().map(|(part, _)| part)).cloned().collect();
                opened.are_there(&archive.facts.name, &parts).await?;
                for artefact in chosen.whole {
                    seen(&artefact.path);
                    let (path, size) = (artefact.path, artefact.size_bytes);
                    let _ = give.send(Entry { kind: "-".into(), path, mtime: None, size }).await;
                }
                if let Some((part, paths)) = chosen.inside {
                    let (pieces, come) = mpsc::channel(LINES);
                    let listing = members(come, &paths, give, seen);
                    let both = async { tokio::join!(opened.read(&part, pieces), listing) };
                    let (read, listed) = self.bench.control.clone().unless_stopped(both).await?;
                    read?;
                    listed?;
                }
            }
            None => {
                let name = index::name_of(self.bench, &self.spec.access, &self.spec.archive).await?;
                let arguments = command::list_entries(&self.spec.access, &name, self.paths);
                let (lines, mut come) = mpsc::channel::<String>(LINES);
                // With a problem it drops its end: what borg has left to say is read then, and passed over.
                let taking = async move {
                    while let Some(line) = come.recv().await {
                        let entry: Entry = serde_json::from_str(&without_lone(&line))
                            .map_err(|e| Failure::new(FailureCode::BorgError, format!("an entry: {e}")))?;
                        seen(&entry.path);
                        if give.send(entry).await.is_err() {
                            break;
                        }
                    }
                    Ok::<_, Failure>(())
                };
                let (listed, taken) =
                    tokio::join!(self.bench.borg.run_lines(self.bench.call(arguments), lines), taking);
                listed?;
                taken?;
            }
        }
        if let Some(path) = unseen.first() {
            let message = format!("'{path}' is not in the archive; nothing would be restored");
            return Err(Failure::new(FailureCode::PathNotInArchive, message).into());
        }
        Ok(())
    }
}

/// The members of the part that holds files, as borg would list them.
async fn members(
    come: mpsc::Receiver<Vec<u8>>,
    paths: &[String],
    give: mpsc::Sender<Entry>,
    mut seen: impl FnMut(&str),
) -> Result<(), Failure> {
    let mut wanted = Wanted::new(paths);
    let mut members = Members::of(come)?;
    while let Some(member) = members.next().await? {
        let path = member.path().map_err(broken)?.into_owned();
        if !wanted.takes(&path) {
            continue;
        }
        let path = path.to_string_lossy().trim_end_matches('/').to_owned();
        seen(&path);
        let kind = match member.header().entry_type() {
            EntryType::Directory => "d",
            EntryType::Symlink => "l",
            EntryType::Fifo => "p",
            EntryType::Block | EntryType::Char => "b",
            // Of a hard link neither size nor time is told: it is never taken for what stands there.
            EntryType::Link => "h",
            _ => "-",
        };
        let at = member.header().mtime().ok().and_then(|s| i64::try_from(s).ok());
        let at = at.filter(|_| kind == "-").and_then(|s| jiff::Timestamp::from_second(s).ok());
        let mtime = at.map(|at| at.to_zoned(TimeZone::UTC).datetime().to_string());
        let _ = give.send(Entry { kind: kind.into(), path, mtime, size: member.effective_size() }).await;
    }
    members.end().await
}

/// Holds entries against what stands there. Borg lists a folder right before what is in it.
struct Comparing {
    base: PathBuf,
    roots: Vec<PathBuf>,
    policy: Conflict,
    preview: FilesPreview,
    /// The folder that was looked into last; nothing, when it is not there.
    folder: Option<(PathBuf, Option<Ground>)>,
    /// What would give way as a whole, with all that is below it.
    replaced: Option<PathBuf>,
}

impl Comparing {
    fn new(base: PathBuf, roots: Vec<PathBuf>, policy: Conflict, preview: FilesPreview) -> Self {
        Self { base, roots, policy, preview, folder: None, replaced: None }
    }

    fn all(mut self, mut come: mpsc::Receiver<Entry>) -> FilesPreview {
        while let Some(entry) = come.blocking_recv() {
            if let Err(failure) = self.one(&entry) {
                self.preview.refusal.get_or_insert(failure.message);
            }
        }
        self.preview
    }

    fn one(&mut self, entry: &Entry) -> Result<(), Failure> {
        let is_folder = entry.kind == "d";
        if !is_folder {
            self.preview.files += 1;
            self.preview.size_bytes += entry.size;
        }
        let Some(path) = paths::in_archive(&entry.path) else {
            let message = format!("'{}' is no path that can be restored", entry.path);
            return Err(Failure::new(FailureCode::PathNotInArchive, message));
        };
        let target = self.base.join(path);
        let shown = || target.display().to_string();
        if self.replaced.as_ref().is_some_and(|replaced| target.starts_with(replaced)) {
            if !is_folder {
                self.preview.created.add(shown);
            }
            return Ok(());
        }
        self.replaced = None;
        let (Some(name), Some(parent)) = (target.file_name(), target.parent()) else { return Ok(()) };
        if self.folder.as_ref().is_none_or(|(at, _)| at != parent) {
            self.folder = Some((parent.to_owned(), Ground::open(parent, &self.roots)?));
        }
        let standing = match self.folder.as_ref().and_then(|(_, ground)| ground.as_ref()) {
            None => None,
            Some(ground) => {
                let standing = ground.standing(name)?;
                if standing.is_none() || !is_folder {
                    ground.takes_entries()?;
                }
                standing.map(|there| (there, ground.at(name)))
            }
        };
        let Some((there, at)) = standing else {
            if !is_folder {
                self.preview.created.add(shown);
            }
            return Ok(());
        };
        if is_folder && (there.is_dir() || (there.is_symlink() && at.is_dir())) {
            return Ok(());
        }
        if alike(entry, &there) {
            self.preview.alike.add(shown);
            return Ok(());
        }
        match self.policy {
            Conflict::Fail => self.preview.in_the_way.add(shown),
            Conflict::KeepBoth => self.preview.renamed.add(shown),
            Conflict::Overwrite => self.preview.overwritten.add(shown),
        }
        if is_folder {
            self.replaced = Some(target);
        }
        Ok(())
    }
}

/// Whether what stands there could be what would be put there: it is not read.
fn alike(entry: &Entry, there: &Metadata) -> bool {
    let kind = there.file_type();
    let same_kind = match entry.kind.as_str() {
        "-" | "h" => kind.is_file(),
        "l" => return kind.is_symlink(),
        "p" => return kind.is_fifo(),
        "d" => return false,
        _ => return kind.is_block_device() || kind.is_char_device(),
    };
    let time = entry.mtime.as_deref().and_then(|text| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    });
    same_kind && there.len() == entry.size && time.is_some_and(|time| time == there.mtime())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn looked(base: &Path, root: &Path, policy: Conflict, entries: &[(&str, &str, u64)]) -> FilesPreview {
        let mut comparing =
            Comparing::new(base.to_owned(), vec![root.to_owned()], policy, FilesPreview::default());
        for (kind, path, size) in entries {
            let entry = Entry { kind: (*kind).into(), path: (*path).into(), mtime: None, size: *size };
            if let Err(failure) = comparing.one(&entry) {
                comparing.preview.refusal.get_or_insert(failure.message);
            }
        }
        comparing.preview
    }

    #[test]
    fn what_stands_there_is_told_by_what_becomes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/was a folder")).unwrap();
        std::fs::write(root.join("a/x"), "mine").unwrap();
        std::fs::write(root.join("a/file"), "mine").unwrap();
        let entries = [
            ("d", "a", 0),
            ("-", "a/x", 9),
            ("-", "a/new", 5),
            ("-", "a/was a folder", 1),
            ("d", "a/file", 0),
            ("-", "a/file/below", 7),
            ("d", "b", 0),
            ("-", "b/y", 3),
        ];
        let preview = looked(&root, &root, Conflict::Overwrite, &entries);
        assert_eq!((preview.files, preview.size_bytes), (5, 25));
        let names = |paths: &strongroom_domain::preview::Paths| {
            paths.first.iter().map(|p| p.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&preview.overwritten), ["x", "was a folder", "file"]);
        assert_eq!(names(&preview.created), ["new", "below", "y"]);
        assert_eq!(preview.refusal, None);
        assert_eq!(looked(&root, &root, Conflict::Fail, &entries).in_the_way.total, 3);
        assert_eq!(looked(&root, &root, Conflict::KeepBoth, &entries).renamed.total, 3);
    }

    #[test]
    fn what_leads_out_of_the_allowed_folders_is_told_as_refused() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let root = base.join("root");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(base.join("out")).unwrap();
        std::os::unix::fs::symlink(base.join("out"), root.join("link")).unwrap();
        let preview = looked(&root, &root, Conflict::Overwrite, &[("d", "link", 0), ("-", "link/x", 1)]);
        assert!(preview.refusal.unwrap().contains("outside of the allowed folders"));
        let preview = looked(&base, &root, Conflict::Overwrite, &[("-", "out/x", 1)]);
        assert!(preview.refusal.is_some());
    }
}
