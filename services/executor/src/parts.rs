//! The parts of a dump: where their bytes come from, and how they flow to where they are kept.

use crate::census::{BESIDE_A_DUMP, Counting, Moment};
use crate::child::{Input, Plan};
use crate::core::census::{Contents, Counted, of_archive};
use crate::core::findings::Findings;
use crate::core::mongodb::archive::{Archive, Wrong};
use crate::core::sum::{Sum, Summed};
use crate::core::tar::Told;
use crate::program;
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_domain::archive::Artefact;
use strongroom_domain::census::Taken;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// How much is taken on at once.
const PIECE_BYTES: usize = 256 << 10;
/// How much a program may print before somebody takes it; the kernel gives to everybody that much (`man 7 pipe`).
const PIPE_BYTES: usize = 1 << 20;
/// Pieces that wait to be taken on.
const PIECES: usize = 4;

/// A part of a dump, before it is made.
pub struct Part {
    /// Where it will be in the archive.
    pub path: String,
    /// What it is.
    pub kind: &'static str,
    /// Which database.
    pub database: Option<String>,
    /// How it is written.
    pub format: Option<String>,
    /// About how many bytes it will have, when that can be guessed.
    pub expected_bytes: Option<u64>,
    /// Whether it is no failure when it is gone before its turn comes.
    pub may_vanish: bool,
    /// Where its bytes come from.
    pub from: From,
}

/// Where the bytes of a part come from.
pub enum From {
    /// What a program prints.
    Program(Box<Program>),
    /// What a program prints, which somebody hears along.
    Heard(Box<Program>, Along),
    /// What mongodump prints: read along, to know that it is whole and what is in it.
    MongoArchive(Box<Program>),
    /// These.
    Bytes(Vec<u8>),
    /// What this gives, in a thread where it may take its time.
    Reader(Reader),
}

/// Somebody who hears a part along while it is made, and says at its end whether that is what it should be.
pub type Along = Arc<Mutex<dyn Hear + Send>>;

/// What hears a part along.
pub trait Hear {
    /// The next piece.
    fn hear(&mut self, piece: &[u8]) -> Result<(), Failure>;
    /// That was all: its program has ended well.
    fn end(&mut self) -> Result<(), Failure>;
}

/// A program that prints a part, and how to read what it says of its end with an error.
pub struct Program {
    /// How it is called.
    pub plan: Plan,
    /// The cause, by its last lines.
    pub cause: fn(&[String]) -> FailureCode,
    /// What people read of them.
    pub words: fn(&[String]) -> String,
    /// How the database is counted meanwhile, when it is one.
    pub counting: Option<Counting>,
    /// For `tar`, which goes on when a file cannot be read: what it says, line by line, by which its end is judged.
    pub told: Option<Arc<Mutex<Told>>>,
}

/// Gives pieces until there are no more, or nobody takes them.
pub type Reader = Box<dyn FnOnce(mpsc::Sender<Vec<u8>>) -> Result<Option<Counted>, Failure> + Send>;

/// Why a part was not fed.
pub enum NotFed {
    /// Nobody takes it any more; who did says why.
    ReaderGone,
    /// Where it comes from has failed.
    Failed(Failure),
}

/// Where the bytes of a part go.
pub trait Sink {
    /// Takes on a piece, when there is room for it.
    async fn give(&mut self, piece: Bytes) -> Result<(), NotFed>;
}

/// A part that was taken on as a whole.
pub struct Fed {
    /// What it is; nothing, when it was gone.
    pub artefact: Option<Artefact>,
    /// The last lines of its program.
    pub tail: Vec<String>,
    /// What was counted in it.
    pub contents: Contents,
    /// What was found on the way.
    pub findings: Findings,
}

/// What came of producing a part.
#[derive(Default)]
struct Produced {
    tail: Vec<String>,
    counted: Option<Counted>,
    /// Why nothing was counted that should have been.
    uncounted: Option<String>,
    /// What the program itself has found.
    findings: Findings,
}

/// Makes a part, and gives it away piece by piece. Whoever takes it learns from the answer alone that it is whole.
pub async fn produce(part: Part, sink: &mut impl Sink) -> Result<Fed, NotFed> {
    let Part { path, kind, database, format, may_vanish, from, expected_bytes: _ } = part;
    let mut to = Summing { sink, sum: Sum::default(), reader: None, along: None };
    let produced = match from {
        From::Bytes(bytes) => to.give(bytes.into()).await.map(|()| Produced::default()),
        From::Reader(reader) => read(reader, &mut to).await,
        // On the heap: it is large, and every job would carry it along.
        From::Program(program) => Box::pin(run(*program, &mut to)).await,
        From::Heard(program, along) => {
            to.along = Some(along.clone());
            Box::pin(run(*program, &mut to)).await.and_then(|produced| {
                along.lock().unwrap_or_else(PoisonError::into_inner).end().map_err(NotFed::Failed)?;
                Ok(produced)
            })
        }
        From::MongoArchive(program) => Box::pin(run_read_along(&program, &mut to, database.as_deref())).await,
    };
    let Summed { bytes, sha256 } = to.sum.finish();
    match produced {
        Ok(Produced { tail, counted, uncounted, mut findings }) => {
            let kind = kind.to_owned();
            if let Some(why) = uncounted {
                let database = database.as_deref().unwrap_or(&path);
                let message = format!("the rows of '{database}' were not counted beside its dump: {why}");
                findings.add(Finding { severity: Severity::Benign, path: None, message });
            }
            let (census, contents) = counted.map(|c| (c.census, c.contents)).unzip();
            let artefact =
                Artefact { path, kind, database, format, size_bytes: bytes, sha256, stored: None, census };
            Ok(Fed { artefact: Some(artefact), tail, contents: contents.unwrap_or_default(), findings })
        }
        Err(NotFed::Failed(failure))
            if may_vanish && bytes == 0 && failure.code == FailureCode::DatabaseMissing =>
        {
            let (contents, findings) = (Contents::default(), Findings::default());
            Ok(Fed { artefact: None, tail: failure.log_tail, contents, findings })
        }
        Err(not_fed) => Err(not_fed),
    }
}

/// Sums up what it gives on.
struct Summing<'a, S> {
    sink: &'a mut S,
    sum: Sum,
    /// Who reads along.
    reader: Option<Archive>,
    /// Who hears along.
    along: Option<Along>,
}

impl<S: Sink> Summing<'_, S> {
    async fn give(&mut self, piece: Bytes) -> Result<(), NotFed> {
        self.sum.add(&piece);
        if let Some(reader) = &mut self.reader {
            reader.take(&piece).map_err(no_archive)?;
        }
        if let Some(along) = &self.along {
            let mut along = along.lock().unwrap_or_else(PoisonError::into_inner);
            along.hear(&piece).map_err(NotFed::Failed)?;
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.sink.give(piece).await
    }
}

async fn read(reader: Reader, to: &mut Summing<'_, impl Sink>) -> Result<Produced, NotFed> {
    let (give, mut come) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || reader(give));
    while let Some(piece) = come.recv().await {
        to.give(piece.into()).await?;
    }
    let read = reading.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()));
    let counted = read.and_then(|read| read).map_err(NotFed::Failed)?;
    Ok(Produced { counted, ..Produced::default() })
}

/// A program, and beside it the counting of what it dumps.
async fn run(mut program: Program, to: &mut Summing<'_, impl Sink>) -> Result<Produced, NotFed> {
    let Some(counting) = program.counting.take() else {
        return run_alone(&program, to).await;
    };
    let shared = counting.system.shares();
    let began = match counting.begin(shared).await {
        Ok(moment) if shared && moment.name.is_none() => {
            Err("the server does not share the moment".to_owned())
        }
        Ok(moment) => Ok(moment),
        Err(e) => Err(e.to_string()),
    };
    let moment = match began {
        Ok(moment) => moment,
        // The dump itself says what is wrong with the server.
        Err(why) => {
            let produced = run_alone(&program, to).await?;
            return Ok(Produced { uncounted: Some(why), ..produced });
        }
    };
    let Program { plan, cause, words, counting: _, told } = &program;
    let (plan, told) = (plan.clone(), told.clone());
    let mut of_moment = Program { plan, cause: *cause, words: *words, counting: None, told };
    of_moment.plan.arguments.extend(moment.name.iter().map(|name| format!("--snapshot={name}")));
    let taken = if shared { Taken::InSnapshot } else { Taken::Beside };
    match run_counted(&of_moment, moment, taken, to).await {
        Err(NotFed::Failed(failure)) if shared && to.sum.is_empty() && is_about_snapshots(&failure) => {
            // Some other server of the same name has answered: that is no reason to have no dump.
            let produced = run_alone(&program, to).await?;
            Ok(Produced { uncounted: Some(failure.message), ..produced })
        }
        done => done,
    }
}

/// mongodump, and whether what it printed is an archive to its end, and of what it was asked for: it ends well, too, when
/// there is nothing to dump.
async fn run_read_along(
    program: &Program,
    to: &mut Summing<'_, impl Sink>,
    database: Option<&str>,
) -> Result<Produced, NotFed> {
    to.reader = Some(Archive::default());
    let produced = run_alone(program, to).await?;
    let held = to.reader.take().unwrap_or_default().finish().map_err(no_archive)?;
    if let Some(name) = database
        && !held.collections.iter().any(|c| c.database == name)
    {
        let message = format!("there is no database '{name}', or nothing in it that the user may see");
        return Err(NotFed::Failed(
            Failure::new(FailureCode::DatabaseMissing, message).with_log(produced.tail),
        ));
    }
    Ok(Produced { counted: Some(of_archive(held)), ..produced })
}

fn no_archive(wrong: Wrong) -> NotFed {
    let message = format!("what mongodump printed is no whole archive: {wrong}");
    NotFed::Failed(Failure::new(FailureCode::DumpFailed, message))
}

fn is_about_snapshots(failure: &Failure) -> bool {
    failure.log_tail.iter().any(|line| line.contains("snapshot"))
}

async fn run_counted(
    program: &Program,
    mut moment: Moment,
    taken: Taken,
    to: &mut Summing<'_, impl Sink>,
) -> Result<Produced, NotFed> {
    // The moment is kept until the program has ended, which may come to it later than the counting ends. Both end when
    // this is dropped.
    let counting = async {
        let counted = moment.count(taken, BESIDE_A_DUMP).await;
        (counted, moment)
    };
    let mut counting = std::pin::pin!(counting);
    let mut running = std::pin::pin!(run_alone(program, to));
    let mut counted = None;
    let produced = loop {
        tokio::select! {
            produced = &mut running => break produced?,
            done = &mut counting, if counted.is_none() => counted = Some(done),
        }
    };
    let (counted, _moment) = match counted {
        Some(done) => done,
        None => counting.await,
    };
    Ok(match counted {
        Ok(counted) => Produced { counted: Some(counted), ..produced },
        Err(e) => Produced { uncounted: Some(e.to_string()), ..produced },
    })
}

/// What is printed last is given on when the program has ended well: one that finds out that there is nothing to dump may
/// have printed how such a dump begins.
async fn run_alone(program: &Program, to: &mut Summing<'_, impl Sink>) -> Result<Produced, NotFed> {
    let Program { plan, cause, words, counting: _, told } = program;
    debug_assert!(!matches!(plan.input, Input::Stream), "nobody writes to it");
    let name = plan.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let image = program::image(plan);
    let (mut stdout, stderr, mut handle) =
        program::start(plan.clone()).await.map_err(NotFed::Failed)?.into_parts();
    // Where the kernel gives no more, it is slower and nothing else.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    let giving = async {
        // Small pieces would cost more on their way than the bytes in them.
        while stdout.read_buf(&mut piece).await.map_err(|e| failed(&name, &e))? > 0 {
            if piece.len() >= PIECE_BYTES / 2 {
                to.give(piece.split().freeze()).await?;
                piece.reserve(PIECE_BYTES);
            }
        }
        Ok(())
    };
    // When nobody takes it, the program is gone: its handle is dropped, and nobody waits for it.
    let speaking = program::tail_heard(stderr, |line| {
        if let Some(told) = &told {
            told.lock().unwrap_or_else(PoisonError::into_inner).take(line);
        }
    });
    let (given, tail) = tokio::join!(
        async {
            let given: Result<(), NotFed> = giving.await;
            // It would wait for ever to be read from, and we for its last words.
            if given.is_err() {
                handle.signal(rustix::process::Signal::KILL);
            }
            given
        },
        speaking
    );
    given?;
    let status = handle.ended().await.map_err(|e| failed(&name, &e))?;
    if let Some(told) = told {
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        let findings =
            told.conclude(status.code()).map_err(|failure| NotFed::Failed(failure.with_log(tail.clone())))?;
        to.give(piece.freeze()).await?;
        return Ok(Produced { tail, findings, ..Produced::default() });
    }
    if status.success() {
        to.give(piece.freeze()).await?;
        return Ok(Produced { tail, ..Produced::default() });
    }
    if let Some(failure) = program::not_run(&plan.program, image.as_deref(), &status, &tail) {
        return Err(NotFed::Failed(failure));
    }
    let failure = Failure::new(cause(&tail), format!("{name} ended with {status}: {}", words(&tail)));
    Err(NotFed::Failed(failure.with_log(tail)))
}

/// What could not be read.
pub fn failed(what: &str, error: &io::Error) -> NotFed {
    NotFed::Failed(Failure::new(FailureCode::Unknown, format!("{what}: {error}")))
}
