//! A PostgreSQL server, through its own programs: what connects here connects in the same way when it dumps.

pub mod tools;

use crate::census::Counting;
use crate::child::{Input, Plan, User};
use crate::clusters as running;
use crate::control::{self, Control, NoOutcome};
use crate::core::census::System;
use crate::core::clusters;
use crate::core::postgresql::{self, OLDEST, SURVEY, Survey};
use crate::jobs::Bench;
use crate::program::{self, Place, Said};
use crate::streams::Streams;
use age::secrecy::ExposeSecret;
use std::ffi::OsString;
use std::path::PathBuf;
use strongroom_domain::source::Tls;
use strongroom_domain::source::postgresql::Connection;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;
use tokio::sync::OnceCell;
use tools::{Askers, Tool};

/// How long a connection may take to come about, in seconds.
const CONNECT_TIMEOUT_S: &str = "30";

/// What a statement of people's own may take.
const QUERY_WITHIN: &str = "set statement_timeout = '300s'";

/// Where servers put their sockets when nothing else is said (Debian and others; PostgreSQL's own).
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// In which encoding its programs speak.
pub const ENCODING: &str = "PGCLIENTENCODING";

/// The way to a server, with what opens it.
pub struct Client<'a> {
    bench: &'a Bench<'a>,
    connection: &'a Connection,
    user: Option<User>,
    passfile: Option<PathBuf>,
    /// Those that may ask, once they were found.
    askers: OnceCell<Askers>,
    /// The one of the server's version, once that is known.
    right: OnceCell<Tool>,
}

impl<'a> Client<'a> {
    /// Makes ready to connect. A password lies in a private file of `streams` as long as that is there.
    pub async fn new(
        bench: &'a Bench<'a>,
        connection: &'a Connection,
        streams: &Streams,
    ) -> Result<Self, NoOutcome> {
        let root = connection
            .tls_root
            .as_ref()
            .filter(|_| matches!(connection.tls, Tls::VerifyCa | Tls::VerifyFull));
        if let Some(root) = root.filter(|root| !std::path::Path::new(root).exists()) {
            let message = format!("there is no file {root} on the node, which 'tls_root' names");
            return Err(Failure::new(FailureCode::SourceMissing, message).into());
        }
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
        Ok(Self { bench, connection, user, passfile, askers: OnceCell::new(), right: OnceCell::new() })
    }

    /// What is on the server.
    pub async fn survey(&self) -> Result<Survey, NoOutcome> {
        let (said, asked_by) = self.first_answer().await?;
        let survey: Survey = serde_json::from_str(&said).map_err(|e| {
            let message = format!("what {} says of itself cannot be read: {e}", self.connection.shown());
            Failure::new(FailureCode::Unknown, message)
        })?;
        if survey.major() < OLDEST {
            let message =
                format!("the server has version {}, and {OLDEST} is the oldest known", survey.version);
            return Err(Failure::new(FailureCode::ToolMissing, message).into());
        }
        let right = self.psqls(self.bench.control.clone()).await?.for_server(survey.major());
        let _ = self.right.set(right.unwrap_or(asked_by).clone());
        Ok(survey)
    }

    /// What the server says of itself to the first program that can ask it: one may lack what the others have.
    async fn first_answer(&self) -> Result<(String, &Tool), NoOutcome> {
        let control = self.bench.control.clone();
        let database = self.connection.database.as_deref().unwrap_or("postgres");
        let askers = self.psqls(control.clone()).await?;
        let mut why = None;
        for tool in askers.all() {
            match self.ask_by(tool, control.clone(), database, SURVEY).await {
                Ok(said) => return Ok((said, tool)),
                Err(NoOutcome::Failed(failure)) if postgresql::is_of_the_program(&failure.log_tail) => {
                    why.get_or_insert(failure);
                }
                Err(other) => return Err(other),
            }
        }
        let nothing = || Failure::new(FailureCode::ToolMissing, "there is no psql on this node");
        Err(why.unwrap_or_else(nothing).into())
    }

    /// The same; of a server of this node that does not answer, with those that run there.
    pub async fn survey_of_node(&self) -> Result<Survey, NoOutcome> {
        let surveyed = self.survey().await;
        match surveyed {
            Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::ServerUnreachable => {
                let there = running::of_node(self.connection.host.as_deref()).await;
                Err(running::with_those(failure.into(), &there))
            }
            other => other,
        }
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
        let psql = self.psql_until(control.clone()).await?;
        self.ask_by(psql, control, database, sql).await
    }

    async fn ask_by(
        &self,
        psql: &Tool,
        control: Control,
        database: &str,
        sql: &str,
    ) -> Result<String, NoOutcome> {
        let arguments = ["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"];
        let plan = self.plan(&psql.place, &arguments, Some(database), Input::Words(sql.as_bytes().to_vec()));
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
        let plan = self.plan(&psql.place, &arguments, None, Input::Nothing);
        let Said { status, tail, .. } = program::ask(plan, self.bench.control.clone()).await?;
        if status.success() { Ok(()) } else { Err(self.failure("a replication connection", &tail).into()) }
    }

    /// The psql that asks: that of the server's version, once this is known.
    pub async fn psql(&self) -> Result<&Tool, NoOutcome> {
        self.psql_until(self.bench.control.clone()).await
    }

    async fn psql_until(&self, control: Control) -> Result<&Tool, NoOutcome> {
        match self.right.get() {
            Some(tool) => Ok(tool),
            None => Ok(&self.psqls(control).await?.first),
        }
    }

    /// Those that may ask a server whose version is not known yet.
    async fn psqls(&self, control: Control) -> Result<&Askers, NoOutcome> {
        self.askers.get_or_try_init(|| tools::askers(self, control)).await
    }

    /// What a database answers to a statement of people's own, of which nothing stays: it may only read, and what a server
    /// takes for reading nevertheless (large objects, before 16) is rolled back. It goes as an argument, where the words
    /// that psql itself knows have no meaning.
    pub async fn query(&self, database: &str, statement: &str, survey: &Survey) -> Result<String, NoOutcome> {
        let psql = self.psql().await?;
        let mut arguments = vec!["-X", "-q", "-A", "-t", "-w", "-F", "\t", "-v", "ON_ERROR_STOP=1"];
        arguments.extend(["-c", "set default_transaction_read_only = on", "-c", QUERY_WITHIN]);
        if survey.superuser && survey.major() >= 14 {
            // Who may do anything could be made to do anything by what was restored.
            arguments.extend(["-c", "set role pg_read_all_data"]);
        }
        arguments.extend(["-c", "begin transaction read only"]);
        arguments.extend(["-c", statement, "-c", "rollback"]);
        let plan = self.plan(&psql.place, &arguments, Some(database), Input::Nothing);
        let Said { status, stdout, tail } = program::ask(plan, self.bench.control.clone()).await?;
        if !status.success() {
            return Err(self.failure("psql", &tail).into());
        }
        Ok(String::from_utf8_lossy(&stdout).trim_end_matches('\n').to_owned())
    }

    /// How a database is counted.
    pub fn counting(&self, psql: &Tool, database: &str) -> Counting {
        let arguments = ["-X", "-q", "-A", "-t", "-w", "-f", "-"];
        let plan = self.plan(&psql.place, &arguments, Some(database), Input::Stream);
        Counting { plan, system: System::Postgresql }
    }

    /// How a program is called for a database. Names go by the environment, where nothing in them has a meaning.
    pub fn plan(&self, place: &Place, arguments: &[&str], database: Option<&str>, input: Input) -> Plan {
        let Connection { host, port, user, tls, tls_root, os_user, .. } = self.connection;
        let mut environment = program::environment();
        let mut set = |name: &'static str, value: OsString| environment.push((name, value));
        let (mut host, mut user) = (host.clone(), user.clone());
        let mut seen = Vec::new();
        if place.image().is_some() {
            // What is compiled in there is not what is so here, and the names of this machine's users are not known.
            let port = port.unwrap_or(5432);
            let folder = host.take().unwrap_or_else(|| socket_folder(port));
            if folder.starts_with('/') {
                seen.push(clusters::socket(&folder, port));
            }
            host = Some(folder);
            user = user.or_else(|| os_user.clone()).or_else(own_name);
            seen.extend(self.passfile.clone());
            seen.extend(tls_root.as_ref().map(PathBuf::from));
        }
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
        set(ENCODING, "UTF8".into());
        Plan {
            program: place.program().to_owned(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment,
            // Another user may not be allowed into ours.
            folder: Some("/".into()),
            input,
            user: self.user,
            notes: self.bench.state.children(),
            inside: place.inside(seen),
        }
    }

    /// What an end with an error means.
    pub fn failure(&self, program: &str, tail: &[String]) -> Failure {
        let message = format!("{program} on {}: {}", self.connection.shown(), postgresql::words(tail));
        Failure::new(postgresql::cause(tail), message).with_log(tail.to_vec())
    }
}

/// The folder of the default socket.
fn socket_folder(port: u16) -> String {
    let is_there = |folder: &&&str| clusters::socket(folder, port).exists();
    let [usual, _] = SOCKETS;
    (*SOCKETS.iter().find(is_there).unwrap_or(&usual)).to_owned()
}

/// The name of the executor's own user.
fn own_name() -> Option<String> {
    let uid = User::own().uid.to_string();
    let known = std::fs::read_to_string("/etc/passwd").ok()?;
    known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}
