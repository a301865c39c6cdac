//! nats-server with keys, rights and streams as the product makes them, in a folder that goes with it.

use crate::port::Port;
use crate::{lasting, wait_until};
use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use strongroom_bus::nats::Settings;
use strongroom_bus::server::child::ChildPlan;
use strongroom_bus::server::config::{Cluster, ServerConfig, render};
use strongroom_bus::server::keys::KeyRing;
use strongroom_bus::server::provision::Provision;
use strongroom_bus::server::{binary, monitor};
use strongroom_bus::{Bus, NodeBus};
use strongroom_domain::NodeId;

/// How long a server may take to come up on a busy machine.
const COMING_UP: Duration = Duration::from_secs(60);

/// One nats-server or a cluster of three. Dropped, it ends them and removes their folder; killed with the whole test
/// binary, the kernel ends them.
pub struct Nats {
    members: Vec<Member>,
    provision: Provision,
    keys: KeyRing,
    // Last, so that the folder goes after what works in it.
    folder: tempfile::TempDir,
}

struct Member {
    config: ServerConfig,
    plan: ChildPlan,
    child: Option<Child>,
    _ports: Vec<Port>,
}

impl Nats {
    /// One server, with these nodes known.
    pub async fn one(nodes: &[&str]) -> Result<Self> {
        Self::start(1, nodes, Duration::from_secs(5)).await
    }

    /// A cluster of three.
    pub async fn three(nodes: &[&str]) -> Result<Self> {
        Self::start(3, nodes, Duration::from_secs(5)).await
    }

    /// `members` servers; deliveries to nodes are kept for `work_ack_wait` without a sign of them.
    pub async fn start(members: usize, nodes: &[&str], work_ack_wait: Duration) -> Result<Self> {
        let nats = Self::start_empty(members, nodes, work_ack_wait)?;
        nats.provision.apply(&nats.settings("provisioner")).await?;
        Ok(nats)
    }

    /// The same, without any stream.
    pub fn start_empty(members: usize, nodes: &[&str], work_ack_wait: Duration) -> Result<Self> {
        let binary =
            binary::find().context("the tests need a nats-server; 'cargo xtask test' installs one")?;
        let folder = tempfile::tempdir()?;
        let nodes: Vec<NodeId> = nodes
            .iter()
            .map(|n| n.parse().map_err(|_| anyhow!("'{n}' is no node")))
            .collect::<Result<_>>()?;
        let provision = Provision {
            replicas: u32::try_from(members)?,
            log_max_bytes: 1 << 30,
            indexes_max_bytes: 256 << 20,
            nodes,
            work_ack_wait,
            generation: uuid::Uuid::now_v7().to_string(),
        };
        let keys = KeyRing::open(&folder.path().join("keys"), &provision.nodes)?;
        let route_ports = (0..members).map(|_| Port::claim()).collect::<Result<Vec<_>>>()?;
        let routes: Vec<String> = route_ports.iter().map(|p| format!("127.0.0.1:{}", p.number())).collect();
        let secret = uuid::Uuid::now_v7().to_string();
        let mut nats = Self { members: Vec::new(), provision, keys, folder };
        for (i, route_port) in route_ports.into_iter().enumerate() {
            let (port, monitor_port) = (Port::claim()?, Port::claim()?);
            let config = ServerConfig {
                name: format!("n{i}"),
                host: "127.0.0.1".into(),
                port: port.number(),
                monitor_port: monitor_port.number(),
                store_dir: nats.folder().join(format!("store{i}")),
                max_store_bytes: nats.provision.store_bytes(),
                log_file: None,
                cluster: (members > 1).then(|| Cluster {
                    port: route_port.number(),
                    routes: routes.clone(),
                    secret: secret.clone(),
                }),
            };
            let plan = ChildPlan {
                binary: binary.clone(),
                config_file: nats.folder().join(format!("n{i}.conf")),
                store_dir: config.store_dir.clone(),
                log_file: None,
                death_signal: "KILL",
            };
            let rendered = render(&config, &nats.provision.nodes, nats.keys.public());
            std::fs::write(&plan.config_file, rendered)?;
            let ports = vec![port, monitor_port, route_port];
            nats.members.push(Member { config, plan, child: None, _ports: ports });
        }
        for member in &mut nats.members {
            member.spawn()?;
        }
        for member in &mut nats.members {
            member.wait_until_it_listens()?;
        }
        Ok(nats)
    }

    /// How many servers there are.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The addresses of all servers, comma separated.
    pub fn urls(&self) -> String {
        let url = |m: &Member| format!("nats://127.0.0.1:{}", m.config.port);
        self.members.iter().map(url).collect::<Vec<_>>().join(",")
    }

    /// The monitoring address of one server, `host:port`.
    pub fn monitor(&self, i: usize) -> Result<String> {
        Ok(format!("127.0.0.1:{}", self.member(i)?.config.monitor_port))
    }

    /// How a user connects.
    pub fn settings(&self, user: &str) -> Settings {
        Settings { urls: self.urls(), user: user.to_owned(), nkey_file: self.seed_file(user) }
    }

    /// How a user connects to one server and to no other.
    pub fn settings_at(&self, user: &str, i: usize) -> Result<Settings> {
        let urls = format!("nats://127.0.0.1:{}", self.member(i)?.config.port);
        Ok(Settings { urls, ..self.settings(user) })
    }

    /// The file with a user's seed.
    pub fn seed_file(&self, user: &str) -> PathBuf {
        self.keys.seed_file(user)
    }

    /// What the streams were made from.
    pub fn provision(&self) -> &Provision {
        &self.provision
    }

    /// The folder with everything, for tests that want to look.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a server has printed.
    pub fn output(&self, i: usize) -> Result<String> {
        Ok(std::fs::read_to_string(self.member(i)?.plan.output_file())?)
    }

    /// A core service's connection.
    pub async fn bus(&self, service: &str) -> Result<Bus> {
        Ok(Bus::connect(&self.settings(service)).await?)
    }

    /// A node's connection.
    pub async fn node(&self, node: &str) -> Result<NodeBus> {
        let settings = self.settings(&format!("node-{node}"));
        Ok(NodeBus::connect(&settings, node.parse().map_err(|_| anyhow!("not a node name"))?).await?)
    }

    /// The process id of one server, when it runs.
    pub fn pid(&self, i: usize) -> Option<u32> {
        self.members.get(i)?.child.as_ref().map(Child::id)
    }

    /// kill -9 of one server.
    pub fn kill(&mut self, i: usize) -> Result<()> {
        self.members.get_mut(i).context("no such member")?.kill()
    }

    /// Starts a server that was killed, and waits until it accepts connections.
    pub fn start_member(&mut self, i: usize) -> Result<()> {
        let member = self.members.get_mut(i).context("no such member")?;
        member.spawn()?;
        member.wait_until_it_listens()
    }

    /// Waits until every server that runs serves all of its streams.
    pub async fn wait_until_healthy(&self) -> Result<()> {
        for (i, _) in self.members.iter().enumerate().filter(|(_, m)| m.child.is_some()) {
            let address = self.monitor(i)?;
            wait_until("a healthy server", COMING_UP, async || {
                monitor::is_healthy(&address).await.then_some(())
            })
            .await?;
        }
        Ok(())
    }

    fn member(&self, i: usize) -> Result<&Member> {
        self.members.get(i).context("no such member")
    }
}

impl Member {
    fn spawn(&mut self) -> Result<()> {
        anyhow::ensure!(self.child.is_none(), "it runs already");
        let plan = self.plan.clone();
        let end = Instant::now() + COMING_UP;
        // The server that ran there is gone, but a child that was started at the same moment may hold its lock a little.
        let store = loop {
            match plan.lock_store()? {
                Some(store) => break store,
                None => anyhow::ensure!(Instant::now() < end, "another server runs on the store"),
            }
            std::thread::park_timeout(Duration::from_millis(10));
        };
        self.child = Some(lasting::run(move || plan.spawn(store))?.context("starting nats-server")?);
        Ok(())
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let end = Instant::now() + COMING_UP;
        while std::net::TcpStream::connect(("127.0.0.1", self.config.port)).is_err() {
            let ended = self.child.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None)));
            anyhow::ensure!(!ended, "nats-server ended at once: {}", self.plan.last_words());
            anyhow::ensure!(Instant::now() < end, "nats-server did not come up: {}", self.plan.last_words());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // What cannot be killed here is ended by the kernel with the test binary.
        let _ = self.kill();
    }
}
