//! A MySQL or MariaDB server, through its own programs: what connects here connects in the same way when it dumps.

use crate::census::Counting;
use crate::child::{Input, Plan};
use crate::container::Sought;
use crate::control::{self, Control, NoOutcome};
use crate::core::census::System;
use crate::core::container::Family;
use crate::core::mysql::program::{Flavour, best, version_of};
use crate::core::mysql::{self, SURVEY, Survey, option_file};
use crate::jobs::Bench;
use crate::program::{self, Place, Said};
use crate::streams::Streams;
use age::secrecy::ExposeSecret;
use std::path::{Path, PathBuf};
use strongroom_domain::source::Tls;
use strongroom_domain::source::mysql::Connection;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;

/// Where a distribution notes what opens the server of the machine.
const FOUND: &str = "/etc/mysql/debian.cnf";
/// Where servers put their sockets when nothing else is said (Debian, Red Hat, MySQL's own).
const SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];

/// The names of the program that asks.
pub const CLIENT: &[&str] = &["mariadb", "mysql"];
/// The names of the program that dumps.
pub const DUMP: &[&str] = &["mariadb-dump", "mysqldump"];

/// How they tell their version.
const VERSION: [&str; 2] = ["--no-defaults", "--version"];

/// The way to a server, with what opens it.
pub struct Client<'a> {
    bench: &'a Bench<'a>,
    connection: &'a Connection,
    /// The private option file for the programs of MariaDB, and the one for those of MySQL.
    options: [PathBuf; 2],
    /// The file to which these lead.
    found: Option<&'static Path>,
}

/// A program in a version.
#[derive(Clone)]
pub struct Tool {
    /// Where it is.
    pub place: Place,
    /// What people are told of it.
    pub said: String,
    /// Whose it is.
    pub flavour: Flavour,
    /// Its version.
    pub version: (u32, u32, u32),
}

impl<'a> Client<'a> {
    /// Makes ready to connect. What opens the server lies in private files of `streams` as long as that is there.
    pub fn new(
        bench: &'a Bench<'a>,
        connection: &'a Connection,
        streams: &Streams,
    ) -> Result<Self, NoOutcome> {
        let password = connection.password.as_ref().map(|reference| bench.secret(reference)).transpose()?;
        let password = password.as_ref().map(|password| password.expose_secret());
        if password.is_some_and(|password| password.contains('\0')) {
            let message = "a password with a NUL can be told to no program of MySQL";
            return Err(Failure::new(FailureCode::AccessDenied, message).into());
        }
        let found = Path::new(FOUND);
        let found =
            (connection.is_found_on_the_node() && std::fs::File::open(found).is_ok()).then_some(found);
        let options =
            [(Flavour::MariaDb, "mariadb.cnf"), (Flavour::MySql, "mysql.cnf")].map(|(flavour, name)| {
                let path = streams.path().join(name);
                let text = option_file::write(connection, password, flavour, found);
                file::write_private(&path, text.as_bytes())
                    .map_err(|e| Failure::new(FailureCode::Unknown, format!("{}: {e}", path.display())))?;
                Ok::<_, Failure>(path)
            });
        let [mariadb, mysql] = options;
        Ok(Self { bench, connection, options: [mariadb?, mysql?], found })
    }

    /// What is on the server.
    pub async fn survey(&self) -> Result<Survey, NoOutcome> {
        // Whose the server is, is not known before it was asked.
        let said = self.ask_by(&self.tool(CLIENT, Flavour::MariaDb).await?, None, SURVEY).await?;
        let survey = Survey::read(&said).ok_or_else(|| {
            let message = format!("what {} says of itself cannot be read", self.connection.shown());
            Failure::new(FailureCode::Unknown, message)
        })?;
        let must = matches!(self.connection.tls, Tls::Require | Tls::VerifyCa | Tls::VerifyFull);
        if must && !survey.tls {
            let message =
                format!("{}: SSL is required, and the server does not do it", self.connection.shown());
            return Err(Failure::new(FailureCode::ServerUnreachable, message).into());
        }
        Ok(survey)
    }

    /// What a client answers to SQL, without the last line break.
    pub async fn ask_by(
        &self,
        client: &Tool,
        database: Option<&str>,
        sql: &str,
    ) -> Result<String, NoOutcome> {
        self.ask_until(self.bench.control.clone(), client, database, sql.as_bytes()).await
    }

    /// The same, past the point where a cancel counts.
    pub async fn ask_past_cancel(
        &self,
        client: &Tool,
        database: Option<&str>,
        sql: &[u8],
    ) -> Result<String, NoOutcome> {
        self.ask_until(self.bench.control.past_cancel(), client, database, sql).await
    }

    /// The same, whatever the attempt is told: what was made must be removed when it is cancelled, too.
    pub async fn ask_anyway(
        &self,
        client: &Tool,
        database: Option<&str>,
        sql: &str,
    ) -> Result<String, NoOutcome> {
        let (_stopper, control) = control::pair();
        self.ask_until(control, client, database, sql.as_bytes()).await
    }

    async fn ask_until(
        &self,
        control: Control,
        client: &Tool,
        database: Option<&str>,
        sql: &[u8],
    ) -> Result<String, NoOutcome> {
        let mut arguments = vec!["--batch".to_owned(), "--skip-column-names".into(), "--binary-mode".into()];
        arguments.extend(database.map(|database| format!("--database={database}")));
        let plan = self.plan(client, arguments, Input::Stream);
        let Said { status, stdout, tail } = program::tell(plan, sql, control).await?;
        if !status.success() {
            return Err(self.failure("the client", &tail).into());
        }
        let text = String::from_utf8(stdout);
        let text = text.map_err(|e| Failure::new(FailureCode::Unknown, format!("the client: {e}")))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// The program that is right for a server.
    pub async fn tool(&self, names: &[&str], server: Flavour) -> Result<Tool, NoOutcome> {
        let mut tools = self.on_node(names).await?;
        if tools.is_empty() {
            tools = self.in_images(names, server).await?;
        }
        let versions: Vec<_> = tools.iter().map(|tool| (tool.flavour, tool.version)).collect();
        match best(&versions, server) {
            Some(n) => Ok(tools.swap_remove(n)),
            None => {
                let name = names.join(" and no ");
                let lacks = format!("there is no {name} on this node");
                let missing =
                    self.bench.containers.missing(&name, lacks, server.package(), server.image(), None);
                Err(missing.await.into())
            }
        }
    }

    async fn on_node(&self, names: &[&str]) -> Result<Vec<Tool>, NoOutcome> {
        let mut tools = Vec::new();
        if !self.bench.containers.node_counts() {
            return Ok(tools);
        }
        for path in names.iter().flat_map(|name| program::find(name, &[])) {
            let place = Place::Node(path);
            // Not one option file is read: a word in it that this program does not know would end it.
            let plan = self.plan_of(&place, VERSION.map(str::to_owned).to_vec(), Input::Nothing);
            let said = program::ask(plan, self.bench.control.clone()).await?;
            let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            if let Some((flavour, version)) = version_of(&said) {
                tools.push(Tool { place, said, flavour, version });
            }
        }
        Ok(tools)
    }

    async fn in_images(&self, names: &[&str], server: Flavour) -> Result<Vec<Tool>, NoOutcome> {
        let sought = Sought { family: Family::Mysql, names, version: &VERSION, server: None };
        let right = |said: &str| version_of(said).is_some_and(|(flavour, _)| flavour == server);
        let found =
            self.bench.containers.find(self.bench, self.bench.control.clone(), &sought, right).await?;
        let tools = found.into_iter().filter_map(|found| {
            let (flavour, version) = version_of(&found.said)?;
            let (major, minor, patch) = version;
            let image = &found.inside.image().name;
            let said = format!("{} {major}.{minor}.{patch} in the image {image}", found.name);
            Some(Tool { place: Place::Image(found.name, Box::new(found.inside)), said, flavour, version })
        });
        Ok(tools.collect())
    }

    /// How a program is called.
    pub fn plan(&self, tool: &Tool, arguments: Vec<String>, input: Input) -> Plan {
        let [mariadb, mysql] = &self.options;
        let options = if tool.flavour == Flavour::MariaDb { mariadb } else { mysql };
        // It counts as the first argument only.
        let mut all = vec![format!("--defaults-file={}", options.display())];
        if tool.place.image().is_none() {
            all.extend(arguments);
            return self.plan_of(&tool.place, all, input);
        }
        let Connection { host, tls_root, .. } = self.connection;
        let mut seen = vec![options.clone()];
        seen.extend(self.found.map(Path::to_owned));
        seen.extend(tls_root.as_ref().map(PathBuf::from));
        seen.extend(self.connection.socket().map(PathBuf::from));
        // What is compiled in there is not what is so here.
        if host.is_none()
            && let Some(socket) = SOCKETS.map(Path::new).into_iter().find(|socket| socket.exists())
        {
            all.push(format!("--socket={}", socket.display()));
            seen.push(socket.to_owned());
        }
        all.extend(arguments);
        Plan { inside: tool.place.inside(seen), ..self.plan_of(&tool.place, all, input) }
    }

    fn plan_of(&self, place: &Place, arguments: Vec<String>, input: Input) -> Plan {
        // What lies in a home folder is not what the plan says.
        program::plan(place.program(), arguments, None, input, self.bench.state.children())
    }

    /// How a database is counted.
    pub fn counting(&self, client: &Tool, server: Flavour, database: &str) -> Counting {
        let words = ["--batch", "--skip-column-names", "--binary-mode", "--unbuffered", "--skip-reconnect"];
        let mut arguments = words.map(str::to_owned).to_vec();
        arguments.push(format!("--database={database}"));
        Counting { plan: self.plan(client, arguments, Input::Stream), system: System::Mysql(server) }
    }

    /// Runs a program that says a little.
    pub async fn say(&self, tool: &Tool, arguments: Vec<String>) -> Result<Said, NoOutcome> {
        program::ask(self.plan(tool, arguments, Input::Nothing), self.bench.control.clone()).await
    }

    /// What an end with an error means.
    pub fn failure(&self, program: &str, tail: &[String]) -> Failure {
        let message = format!("{program} on {}: {}", self.connection.shown(), mysql::words(tail));
        Failure::new(mysql::cause(tail), message).with_log(tail.to_vec())
    }
}
