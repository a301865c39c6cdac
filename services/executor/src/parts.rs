//! The parts of a dump: where their bytes come from, and how they flow to where they are kept.

use crate::census::{BESIDE_A_DUMP, Counting, Moment};
use crate::child::{Input, Plan};
use crate::core::along::{Along, Held};
use crate::core::census::{Contents, Counted, Seen, Table, of_archive};
use crate::core::findings::Findings;
use crate::core::mongodb;
use crate::core::sum::{Sum, Summed};
use crate::core::tar::Told;
use crate::program;
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_domain::archive::Artefact;
use strongroom_domain::census::Taken;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::{Failure, FailureCode};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How much is taken on at once.
const PIECE_BYTES: usize = 256 << 10;
/// How much a program may print before somebody takes it; the kernel gives to everybody that much (`man 7 pipe`).
const PIPE_BYTES: usize = 1 << 20;
/// What a pipe holds without being told otherwise.
const USUAL_PIPE_BYTES: usize = 64 << 10;
/// How long a pipe fills before it is read from again, when there was little in it: programs of databases write 4 KiB at a
/// time, and whoever reads each of them takes more of the processor for waking than for the bytes.
const FILLS_FOR: Duration = Duration::from_millis(1);
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
    /// The same, which somebody hears along.
    Heard(Box<Program>, Box<dyn Hear>),
    /// These.
    Bytes(Vec<u8>),
    /// What this gives, in a thread where it may take its time.
    Reader(Reader),
}

/// Who hears a part along while it is made, and says at its end whether that is what it should be.
pub trait Hear: Send {
    /// The next piece.
    fn hear(&mut self, piece: &[u8]) -> Result<(), Failure>;

    /// That was all: its program has ended well. Says what was in it.
    fn end(&mut self) -> Result<Held, Failure>;

    /// Whether it will say how many rows each table has.
    fn counts_rows(&self) -> bool {
        false
    }
}

/// Who has set it to hear wants to know more of it later.
impl<T: Hear> Hear for Arc<Mutex<T>> {
    fn hear(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.lock().unwrap_or_else(PoisonError::into_inner).hear(piece)
    }

    fn end(&mut self) -> Result<Held, Failure> {
        self.lock().unwrap_or_else(PoisonError::into_inner).end()
    }
}

impl Hear for Along {
    fn hear(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.take(piece).map_err(|wrong| self.not_whole(&wrong))
    }

    fn end(&mut self) -> Result<Held, Failure> {
        self.finish().map_err(|wrong| self.not_whole(&wrong))
    }

    fn counts_rows(&self) -> bool {
        matches!(self, Self::Postgresql(_) | Self::Mysql(..))
    }
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
    /// What was read along.
    held: Held,
}

/// Makes a part, and gives it away piece by piece. Whoever takes it learns from the answer alone that it is whole.
pub async fn produce(part: Part, sink: &mut impl Sink) -> Result<Fed, NotFed> {
    let Part { path, kind, database, format, may_vanish, from, expected_bytes: _ } = part;
    let mut to = Summing { sink, sum: Sum::default(), along: None };
    let produced = match from {
        From::Bytes(bytes) => to.give(bytes.into()).await.map(|()| Produced::default()),
        From::Reader(reader) => read(reader, &mut to).await,
        // On the heap: it is large, and every job would carry it along.
        From::Program(program) => Box::pin(run(*program, &mut to, database.as_deref())).await,
        From::Heard(program, along) => {
            to.along = Some(along);
            Box::pin(run(*program, &mut to, database.as_deref())).await
        }
    };
    let Summed { bytes, sha256 } = to.sum.finish();
    match produced {
        Ok(Produced { tail, counted, uncounted, mut findings, held: _ }) => {
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
    /// Who hears along.
    along: Option<Box<dyn Hear>>,
}

impl<S: Sink> Summing<'_, S> {
    async fn give(&mut self, piece: Bytes) -> Result<(), NotFed> {
        self.sum.add(&piece);
        if let Some(along) = &mut self.along {
            along.hear(&piece).map_err(NotFed::Failed)?;
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.sink.give(piece).await
    }

    /// What was in it, if somebody has read along to its end.
    fn held(&mut self) -> Result<Held, NotFed> {
        self.along.take().map_or(Ok(Held::Unknown), |mut along| along.end().map_err(NotFed::Failed))
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
async fn run(
    mut program: Program,
    to: &mut Summing<'_, impl Sink>,
    database: Option<&str>,
) -> Result<Produced, NotFed> {
    let Some(counting) = program.counting.take() else {
        let mut produced = run_alone(&program, to).await?;
        return match std::mem::take(&mut produced.held) {
            Held::Collections(held) => of_collections(held, produced, database),
            Held::Tables(_) | Held::MysqlTables(_) | Held::Unknown => Ok(produced),
        };
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
            return run_alone(&program, to).await.map(|done| Produced { uncounted: Some(why), ..done });
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

/// mongodump ends well, too, when there is nothing to dump.
fn of_collections(
    held: mongodb::archive::Held,
    produced: Produced,
    database: Option<&str>,
) -> Result<Produced, NotFed> {
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

fn is_about_snapshots(failure: &Failure) -> bool {
    failure.log_tail.iter().any(|line| line.contains("snapshot"))
}

async fn run_counted(
    program: &Program,
    mut moment: Moment,
    taken: Taken,
    to: &mut Summing<'_, impl Sink>,
) -> Result<Produced, NotFed> {
    // Where the rows are read off the dump, the server is not asked to look at each of them a second time.
    let by_dump = to.along.as_ref().is_some_and(|along| along.counts_rows());
    // The moment is kept until the program has ended, which may come to it later than the looking ends. Both end when
    // this is dropped.
    let looking = async {
        let end = Instant::now() + BESIDE_A_DUMP;
        let looked = match moment.look(end).await {
            Ok(seen) if by_dump => Looked::Seen(seen),
            Ok(seen) => Looked::Counted(moment.count(seen, |_| None, taken, end).await),
            Err(e) => Looked::Not(e),
        };
        (looked, moment)
    };
    let mut looking = std::pin::pin!(looking);
    let mut running = std::pin::pin!(run_alone(program, to));
    let mut looked = None;
    let mut produced = loop {
        tokio::select! {
            produced = &mut running => break produced?,
            done = &mut looking, if looked.is_none() => looked = Some(done),
        }
    };
    let (looked, mut moment) = match looked {
        Some(done) => done,
        None => looking.await,
    };
    let counted = match (looked, std::mem::take(&mut produced.held)) {
        (Looked::Counted(counted), _) => counted,
        // Names in other encodings are not known again, and nothing is in a form that nobody here knows: so the server counts.
        (Looked::Seen(seen), held) if taken == Taken::InSnapshot => {
            let rows = |table: &Table| held.rows(table);
            moment.count(seen, rows, taken, Instant::now() + BESIDE_A_DUMP).await
        }
        // What the server counts now would be of another moment than what was dumped.
        (Looked::Seen(seen), held) => seen.with_rows(|table| held.rows(table), Taken::InSnapshot),
        (Looked::Not(e), _) => return Ok(Produced { uncounted: Some(e.to_string()), ..produced }),
    };
    Ok(Produced { counted: Some(counted), ..produced })
}

/// What came of looking at a database beside its dump.
enum Looked {
    /// All but the rows.
    Seen(Seen),
    /// The rows as well.
    Counted(Counted),
    /// It could not be looked at.
    Not(io::Error),
}

/// What is printed last is given on when the program has ended well: one that finds out that there is nothing to dump may
/// have printed how such a dump begins.
async fn run_alone(program: &Program, to: &mut Summing<'_, impl Sink>) -> Result<Produced, NotFed> {
    let Program { plan, cause, words, counting: _, told } = program;
    debug_assert!(!matches!(plan.input, Input::Stream), "nobody writes to it");
    let name = plan.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let image = program::image(plan);
    let (mut stdout, stderr, mut handle) =
        program::start(program::printing_much(plan.clone())).await.map_err(NotFed::Failed)?.into_parts();
    // Where the kernel gives no more, it is slower and nothing else.
    let is_large = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES).is_ok();
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    let giving = async {
        // Small pieces would cost more on their way than the bytes in them.
        loop {
            let read = stdout.read_buf(&mut piece).await.map_err(|e| failed(&name, &e))?;
            if read == 0 {
                return Ok(());
            }
            if piece.len() >= PIECE_BYTES / 2 {
                to.give(piece.split().freeze()).await?;
                piece.reserve(PIECE_BYTES);
            }
            if is_large && read < USUAL_PIPE_BYTES {
                tokio::time::sleep(FILLS_FOR).await;
            }
        }
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
        return Ok(Produced { tail, findings, held: to.held()?, ..Produced::default() });
    }
    if status.success() {
        to.give(piece.freeze()).await?;
        return Ok(Produced { tail, held: to.held()?, ..Produced::default() });
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
