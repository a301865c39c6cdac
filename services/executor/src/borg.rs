//! Running borg: one call, its words, its end.

use crate::child::{Input, Plan, Running};
use crate::control::{Control, NoOutcome, Stop};
use crate::core::finding::Work;
use crate::core::findings::Findings;
use crate::core::lines::{Line, Lines};
use crate::core::messages::{Exit, Extracted, Message, Messages, let_go};
use crate::core::progress::{Meter, ProgressLine};
use crate::core::surrogates;
use crate::program;
use crate::state::State;
use age::secrecy::{ExposeSecret, SecretString};
use rustix::process::Signal;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// How long borg may take to end in order before it is told more clearly.
const GENTLE: Duration = Duration::from_secs(20);
/// And then before it is killed.
const FIRM: Duration = Duration::from_secs(5);
/// The longest line that is read; a longer one is passed over.
const LINE_BYTES: usize = 1 << 20;
/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// The largest answer that is read as a whole: the list of some hundred thousand archives.
const ANSWER_BYTES: u64 = 256 << 20;

/// The borg of this node.
pub struct Borg {
    program: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    notes: PathBuf,
    version: tokio::sync::OnceCell<String>,
}

/// How far an attempt is, shared with who tells about it.
pub type SharedMeter = Arc<Mutex<Meter>>;

/// One call.
pub struct Call<'a> {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What opens the repository.
    pub passphrase: Option<&'a SecretString>,
    /// Where it works.
    pub folder: Option<&'a Path>,
    /// What it is about, by which its words are understood.
    pub work: Work,
    /// Hears when to stop.
    pub control: Control,
    /// Where progress goes.
    pub meter: Option<&'a SharedMeter>,
}

/// What came of a call that borg made to its end.
pub struct Done {
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it found on the way.
    pub findings: Findings,
    /// Patterns of an extract that matched nothing.
    pub never_matched: Vec<String>,
    /// What of an extract may be put in place, or why nothing.
    pub extracted: Result<Extracted, Failure>,
    /// The last lines.
    pub tail: Vec<String>,
}

/// A call that did not come to its end.
pub enum NotDone {
    /// It failed; the messages say more than the failure.
    Failed(Failure, Box<Messages>),
    /// It was stopped.
    Stopped(Stop),
}

impl From<NotDone> for NoOutcome {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Failed(failure, _) => Self::Failed(failure),
            NotDone::Stopped(why) => Self::Stopped(why),
        }
    }
}

impl From<NoOutcome> for NotDone {
    fn from(no_outcome: NoOutcome) -> Self {
        match no_outcome {
            NoOutcome::Failed(failure) => Self::Failed(failure, Box::default()),
            NoOutcome::Stopped(why) => Self::Stopped(why),
        }
    }
}

impl NotDone {
    /// Whether borg gave this id to an error.
    pub fn says(&self, msgid: &str) -> bool {
        matches!(self, Self::Failed(_, messages) if messages.has(msgid))
    }
}

impl Borg {
    /// The borg at this path or name, with an environment that holds nothing of ours but what it needs.
    pub fn new(program: &Path, state: &State) -> anyhow::Result<Self> {
        let own: [(&'static str, OsString); 6] = [
            // Borg writes times of its own zone without naming it.
            ("TZ", "UTC".into()),
            ("BORG_BASE_DIR", state.borg_base().into()),
            ("BORG_HOST_ID", state.host_id.clone().into()),
            // Nobody is there to be asked; where a repository lies is the log's to say.
            ("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes".into()),
            ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into()),
            ("BORG_DISPLAY_PASSPHRASE", "no".into()),
        ];
        let environment = program::environment().into_iter().chain(own).collect();
        Ok(Self {
            program: program.to_owned(),
            environment,
            notes: state.children(),
            version: tokio::sync::OnceCell::new(),
        })
    }

    /// Its version, when it can be used. One that cannot is asked again the next time: it may have been installed.
    pub async fn version(&self) -> Result<&String, Failure> {
        self.version.get_or_try_init(|| self.ask_version()).await
    }

    async fn ask_version(&self) -> Result<String, Failure> {
        let (_, control) = crate::control::pair();
        let arguments = vec!["--version".to_owned()];
        let call =
            Call { arguments, passphrase: None, folder: None, work: Work::Other, control, meter: None };
        let said = match self.run(call).await {
            Ok(done) => String::from_utf8_lossy(&done.stdout).trim().to_owned(),
            Err(NotDone::Failed(failure, _)) => return Err(failure),
            Err(NotDone::Stopped(_)) => String::new(),
        };
        let version = said.rsplit(' ').next().unwrap_or_default().to_owned();
        let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(1), Some(minor)) if minor >= 2 => Ok(version),
            _ => Err(Failure::new(
                FailureCode::BorgMissing,
                format!("'{said}' is not borg 1.2 or newer of 1.x"),
            )),
        }
    }

    /// Runs it to its end, and gives what it printed as a whole.
    pub async fn run(&self, call: Call<'_>) -> Result<Done, NotDone> {
        self.run_with(call, Taker::Whole).await
    }

    /// Runs it to its end, and hands each line that it prints to `lines`, as fast as they are taken there.
    pub async fn run_lines(&self, call: Call<'_>, lines: mpsc::Sender<String>) -> Result<Done, NotDone> {
        self.run_with(call, Taker::Lines(lines)).await
    }

    /// Runs it to its end, and hands the bytes that it prints to `pieces`, as fast as they are taken there. When nobody
    /// takes them any more, the rest is read and passed over.
    pub async fn run_pieces(&self, call: Call<'_>, pieces: mpsc::Sender<Vec<u8>>) -> Result<Done, NotDone> {
        self.run_with(call, Taker::Pieces(pieces)).await
    }

    async fn run_with(&self, call: Call<'_>, taker: Taker) -> Result<Done, NotDone> {
        let failed = |failure| NotDone::Failed(failure, Box::default());
        if let Some(why) = call.control.why() {
            return Err(NotDone::Stopped(why));
        }
        let mut environment = self.environment.clone();
        let input = match call.passphrase {
            Some(passphrase) => {
                environment.push(("BORG_PASSPHRASE_FD", "0".into()));
                Input::Words(passphrase.expose_secret().as_bytes().to_vec())
            }
            None => Input::Nothing,
        };
        let plan = Plan {
            program: self.program.clone(),
            arguments: call.arguments,
            environment,
            folder: call.folder.map(Path::to_owned),
            input,
            user: None,
            notes: self.notes.clone(),
            inside: None,
        };
        let started = Running::start(plan).await;
        let (stdout, stderr, mut handle) = started.map_err(|e| failed(self.not_started(&e)))?.into_parts();
        let mut control = call.control;
        let watching = async {
            let why = tokio::select! {
                status = handle.ended() => return (status, None),
                why = control.stopped() => why,
            };
            // SIGINT makes borg write a checkpoint, which the next attempt or job goes on from; TERM does not.
            let first = if matches!(why, Stop::Shutdown | Stop::TimeUp) { Signal::INT } else { Signal::TERM };
            for (signal, patience) in [(first, GENTLE), (Signal::TERM, FIRM), (Signal::KILL, FIRM)] {
                handle.signal(if why == Stop::Stale { Signal::KILL } else { signal });
                if let Ok(status) = tokio::time::timeout(patience, handle.ended()).await {
                    return (status, Some(why));
                }
            }
            (handle.ended().await, Some(why))
        };
        let (printed, messages, (status, stopped)) =
            tokio::join!(read(stdout, taker), listen(stderr, call.work, call.meter), watching);
        if stopped == Some(Stop::LetGo) {
            // Why it has done so, it has said.
            return Err(NotDone::Failed(let_go(messages.tail()), Box::new(messages)));
        }
        let exit = exit_of(status.map_err(|e| failed(Failure::new(FailureCode::Unknown, e.to_string())))?);
        if let Some(why) = stopped.filter(|why| *why == Stop::Stale || !matches!(exit, Exit::Code(0 | 1))) {
            return Err(NotDone::Stopped(why));
        }
        if exit == Exit::Code(127) {
            return Err(failed(self.missing()));
        }
        let (tail, never_matched) = (messages.tail(), messages.never_matched().to_vec());
        let extracted = messages.extracted(exit);
        match messages.clone().conclude(exit) {
            Ok(findings) => {
                let stdout =
                    printed.map_err(|e| failed(Failure::new(FailureCode::Unknown, e.to_string())))?;
                Ok(Done { stdout, findings, never_matched, extracted, tail })
            }
            Err(failure) => Err(NotDone::Failed(failure, Box::new(messages))),
        }
    }

    fn not_started(&self, error: &std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::NotFound {
            let problem = "there is no 'setpriv' on this node; install the package util-linux";
            return Failure::new(FailureCode::Unknown, problem);
        }
        Failure::new(
            FailureCode::Unknown,
            format!("'{}' could not be started: {error}", self.program.display()),
        )
    }

    fn missing(&self) -> Failure {
        Failure::new(FailureCode::BorgMissing, format!("'{}' is not on this node", self.program.display()))
    }
}

/// What becomes of what borg prints.
enum Taker {
    /// It is kept, and given back as a whole.
    Whole,
    /// Each line goes there.
    Lines(mpsc::Sender<String>),
    /// All of it goes there.
    Pieces(mpsc::Sender<Vec<u8>>),
}

async fn read(mut stdout: tokio::process::ChildStdout, taker: Taker) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let lines = match taker {
        Taker::Lines(lines) => lines,
        Taker::Pieces(pieces) => loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            if stdout.read_buf(&mut piece).await? == 0 {
                return Ok(bytes);
            }
            drop(pieces.send(piece).await);
        },
        Taker::Whole => {
            (&mut stdout).take(ANSWER_BYTES).read_to_end(&mut bytes).await?;
            // Read to its end whatever its size, or borg would wait for us for ever.
            let more = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await?;
            return if more == 0 {
                Ok(bytes)
            } else {
                Err(std::io::Error::other("borg's answer is too large"))
            };
        }
    };
    let mut too_long = false;
    let mut said = Said::new(stdout);
    while let Some(next) = said.line().await? {
        match next {
            // Who takes them may have had enough, and says why; everything is read to the end, so that borg can end.
            Line::Whole(text) => drop(lines.send(text).await),
            Line::TooLong => too_long = true,
        }
    }
    if too_long { Err(std::io::Error::other("a line of borg's answer is too long")) } else { Ok(bytes) }
}

/// Lines, as they come.
struct Said<R> {
    from: R,
    lines: Option<Lines>,
    piece: Vec<u8>,
    next: VecDeque<Line>,
}

impl<R: AsyncRead + Unpin> Said<R> {
    fn new(from: R) -> Self {
        let lines = Some(Lines::new(LINE_BYTES));
        Self { from, lines, piece: vec![0; PIECE_BYTES], next: VecDeque::new() }
    }

    /// The next one; `None` at the end.
    async fn line(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.next.pop_front() {
                return Ok(Some(line));
            }
            let Some(lines) = &mut self.lines else { return Ok(None) };
            let n = self.from.read(&mut self.piece).await?;
            if n > 0 {
                self.next.extend(lines.take(self.piece.get(..n).unwrap_or_default()));
            } else if let Some(lines) = self.lines.take() {
                self.next.extend(lines.end());
            }
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}

/// Takes in what borg says. Nothing that it says can make us stop listening: it would wait for us for ever.
async fn listen(stderr: impl AsyncRead + Unpin, work: Work, meter: Option<&SharedMeter>) -> Messages {
    let mut messages = Messages::of(work);
    let mut said = Said::new(stderr);
    loop {
        match said.line().await {
            Ok(Some(Line::Whole(line))) => {
                understand(&surrogates::without_lone(&line), &mut messages, meter);
            }
            Ok(Some(Line::TooLong)) => {}
            Ok(None) => return messages,
            Err(e) => {
                tracing::warn!(error = %e, "what borg says cannot be read any more");
                return messages;
            }
        }
    }
}

fn understand(line: &str, messages: &mut Messages, meter: Option<&SharedMeter>) {
    let meter = || meter.map(|meter| meter.lock().unwrap_or_else(PoisonError::into_inner));
    match serde_json::from_str::<ProgressLine>(line) {
        Ok(ProgressLine::Other) => {
            if let Ok(message) = serde_json::from_str::<Message>(line)
                && !message.levelname.is_empty()
            {
                messages.take(message);
                if let Some(mut meter) = meter() {
                    meter.log_tail(messages.tail());
                }
            }
        }
        Ok(progress) => {
            if let Some(mut meter) = meter() {
                meter.take(progress, clock::now());
            }
        }
        // Words that are no JSON: a traceback, or those of setpriv.
        Err(_) => {
            let (levelname, message) = ("ERROR".into(), line.to_owned());
            messages.take(Message { levelname, message, ..Message::default() });
        }
    }
}
