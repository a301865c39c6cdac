//! What was stopped for a backup, noted on the disk until it runs again.
//!
//! The accident that this file prevents happened to many: containers and services that a backup had stopped, and that stayed
//! so because it failed, was cancelled, or was killed. The note is on the disk before anything is stopped, and goes when
//! it was started again; whoever finds one that no attempt holds starts what it names: the next life of this executor,
//! this one once a minute, and the next attempt.

use crate::control;
use crate::core::tail::Tail;
use crate::hook::{self, Environment, Hook, Ran};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strongroom_domain::quiesce::Quiesce;
use strongroom_service::file;
use tokio::sync::Notify;

/// How often a start command is tried before it is told that it does not work.
const TRIES: u32 = 3;
/// What lies between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked for notes that nobody holds.
const MEND_EVERY: Duration = Duration::from_secs(60);

/// What one attempt has stopped, or was about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Which plan.
    pub plan: String,
    /// Which job.
    pub job: String,
    /// Which server.
    pub server: String,
    /// In the order in which it was stopped.
    pub stopped: Vec<Quiesce>,
}

/// All notes, and which of them are held by attempts that run.
pub struct Notes {
    folder: PathBuf,
    held: Mutex<Vec<Held>>,
    freed: Notify,
    /// Docker's engine, when its administrator has named one.
    docker_host: Option<String>,
}

struct Held {
    path: PathBuf,
    starts: Vec<Vec<String>>,
}

/// A note that an attempt holds, and with it all that is stopped and started by the same words. Dropped, somebody else may
/// take it.
pub struct Holding<'a> {
    notes: &'a Notes,
    path: PathBuf,
    note: Note,
}

impl Notes {
    /// Those in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, held: Mutex::default(), freed: Notify::new(), docker_host: None }
    }

    /// The same, whose start commands find this engine of Docker, as the stop commands did.
    pub fn with_docker(self, host: Option<&str>) -> Self {
        Self { docker_host: host.map(str::to_owned), ..self }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes hold of what is to be stopped, as soon as no other attempt does: what one has stopped must not be started by
    /// another while it reads. Nothing is stopped or written so far.
    pub async fn hold(&self, name: &str, note: Note, all: &[Quiesce]) -> Holding<'_> {
        let path = self.folder.join(format!("{name}.json"));
        loop {
            let freed = self.freed.notified();
            if self.try_hold(&path, all) {
                return Holding { notes: self, path, note };
            }
            freed.await;
        }
    }

    fn try_hold(&self, path: &Path, all: &[Quiesce]) -> bool {
        let mut held = self.held();
        let starts: Vec<_> = all.iter().map(|one| one.start.command.clone()).collect();
        let taken =
            |other: &Held| other.path == path || other.starts.iter().any(|start| starts.contains(start));
        if held.iter().any(taken) {
            return false;
        }
        held.push(Held { path: path.to_owned(), starts });
        true
    }

    /// What earlier attempts have left.
    fn left(&self) -> Vec<(PathBuf, Note)> {
        let entries =
            std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let notes = entries.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let read = |path: PathBuf| {
            let note = std::fs::read(&path).map_err(|e| e.to_string());
            match note.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string())) {
                Ok(note) => Some((path, note)),
                Err(problem) => {
                    tracing::error!(note = %path.display(), problem, "what a backup has stopped cannot be read");
                    None
                }
            }
        };
        notes.filter_map(read).collect()
    }

    /// Starts what was left stopped and is held by nobody. Gives what still does not start.
    pub async fn mend(&self, children: &Path, tries: u32) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, note) in self.left() {
            if !self.try_hold(&path, &note.stopped) {
                continue;
            }
            tracing::warn!(
                plan = note.plan,
                job = note.job,
                "an earlier attempt has left stopped what it stopped"
            );
            let mut holding = Holding { notes: self, path, note };
            problems.extend(holding.start(children, tries, &mut Tail::default()).await);
        }
        problems
    }

    /// The same of this plan, by an attempt that holds what it is about to stop.
    pub async fn mend_plan(
        &self,
        plan: &str,
        all: &[Quiesce],
        children: &Path,
        log: &mut Tail,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, note) in self.left() {
            let is_mine = |one: &Quiesce| all.iter().any(|mine| mine.start == one.start);
            let alike = note.plan == plan || note.stopped.iter().any(is_mine);
            if !alike || !self.try_hold(&path, &[]) {
                continue;
            }
            let mut holding = Holding { notes: self, path, note };
            problems.extend(holding.start(children, TRIES, log).await);
        }
        problems
    }

    /// Mends for ever.
    pub async fn mend_for_ever(&self, children: &Path) {
        loop {
            tokio::time::sleep(MEND_EVERY).await;
            self.mend(children, 1).await;
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.notes.held().retain(|held| held.path != self.path);
        self.notes.freed.notify_waiters();
    }
}

impl Holding<'_> {
    /// Notes that this is about to be stopped, on the disk.
    pub fn note(&mut self, one: &Quiesce) -> io::Result<()> {
        self.note.stopped.push(one.clone());
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.note).map_err(io::Error::other)?;
        file::write_private(&self.path, &bytes)
    }

    /// Starts all that was noted, the last first, whatever anybody says meanwhile. Gives what does not start; that stays
    /// noted.
    pub async fn start(&mut self, children: &Path, tries: u32, log: &mut Tail) -> Vec<String> {
        let Note { plan, job, server, .. } = self.note.clone();
        let docker_host = self.notes.docker_host.clone();
        let environment = Environment { plan, job, server, docker_host };
        let (mut problems, mut left) = (Vec::new(), Vec::new());
        while let Some(one) = self.note.stopped.pop() {
            if let Some(problem) = start(&one, &environment, children, tries, log).await {
                let words = one.start.command.join(" ");
                tracing::error!(
                    plan = self.note.plan,
                    command = words,
                    problem,
                    "what was stopped is still stopped"
                );
                problems.push(format!("what '{words}' should have started is still stopped: it {problem}"));
                left.push(one);
            }
        }
        left.reverse();
        self.note.stopped = left;
        let written = if self.note.stopped.is_empty() { remove(&self.path) } else { self.write() };
        if let Err(e) = written {
            // It is started once more than needed, which it bears.
            tracing::warn!(note = %self.path.display(), error = %e, "the note of what was stopped could not be changed");
        }
        problems
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Why it did not start.
async fn start(
    one: &Quiesce,
    environment: &Environment,
    children: &Path,
    tries: u32,
    log: &mut Tail,
) -> Option<String> {
    let within = Duration::from_secs(one.start.timeout_s.into());
    let hook = Hook { command: &one.start.command, within, phase: "start", outcome: None };
    let mut last = None;
    for attempt in 0..tries.max(1) {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let Ok(Ran { problem, tail }) = hook::run(&hook, environment, children, control::never()).await
        else {
            continue;
        };
        hook.keep(log, problem.as_deref(), &tail);
        last = problem;
        last.as_ref()?;
    }
    last
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use strongroom_domain::quiesce::Command;

    fn pair(name: &str) -> Quiesce {
        let command =
            |word: &str| Command { command: vec!["/bin/sh".into(), "-c".into(), word.into()], timeout_s: 60 };
        Quiesce { stop: command("true"), start: command(name) }
    }

    fn note() -> Note {
        Note { plan: "p".into(), job: "j".into(), server: "s".into(), stopped: Vec::new() }
    }

    #[tokio::test]
    async fn what_nobody_holds_is_started_the_last_first_and_forgotten() {
        let (folder, children) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let done = children.path().join("done").display().to_string();
        let notes = Notes::new(folder.path().to_owned());
        let (a, b) = (pair(&format!("echo a >> {done}")), pair(&format!("echo b >> {done}")));
        let all = [a.clone(), b.clone()];
        let mut holding = notes.hold("1", note(), &all).await;
        holding.note(&a).unwrap();
        holding.note(&b).unwrap();
        assert_eq!(notes.mend(children.path(), 1).await, Vec::<String>::new());
        assert!(!Path::new(&done).exists(), "it is held");
        drop(holding);
        assert_eq!(notes.mend(children.path(), 1).await, Vec::<String>::new());
        assert_eq!(std::fs::read_to_string(&done).unwrap(), "b\na\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_does_not_start_stays_noted_alone() {
        let (folder, children) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let notes = Notes::new(folder.path().to_owned());
        let (good, bad) = (pair("true"), pair("echo no; exit 4"));
        let all = [bad.clone(), good.clone()];
        let mut holding = notes.hold("1", note(), &all).await;
        all.iter().for_each(|one| holding.note(one).unwrap());
        let mut log = Tail::default();
        let problems = holding.start(children.path(), 2, &mut log).await;
        assert!(problems.first().unwrap().contains("ended with exit status: 4"), "{problems:?}");
        assert_eq!(log.lines.iter().filter(|line| *line == "no").count(), 2, "{log:?}");
        drop(holding);
        let left = notes.left();
        assert_eq!(left.first().unwrap().1.stopped, [bad]);
    }

    #[tokio::test]
    async fn what_one_has_stopped_another_waits_for() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(folder.path().to_owned());
        let (one, other) = ([pair("a"), pair("b")], [pair("c")]);
        let first = notes.hold("1", note(), &one).await;
        let free = notes.hold("2", note(), &other).await;
        let mut waiting = std::pin::pin!(notes.hold("3", note(), &one[1..]));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        drop((first, free));
        let third = waiting.await;
        assert!(third.path.ends_with("3.json"));
    }
}
