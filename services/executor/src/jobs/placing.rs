//! Putting extracted files where they belong, without ever overwriting in silence and without leaving the allowed roots.

use super::entries::{entries, leads_to_folder, mount_of, same};
use super::ground::Ground;
use super::init::file_failure;
use super::renames::{exchange, rename_to_free};
use crate::mounts::Mounts;
use crate::names;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
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

impl Placed {
    fn add(&mut self, more: Self) {
        self.files += more.files;
        self.size_bytes += more.size_bytes;
        self.kept_both += more.kept_both;
    }
}

/// How many conflicts are named.
const NAMED: usize = 5;
/// The longest name of a file, where the file system does not say.
const NAME_BYTES: u64 = 255;

/// What is known of this machine while it is placed.
struct Here {
    mounts: Mounts,
    /// Where the scratch folder really is.
    from: PathBuf,
}

impl Placing {
    /// Not all that was extracted is known to be whole: what stands is kept beside it and not replaced. Says whether
    /// that is anything new.
    pub fn distrust(&mut self) -> bool {
        let trusted = self.policy == Conflict::Overwrite;
        if trusted {
            self.policy = Conflict::KeepBoth;
        }
        trusted
    }

    /// Checks everything, then puts everything in place. Safe to repeat: what stands there and is the same is no
    /// conflict. What was put in place is added up, also when it fails in the middle.
    pub fn place(&self, placed: &mut Placed) -> Result<(), Failure> {
        self.look()?;
        let to = Ground::make(&self.to, &self.roots)?;
        self.place_in(&self.from, &to, &self.here()?, placed)
    }

    /// Checks everything and touches nothing.
    pub fn look(&self) -> Result<(), Failure> {
        let mut conflicts = Vec::new();
        // When it is not there, nothing stands in it; it is made below a folder that was looked at.
        if let Some(to) = Ground::open(&self.to, &self.roots)? {
            self.check(&self.from, &to, &self.here()?, &mut conflicts)?;
        }
        if self.policy == Conflict::Fail && !conflicts.is_empty() {
            let more = conflicts.len().saturating_sub(NAMED);
            let mut names: Vec<String> =
                conflicts.iter().take(NAMED).map(|p| p.display().to_string()).collect();
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            let message = format!("these stand there already: {}", names.join(", "));
            return Err(Failure::new(FailureCode::TargetExists, message));
        }
        Ok(())
    }

    fn here(&self) -> Result<Here, Failure> {
        let mounts =
            fs::read("/proc/self/mountinfo").map_err(|e| file_failure("/proc/self/mountinfo", &e))?;
        let from =
            self.from.canonicalize().map_err(|e| file_failure(&self.from.display().to_string(), &e))?;
        Ok(Here { mounts: Mounts::of(&mounts), from })
    }

    /// What stands there may give way, unless it is an allowed folder itself, or holds one, or what is being restored,
    /// or another file system.
    fn may_give_way(&self, ground: &Ground, name: &OsStr, here: &Here) -> Result<(), Failure> {
        let target = ground.shown(name);
        let refused = |why: String| Err(Failure::new(FailureCode::TargetRefused, why));
        let holds = |path: &Path| path.starts_with(&target);
        if holds(&here.from) || self.roots.iter().any(|root| holds(root)) {
            return refused(format!(
                "{} is a folder here and none in the archive; move it away first",
                target.display()
            ));
        }
        if let Some(mounted) = here.mounts.at_or_below(&target).filter(|_| self.policy != Conflict::Fail) {
            return refused(format!(
                "{} would give way, and a file system is mounted at {}; unmount it first",
                target.display(),
                mounted.display()
            ));
        }
        if self.policy == Conflict::Fail { Ok(()) } else { ground.is_not_fixed(name) }
    }

    /// Finds what stands in the way below one folder.
    fn check(
        &self,
        from: &Path,
        to: &Ground,
        here: &Here,
        conflicts: &mut Vec<PathBuf>,
    ) -> Result<(), Failure> {
        for (source, name, metadata) in entries(from)? {
            let Some(standing) = to.standing(&name)? else {
                // Nothing is there, nor below it.
                to.takes_entries()?;
                continue;
            };
            if metadata.is_dir() && leads_to_folder(&to.at(&name), &standing) {
                let below = self.below(to, &name)?;
                self.is_one_file_system(&below, &to.shown(&name))?;
                self.check(&source, &below, here, conflicts)?;
            } else if !same(&source, &metadata, &to.at(&name), &standing).unwrap_or(false) {
                to.takes_entries()?;
                self.may_give_way(to, &name, here)?;
                conflicts.push(to.shown(&name));
            }
        }
        Ok(())
    }

    /// A folder that stands there.
    fn below(&self, ground: &Ground, name: &OsStr) -> Result<Ground, Failure> {
        let below = ground.below(name, &self.roots)?;
        let gone =
            || file_failure(&ground.shown(name).display().to_string(), &io::ErrorKind::NotFound.into());
        below.ok_or_else(gone)
    }

    /// What is extracted is moved into place and not copied, which goes within one file system only.
    fn is_one_file_system(&self, target: &Ground, shown: &Path) -> Result<(), Failure> {
        let failed = |e: io::Error| file_failure(&shown.display().to_string(), &e);
        let (here, there) =
            (fs::metadata(&self.from).map_err(failed)?, fs::metadata(target.path()).map_err(failed)?);
        // The same file system can be mounted twice, and nothing is moved from one mount to another.
        let is_one = here.dev() == there.dev() && mount_of(&self.from) == mount_of(&target.path());
        if is_one || !target.is_inside() {
            return Ok(());
        }
        let message = format!(
            "another file system is mounted at {}; restore what belongs there by itself",
            shown.display()
        );
        Err(Failure::new(FailureCode::TargetRefused, message))
    }

    fn place_in(&self, from: &Path, to: &Ground, here: &Here, placed: &mut Placed) -> Result<(), Failure> {
        for (source, name, metadata) in entries(from)? {
            let target = to.at(&name);
            let failed = |e: io::Error| file_failure(&to.shown(&name).display().to_string(), &e);
            let standing = to.standing(&name)?;
            match &standing {
                Some(there) if metadata.is_dir() && leads_to_folder(&target, there) => {
                    self.place_in(&source, &self.below(to, &name)?, here, placed)?;
                    // It keeps its own mode and owner: borg invents those of folders that it was not asked for, and
                    // one restored file would lock everybody out of the folders above it.
                    continue;
                }
                Some(there) if same(&source, &metadata, &target, there).unwrap_or(false) => {
                    placed.add(count(&source, &metadata)?);
                    continue;
                }
                Some(_) => {
                    to.takes_entries()?;
                    self.may_give_way(to, &name, here)?;
                }
                None => to.takes_entries()?,
            }
            let one = count(&source, &metadata)?;
            self.put(&source, &metadata, to, &name, standing.as_ref(), placed).map_err(failed)?;
            placed.add(one);
        }
        Ok(())
    }

    /// One step for a file and for a whole folder: it is there with all that belongs to it, or it is not.
    fn put(
        &self,
        source: &Path,
        new: &Metadata,
        to: &Ground,
        name: &OsStr,
        standing: Option<&Metadata>,
        placed: &mut Placed,
    ) -> io::Result<()> {
        let target = to.at(name);
        match (standing, self.policy) {
            (Some(there), Conflict::Overwrite) if there.is_dir() || new.is_dir() => exchange(source, &target),
            // A file is replaced by the rename itself, without a moment in which nothing is there.
            (Some(_), Conflict::Overwrite) => fs::rename(source, &target),
            (Some(_), Conflict::KeepBoth) => {
                let kept = self.keep(to, name)?;
                placed.kept_both += 1;
                rename_to_free(source, &target).inspect_err(|_| {
                    // It goes back to where it stood; where it cannot, it is told as kept.
                    if rename_to_free(&to.at(&kept), &target).is_ok() {
                        placed.kept_both -= 1;
                    }
                })
            }
            // What came to be since it was looked at is not overwritten.
            _ => rename_to_free(source, &target),
        }
    }

    /// Renames what stands there, and says to what. What an earlier attempt at this restore has kept is kept as well.
    fn keep(&self, ground: &Ground, name: &OsStr) -> io::Result<OsString> {
        let longest = rustix::fs::statvfs(ground.path().join(".")).map_or(NAME_BYTES, |s| s.f_namemax);
        let longest = usize::try_from(longest.min(NAME_BYTES)).unwrap_or(usize::MAX);
        for n in 0_u32.. {
            let kept = names::kept(name, &self.suffix, n, longest);
            match rename_to_free(&ground.at(name), &ground.at(&kept)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| kept),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }
}

fn count(source: &Path, metadata: &Metadata) -> Result<Placed, Failure> {
    let mut placed = Placed::default();
    if metadata.is_dir() {
        for (path, _, metadata) in entries(source)? {
            placed.add(count(&path, &metadata)?);
        }
    } else {
        placed.files = 1;
        placed.size_bytes = if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::renames::exchange_in_steps;
    use super::*;
    use rustix::fs::CWD;

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
            let mut placed = Placed::default();
            Placing { from, to, roots, policy, suffix: ".old".into() }.place(&mut placed).map(|()| placed)
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
            assert_eq!(
                placing.place(&mut Placed::default()).unwrap_err().code,
                FailureCode::TargetRefused,
                "{policy}"
            );
            assert_eq!(given.text("to/x/precious").unwrap(), "mine");
            // The archive has a link where an allowed folder stands.
            let given = Given::new(&[("from/root", "new"), ("to/root/precious", "mine")]);
            let (from, to, roots) = (given.path("from"), given.path("to"), vec![given.path("to/root")]);
            let placing = Placing { from, to, roots, policy, suffix: ".old".into() };
            assert_eq!(
                placing.place(&mut Placed::default()).unwrap_err().code,
                FailureCode::TargetRefused,
                "{policy}"
            );
            assert_eq!(given.text("to/root/precious").unwrap(), "mine");
        }
    }

    #[test]
    fn a_folder_gives_way_to_a_file_and_a_file_to_a_folder_in_one_step() {
        for step_by_step in [false, true] {
            let given = Given::new(&[
                ("from/x", "new"),
                ("from/y/in", "new"),
                ("to/x/deep/old", "mine"),
                ("to/y", "mine"),
            ]);
            if step_by_step {
                for name in ["x", "y"] {
                    exchange_in_steps(&given.path("from").join(name), &given.path("to").join(name)).unwrap();
                }
                assert_eq!(given.text("from/.strongroom-aside-0/deep/old").unwrap(), "mine");
            } else {
                given.place(Conflict::Overwrite).unwrap();
                assert_eq!(given.text("from/x/deep/old").unwrap(), "mine", "it goes with the scratch folder");
            }
            let texts = ["to/x", "to/y/in"].map(|path| given.text(path).unwrap());
            assert_eq!(texts, ["new", "new"]);
        }
    }

    #[test]
    fn what_stood_there_goes_back_when_the_new_one_cannot_take_its_place() {
        let given = Given::new(&[("from/x", "new"), ("to/x/old", "mine")]);
        assert!(exchange_in_steps(&given.path("from/never there"), &given.path("to/x")).is_err());
        assert_eq!(given.text("to/x/old").unwrap(), "mine");
    }

    #[test]
    fn a_name_of_any_length_is_kept() {
        let name = "é".repeat(127);
        let given = Given::new(&[(&format!("from/{name}"), "new"), (&format!("to/{name}"), "mine")]);
        given.place(Conflict::KeepBoth).unwrap();
        fs::write(given.path(&format!("from/{name}")), "newer").unwrap();
        given.place(Conflict::KeepBoth).unwrap();
        let mut texts: Vec<String> = fs::read_dir(given.path("to"))
            .unwrap()
            .map(|e| fs::read_to_string(e.unwrap().path()).unwrap())
            .collect();
        texts.sort();
        assert_eq!(texts, ["mine", "new", "newer"]);
    }

    #[test]
    fn a_second_time_over_what_the_first_has_placed_is_no_conflict() {
        let given = Given::new(&[("from/a", "new"), ("from/b", "new")]);
        fs::copy(given.path("from/a"), given.path("to/a")).unwrap();
        let times = fs::FileTimes::new()
            .set_modified(fs::metadata(given.path("from/a")).unwrap().modified().unwrap());
        fs::File::open(given.path("to/a")).unwrap().set_times(times).unwrap();
        // A pipe is what it is.
        let pipe = given.path("from/pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        fs::hard_link(&pipe, given.path("to/pipe")).unwrap();
        assert_eq!(given.place(Conflict::Fail).unwrap().files, 3);
        assert_eq!(given.text("to/b").unwrap(), "new");
    }

    #[test]
    fn what_gave_way_stands_again_when_nothing_takes_its_place() {
        let given = Given::new(&[("from/b", "new"), ("to/b", "mine")]);
        let (from, to) = (given.path("from"), given.path("to"));
        let placing = Placing {
            from: from.clone(),
            to: to.clone(),
            roots: vec![to.clone()],
            policy: Conflict::KeepBoth,
            suffix: ".old".into(),
        };
        let ground = Ground::open(&to, &placing.roots).unwrap().unwrap();
        let mut placed = Placed::default();
        // What was to take its place cannot be moved.
        let b = fs::metadata(given.path("from/b")).unwrap();
        let moved =
            placing.put(&from.join("never there"), &b, &ground, OsStr::new("b"), Some(&b), &mut placed);
        assert!(moved.is_err());
        assert_eq!((given.text("to/b").as_deref(), given.text("to/b.old")), (Some("mine"), None));
        assert_eq!(placed, Placed::default());
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
