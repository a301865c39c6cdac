//! Programs of database systems in containers: which images may have them, how one is started, and whose error it was.

use serde::Deserialize;
use std::path::Path;

#[cfg(test)]
mod tests;

/// The label by which an executor knows the containers that it has started, whoever else uses the engine.
pub const EXECUTOR: &str = "strongroom.executor";
/// The home of a program, where it may write and nothing stays.
pub const HOME: &str = "/strongroom-home";
/// What may lie in it, in bytes: it is memory.
const HOME_BYTES: u64 = 64 << 20;
/// How a line begins that `docker` itself says.
const DOCKER: &str = "docker: ";
/// Images that are looked into at most: each costs the start of a container, once.
const LOOKED_INTO: usize = 8;

/// Whose programs are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// PostgreSQL's.
    Postgresql,
    /// MySQL's and MariaDB's.
    Mysql,
    /// MongoDB's.
    Mongodb,
}

impl Family {
    /// The official images that have them.
    fn repositories(self) -> &'static [&'static str] {
        match self {
            Self::Postgresql => &["postgres"],
            Self::Mysql => &["mariadb", "mysql"],
            Self::Mongodb => &["mongo"],
        }
    }
}

/// An image that is on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As people call it.
    pub name: String,
    /// What it is, whatever the name comes to mean: nothing that is started by it can be another one, or be fetched.
    pub id: String,
    /// Folders for which the engine would make volumes, that stay.
    pub volumes: Vec<String>,
}

/// What `docker image inspect` says of one.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
}

/// Reads what `docker image inspect` says.
pub fn inspected(name: &str, said: &[u8]) -> Option<Image> {
    let Inspected { id, config } = serde_json::from_slice(said).ok()?;
    let volumes = config.and_then(|config| config.volumes).unwrap_or_default().into_keys().collect();
    (!id.is_empty()).then(|| Image { name: name.to_owned(), id, volumes })
}

/// What `docker info` says of an engine, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    server_version: String,
    #[serde(default)]
    server_errors: Option<Vec<String>>,
    #[serde(default)]
    security_options: Option<Vec<String>>,
}

/// Why an engine that says this is of no use, if so.
pub fn unfit(said: &[u8], tail: &[String]) -> Option<String> {
    let info: Info = serde_json::from_slice(said).unwrap_or_default();
    if info.server_version.is_empty() {
        let errors = info.server_errors.unwrap_or_default();
        let line = errors.first().or(tail.last()).map_or("it said nothing", String::as_str);
        return Some(format!("Docker's engine does not answer: {}", line.trim()));
    }
    // There a user is another one than outside: no server would know it, and no private file would open.
    let options = info.security_options.unwrap_or_default();
    options.iter().any(|option| option.contains("name=rootless")).then(|| {
        "Docker's engine is rootless, where programs do not run as the users that they are to run as"
            .to_owned()
    })
}

/// The socket of an engine of this machine, out of what `DOCKER_HOST` says.
pub fn socket(host: &str) -> Result<&Path, String> {
    host.strip_prefix("unix://").filter(|path| path.starts_with('/')).map(Path::new).ok_or_else(|| {
        format!("Docker's engine at '{host}' may be on another machine, where files of this one are not seen; give it as unix:///<socket>")
    })
}

/// The official images among all that `docker image ls` tells as `<repository>\t<tag>`, the most promising first: of the
/// version of the server, or else of the next newer one.
pub fn candidates(family: Family, listed: &str, server: Option<u32>) -> Vec<String> {
    let official = |repository: &str| {
        let bare = repository.strip_prefix("docker.io/").unwrap_or(repository);
        family.repositories().contains(&bare.strip_prefix("library/").unwrap_or(bare))
    };
    let mut found: Vec<((u8, u32), String)> = listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(repository, tag)| official(repository) && *tag != "<none>")
        .map(|(repository, tag)| (rank(major(tag), server), format!("{repository}:{tag}")))
        .collect();
    found.sort();
    found.into_iter().map(|(_, name)| name).take(LOOKED_INTO).collect()
}

fn rank(tag: Option<u32>, server: Option<u32>) -> (u8, u32) {
    match (tag, server) {
        (Some(tag), Some(server)) if tag >= server => (0, tag - server),
        (Some(tag), None) => (0, u32::MAX - tag),
        (None, _) => (1, 0),
        (Some(tag), Some(_)) => (2, u32::MAX - tag),
    }
}

/// 16 of `16`, `16.4-bookworm`; nothing of `latest`.
fn major(tag: &str) -> Option<u32> {
    let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// An image that would do, as people would fetch it.
pub fn wanted(repository: &str, server: Option<u32>) -> String {
    match server {
        Some(major) => format!("{repository}:{major}"),
        None => repository.to_owned(),
    }
}

/// What is started.
pub struct Start<'a> {
    /// What it is called, by which it is removed.
    pub name: &'a str,
    /// Labels.
    pub labels: &'a [String],
    /// In which image.
    pub image: &'a Image,
    /// The program.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: &'a [String],
    /// The names of what it has in its environment: their values come by that of `docker`, not by its arguments.
    pub environment: &'a [&'a str],
    /// Files and sockets of the node that it sees, at their places.
    pub seen: &'a [String],
    /// As which user and group.
    pub user: (u32, u32),
    /// Whether somebody writes to it.
    pub reads: bool,
}

impl Start<'_> {
    /// The arguments of `docker`. It can do nothing but what the program needs: reach the network, read what it is shown.
    pub fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> =
            ["run", "--rm", "--pull=never", "--read-only", "--network=host", "--userns=host"]
                .map(str::to_owned)
                .to_vec();
        let mut add = |word: String| words.push(word);
        add(format!("--name={}", self.name));
        self.labels.iter().for_each(|label| add(format!("--label={label}")));
        add(format!("--user={}:{}", self.user.0, self.user.1));
        // Or all that it prints would be written to the disk of the node as well.
        add("--log-driver=none".into());
        add("--cap-drop=ALL".into());
        add("--security-opt=no-new-privileges".into());
        add("--no-healthcheck".into());
        add("--workdir=/".into());
        if self.reads {
            add("--interactive".into());
        }
        add(format!("--mount=type=tmpfs,target={HOME},tmpfs-mode=1777,tmpfs-size={HOME_BYTES}"));
        for volume in &self.image.volumes {
            add(format!("--mount=type=tmpfs,{},tmpfs-size={HOME_BYTES}", field("target", volume)));
        }
        for path in self.seen {
            add(format!("--mount=type=bind,{},{},readonly", field("source", path), field("target", path)));
        }
        for name in ["HOME", "TMPDIR"] {
            add(format!("--env={name}={HOME}"));
        }
        self.environment.iter().for_each(|name| add(format!("--env={name}")));
        add(format!("--entrypoint={}", self.program));
        add(self.image.id.clone());
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// A field of a line in CSV, as `--mount` takes it.
fn field(name: &str, value: &str) -> String {
    if value.contains([',', '"', '\n', '\r']) {
        format!("\"{name}={}\"", value.replace('"', "\"\""))
    } else {
        format!("{name}={value}")
    }
}

/// What `docker` itself says when it could not run a program, out of how it ended (manual of `docker run`, "Exit status") and
/// its last lines; nothing when it was the program that has ended so.
pub fn engines_error(code: Option<i32>, tail: &[String]) -> Option<String> {
    let said = || tail.iter().find(|line| line.starts_with(DOCKER));
    let line = match code? {
        // No program of a database system ends with this one.
        125 => said().or(tail.last()).map_or("it said nothing", String::as_str),
        126 | 127 => said()?,
        _ => return None,
    };
    Some(line.trim_start_matches(DOCKER).trim().to_owned())
}

/// Whether an error of the engine says no more than that the program is not in the image, or cannot be run on this machine.
pub fn is_lacking(tail: &[String]) -> bool {
    let words = ["executable file not found", "no such file or directory", "exec format error"];
    tail.iter().any(|line| words.iter().any(|words| line.contains(words)))
}
