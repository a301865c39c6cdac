//! A PostgreSQL server, through its own programs: what connects here connects in the same way when it dumps.

use crate::census::Counting;
use crate::child::{Input, Plan, User};
use crate::control::{self, Control, NoOutcome};
use crate::core::census::System;
use crate::core::postgresql::{self, OLDEST, SURVEY, Survey};
use crate::jobs::Bench;
use crate::program::{self, Said};
use crate::streams::Streams;
use age::secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use strongroom_domain::source::postgresql::Connection;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;

/// How long a connection may take to come about, in seconds.
const CONNECT_TIMEOUT_S: &str = "30";

/// What a statement of people's own may take.
const QUERY_WITHIN: &str = "set statement_timeout = '300s'";

/// The way to a server, with what opens it.
pub struct Client<'a> {
    bench: &'a Bench<'a>,
    connection: &'a Connection,
    user: Option<User>,
    passfile: Option<PathBuf>,
    /// What was found so far, by name.
    known: Mutex<BTreeMap<String, Vec<Tool>>>,
}

/// A program in a version.
#[derive(Clone)]
pub struct Tool {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: String,
}

impl<'a> Client<'a> {
    /// Makes ready to connect. A password lies in a private file of `streams` as long as that is there.
    pub async fn new(
        bench: &'a Bench<'a>,
        connection: &'a Connection,
        streams: &Streams,
    ) -> Result<Self, NoOutcome> {
        let user = match &connection.os_user {
            Some(name) => Some(program::user(name, &bench.state.children(), bench.control.clone()).await?),
            None => None,
        };
        let passfile = match &connection.password {
            Some(reference) => {
                let password = bench.secret(reference)?;
                let path = streams.path().join("pgpass");
                let line = postgresql::password_line(password.expose_secret());
                file::write_private(&path, line.as_bytes())
                    .map_err(|e| Failure::new(FailureCode::Unknown, format!("{}: {e}", path.display())))?;
                Some(path)
            }
            None => None,
        };
        Ok(Self { bench, connection, user, passfile, known: Mutex::default() })
    }

    /// What is on the server.
    pub async fn survey(&self) -> Result<Survey, NoOutcome> {
        let said = self.ask(self.connection.database.as_deref().unwrap_or("postgres"), SURVEY).await?;
        let survey: Survey = serde_json::from_str(&said).map_err(|e| {
            let message = format!("what {} says of itself cannot be read: {e}", self.connection.shown());
            Failure::new(FailureCode::Unknown, message)
        })?;
        if survey.major() < OLDEST {
            let message =
                format!("the server has version {}, and {OLDEST} is the oldest known", survey.version);
            return Err(Failure::new(FailureCode::ToolMissing, message).into());
        }
        Ok(survey)
    }

    /// What a database answers to SQL, without the last line break.
    pub async fn ask(&self, database: &str, sql: &str) -> Result<String, NoOutcome> {
        self.ask_until(self.bench.control.clone(), database, sql).await
    }

    /// The same, whatever the attempt is told: what was made must be removed when it is cancelled, too.
    pub async fn ask_anyway(&self, database: &str, sql: &str) -> Result<String, NoOutcome> {
        let (_stopper, control) = control::pair();
        self.ask_until(control, database, sql).await
    }

    async fn ask_until(&self, control: Control, database: &str, sql: &str) -> Result<String, NoOutcome> {
        let psql =
            self.tools_until(control.clone(), "psql").await?.pop().ok_or_else(|| missing("psql", None))?;
        let arguments = ["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"];
        let plan = self.plan(&psql.path, &arguments, Some(database), Input::Words(sql.as_bytes().to_vec()));
        let Said { status, stdout, tail } = program::ask(plan, control).await?;
        if !status.success() {
            return Err(self.failure("psql", &tail).into());
        }
        let text = String::from_utf8(stdout);
        let text = text.map_err(|e| Failure::new(FailureCode::Unknown, format!("psql: {e}")))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// As whom its programs run.
    pub fn user(&self) -> Option<User> {
        self.user
    }

    /// Whether the server lets the role read its files and its log: `pg_hba.conf` has lines of their own for that.
    pub async fn replicates(&self) -> Result<(), NoOutcome> {
        let psql = self.psql().await?;
        let arguments = ["-X", "-q", "-A", "-t", "-w", "-d", "replication=true", "-c", "IDENTIFY_SYSTEM"];
        let plan = self.plan(&psql.path, &arguments, None, Input::Nothing);
        let Said { status, tail, .. } = program::ask(plan, self.bench.control.clone()).await?;
        if status.success() { Ok(()) } else { Err(self.failure("a replication connection", &tail).into()) }
    }

    /// The newest psql.
    pub async fn psql(&self) -> Result<Tool, NoOutcome> {
        Ok(self.tools("psql").await?.pop().ok_or_else(|| missing("psql", None))?)
    }

    /// What a database answers to a statement of people's own, which may only read. It goes as an argument, where the
    /// words that psql itself knows have no meaning.
    pub async fn query(&self, database: &str, statement: &str, survey: &Survey) -> Result<String, NoOutcome> {
        let psql = self.psql().await?;
        let mut arguments = vec!["-X", "-q", "-A", "-t", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1"];
        arguments.extend(["-c", "set default_transaction_read_only = on", "-c", QUERY_WITHIN]);
        if survey.superuser && survey.major() >= 14 {
            // Who may do anything could be made to do anything by what was restored.
            arguments.extend(["-c", "set role pg_read_all_data"]);
        }
        arguments.extend(["-c", statement]);
        let plan = self.plan(&psql.path, &arguments, Some(database), Input::Nothing);
        let Said { status, stdout, tail } = program::ask(plan, self.bench.control.clone()).await?;
        if !status.success() {
            return Err(self.failure("psql", &tail).into());
        }
        Ok(String::from_utf8_lossy(&stdout).trim_end_matches('\n').to_owned())
    }

    /// How a database is counted.
    pub fn counting(&self, psql: &Tool, database: &str) -> Counting {
        let arguments = ["-X", "-q", "-A", "-t", "-w", "-f", "-"];
        let plan = self.plan(&psql.path, &arguments, Some(database), Input::Stream);
        Counting { plan, system: System::Postgresql }
    }

    /// A program that knows a server of this version.
    pub async fn tool(&self, name: &str, server: u32) -> Result<Tool, NoOutcome> {
        let mut tools = self.tools(name).await?;
        let majors: Vec<u32> =
            tools.iter().map(|t| postgresql::major_of(&t.version).unwrap_or_default()).collect();
        match postgresql::best(&majors, server) {
            Some(n) => Ok(tools.swap_remove(n)),
            None => Err(missing(name, Some((server, majors.into_iter().max()))).into()),
        }
    }

    async fn tools(&self, name: &str) -> Result<Vec<Tool>, NoOutcome> {
        self.tools_until(self.bench.control.clone(), name).await
    }

    /// All of this name, one of each version, the newest last.
    async fn tools_until(&self, control: Control, name: &str) -> Result<Vec<Tool>, NoOutcome> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut tools = Vec::new();
        for path in program::find(name, &folders()) {
            let plan = self.plan(&path, &["--version"], None, Input::Nothing);
            let said = program::ask(plan, control.clone()).await?;
            let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            if postgresql::major_of(&version).is_some() {
                tools.push(Tool { path, version });
            }
        }
        tools.sort_by_key(|tool| postgresql::major_of(&tool.version));
        // Of one version the first is the program itself; what is on the `PATH` may look for it each time.
        tools.dedup_by_key(|tool| postgresql::major_of(&tool.version));
        if tools.is_empty() {
            return Err(missing(name, None).into());
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), tools.clone());
        Ok(tools)
    }

    /// How a program is called for a database. Names go by the environment, where nothing in them has a meaning.
    pub fn plan(&self, program: &Path, arguments: &[&str], database: Option<&str>, input: Input) -> Plan {
        let Connection { host, port, user, tls, tls_root, .. } = self.connection;
        let mut environment = program::environment();
        let mut set = |name: &'static str, value: OsString| environment.push((name, value));
        if let Some(host) = host {
            set("PGHOST", host.into());
        }
        if let Some(port) = port {
            set("PGPORT", port.to_string().into());
        }
        if let Some(user) = user {
            set("PGUSER", user.into());
        }
        if let Some(root) = tls_root {
            set("PGSSLROOTCERT", root.into());
        }
        if let Some(database) = database {
            set("PGDATABASE", database.into());
        }
        // Nobody's own: what lies in a home folder is not what the plan says.
        set("PGPASSFILE", self.passfile.as_ref().map_or("/dev/null".into(), |path| path.into()));
        set("PGSSLMODE", tls.to_string().into());
        set("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT_S.into());
        set("PGAPPNAME", "strongroom".into());
        set("PGCLIENTENCODING", "UTF8".into());
        Plan {
            program: program.to_owned(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment,
            // Another user may not be allowed into ours.
            folder: Some("/".into()),
            input,
            user: self.user,
            notes: self.bench.state.children(),
        }
    }

    /// What an end with an error means.
    pub fn failure(&self, program: &str, tail: &[String]) -> Failure {
        let message = format!("{program} on {}: {}", self.connection.shown(), postgresql::words(tail));
        Failure::new(postgresql::cause(tail), message).with_log(tail.to_vec())
    }
}

fn missing(name: &str, wanted: Option<(u32, Option<u32>)>) -> Failure {
    let message = match wanted {
        None => format!("there is no {name} on this node; install the package postgresql-client"),
        Some((server, newest)) => format!(
            "the server has version {server} and the newest {name} on this node is {}, which cannot read it; install \
             the package postgresql-client-{server}",
            newest.unwrap_or_default()
        ),
    };
    Failure::new(FailureCode::ToolMissing, message)
}

/// Where distributions put several versions side by side; what is on the `PATH` may be a wrapper around them.
pub fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (above, prefix) in
        [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/usr/local", "pgsql"), ("/opt", "pgsql")]
    {
        for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                folders.push(entry.path().join("bin"));
            }
        }
    }
    folders.sort();
    folders
}
