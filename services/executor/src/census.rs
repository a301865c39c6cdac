//! Taking the census of a database: a conversation with the client of its system, within bounds of time.
//!
//! The accident that this file prevents: a restore that is whole by its digest, and of which nobody can say whether it is
//! the database. And the one that it must not cause: a backup that fails, or takes for ever, for the sake of a count.

use crate::child::{Handle, Plan};
use crate::core::census::{Counted, SchemaSum, Seen, System, Table};
use crate::program;
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use strongroom_domain::census::{TABLES_LISTED, Taken};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long may be counted beside a dump: what is not counted by then is estimated.
pub const BESIDE_A_DUMP: Duration = Duration::from_secs(60);
/// How long may be counted after a restore, when the database has just been written and little of it is in memory.
pub const AFTER_A_RESTORE: Duration = Duration::from_secs(300);
/// How long it may take until the moment of the dump is known.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);
/// The longest line that is read: names are short.
const LINE_BYTES: u64 = 64 << 10;

/// How a database is counted: the client of its system, which reads what it is to ask.
#[derive(Clone)]
pub struct Counting {
    /// How the client is called.
    pub plan: Plan,
    /// Whose it is.
    pub system: System,
}

/// A database that is looked at as of one moment. Dropped, it is let go.
pub struct Moment {
    talk: Talk,
    system: System,
    /// What the server calls this moment, for others to see the same.
    pub name: Option<String>,
}

impl Counting {
    /// Begins to look. `shared` says whether somebody else is to see the same moment.
    pub async fn begin(self, shared: bool) -> io::Result<Moment> {
        let system = self.system;
        let beginning = async {
            let mut talk = Talk::start(self.plan, system).await?;
            let mut name = None;
            talk.ask(&system.begin(shared), |line| {
                if !line.is_empty() {
                    name = Some(line.to_owned());
                }
            })
            .await?;
            Ok(Moment { talk, system, name })
        };
        tokio::time::timeout(BEGUN_WITHIN, beginning).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time"))
        })
    }
}

impl Moment {
    /// Looks at all but the rows. The moment stays as it is until this is dropped.
    pub async fn look(&mut self, end: Instant) -> io::Result<Seen> {
        let left = || end.saturating_duration_since(Instant::now()).as_secs().max(1);
        let system = self.system;
        let (mut total, mut unread) = (0_u64, false);
        let mut tables: Vec<Table> = Vec::new();
        let asked = format!("{}{}", system.within(left()), system.tables());
        self.talk
            .ask(&asked, |line| {
                total += 1;
                match system.table(line) {
                    Some(table) if tables.len() < TABLES_LISTED => tables.push(table),
                    Some(_) => {}
                    None => unread = true,
                }
            })
            .await?;
        if unread {
            return Err(io::Error::other("what the server says of its tables cannot be read"));
        }
        let schema = self.schema(left()).await?;
        let mut roles: Vec<String> = Vec::new();
        if let Some(asked) = system.roles() {
            self.talk.ask(asked, |line| roles.extend(serde_json::from_str::<String>(line).ok())).await?;
        }
        Ok(Seen { tables, total, schema, roles })
    }

    /// Counts the rows of what was seen, but for those that are known, as far as that can be done by then.
    pub async fn count(
        &mut self,
        seen: Seen,
        known: impl Fn(&Table) -> Option<u64>,
        taken: Taken,
        end: Instant,
    ) -> Counted {
        let system = self.system;
        let (mut counts, mut answers) = (HashMap::new(), true);
        for table in seen.tables.iter().filter(|table| known(table).is_none()) {
            let seconds = end.saturating_duration_since(Instant::now()).as_secs();
            if seconds == 0 || !answers {
                break;
            }
            let mut rows: Option<u64> = None;
            let asked = format!("{}{}", system.within(seconds), system.count(table));
            answers = self.talk.ask(&asked, |line| rows = line.parse().ok()).await.is_ok();
            counts.insert(table.clone(), rows);
        }
        seen.with_rows(|table| known(table).or_else(|| counts.get(table).copied().flatten()), taken)
    }

    async fn schema(&mut self, seconds: u64) -> io::Result<Option<String>> {
        let mut sum = SchemaSum::default();
        self.talk.ask(&self.system.within(seconds), |_| {}).await?;
        for statement in self.system.schema().split_inclusive(";\n") {
            if !self.talk.ask(statement, |line| sum.add(line)).await? {
                return Ok(None);
            }
        }
        Ok(Some(sum.finish()))
    }
}

/// A conversation with a client that reads SQL and prints answers in lines. psql goes on after an error; the clients of
/// MySQL end with one.
struct Talk {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    system: System,
    asked: u64,
    _listening: Aborted,
    _handle: Handle,
}

/// A task that ends when nobody wants it any more.
struct Aborted(JoinHandle<Vec<String>>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Talk {
    async fn start(plan: Plan, system: System) -> io::Result<Self> {
        let mut running = program::start(plan).await.map_err(|failure| io::Error::other(failure.message))?;
        let stdin = running.stdin.take().ok_or_else(|| io::Error::other("it reads nothing"))?;
        let (stdout, stderr, handle) = running.into_parts();
        // It would wait for ever to be heard.
        let listening = Aborted(tokio::spawn(program::tail(stderr)));
        let stdout = BufReader::new(stdout);
        Ok(Self { stdin, stdout, system, asked: 0, _listening: listening, _handle: handle })
    }

    /// Asks, and gives each line of the answer. Says whether the last statement was answered without an error.
    async fn ask(&mut self, sql: &str, mut take: impl FnMut(&str)) -> io::Result<bool> {
        self.asked += 1;
        let mark = format!("strongroom-{}", self.asked);
        let end = match self.system {
            System::Postgresql => format!("\\echo {mark} :ERROR\n"),
            System::Mysql(_) => format!("select '{mark} false';\n"),
        };
        self.stdin.write_all(sql.as_bytes()).await?;
        self.stdin.write_all(end.as_bytes()).await?;
        self.stdin.flush().await?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut self.stdout).take(LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client ended"));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches('\n');
            match text.strip_prefix(&mark) {
                Some(error) => return Ok(error == " false"),
                None => take(text),
            }
        }
    }
}
