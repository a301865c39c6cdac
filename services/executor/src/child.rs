//! Children that cannot outlive us, in process groups of their own.
//!
//! The accident that this file prevents is P7: an executor that is killed and whose borg goes on alone. The kernel ends a
//! child when the *thread* that started it ends, so children are started by one thread that lives as long as the process.

use crate::container::{Container, Inside};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

/// What is started.
#[derive(Clone)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(&'static str, OsString)>,
    /// Where it works.
    pub folder: Option<PathBuf>,
    /// What it reads.
    pub input: Input,
    /// As whom it runs; as the executor's own user, when absent.
    pub user: Option<User>,
    /// Where it is noted while it runs.
    pub notes: PathBuf,
    /// In which image it runs, by its name there; on the node itself, when absent.
    pub inside: Option<Box<Inside>>,
}

/// What a child reads.
#[derive(Clone, Default)]
pub enum Input {
    /// Nothing.
    #[default]
    Nothing,
    /// A few words, a secret perhaps, which are written and then gone. They fit into a pipe.
    Words(Vec<u8>),
    /// What is written to [`Running::stdin`].
    Stream,
    /// A file, which it may open once more as `/proc/self/fd/0`: one that has no name, or that it could not reach by it.
    File(Arc<File>),
}

/// A system user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its first group.
    pub gid: u32,
}

impl User {
    /// The executor's own.
    pub fn own() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// A child that runs. Dropped, it is killed.
pub struct Running {
    /// What it reads, with [`Input::Stream`].
    pub stdin: Option<ChildStdin>,
    /// What it prints.
    pub stdout: ChildStdout,
    /// What it says besides.
    pub stderr: ChildStderr,
    group: Group,
    ended: JoinHandle<std::io::Result<ExitStatus>>,
}

/// Its process group, as long as it is ours: a number that was given back could be anybody's.
#[derive(Clone)]
struct Group {
    pid: Arc<Mutex<Option<Pid>>>,
    container: Option<Arc<Container>>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        match &self.container {
            Some(container) if signal == Signal::KILL && self.lives() => {
                // Stopped, it neither feeds the container nor lets it see an end, until that is gone.
                self.send(Signal::STOP);
                let (group, container) = (self.clone(), container.clone());
                std::thread::spawn(move || {
                    container.remove();
                    group.send(Signal::KILL);
                });
            }
            _ => self.send(signal),
        }
    }

    fn lives(&self) -> bool {
        self.pid.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn send(&self, signal: Signal) {
        let group = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *group {
            // It may have ended by itself this moment.
            let _ = kill_process_group(pid, signal);
        }
    }
}

type Task = Box<dyn FnOnce() + Send>;

static THREAD: OnceLock<mpsc::Sender<Task>> = OnceLock::new();

fn in_lasting_thread(task: Task) -> std::io::Result<()> {
    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Task>();
        let _ = std::thread::Builder::new().name("children".into()).spawn(move || {
            for task in receiver {
                task();
            }
        });
        sender
    });
    thread.send(task).map_err(|_| std::io::Error::other("no thread can be started"))
}

impl Running {
    /// Starts it. An error of kind `NotFound` says that the program is not there.
    pub async fn start(mut plan: Plan) -> std::io::Result<Self> {
        let notes = plan.notes.clone();
        let container = plan.inside.take().map(|inside| Arc::new(inside.wrap(&mut plan)));
        let (tell, told) = tokio::sync::oneshot::channel();
        let contained = container.clone();
        in_lasting_thread(Box::new(move || {
            if let Err(Ok(mut child)) = tell.send(spawn(plan)) {
                // Nobody waits for it any more, so nobody would end it.
                let _ = child.kill();
                let status = child.wait();
                if let Some(container) = contained {
                    std::thread::spawn(move || container.conclude(&status));
                }
            }
        }))?;
        let mut child = told.await.map_err(|_| std::io::Error::other("it was not started"))??;
        let (stdout, stderr) = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), Some(stderr)) => (ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?),
            _ => return Err(std::io::Error::other("it has no output")),
        };
        let stdin = child.stdin.take().map(ChildStdin::from_std).transpose()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = Group { pid: Arc::new(Mutex::new(pid)), container };
        let note = note(&notes, child.id());
        let ended = tokio::task::spawn_blocking({
            let group = group.clone();
            move || wait(child, &group, note.as_deref())
        });
        Ok(Self { stdin, stdout, stderr, group, ended })
    }

    /// What can signal it while its parts are elsewhere.
    pub fn into_parts(self) -> (ChildStdout, ChildStderr, Handle) {
        let Self { stdin: _, stdout, stderr, group, ended } = self;
        (stdout, stderr, Handle { group, ended })
    }
}

/// The hand on a child. Dropped, it kills it.
pub struct Handle {
    group: Group,
    ended: JoinHandle<std::io::Result<ExitStatus>>,
}

impl Handle {
    /// Sends a signal to it and all that it has started.
    pub fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// How it ended. May be dropped and called again.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        (&mut self.ended).await.map_err(std::io::Error::other)?
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

fn spawn(plan: Plan) -> std::io::Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(User { uid, gid }) = plan.user {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".to_owned()]);
    }
    command
        .arg("--")
        .arg(&plan.program)
        .args(&plan.arguments)
        .env_clear()
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .stdin(match &plan.input {
            Input::Nothing => Stdio::null(),
            Input::Words(_) | Input::Stream => Stdio::piped(),
            Input::File(file) => file.try_clone()?.into(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(folder) = &plan.folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn()?;
    if let Input::Words(words) = plan.input
        && let Some(mut stdin) = child.stdin.take()
    {
        // They fit into the pipe, so this waits for nobody; who does not want them does not read them.
        let _ = stdin.write_all(&words);
    }
    Ok(child)
}

fn wait(mut child: Child, group: &Group, note: Option<&Path>) -> std::io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Its number stays its own until it is reaped, and it is reaped only when nobody can signal it any more.
        while let Err(e) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            if e != rustix::io::Errno::INTR {
                break;
            }
        }
    }
    *group.pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let status = child.wait();
    if let Some(container) = &group.container {
        container.conclude(&status);
    }
    if let Some(note) = note {
        let _ = std::fs::remove_file(note);
    }
    status
}

/// Notes a child with the time of its start, by which it is known from others that get its number later.
fn note(notes: &Path, pid: u32) -> Option<PathBuf> {
    let file = notes.join(pid.to_string());
    let start = start_time(pid)?;
    std::fs::write(&file, start).ok()?;
    Some(file)
}

/// When a process was started, in ticks since the machine was (`man 5 proc`, field 22 of `stat`).
pub fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}
