//! A PostgreSQL server, through its own programs: what connects here connects in the same way when it dumps.

use crate::census::Counting;
use crate::child::{Input, Plan, User};
use crate::clusters as running;
use crate::container::Sought;
use crate::control::{self, Control, NoOutcome};
use crate::core::census::System;
use crate::core::clusters;
use crate::core::container::Family;
use crate::core::postgresql::{self, OLDEST, SURVEY, Survey};
use crate::jobs::Bench;
use crate::program::{self, Place, Said};
use crate::streams::Streams;
use age::secrecy::ExposeSecret;
use std::ffi::OsString;
use std::path::PathBuf;
use strongroom_domain::source::postgresql::Connection;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;
use tokio::sync::OnceCell;

/// How long a connection may take to come about, in seconds.
const CONNECT_TIMEOUT_S: &str = "30";

/// What a statement of people's own may take.
const QUERY_WITHIN: &str = "set statement_timeout = '300s'";

/// Where servers put their sockets when nothing else is said (Debian and others; PostgreSQL's own).
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// In which encoding its programs speak.
pub const ENCODING: &str = "PGCLIENTENCODING";
/// Of which package the programs are.
const PACKAGE: &str = "postgresql-client";

/// The way to a server, with what opens it.
pub struct Client<'a> {
    bench: &'a Bench<'a>,
    connection: &'a Connection,
    user: Option<User>,
    passfile: Option<PathBuf>,
    /// The one that asks, once it was found.
    psql: OnceCell<Tool>,
}

/// A program in a version.
#[derive(Clone)]
pub struct Tool {
    /// Where it is.
    pub place: Place,
    /// What it says of itself.
    pub version: String,
}

impl Tool {
    /// As people are told of it.
    pub fn shown(&self) -> String {
        match (&self.place, postgresql::number_of(&self.version)) {
            (Place::Image(name, inside), Some(number)) => {
                format!("{name} {number} in the image {}", inside.image().name)
            }
            _ => self.version.clone(),
        }
    }

    fn major(&self) -> u32 {
        postgresql::major_of(&self.version).unwrap_or_default()
    }
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
        Ok(Self { bench, connection, user, passfile, psql: OnceCell::new() })
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

    /// The newest psql.
    pub async fn psql(&self) -> Result<&Tool, NoOutcome> {
        self.psql_until(self.bench.control.clone()).await
    }

    async fn psql_until(&self, control: Control) -> Result<&Tool, NoOutcome> {
        let finding = || async {
            if let Some(tool) = self.on_node(control.clone(), "psql").await?.pop() {
                return Ok(tool);
            }
            match self.in_images(control.clone(), "psql", None).await?.pop() {
                Some(tool) => Ok(tool),
                None => Err(self.missing("psql", None).await.into()),
            }
        };
        self.psql.get_or_try_init(finding).await
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

    /// A program that knows a server of this version.
    pub async fn tool(&self, name: &str, server: u32) -> Result<Tool, NoOutcome> {
        let control = self.bench.control.clone();
        let on_node = self.on_node(control.clone(), name).await?;
        let newest = on_node.last().map(Tool::major);
        if let Some(tool) = best(on_node, server) {
            return Ok(tool);
        }
        match best(self.in_images(control, name, Some(server)).await?, server) {
            Some(tool) => Ok(tool),
            None => Err(self.missing(name, Some((server, newest))).await.into()),
        }
    }

    /// The same of the node itself, for what works with files of it.
    pub async fn tool_on_node(&self, name: &str, server: u32) -> Result<Tool, NoOutcome> {
        let on_node = self.find(self.bench.control.clone(), name).await?;
        let newest = on_node.last().map(Tool::major);
        best(on_node, server).ok_or_else(|| {
            let message =
                format!("{}; install the package {PACKAGE}-{server}", lacks(name, Some((server, newest))));
            Failure::new(FailureCode::ToolMissing, message).into()
        })
    }

    async fn on_node(&self, control: Control, name: &str) -> Result<Vec<Tool>, NoOutcome> {
        if self.bench.containers.node_counts() { self.find(control, name).await } else { Ok(Vec::new()) }
    }

    /// All of this name on the node, one of each version, the newest last.
    async fn find(&self, control: Control, name: &str) -> Result<Vec<Tool>, NoOutcome> {
        let mut tools = Vec::new();
        for path in program::find(name, &folders(self.bench.programs)) {
            let place = Place::Node(path);
            let plan = self.plan(&place, &["--version"], None, Input::Nothing);
            let said = program::ask(plan, control.clone()).await?;
            let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            if postgresql::major_of(&version).is_some() {
                tools.push(Tool { place, version });
            }
        }
        tools.sort_by_key(Tool::major);
        // Of one version the first is the program itself; what is on the `PATH` may look for it each time.
        tools.dedup_by_key(|tool| tool.major());
        Ok(tools)
    }

    /// Those in images of the node, the newest last.
    async fn in_images(
        &self,
        control: Control,
        name: &str,
        server: Option<u32>,
    ) -> Result<Vec<Tool>, NoOutcome> {
        let sought = Sought { family: Family::Postgresql, names: &[name], version: &["--version"], server };
        let right = |said: &str| server.is_none_or(|server| postgresql::major_of(said) == Some(server));
        let found = self.bench.containers.find(self.bench, control, &sought, right).await?;
        let known = found.into_iter().filter(|found| postgresql::major_of(&found.said).is_some());
        let mut tools: Vec<Tool> = known
            .map(|found| Tool {
                place: Place::Image(found.name, Box::new(found.inside)),
                version: found.said,
            })
            .collect();
        tools.sort_by_key(Tool::major);
        Ok(tools)
    }

    async fn missing(&self, name: &str, wanted: Option<(u32, Option<u32>)>) -> Failure {
        let server = wanted.map(|(server, _)| server);
        let package = match wanted {
            Some((server, Some(_))) => format!("{PACKAGE}-{server}"),
            _ => PACKAGE.to_owned(),
        };
        self.bench.containers.missing(name, lacks(name, wanted), &package, "postgres", server).await
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

/// The right one of several for a server.
fn best(mut tools: Vec<Tool>, server: u32) -> Option<Tool> {
    let majors: Vec<u32> = tools.iter().map(Tool::major).collect();
    postgresql::best(&majors, server).map(|n| tools.swap_remove(n))
}

/// What is wrong with what the node has.
fn lacks(name: &str, wanted: Option<(u32, Option<u32>)>) -> String {
    match wanted {
        Some((server, Some(newest))) => format!(
            "the server has version {server} and the newest {name} on this node is {newest}, which cannot read it"
        ),
        _ => format!("there is no {name} on this node"),
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

/// Folders that somebody has named, and where distributions put several versions side by side; what is on the `PATH` may
/// be a wrapper around them.
pub fn folders(named: &[PathBuf]) -> Vec<PathBuf> {
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
    [named, &folders].concat()
}
