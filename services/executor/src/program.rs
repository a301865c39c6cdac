//! Programs of database systems: found on the node, asked, and read from.

use crate::child::{Input, Plan, Running, User};
use crate::container::Inside;
use crate::control::{Control, NoOutcome};
use crate::core::container;
use crate::core::tail::Tail;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};

/// The largest answer that is read as a whole.
const ANSWER_BYTES: u64 = 16 << 20;
/// How much of a line is looked at at once.
const LINE_BYTES: u64 = 64 << 10;

/// Where a program is.
#[derive(Clone)]
pub enum Place {
    /// A file of this node.
    Node(PathBuf),
    /// A program of this name in an image.
    Image(String, Box<Inside>),
}

impl Place {
    /// By what it is called.
    pub fn program(&self) -> &Path {
        match self {
            Self::Node(path) => path,
            Self::Image(name, _) => Path::new(name),
        }
    }

    /// The image, when it is in one.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Node(_) => None,
            Self::Image(_, inside) => Some(&inside.image().name),
        }
    }

    /// In what it runs, when it sees these files and sockets.
    pub fn inside(&self, seen: impl IntoIterator<Item = PathBuf>) -> Option<Box<Inside>> {
        match self {
            Self::Node(_) => None,
            Self::Image(_, inside) => Some(inside.seeing(seen)),
        }
    }
}

/// What a program printed, and what it said last.
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// The last lines of what it said besides.
    pub tail: Vec<String>,
}

/// Runs a program to its end, unless the attempt is to stop.
pub async fn ask(plan: Plan, control: Control) -> Result<Said, NoOutcome> {
    tell(plan, &[], control).await
}

/// The same, and with [`Input::Stream`] it reads this, of any length.
pub async fn tell(plan: Plan, words: &[u8], mut control: Control) -> Result<Said, NoOutcome> {
    let program = plan.program.clone();
    let image = image(&plan);
    let mut running = start(plan).await?;
    let stdin = running.stdin.take();
    let telling = async {
        if let Some(mut stdin) = stdin {
            // Who does not want to know it has ended, and says why.
            let _ = stdin.write_all(words).await;
        }
    };
    let (mut stdout, stderr, mut handle) = running.into_parts();
    let reading = async {
        let mut bytes = Vec::new();
        (&mut stdout).take(ANSWER_BYTES).read_to_end(&mut bytes).await?;
        // Read to its end whatever its size, or it would wait for us for ever.
        let more = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await?;
        if more == 0 { Ok(bytes) } else { Err(std::io::Error::other("the answer is too large")) }
    };
    let ended = async { tokio::join!(telling, reading, tail(stderr), handle.ended()) };
    tokio::select! {
        ((), stdout, tail, status) = ended => {
            let failed = |e: std::io::Error| Failure::new(FailureCode::Unknown, format!("{}: {e}", program.display()));
            let status = status.map_err(failed)?;
            if let Some(failure) = not_run(&program, image.as_deref(), &status, &tail) {
                return Err(failure.into());
            }
            Ok(Said { status, stdout: stdout.map_err(failed)?, tail })
        }
        why = control.stopped() => Err(NoOutcome::Stopped(why)),
    }
}

/// How a program is called that is to find nothing in its home but what the job has put there.
pub fn plan(
    program: &Path,
    arguments: Vec<String>,
    home: Option<&Path>,
    input: Input,
    notes: PathBuf,
) -> Plan {
    let mut environment = environment();
    environment.retain(|(name, _)| *name != "HOME");
    environment.extend(home.map(|home| ("HOME", home.into())));
    let (program, folder) = (program.to_owned(), Some("/".into()));
    Plan { program, arguments, environment, folder, input, user: None, notes, inside: None }
}

/// In which image a program is to run.
pub fn image(plan: &Plan) -> Option<String> {
    plan.inside.as_ref().map(|inside| inside.image().name.clone())
}

/// That a program was not run in its image, when that is why it seems to have ended so.
pub fn not_run(program: &Path, image: Option<&str>, status: &ExitStatus, tail: &[String]) -> Option<Failure> {
    let why = container::engines_error(status.code(), tail).filter(|_| image.is_some())?;
    let message =
        format!("{} was not run in the image {}: {why}", program.display(), image.unwrap_or_default());
    Some(Failure::new(FailureCode::ContainerFailed, message).with_log(tail.to_vec()))
}

/// Starts a program.
pub async fn start(plan: Plan) -> Result<Running, Failure> {
    let program = plan.program.clone();
    Running::start(plan).await.map_err(|e| {
        Failure::new(FailureCode::Unknown, format!("'{}' could not be started: {e}", program.display()))
    })
}

/// The last lines of what is said, read to the end.
pub async fn tail(said: impl AsyncRead + Unpin) -> Vec<String> {
    let tail = Mutex::new(Tail::default());
    tail_into(said, &tail).await;
    tail.into_inner().unwrap_or_else(PoisonError::into_inner).lines.into()
}

/// The same, of which each line is heard.
pub async fn tail_heard(said: impl AsyncRead + Unpin, mut hear: impl FnMut(&str)) -> Vec<String> {
    let mut tail = Tail::default();
    lines(said, |line| {
        hear(line);
        tail.push(line);
    })
    .await;
    tail.lines.into()
}

/// The same, kept together with what is said elsewhere.
pub async fn tail_into(said: impl AsyncRead + Unpin, tail: &Mutex<Tail>) {
    lines(said, |line| tail.lock().unwrap_or_else(PoisonError::into_inner).push(line)).await;
}

async fn lines(said: impl AsyncRead + Unpin, mut hear: impl FnMut(&str)) {
    let mut said = BufReader::new(said);
    let mut line = Vec::new();
    loop {
        line.clear();
        // What is said in one line of any length takes no more memory than this.
        match (&mut said).take(LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                hear(String::from_utf8_lossy(&line).trim_end());
            }
        }
    }
}

/// The files of this name that can be executed: in these folders, then on the `PATH`.
pub fn find(name: &str, folders: &[PathBuf]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    for file in folders.iter().cloned().chain(std::env::split_paths(&path)).map(|folder| folder.join(name)) {
        // `/bin` is `/usr/bin` by now: what is there twice need not be asked twice.
        let Ok(real) = file.canonicalize() else { continue };
        if is_program(&real) && !seen.contains(&real) {
            found.push(file);
            seen.push(real);
        }
    }
    found
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The numbers of a system user, as this machine knows it (`man getent`).
pub async fn user(name: &str, notes: &Path, control: Control) -> Result<User, NoOutcome> {
    let plan = Plan {
        program: "getent".into(),
        arguments: vec!["passwd".into(), name.to_owned()],
        environment: environment(),
        folder: None,
        input: Input::Nothing,
        user: None,
        notes: notes.to_owned(),
        inside: None,
    };
    let said = ask(plan, control).await?;
    let line = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut fields = line.split(':').skip(2).map_while(|field| field.parse().ok());
    match (fields.next(), fields.next()) {
        (Some(uid), Some(gid)) => Ok(User { uid, gid }),
        _ => {
            let message = format!("there is no system user '{name}' on this node");
            Err(Failure::new(FailureCode::AccessDenied, message).into())
        }
    }
}

/// How much a program prints at once that prints much.
const PRINTED_AT_ONCE: &str = "--output=256K";

/// The same program, which prints more at once: into a pipe the C library gives on 4 KiB at a time, and a third of what
/// `pg_dump` takes of a processor is for that. Where there is no `stdbuf` (GNU coreutils), or the program has a library of
/// its own, it prints as ever.
pub fn printing_much(plan: Plan) -> Plan {
    let stdbuf = match &plan.inside {
        None => find("stdbuf", &[]).into_iter().next(),
        Some(_) => None,
    };
    let Some(stdbuf) = stdbuf else {
        return plan;
    };
    let mut arguments = vec![PRINTED_AT_ONCE.to_owned(), "--".into(), plan.program.display().to_string()];
    arguments.extend(plan.arguments);
    Plan { program: stdbuf, arguments, ..plan }
}

/// What every program is given, and nothing else of ours.
pub fn environment() -> Vec<(&'static str, std::ffi::OsString)> {
    let kept = ["PATH", "HOME"].iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    kept.chain([("LANG", "C.UTF-8".into()), ("LC_ALL", "C.UTF-8".into())]).collect()
}
