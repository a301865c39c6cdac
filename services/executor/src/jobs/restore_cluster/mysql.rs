//! A MariaDB server, put together and made ready by `mariadb-backup`.

use super::chain::Chain;
use super::place::DATA;
use super::work::{as_user, failed, make, plan, unpack};
use crate::child::User;
use crate::control::NoOutcome;
use crate::core::mysql::physical::words;
use crate::jobs::Bench;
use crate::mysql::Tool;
use crate::program::{self, Said};
use crate::scratch::Scratch;
use crate::sources::backup_tool;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_domain::job::{Cluster, RestoreClusterSpec};
use strongroom_domain::{Failure, FailureCode};

/// To whom it belongs where nothing is said.
const OS_USER: &str = "mysql";

/// What makes it ready, and for whom.
pub struct Server {
    tool: Tool,
    unpacker: PathBuf,
    user: Option<User>,
}

impl Server {
    /// Finds it on the node.
    pub async fn find(bench: &Bench<'_>, spec: &RestoreClusterSpec, series: &str) -> Result<Self, NoOutcome> {
        let tool = backup_tool(bench, series).await?;
        let unpacker = program::find("mbstream", &[]).into_iter().next().ok_or_else(|| {
            let message = "there is no mbstream on this node; install the package mariadb-backup";
            Failure::new(FailureCode::ToolMissing, message)
        })?;
        let user = match &spec.os_user {
            Some(name) => Some(as_user(bench, name).await?),
            None if rustix::process::geteuid().is_root() => Some(as_user(bench, OS_USER).await?),
            None => None,
        };
        Ok(Self { tool, unpacker, user })
    }

    /// The program, for people.
    pub fn tool(&self) -> String {
        self.tool.said.clone()
    }

    /// Puts it together in a scratch folder.
    pub async fn restore(
        &self,
        bench: &Bench<'_>,
        spec: &RestoreClusterSpec,
        chain: &Chain<'_>,
        scratch: &Scratch,
    ) -> Result<Cluster, NoOutcome> {
        // A program of another user can be given no way to it but its real one.
        let folder = fs::read_link(scratch.path()).map_err(|e| failed(&scratch.path(), &e))?;
        let data = folder.join(DATA);
        // The changes first: they are smaller, and what is wrong with them is told sooner.
        bench.step("changes");
        let mut changes = Vec::new();
        for (n, link) in chain.more().iter().enumerate() {
            let into = folder.join(format!("changes-{n}"));
            self.unpack(bench, link, &into).await?;
            changes.push(into);
        }
        bench.step("base");
        self.unpack(bench, chain.full(), &data).await?;
        bench.step("recover");
        self.prepare(bench, &data, None).await?;
        for from in &changes {
            self.prepare(bench, &data, Some(from)).await?;
        }
        let databases = chain.last().properties.get("databases").cloned();
        Ok(Cluster {
            target: spec.target.clone(),
            archives: chain.names(),
            size_bytes: chain.size_bytes(),
            recovered: true,
            reached_lsn: None,
            reached_at: None,
            databases: databases.and_then(|names| serde_json::from_value(names).ok()).unwrap_or_default(),
        })
    }

    async fn unpack(
        &self,
        bench: &Bench<'_>,
        link: &super::chain::Link<'_>,
        into: &Path,
    ) -> Result<(), NoOutcome> {
        make(into, self.user)?;
        unpack(bench, link, plan(bench, &self.unpacker, &["--extract"], self.user, Some(into))).await
    }

    /// Brings the files to one moment, with these changes.
    async fn prepare(&self, bench: &Bench<'_>, data: &Path, changes: Option<&Path>) -> Result<(), NoOutcome> {
        let target = format!("--target-dir={}", data.display());
        let changes = changes.map(|from| format!("--incremental-dir={}", from.display()));
        let mut arguments = vec!["--no-defaults", "--prepare", &target];
        arguments.extend(changes.as_deref());
        let preparing = plan(bench, self.tool.place.program(), &arguments, self.user, Some(data));
        let Said { status, tail, .. } = program::ask(preparing, bench.control.clone()).await?;
        if status.success() {
            return Ok(());
        }
        let message = format!("the server could not be made ready ({status}): {}", words(&tail));
        Err(Failure::new(FailureCode::RestoreFailed, message).with_log(tail).into())
    }
}
