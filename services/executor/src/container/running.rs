//! A container that runs a program, from before it is started until it is gone.
//!
//! The accident that this file prevents is P7 once more: `docker run` is no parent of what it runs. Killed, it leaves a dump
//! running that nobody wants, with its snapshot held open on the server; and a restore would take the end of what it was
//! given for the end of the dump. So the container goes first, and the hand that feeds it after that.

use super::Engine;
use crate::child::{Plan, User};
use crate::core::container::{Image, Start};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use strongroom_domain::JobId;
use tokio::sync::watch;
use uuid::Uuid;

/// How long the engine may take to remove a container.
const REMOVED_WITHIN: Duration = Duration::from_secs(20);
/// How long a question to the engine may take to be written.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is tried when the engine may just be making it.
const TRIES: u32 = 4;
/// How long it is waited in between.
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// In which image a program runs, and for whom.
#[derive(Clone)]
pub struct Inside {
    engine: Engine,
    image: Image,
    labels: Vec<String>,
    /// What of the node it sees, at the same places, to read.
    seen: Vec<PathBuf>,
    job: JobId,
    live: Arc<Live>,
}

impl Inside {
    /// One that sees nothing of the node so far.
    pub fn new(engine: Engine, image: Image, labels: Vec<String>, job: JobId, live: Arc<Live>) -> Self {
        Self { engine, image, labels, seen: Vec::new(), job, live }
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The same, for a program that sees these files and sockets.
    pub fn seeing(&self, paths: impl IntoIterator<Item = PathBuf>) -> Box<Self> {
        Box::new(Self { seen: paths.into_iter().collect(), ..self.clone() })
    }

    /// The same, for a program that sees this file as well.
    pub fn and_seeing(self, path: PathBuf) -> Self {
        let mut seen = self.seen;
        seen.push(path);
        Self { seen, ..self }
    }

    /// Makes a plan for the program one for `docker`.
    pub fn wrap(self, plan: &mut Plan) -> Container {
        let name = format!("strongroom-{}", Uuid::now_v7());
        // Its own search path and home are those of the image.
        let is_its_own = |name: &&str| !["PATH", "HOME"].contains(name);
        let environment: Vec<&str> =
            plan.environment.iter().map(|(name, _)| *name).filter(is_its_own).collect();
        // What is not there cannot be shown: the program says so itself.
        let mut seen: Vec<String> = self
            .seen
            .iter()
            .filter(|path| path.exists())
            .filter_map(|path| Some(path.to_str()?.to_owned()))
            .collect();
        seen.sort();
        seen.dedup();
        let User { uid, gid } = plan.user.take().unwrap_or_else(User::own);
        let words = Start {
            name: &name,
            labels: &self.labels,
            image: &self.image,
            program: &plan.program.to_string_lossy(),
            arguments: &plan.arguments,
            environment: &environment,
            seen: &seen,
            user: (uid, gid),
            reads: !matches!(plan.input, crate::child::Input::Nothing),
        }
        .arguments();
        plan.arguments = self.engine.arguments(words);
        plan.program.clone_from(&self.engine.program);
        plan.folder = Some("/".into());
        self.live.begin(self.job);
        let guard = Guard::post(&self.engine, &name);
        Container {
            life: self.engine.socket().and_then(|socket| watch_life(socket, &name).ok()),
            engine: self.engine,
            name,
            removed: AtomicBool::new(false),
            guard,
            job: self.job,
            live: self.live,
        }
    }
}

/// A container, from before it is made.
pub struct Container {
    engine: Engine,
    /// A connection to the engine, which tells on it of this container: it ends when the engine does, and not before.
    life: Option<UnixStream>,
    name: String,
    removed: AtomicBool,
    guard: Option<Guard>,
    job: JobId,
    live: Arc<Live>,
}

/// Asks the engine to tell of a container as long as both live. A connection on which nothing is asked may be closed before.
fn watch_life(socket: &Path, name: &str) -> std::io::Result<UnixStream> {
    let mut life = UnixStream::connect(socket)?;
    life.set_write_timeout(Some(ASKED_WITHIN))?;
    let filters = format!("%7B%22container%22%3A%5B%22{name}%22%5D%7D");
    write!(life, "GET /events?filters={filters} HTTP/1.1\r\nHost: docker\r\n\r\n")?;
    Ok(life)
}

/// What came of removing one.
pub enum Removal {
    /// It is gone.
    Removed,
    /// There is none of this name.
    NotThere,
    /// Why it may still be there.
    Failed(String),
}

impl Container {
    /// Makes sure that it is gone, after `docker run` has ended; waits for that.
    pub fn conclude(&self, status: &std::io::Result<ExitStatus>) {
        // One whose program has ended well was removed before that was told.
        if status.as_ref().is_ok_and(ExitStatus::success) || self.removed.load(Ordering::Acquire) {
            return;
        }
        self.clear_away(status);
        if self.engine_has_ended() {
            self.live.lose(self.job, Lost::InTheMiddle);
        }
    }

    /// Whether it was not the program that has failed. The engine that answers now may be another one already.
    fn engine_has_ended(&self) -> bool {
        let Some(mut life) = self.life.as_ref() else { return true };
        let read = life.set_nonblocking(true).and_then(|()| std::io::copy(&mut life, &mut std::io::sink()));
        let lives = read.is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        // One that is told to end takes no connections any more, ends what runs in it, and then itself.
        !lives || self.engine.socket().is_none_or(|socket| UnixStream::connect(socket).is_err())
    }

    fn clear_away(&self, status: &std::io::Result<ExitStatus>) {
        // One that was killed may have asked for a container that is made only now.
        let was_killed = !matches!(status, Ok(status) if status.code().is_some());
        for n in 0..if was_killed { TRIES } else { 1 } {
            if n > 0 {
                // In a thread that waits for nothing else.
                std::thread::park_timeout(BETWEEN_TRIES);
            }
            if !matches!(self.remove(), Removal::NotThere) {
                return;
            }
        }
    }

    /// Ends it at once and removes it.
    pub fn remove(&self) -> Removal {
        let removal = self.try_remove();
        match &removal {
            Removal::Removed => self.removed.store(true, Ordering::Release),
            Removal::NotThere => {}
            Removal::Failed(why) => {
                tracing::warn!(
                    container = self.name,
                    why,
                    "a container is not removed; the next start of the executor tries again"
                );
            }
        }
        removal
    }

    fn try_remove(&self) -> Removal {
        let words = ["rm", "--force", "--volumes", &self.name].map(str::to_owned);
        let mut command = Command::new(&self.engine.program);
        command
            .args(self.engine.arguments(words))
            .env_clear()
            .envs(crate::program::environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(e) => return Removal::Failed(e.to_string()),
        };
        let pid = Pid::from_child(&child);
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(child.wait_with_output()));
        match told.recv_timeout(REMOVED_WITHIN) {
            Ok(Ok(done)) => {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                let nothing =
                    ["No such container", "already in progress"].iter().any(|words| said.contains(words));
                if String::from_utf8_lossy(&done.stdout).trim() == self.name {
                    Removal::Removed
                } else if said.is_empty() || nothing {
                    Removal::NotThere
                } else {
                    Removal::Failed(said)
                }
            }
            Ok(Err(e)) => Removal::Failed(e.to_string()),
            Err(_) => {
                // Nobody has waited for it so far: the number is its own.
                let _ = kill_process(pid, Signal::KILL);
                Removal::Failed("Docker's engine does not answer".to_owned())
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.live.end(self.job);
    }
}

/// What removes a container when nobody is left who would: `xargs`, which runs `docker rm` with the name that it was given as
/// soon as the end of its input comes, and that comes when the executor ends, in whatever way.
struct Guard {
    child: Child,
    _input: ChildStdin,
}

impl Guard {
    /// Where there is none, the next start of the executor finds what was left.
    fn post(engine: &Engine, name: &str) -> Option<Self> {
        let words = engine.arguments(["rm", "--force", "--volumes"].map(str::to_owned));
        let posted = Command::new("xargs")
            .arg(&engine.program)
            .args(words)
            .env_clear()
            .envs(crate::program::environment())
            .current_dir("/")
            // What is told to all of ours is not told to it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match posted {
            Ok(child) => child,
            Err(e) => {
                tracing::warn!(error = %e, "xargs: a container would outlive a kill of this executor until its next start");
                return None;
            }
        };
        let mut input = child.stdin.take()?;
        // It fits into the pipe.
        let _ = writeln!(input, "{name}");
        Some(Self { child, _input: input })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Before its input ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// When the engine was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// When a program was looked for.
    BeforeIt,
    /// While one ran.
    InTheMiddle,
}

/// How many containers each job has, and for which of them the engine was away.
#[derive(Default)]
pub struct Live {
    running: watch::Sender<HashMap<JobId, usize>>,
    lost: Mutex<HashMap<JobId, Lost>>,
}

impl Live {
    /// Waits until a job has none.
    pub async fn gone(&self, job: JobId) {
        // It ends as well when nobody counts any more.
        let _ = self.running.subscribe().wait_for(|all| !all.contains_key(&job)).await;
    }

    /// The engine was away.
    pub fn lose(&self, job: JobId, when: Lost) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lost.entry(job).or_insert(when);
        if when == Lost::InTheMiddle {
            *known = when;
        }
    }

    /// Whether it was, which is forgotten.
    pub fn lost(&self, job: JobId) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(&job)
    }

    fn begin(&self, job: JobId) {
        self.running.send_modify(|all| *all.entry(job).or_default() += 1);
    }

    fn end(&self, job: JobId) {
        self.running.send_modify(|all| {
            if let Some(count) = all.get_mut(&job) {
                *count -= 1;
                if *count == 0 {
                    all.remove(&job);
                }
            }
        });
    }
}
