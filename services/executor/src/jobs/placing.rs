//! Putting extracted files where they belong, without ever overwriting in silence and without leaving the allowed roots.

use super::init::file_failure;
use crate::core::paths::root_of;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strongroom_domain::job::Conflict;
use strongroom_domain::{Failure, FailureCode};

/// From where to where, and how.
pub struct Placing {
    /// The scratch folder.
    pub from: PathBuf,
    /// Below which folder its content goes.
    pub to: PathBuf,
    /// Where it may go.
    pub roots: Vec<PathBuf>,
    /// What becomes of what stands there.
    pub policy: Conflict,
    /// What a standing file is renamed with.
    pub suffix: String,
}

/// What was put in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placed {
    /// Files and links.
    pub files: u64,
    /// Bytes of them.
    pub size_bytes: u64,
    /// Standing files that were renamed.
    pub kept_both: u64,
}

/// How many conflicts are named.
const NAMED: usize = 5;
/// How long a name may be (`NAME_MAX` of all common file systems), in bytes.
const NAME_BYTES: usize = 255;

impl Placing {
    /// Checks everything, then puts everything in place. Safe to repeat: what stands there and is the same is no
    /// conflict.
    pub fn place(&self) -> Result<Placed, Failure> {
        self.look()?;
        let mut placed = Placed::default();
        make_folders(&self.to)?;
        // Somebody may have put a link into the way since it was looked at.
        self.stays_inside(&self.to)?;
        self.place_in(&self.from, &self.to, &mut placed)?;
        Ok(placed)
    }

    /// Checks everything and touches nothing.
    pub fn look(&self) -> Result<(), Failure> {
        let mut conflicts = Vec::new();
        self.check(&self.from, &self.to, &mut conflicts)?;
        if self.policy == Conflict::Fail && !conflicts.is_empty() {
            let more = conflicts.len().saturating_sub(NAMED);
            let mut names: Vec<String> =
                conflicts.iter().take(NAMED).map(|p| p.display().to_string()).collect();
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            let message =
                format!("these stand there already, and nothing was restored: {}", names.join(", "));
            return Err(Failure::new(FailureCode::TargetExists, message));
        }
        Ok(())
    }

    /// A folder that is only above a root is passed through on the way into it: nothing is put into it.
    fn takes_entries(&self, folder: &Path) -> Result<(), Failure> {
        match folder.canonicalize() {
            Ok(resolved) if root_of(&resolved, &self.roots).is_none() => {
                let message = format!("{} is outside of the allowed folders", folder.display());
                Err(Failure::new(FailureCode::TargetRefused, message))
            }
            // One that is not there yet is made below one that was looked at.
            _ => Ok(()),
        }
    }

    /// What stands there may give way, unless it is an allowed folder itself, or holds one, or what is being restored.
    fn may_give_way(&self, target: &Path, standing: &Metadata) -> Result<(), Failure> {
        let holds = |path: &Path| path.starts_with(target);
        if holds(&self.from) || self.roots.iter().any(|root| holds(root)) {
            let message =
                format!("{} is a folder here and none in the archive; move it away first", target.display());
            return Err(Failure::new(FailureCode::TargetRefused, message));
        }
        if self.policy == Conflict::Overwrite && standing.is_dir() {
            return nothing_is_mounted(target, standing.dev());
        }
        Ok(())
    }

    /// Finds what stands in the way below one folder.
    fn check(&self, from: &Path, to: &Path, conflicts: &mut Vec<PathBuf>) -> Result<(), Failure> {
        for (source, metadata) in entries(from)? {
            let target = join(to, &source);
            let Some(standing) = standing(&target)? else {
                // Nothing is there, nor below it.
                self.takes_entries(to)?;
                continue;
            };
            if metadata.is_dir() && leads_to_folder(&target, &standing) {
                self.stays_inside(&target)?;
                self.is_one_file_system(&target)?;
                self.check(&source, &target, conflicts)?;
            } else if !same(&source, &metadata, &target, &standing).unwrap_or(false) {
                self.takes_entries(to)?;
                self.may_give_way(&target, &standing)?;
                conflicts.push(target);
            }
        }
        Ok(())
    }

    /// What is extracted is moved into place and not copied, which goes within one file system only.
    fn is_one_file_system(&self, target: &Path) -> Result<(), Failure> {
        let failed = |e: io::Error| file_failure(&target.display().to_string(), &e);
        let (here, there) =
            (fs::metadata(&self.from).map_err(failed)?, fs::metadata(target).map_err(failed)?);
        let above = self.roots.iter().any(|root| root.starts_with(target));
        if here.dev() == there.dev() || above {
            return Ok(());
        }
        let message = format!(
            "another file system is mounted at {}; restore what belongs there by itself",
            target.display()
        );
        Err(Failure::new(FailureCode::TargetRefused, message))
    }

    fn place_in(&self, from: &Path, to: &Path, placed: &mut Placed) -> Result<(), Failure> {
        for (source, metadata) in entries(from)? {
            let target = join(to, &source);
            let failed = |e: io::Error| file_failure(&target.display().to_string(), &e);
            let mut aside = None;
            match standing(&target)? {
                Some(there) if metadata.is_dir() && leads_to_folder(&target, &there) => {
                    self.stays_inside(&target)?;
                    self.place_in(&source, &target, placed)?;
                    // It keeps its own mode and owner: borg invents those of folders that it was not asked for, and
                    // one restored file would lock everybody out of the folders above it.
                    continue;
                }
                Some(there) if same(&source, &metadata, &target, &there).unwrap_or(false) => {
                    count(&source, &metadata, placed)?;
                    continue;
                }
                Some(there) => {
                    aside = self.make_way(&target, &there, metadata.is_dir(), placed).map_err(failed)?;
                }
                None => {}
            }
            count(&source, &metadata, placed)?;
            // One step for a file and for a whole folder: it is there with all that belongs to it, or it is not.
            let moved = if self.policy == Conflict::Overwrite {
                fs::rename(&source, &target)
            } else {
                rename_to_free(&source, &target)
            };
            if let (Err(_), Some(aside)) = (&moved, &aside) {
                // What stood there is back, or stands beside under a name that says what it is.
                let _ = rename_to_free(aside, &target);
            }
            moved.map_err(failed)?;
            if let Some(aside) = aside {
                remove(&aside).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Makes room. What was only put aside is given, to be removed once the new one stands.
    fn make_way(
        &self,
        target: &Path,
        there: &Metadata,
        for_folder: bool,
        placed: &mut Placed,
    ) -> io::Result<Option<PathBuf>> {
        match self.policy {
            Conflict::KeepBoth => {
                placed.kept_both += 1;
                self.keep(target).map(|_| None)
            }
            // A file is replaced by the rename itself, without a moment in which nothing is there.
            Conflict::Overwrite if there.is_dir() || for_folder => self.keep(target).map(Some),
            Conflict::Overwrite => Ok(None),
            // It came to be after the check.
            Conflict::Fail => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "it appeared while files were restored"))
            }
        }
    }

    /// Renames what stands there. What an earlier attempt at this restore has kept is kept as well.
    fn keep(&self, target: &Path) -> io::Result<PathBuf> {
        for n in 0_u32.. {
            let kept = self.kept_name(target, n);
            match rename_to_free(target, &kept) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| kept),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// What it is called then. A name that would be too long with it loses its end.
    fn kept_name(&self, target: &Path, n: u32) -> PathBuf {
        let number = if n > 0 { format!(".{n}") } else { String::new() };
        let name = target.file_name().unwrap_or_default().as_bytes();
        let room = NAME_BYTES.saturating_sub(self.suffix.len() + number.len());
        let mut kept = name.get(..room).unwrap_or(name).to_vec();
        while name.len() > room && std::str::from_utf8(&kept).is_err_and(|e| e.error_len().is_none()) {
            // Not in the middle of a character.
            kept.pop();
        }
        kept.extend_from_slice(self.suffix.as_bytes());
        kept.extend_from_slice(number.as_bytes());
        target.with_file_name(OsString::from_vec(kept))
    }

    /// A folder that stands there may be a link, which may lead anywhere.
    fn stays_inside(&self, target: &Path) -> Result<(), Failure> {
        let resolved = target.canonicalize().map_err(|e| file_failure(&target.display().to_string(), &e))?;
        // A folder above a root is passed through on the way into it, and nothing is put directly into it.
        let inside = root_of(&resolved, &self.roots).is_some();
        let above = self.roots.iter().any(|root| root.starts_with(&resolved));
        if inside || above {
            return Ok(());
        }
        let message =
            format!("{} leads to {}, outside of the allowed folders", target.display(), resolved.display());
        Err(Failure::new(FailureCode::TargetRefused, message))
    }
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, Metadata)>, Failure> {
    let failed = |e: io::Error| file_failure(&folder.display().to_string(), &e);
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let metadata = path.symlink_metadata().map_err(failed)?;
        out.push((path, metadata));
    }
    Ok(out)
}

/// Renames, and never over something, not even over what came to be this moment.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can; there it is looked at first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match to.symlink_metadata() {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(_) => fs::rename(from, to),
        },
        renamed => Ok(renamed?),
    }
}

fn join(folder: &Path, source: &Path) -> PathBuf {
    folder.join(source.file_name().unwrap_or_default())
}

fn standing(target: &Path) -> Result<Option<Metadata>, Failure> {
    match target.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(file_failure(&target.display().to_string(), &e)),
    }
}

fn leads_to_folder(target: &Path, there: &Metadata) -> bool {
    there.is_dir() || (there.is_symlink() && target.is_dir())
}

/// Whether what stands there is what would be put there.
fn same(source: &Path, new: &Metadata, target: &Path, there: &Metadata) -> io::Result<bool> {
    if new.file_type() != there.file_type() {
        return Ok(false);
    }
    if new.is_symlink() {
        return Ok(fs::read_link(source)? == fs::read_link(target)?);
    }
    let alike = new.len() == there.len()
        && new.mode() == there.mode()
        && (new.uid(), new.gid()) == (there.uid(), there.gid());
    if !new.is_file() || !alike || new.mtime() != there.mtime() {
        return Ok(false);
    }
    let (mut a, mut b) = (fs::File::open(source)?, fs::File::open(target)?);
    let (mut left, mut right) = (vec![0_u8; 64 * 1024], vec![0_u8; 64 * 1024]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        let Some(right) = right.get_mut(..n) else { return Ok(false) };
        b.read_exact(right)?;
        if left.get(..n) != Some(right) {
            return Ok(false);
        }
    }
}

fn count(source: &Path, metadata: &Metadata, placed: &mut Placed) -> Result<(), Failure> {
    if metadata.is_dir() {
        for (path, metadata) in entries(source)? {
            count(&path, &metadata, placed)?;
        }
    } else {
        placed.files += 1;
        placed.size_bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(())
}

/// Looks for another file system below a folder that is to be removed: what is in it was never to give way.
fn nothing_is_mounted(folder: &Path, device: u64) -> Result<(), Failure> {
    for (path, metadata) in entries(folder)? {
        if metadata.dev() != device {
            let message = format!("another file system is mounted at {}; move it away first", path.display());
            return Err(Failure::new(FailureCode::TargetRefused, message));
        }
        if metadata.is_dir() {
            nothing_is_mounted(&path, device)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn make_folders(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| file_failure(&path.display().to_string(), &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    struct Given {
        folder: tempfile::TempDir,
    }

    impl Given {
        fn new(files: &[(&str, &str)]) -> Self {
            let given = Self { folder: tempfile::tempdir().unwrap() };
            for (path, text) in files {
                let path = given.path(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            fs::create_dir_all(given.path("to")).unwrap();
            given
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join(path)
        }

        fn place(&self, policy: Conflict) -> Result<Placed, Failure> {
            let (from, to) = (self.path("from"), self.path("to"));
            let roots = vec![to.clone()];
            Placing { from, to, roots, policy, suffix: ".old".into() }.place()
        }

        fn text(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.path(path)).ok()
        }
    }

    #[test]
    fn nothing_is_touched_when_something_stands_in_the_way() {
        let given = Given::new(&[("from/a/x", "new"), ("from/b", "new"), ("to/b", "mine")]);
        let failure = given.place(Conflict::Fail).unwrap_err();
        assert_eq!(failure.code, FailureCode::TargetExists);
        assert!(failure.message.contains("to/b"), "{}", failure.message);
        assert_eq!((given.text("to/a/x"), given.text("to/b").as_deref()), (None, Some("mine")));
    }

    #[test]
    fn both_are_kept_or_the_old_one_is_replaced_when_that_was_asked_for() {
        let files = [("from/a/x", "new"), ("from/b", "new"), ("to/b", "mine"), ("to/a/y", "mine")];
        let given = Given::new(&files);
        let placed = given.place(Conflict::KeepBoth).unwrap();
        assert_eq!(placed, Placed { files: 2, size_bytes: 6, kept_both: 1 });
        assert_eq!(
            (given.text("to/b").unwrap(), given.text("to/b.old").unwrap()),
            ("new".into(), "mine".into())
        );
        let given = Given::new(&files);
        given.place(Conflict::Overwrite).unwrap();
        assert_eq!(
            (given.text("to/b").unwrap(), given.text("to/a/y").unwrap()),
            ("new".into(), "mine".into())
        );
        assert_eq!(given.text("to/b.old"), None);
    }

    #[test]
    fn a_folder_gives_way_to_a_file_and_a_file_to_a_folder() {
        let given = Given::new(&[
            ("from/x", "new"),
            ("to/x/a", "mine"),
            ("to/x/b/c", "mine"),
            ("from/y/z", "new"),
            ("to/y", "mine"),
        ]);
        assert_eq!(given.place(Conflict::Overwrite).unwrap().files, 2);
        assert_eq!(
            (given.text("to/x").as_deref(), given.text("to/y/z").as_deref()),
            (Some("new"), Some("new"))
        );
        let mut left: Vec<_> =
            fs::read_dir(given.path("to")).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["x", "y"], "what was put aside is gone");
    }

    #[test]
    fn a_long_name_is_kept_under_one_that_fits() {
        let long = format!("{}{}", "n".repeat(201), "ä".repeat(27));
        let given = Given::new(&[(&format!("from/{long}"), "new"), (&format!("to/{long}"), "mine")]);
        let placed = given.place(Conflict::KeepBoth).unwrap();
        assert_eq!(placed.kept_both, 1);
        let mut left: Vec<String> = fs::read_dir(given.path("to"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.retain(|name| *name != long);
        assert!(matches!(&left[..], [kept] if kept.ends_with("ä.old") && kept.len() <= 255), "{left:?}");
    }

    #[test]
    fn what_an_earlier_attempt_has_kept_is_not_overwritten_by_the_next() {
        let given = Given::new(&[("from/b", "new"), ("to/b", "newer"), ("to/b.old", "first")]);
        given.place(Conflict::KeepBoth).unwrap();
        let texts = ["to/b", "to/b.old", "to/b.old.1"].map(|path| given.text(path).unwrap());
        assert_eq!(texts, ["new", "first", "newer"]);
    }

    #[test]
    fn what_holds_the_extracted_files_or_is_a_root_never_gives_way() {
        for policy in [Conflict::KeepBoth, Conflict::Overwrite] {
            // The archive has a file where a folder stands, in which the scratch folder had to be made.
            let given = Given::new(&[("to/x/scratch/x", "new"), ("to/x/precious", "mine")]);
            let (from, to) = (given.path("to/x/scratch"), given.path("to"));
            let placing = Placing { from, to: to.clone(), roots: vec![to], policy, suffix: ".old".into() };
            assert_eq!(placing.place().unwrap_err().code, FailureCode::TargetRefused, "{policy}");
            assert_eq!(given.text("to/x/precious").unwrap(), "mine");
            // The archive has a link where an allowed folder stands.
            let given = Given::new(&[("from/root", "new"), ("to/root/precious", "mine")]);
            let (from, to, roots) = (given.path("from"), given.path("to"), vec![given.path("to/root")]);
            let placing = Placing { from, to, roots, policy, suffix: ".old".into() };
            assert_eq!(placing.place().unwrap_err().code, FailureCode::TargetRefused, "{policy}");
            assert_eq!(given.text("to/root/precious").unwrap(), "mine");
        }
    }

    #[test]
    fn a_second_time_over_what_the_first_has_placed_is_no_conflict() {
        let given = Given::new(&[("from/a", "new"), ("from/b", "new")]);
        fs::copy(given.path("from/a"), given.path("to/a")).unwrap();
        let times = fs::FileTimes::new()
            .set_modified(fs::metadata(given.path("from/a")).unwrap().modified().unwrap());
        fs::File::open(given.path("to/a")).unwrap().set_times(times).unwrap();
        assert_eq!(given.place(Conflict::Fail).unwrap().files, 2);
        assert_eq!(given.text("to/b").unwrap(), "new");
    }

    #[test]
    fn a_link_that_stands_there_is_not_followed_out_of_the_roots() {
        for policy in [Conflict::Fail, Conflict::KeepBoth, Conflict::Overwrite] {
            let given = Given::new(&[("from/sub/x", "new"), ("out/keep", "mine")]);
            std::os::unix::fs::symlink(given.path("out"), given.path("to/sub")).unwrap();
            assert_eq!(given.place(policy).unwrap_err().code, FailureCode::TargetRefused, "{policy}");
            assert_eq!(given.text("out/x"), None);
        }
        let given = Given::new(&[("from/f", "new"), ("out/keep", "mine")]);
        std::os::unix::fs::symlink(given.path("out/keep"), given.path("to/f")).unwrap();
        given.place(Conflict::Overwrite).unwrap();
        assert_eq!(
            (given.text("out/keep").unwrap(), given.text("to/f").unwrap()),
            ("mine".into(), "new".into())
        );
    }
}
