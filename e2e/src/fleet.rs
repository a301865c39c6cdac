//! Every service as a process of its own, on one nats-server or on three, so that each can be killed alone.

use crate::process::{Process, binary};
use crate::{Api, PATIENCE, wait_until};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use strongroom_bus::Bus;
use strongroom_testkit::{Nats, Port};

/// All services, by the names of their binaries without the prefix.
pub const SERVICES: &[&str] = &["gateway", "scheduler", "executor", "catalog", "notifier", "recovery"];

/// The name of the fleet's one node.
const NODE: &str = "node1";

/// The running system.
pub struct Fleet {
    /// The log.
    pub nats: Nats,
    /// The services, by name.
    pub services: BTreeMap<&'static str, Process>,
    /// A client with the administrator's token.
    pub api: Api,
    _port: Port,
    // Last, so that the folder goes after what works in it.
    folder: tempfile::TempDir,
}

impl Fleet {
    /// Starts everything on `members` nats-servers.
    pub async fn start(members: usize) -> Result<Self> {
        Self::start_with(members, |_, process| process).await
    }

    /// The same, with more arguments or variables for each service.
    pub async fn start_with(members: usize, mut more: impl FnMut(&str, Process) -> Process) -> Result<Self> {
        let nats = if members == 1 { Nats::one(&[NODE]).await? } else { Nats::three(&[NODE]).await? };
        nats.wait_until_healthy().await?;
        let folder = tempfile::tempdir()?;
        let port = Port::claim()?;
        let listen = format!("127.0.0.1:{}", port.number());
        let mut services = BTreeMap::new();
        for name in SERVICES {
            let user = if *name == "executor" { format!("node-{NODE}") } else { (*name).to_owned() };
            let mut process = Process::new(
                binary(&format!("strongroom-{name}"))?,
                folder.path().join(format!("{name}.out")),
            )
            .env("STRONGROOM_NATS_URL", nats.urls())
            .env("STRONGROOM_NKEY_FILE", nats.seed_file(&user).display().to_string())
            .env("STRONGROOM_STATE_DIR", folder.path().join(name).display().to_string());
            process = match *name {
                "executor" => process.env("STRONGROOM_NODE", NODE),
                "gateway" => process.env("STRONGROOM_LISTEN", &listen),
                _ => process,
            };
            let mut process = more(name, process);
            process.start()?;
            services.insert(*name, process);
        }
        let api = Api::new(format!("http://{listen}"), String::new())?;
        let mut fleet = Self { nats, services, api, _port: port, folder };
        fleet.wait_until_ready().await?;
        Ok(fleet)
    }

    /// Waits until all services run and say that they are ready.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let token = self.folder.path().join("gateway/token");
        let api = self.api.clone();
        let ready = wait_until("the fleet to be ready", PATIENCE, async || {
            let token = std::fs::read_to_string(&token).ok()?;
            let ready = api.send(api.bare(reqwest::Method::GET, "/readyz")).await.ok()?;
            (ready.status == 200).then(|| token.trim().to_owned())
        })
        .await;
        self.api.token = ready.with_context(|| self.last_words())?;
        Ok(())
    }

    /// kill -9 of one service.
    pub fn kill(&mut self, service: &str) -> Result<()> {
        self.services.get_mut(service).context("no such service")?.kill()
    }

    /// Starts one that was killed.
    pub fn start_service(&mut self, service: &str) -> Result<()> {
        self.services.get_mut(service).context("no such service")?.start()
    }

    /// The folder with the services' state.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection that reads the log.
    pub async fn reader(&self) -> Result<Bus> {
        self.nats.bus("catalog").await
    }

    /// The end of what each service has printed.
    pub fn last_words(&self) -> String {
        self.services.iter().map(|(name, p)| format!("--- {name}\n{}\n", p.tail())).collect()
    }

    /// Whether any service has ended by itself: nothing does, whatever happens to the others.
    pub fn fallen(&mut self) -> Vec<String> {
        let fallen = self.services.iter_mut().filter_map(|(name, process)| {
            let status = process.ended()?;
            Some(format!("{name} ended with {status}: {}", process.tail()))
        });
        fallen.collect()
    }
}
