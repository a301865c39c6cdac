//! A MongoDB server, through its own programs: what connects here connects in the same way when it dumps.

use crate::child::{Input, Plan};
use crate::container::Sought;
use crate::control::{self, Control, NoOutcome};
use crate::core::container::Family;
use crate::core::mongodb::shell::{self, Survey};
use crate::core::mongodb::{self, told};
use crate::jobs::Bench;
use crate::program::{self, Place, Said};
use crate::streams::Streams;
use age::secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use strongroom_domain::source::mongodb::Connection;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;

/// The program that dumps.
pub const DUMP: &str = "mongodump";
/// The program that restores.
pub const RESTORE: &str = "mongorestore";
/// The names of the program that asks.
const SHELLS: [&str; 2] = ["mongosh", "mongo"];

/// How they tell their version.
const VERSION: [&str; 1] = ["--version"];

/// The way to a server, with what opens it.
pub struct Client<'a> {
    bench: &'a Bench<'a>,
    connection: &'a Connection,
    password: Option<SecretString>,
    folder: PathBuf,
    /// The private file with the password, for those programs that dump and restore.
    config: Option<PathBuf>,
}

/// A program.
#[derive(Clone)]
pub struct Tool {
    /// Where it is.
    pub place: Place,
    /// What people are told of it.
    pub said: String,
}

impl<'a> Client<'a> {
    /// Makes ready to connect. What opens the server lies in private files of `streams` as long as that is there.
    pub fn new(
        bench: &'a Bench<'a>,
        connection: &'a Connection,
        streams: &Streams,
    ) -> Result<Self, NoOutcome> {
        let password = connection.password.as_ref().map(|reference| bench.secret(reference)).transpose()?;
        // The programs would ask for it, and take the answer from what they are to restore.
        if connection.user.is_some() != password.is_some() {
            let message = format!("{}: a user and a password belong together", connection.shown());
            return Err(Failure::new(FailureCode::AccessDenied, message).into());
        }
        let folder = streams.path().to_owned();
        let config = match &password {
            None => None,
            Some(password) => {
                let path = folder.join("mongodb.yaml");
                write(&path, &told::config(password.expose_secret()))?;
                Some(path)
            }
        };
        Ok(Self { bench, connection, password, folder, config })
    }

    /// The program that dumps or restores.
    pub async fn tool(&self, name: &str) -> Result<Tool, NoOutcome> {
        let mut old = None;
        for path in self.on_node(name) {
            let place = Place::Node(path);
            let said = self
                .bench_ask(self.plan_of(&place, VERSION.map(str::to_owned).to_vec(), Input::Nothing))
                .await?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let first = said.lines().next().unwrap_or_default().trim().to_owned();
            if mongodb::takes_config(mongodb::version(&said)) {
                return Ok(Tool { place, said: first });
            }
            old = Some(first);
        }
        let takes_config = |said: &str| mongodb::takes_config(mongodb::version(said));
        let found = self.in_images(&[name], takes_config).await?;
        if let Some((place, said)) = found.into_iter().find(|(_, said)| takes_config(said)) {
            let number =
                mongodb::version(&said).map(|(major, minor, patch)| format!(" {major}.{minor}.{patch}"));
            let image = place.image().unwrap_or_default();
            let said = format!("{name}{} in the image {image}", number.unwrap_or_default());
            return Ok(Tool { place, said });
        }
        let (lacks, package) = match old {
            Some(old) => (
                format!("{name} is too old on this node ({old}): it takes a password from no file"),
                "mongodb-database-tools, 100.3 or newer",
            ),
            None => (format!("there is no {name} on this node"), "mongodb-database-tools of MongoDB"),
        };
        Err(self.bench.containers.missing(name, lacks, package, "mongo", None).await.into())
    }

    /// The program that asks, when there is one.
    pub async fn shell(&self) -> Result<Option<Place>, NoOutcome> {
        if let Some(path) = SHELLS.iter().find_map(|name| self.on_node(name).into_iter().next()) {
            return Ok(Some(Place::Node(path)));
        }
        Ok(self.in_images(&SHELLS, |_| true).await?.into_iter().next().map(|(place, _)| place))
    }

    fn on_node(&self, name: &str) -> Vec<PathBuf> {
        if self.bench.containers.node_counts() {
            program::find(name, self.bench.programs)
        } else {
            Vec::new()
        }
    }

    async fn in_images(
        &self,
        names: &[&str],
        right: impl Fn(&str) -> bool,
    ) -> Result<Vec<(Place, String)>, NoOutcome> {
        let sought = Sought { family: Family::Mongodb, names, version: &VERSION, server: None };
        let found =
            self.bench.containers.find(self.bench, self.bench.control.clone(), &sought, right).await?;
        Ok(found.into_iter().map(|f| (Place::Image(f.name, Box::new(f.inside)), f.said)).collect())
    }

    /// What it takes to have one.
    pub async fn no_shell(&self, what: &str) -> Failure {
        let lacks = format!("{what}: there is no mongosh on this node");
        self.bench.containers.missing("mongosh", lacks, "mongodb-mongosh of MongoDB", "mongo", None).await
    }

    /// What is on the server.
    pub async fn survey(&self, shell: &Place) -> Result<Survey, NoOutcome> {
        self.ask(shell, shell::SURVEY).await
    }

    /// What the shell answers.
    pub async fn ask<T: DeserializeOwned>(&self, shell: &Place, asked: &str) -> Result<T, NoOutcome> {
        self.ask_until(self.bench.control.clone(), shell, asked).await
    }

    /// The same, whatever the attempt is told: what was made must be removed when it is cancelled, too.
    pub async fn ask_anyway<T: DeserializeOwned>(&self, shell: &Place, asked: &str) -> Result<T, NoOutcome> {
        let (_stopper, control) = control::pair();
        self.ask_until(control, shell, asked).await
    }

    async fn ask_until<T: DeserializeOwned>(
        &self,
        control: Control,
        shell: &Place,
        asked: &str,
    ) -> Result<T, NoOutcome> {
        let script = self.folder.join("ask.js");
        let password = self.password.as_ref().map(|password| password.expose_secret());
        write(&script, &shell::script(self.connection, password, asked))?;
        let words = ["--quiet", "--norc", "--nodb"].map(str::to_owned);
        let arguments = words.into_iter().chain([script.display().to_string()]).collect();
        let mut plan = self.plan_of(shell, arguments, Input::Nothing);
        plan.inside = shell.inside(std::iter::once(script.clone()).chain(self.root()));
        let said = program::ask(plan, control).await;
        let _ = std::fs::remove_file(&script);
        let Said { status, stdout, tail } = said?;
        let stdout = String::from_utf8_lossy(&stdout);
        if !status.success() {
            // The older shell says on the one way what the newer one says on the other.
            let printed = stdout.lines().map(str::to_owned);
            let all: Vec<String> = printed.chain(tail).filter(|line| !line.trim().is_empty()).collect();
            return Err(self.failure("the shell", &all).into());
        }
        shell::read(&stdout).ok_or_else(|| {
            let message = format!("what {} says of itself cannot be read", self.connection.shown());
            Failure::new(FailureCode::Unknown, message).into()
        })
    }

    /// How a program that dumps or restores is called.
    pub fn plan(&self, tool: &Tool, arguments: Vec<String>, input: Input) -> Plan {
        let config = self.config.as_ref().map(|path| path.display().to_string());
        let mut all = told::connection(self.connection, config.as_deref());
        all.extend(arguments);
        let inside = tool.place.inside(self.config.iter().cloned().chain(self.root()));
        Plan { inside, ..self.plan_of(&tool.place, all, input) }
    }

    /// The certificates that are trusted.
    fn root(&self) -> Option<PathBuf> {
        self.connection.tls_root.as_ref().map(PathBuf::from)
    }

    fn plan_of(&self, place: &Place, arguments: Vec<String>, input: Input) -> Plan {
        // The shell keeps a log of what it does in its home: that goes with the job.
        program::plan(place.program(), arguments, Some(&self.folder), input, self.bench.state.children())
    }

    async fn bench_ask(&self, plan: Plan) -> Result<Said, NoOutcome> {
        program::ask(plan, self.bench.control.clone()).await
    }

    /// What an end with an error means.
    pub fn failure(&self, program: &str, tail: &[String]) -> Failure {
        let tail: Vec<String> = tail.iter().map(|line| self.masked(line)).collect();
        let message = format!("{program} on {}: {}", self.connection.shown(), mongodb::words(&tail));
        Failure::new(mongodb::cause(&tail), message).with_log(tail)
    }

    /// A line without the password, should a program ever repeat it.
    fn masked(&self, line: &str) -> String {
        let Some(password) = self.password.as_ref().map(|p| p.expose_secret()).filter(|p| !p.is_empty())
        else {
            return line.to_owned();
        };
        line.replace(password, "***").replace(&shell::escaped(password), "***")
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    file::write_private(path, text.as_bytes())
        .map_err(|e| Failure::new(FailureCode::Unknown, format!("{}: {e}", path.display())))
}
