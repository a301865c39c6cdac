//! A file that somebody names: a dump of whatever origin, in whatever wrapping.
//!
//! The accidents that this file prevents: a file that is read from where nobody allowed it; a name that says `.sql.gz`
//! over something else; and a dump that was cut off and is taken for a whole one because the unpacking ended quietly.
//! What is unpacked flows on at once, so that a file that grows a thousandfold takes no memory, and the disk of its target.

mod layers;
mod reading;

use crate::control::{Control, NoOutcome};
use crate::core::foreign_sql::Ending;
use crate::core::paths::root_of;
use crate::core::recognise::{Content, Form, Wrapper};
use crate::core::sum::Summed;
use crate::jobs::Bench;
use age::secrecy::SecretString;
use layers::{Goal, Place, Walk, damaged};
use reading::walk;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use strongroom_domain::job::{Conflict, RestoreDumpSpec};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// How many members are told.
const TOLD: usize = 20;

/// What is said of a dump without its end mark.
pub const CUT_OFF: &str = "the dump does not say at its end that it is whole, as the program does that has written it, and may be cut off";

/// A file in which the dump was found.
pub struct Foreign {
    file: File,
    shown: String,
    secret: Option<SecretString>,
    /// What stands at the name would be gone.
    replaces: bool,
    /// The dump in it.
    pub dump: Found,
    ended: Mutex<Option<Ended>>,
}

/// What came of reading a dump to its end, and all around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its bytes, unwrapped.
    pub sum: Summed,
    /// What it says of its end, when it is SQL.
    pub ending: Option<Ending>,
}

/// Something in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The member of each tar or zip around it, outermost first.
    pub members: Vec<String>,
    /// What it is wrapped in, outermost first.
    pub wrappers: Vec<Wrapper>,
    /// What it is.
    pub form: Form,
}

impl Found {
    /// In words.
    pub fn words(&self) -> String {
        let mut words = self.form.words().to_owned();
        for wrapper in self.wrappers.iter().rev() {
            words.push_str(&format!(", in {}", wrapper.name()));
        }
        if !self.members.is_empty() {
            words.push_str(&format!(" ({})", self.members.join("/")));
        }
        words
    }
}

/// Finds the one dump in a file that a system takes.
pub async fn open(bench: &Bench<'_>, spec: &RestoreDumpSpec, system: &str) -> Result<Foreign, NoOutcome> {
    let (path, roots) = (PathBuf::from(&spec.path), spec.allowed_roots.clone());
    let file = blocking(move || open_below(&path, &roots)).await?;
    let secret = spec.identity.as_ref().map(|reference| bench.secret(reference)).transpose()?;
    let goal = Goal::Look(Vec::new());
    let walked = walk(bench, bench.control.clone(), &file, Walk { secret: secret.clone(), goal }).await;
    let Goal::Look(seen) = walked.map_err(|why| named(why, &spec.path))?.goal else {
        return Err(refused("nothing was looked at").into());
    };
    let dump = choose(&seen, spec.member.as_deref(), system, &spec.path)?;
    let replaces = spec.on_conflict == Conflict::Overwrite;
    Ok(Foreign { file, shown: spec.path.clone(), secret, replaces, dump, ended: Mutex::new(None) })
}

impl Foreign {
    /// Gives the dump piece by piece. Whether it was all is known by [`Self::ended`], before `give` is closed.
    pub async fn pieces(
        &self,
        bench: &Bench<'_>,
        control: Control,
        give: mpsc::Sender<Vec<u8>>,
    ) -> Result<(), NoOutcome> {
        let goal = Goal::Give { wanted: self.dump.clone(), give, ended: None };
        let walked = walk(bench, control, &self.file, Walk { secret: self.secret.clone(), goal }).await;
        let walked = walked.map_err(|why| named(why, &self.shown))?;
        if let Goal::Give { ended: Some(ended), .. } = &walked.goal {
            if self.replaces && ended.ending == Some(Ending::CutOff) {
                let message = format!("{}: {CUT_OFF}; what stands there is not replaced by it", self.shown);
                return Err(damaged(&message).into());
            }
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended.clone());
            return Ok(());
        }
        Err(damaged(&format!("{} is not what it was a moment ago", self.shown)).into())
    }

    /// The file itself, when it is nothing but the dump.
    pub fn bare(&self) -> Option<&File> {
        (self.dump.wrappers.is_empty() && self.dump.members.is_empty()).then_some(&self.file)
    }

    /// What came of reading it, when all of it was read and was whole.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The dump that is meant: the one of that member, or the only one.
fn choose(
    seen: &[(Place, Content)],
    member: Option<&str>,
    system: &str,
    path: &str,
) -> Result<Found, Failure> {
    let is_meant = |place: &Place| member.is_none_or(|member| place.members.join("/") == member);
    let all = seen.iter().filter(|(place, _)| is_meant(place)).filter_map(|(place, content)| match content {
        Content::Dump(form) => {
            let Place { members, wrappers } = place.clone();
            Some(Found { members, wrappers, form: *form })
        }
        _ => None,
    });
    let fitting: Vec<Found> = all.filter(|found| found.form.system() == Some(system)).collect();
    let told = |(place, content): &(Place, Content)| {
        let Place { members, wrappers } = place.clone();
        match content {
            Content::Dump(form) => Found { members, wrappers, form: *form }.words(),
            Content::Wrapped(wrapper) => {
                let why = "which is unwrapped only where it is the outermost";
                format!("{} {}, {why}", members.join("/"), wrapper.name())
            }
            Content::Other(words) if members.is_empty() && wrappers.is_empty() => (*words).to_owned(),
            Content::Other(words) => {
                let around: Vec<_> = wrappers.iter().map(|w| w.name()).collect();
                format!("{} ({words}, in {})", members.join("/"), around.join(", "))
            }
        }
    };
    match fitting.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let mut words: Vec<String> = seen.iter().take(TOLD).map(told).collect();
            if seen.len() > TOLD {
                words.push(format!("and {} more", seen.len() - TOLD));
            }
            let message = format!("{path} holds no dump that {system} takes; it is: {}", words.join("; "));
            Err(Failure::new(FailureCode::FormatUnknown, message))
        }
        several => {
            let names: Vec<_> = several.iter().take(TOLD).map(|found| found.members.join("/")).collect();
            let message = format!(
                "{path} holds {} dumps that {system} takes; name one with 'member': {}",
                several.len(),
                names.join(", ")
            );
            Err(Failure::new(FailureCode::FormatUnknown, message))
        }
    }
}

/// Opens a file below one of the allowed folders, wherever links lead: it is asked where it is after it was opened.
fn open_below(path: &Path, roots: &[String]) -> Result<File, Failure> {
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| Path::new(root).canonicalize().ok()).collect();
    let outside = || {
        let allowed = roots.iter().map(|r| r.display().to_string()).collect::<Vec<_>>().join(", ");
        let allowed = if allowed.is_empty() { "none that is there".to_owned() } else { allowed };
        refused(&format!("{} does not lead into one of the server's dump_roots ({allowed})", path.display()))
    };
    // What is outside is not even said to be there or not.
    let there = path.canonicalize().ok().or_else(|| path.parent()?.canonicalize().ok().map(|p| p.join("x")));
    if there.is_none_or(|there| root_of(&there, &roots).is_none()) {
        return Err(outside());
    }
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let flags = i32::try_from(flags).map_err(|e| refused(&e.to_string()))?;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| match e
        .kind()
    {
        ErrorKind::PermissionDenied => {
            Failure::new(FailureCode::PermissionDenied, format!("{}: {e}", path.display()))
        }
        _ => refused(&format!("{}: {e}", path.display())),
    })?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|e| refused(&format!("{}: {e}", path.display())))?;
    if root_of(&real, &roots).is_none() {
        return Err(outside());
    }
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refused(&format!("{} is no file", path.display())));
    }
    Ok(file)
}

fn refused(why: &str) -> Failure {
    Failure::new(FailureCode::FileRefused, why.to_owned())
}

/// The failure, with the file that it is about.
fn named(why: NoOutcome, path: &str) -> NoOutcome {
    match why {
        NoOutcome::Failed(failure) => {
            Failure { message: format!("{path}: {}", failure.message), ..failure }.into()
        }
        stopped => stopped,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?
}
