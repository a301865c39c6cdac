//! Which of PostgreSQL's programs are there, and which of them is right for a server.
//!
//! Several versions lie side by side, and what one was built without the next one has: the newest of all may be one that
//! speaks no TLS.

use super::Client;
use crate::child::Input;
use crate::container::Sought;
use crate::control::{Control, NoOutcome};
use crate::core::container::Family;
use crate::core::postgresql::{self, without_tls};
use crate::program::{self, Place};
use std::path::PathBuf;
use strongroom_domain::source::Tls;
use strongroom_domain::{Failure, FailureCode};

/// Of which package the programs are.
const PACKAGE: &str = "postgresql-client";
/// A folder of sockets that is not there.
const NOWHERE: &str = "/nonexistent";

/// A program in a version.
#[derive(Clone)]
pub struct Tool {
    /// Where it is.
    pub place: Place,
    /// What it says of itself.
    pub version: String,
    /// Whether it can go where the connection goes through TLS.
    tls: bool,
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

/// Programs that may ask a server whose version is not known yet.
pub struct Askers {
    /// The newest, which knows the most servers.
    pub first: Tool,
    /// The others, the newest first.
    others: Vec<Tool>,
}

impl Askers {
    /// All of them, in the order in which they are tried.
    pub fn all(&self) -> impl Iterator<Item = &Tool> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The one for a server of this version.
    pub fn for_server(&self, server: u32) -> Option<&Tool> {
        let all: Vec<&Tool> = self.all().collect();
        let found = best(&all, server)?;
        self.all().find(|tool| tool.major() == found.major())
    }
}

/// Looks for them: on the node, and else in its images.
pub async fn askers(client: &Client<'_>, control: Control) -> Result<Askers, NoOutcome> {
    let on_node = client.on_node(control.clone(), "psql").await?;
    let mut found: Vec<Tool> = client.fit(&on_node).into_iter().cloned().collect();
    found.sort_by_key(|tool| (tool.tls, tool.major()));
    if found.is_empty() {
        found = client.in_images(control, "psql", None).await?;
    }
    match found.pop() {
        Some(first) => {
            found.reverse();
            Ok(Askers { first, others: found })
        }
        None => Err(client.missing("psql", None, &on_node).await.into()),
    }
}

impl Client<'_> {
    /// A program that knows a server of this version.
    pub async fn tool(&self, name: &str, server: u32) -> Result<Tool, NoOutcome> {
        let control = self.bench.control.clone();
        let on_node = self.on_node(control.clone(), name).await?;
        if let Some(tool) = self.right_one(&on_node, server) {
            return Ok(tool.clone());
        }
        match best(&self.in_images(control, name, Some(server)).await?, server) {
            Some(tool) => Ok(tool.clone()),
            None => Err(self.missing(name, Some(server), &on_node).await.into()),
        }
    }

    /// The same of the node itself, for what works with files of it.
    pub async fn tool_on_node(&self, name: &str, server: u32) -> Result<Tool, NoOutcome> {
        let on_node = self.find(self.bench.control.clone(), name).await?;
        self.right_one(&on_node, server).cloned().ok_or_else(|| {
            let lacks = lacks(name, Some(server), &on_node);
            let message = format!("{lacks}; install the package {PACKAGE}-{server}");
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
                let tls = !self.wants_tls() || self.speaks_tls(&place, control.clone()).await?;
                tools.push(Tool { place, version, tls });
            }
        }
        // Of one version the first is the program itself; what is on the `PATH` may look for it each time.
        tools.sort_by_key(|tool| (tool.major(), !tool.tls));
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
                tls: true,
            })
            .collect();
        tools.sort_by_key(Tool::major);
        Ok(tools)
    }

    async fn missing(&self, name: &str, server: Option<u32>, on_node: &[Tool]) -> Failure {
        let package = match server {
            Some(server) if !on_node.is_empty() => format!("{PACKAGE}-{server}"),
            _ => PACKAGE.to_owned(),
        };
        let lacks = lacks(name, server, on_node);
        self.bench.containers.missing(name, lacks, &package, "postgres", server).await
    }

    /// Whether the way to the server may lead through TLS. Through a socket it never does, but who asks for it there is
    /// turned away by a program without.
    fn wants_tls(&self) -> bool {
        let by_socket = self.connection.host.as_deref().is_none_or(|host| host.starts_with('/'));
        match self.connection.tls {
            Tls::Disable => false,
            Tls::Prefer => !by_socket,
            Tls::Require | Tls::VerifyCa | Tls::VerifyFull => true,
        }
    }

    /// Those that can go the way that is asked for.
    fn fit<'t>(&self, tools: &'t [Tool]) -> Vec<&'t Tool> {
        tools.iter().filter(|tool| tool.tls || self.connection.tls == Tls::Prefer).collect()
    }

    /// The right one of these. Where TLS is only preferred, one without is better than none.
    fn right_one<'t>(&self, tools: &'t [Tool], server: u32) -> Option<&'t Tool> {
        let with: Vec<&Tool> = tools.iter().filter(|tool| tool.tls).collect();
        let major = |tools: &[&Tool]| best(tools, server).map(Tool::major);
        let found = major(&with).or_else(|| major(&self.fit(tools)))?;
        tools.iter().find(|tool| tool.major() == found)
    }

    /// Whether a program was built with TLS. libpq says so before it connects, and the psql beside it has the same libpq.
    async fn speaks_tls(&self, place: &Place, control: Control) -> Result<bool, NoOutcome> {
        let psql = place.program().with_file_name("psql");
        if !psql.exists() {
            return Ok(true);
        }
        let arguments = ["-X", "-w", "-c", "select 1"];
        let mut plan = self.plan(&Place::Node(psql), &arguments, None, Input::Nothing);
        plan.environment.retain(|(name, _)| !matches!(*name, "PGHOST" | "PGSSLMODE"));
        plan.environment.extend([("PGHOST", NOWHERE.into()), ("PGSSLMODE", Tls::Require.to_string().into())]);
        let said = program::ask(plan, control).await?;
        Ok(!without_tls(&said.tail))
    }
}

/// The right one of several for a server.
fn best<T: std::borrow::Borrow<Tool>>(tools: &[T], server: u32) -> Option<&Tool> {
    let majors: Vec<u32> = tools.iter().map(|tool| tool.borrow().major()).collect();
    tools.get(postgresql::best(&majors, server)?).map(std::borrow::Borrow::borrow)
}

/// What is wrong with what the node has.
fn lacks(name: &str, server: Option<u32>, on_node: &[Tool]) -> String {
    let Some(newest) = on_node.iter().max_by_key(|tool| tool.major()) else {
        return format!("there is no {name} on this node");
    };
    match server {
        Some(server) if newest.major() < server => {
            let newest = newest.major();
            format!(
                "the server has version {server} and the newest {name} on this node is {newest}, which cannot read it"
            )
        }
        _ => {
            let without: Vec<String> = on_node
                .iter()
                .filter(|tool| !tool.tls)
                .map(|tool| tool.place.program().display().to_string())
                .collect();
            format!("the connection asks for TLS, and {} was built without it", without.join(", "))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_the_program_its_version_or_its_tls() {
        let tool = |major: u32, tls: bool| Tool {
            place: Place::Node(format!("/opt/pgsql-{major}/bin/psql").into()),
            version: format!("psql (PostgreSQL) {major}.1"),
            tls,
        };
        assert_eq!(lacks("psql", None, &[]), "there is no psql on this node");
        let old = lacks("pg_dump", Some(18), &[tool(13, true), tool(15, true)]);
        assert!(old.contains("version 18") && old.contains("is 15"), "{old}");
        let bare = lacks("psql", None, &[tool(15, false), tool(18, false)]);
        assert_eq!(
            bare,
            "the connection asks for TLS, and /opt/pgsql-15/bin/psql, /opt/pgsql-18/bin/psql was built without it"
        );
        // One with TLS that is too old, and one that is new enough without.
        let both = lacks("pg_dump", Some(18), &[tool(15, true), tool(18, false)]);
        assert!(both.ends_with("/opt/pgsql-18/bin/psql was built without it"), "{both}");
    }
}
