//! `strongroom up`: everything on one machine in one process, with a supervised nats-server beneath.

mod data;
mod host;
mod log_server;

pub use data::DataFolder;

use crate::args::UpArgs;
use crate::client::Connection;
use anyhow::{Context, bail};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;
use strongroom_bus::{Bus, NodeBus};
use strongroom_domain::admission::Limits;
use strongroom_service::Shutdown;
use tokio::sync::oneshot;

/// How long everything may take to be ready before that is worth a word.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The whole command.
pub fn main(args: UpArgs) -> ExitCode {
    strongroom_service::main("strongroom", async move |shutdown| {
        let up = Up::start(&args, shutdown.clone()).await?;
        mention!("strongroom is up: http://{}", up.address);
        mention!("the administrator's token is in {}", up.data.token_file().display());
        up.until_end().await
    })
}

/// A system that runs in this process.
pub struct Up {
    /// Where the API listens.
    pub address: SocketAddr,
    /// The folder that keeps everything.
    pub data: DataFolder,
    shutdown: Shutdown,
    services: tokio::task::JoinSet<()>,
    log_server: log_server::LogServer,
}

impl Up {
    /// Starts everything; gives it back when the API listens.
    pub async fn start(args: &UpArgs, shutdown: Shutdown) -> anyhow::Result<Self> {
        let connection = Connection { url: None, token_file: None, data: args.data.clone() };
        let data = DataFolder::open(&connection.data_folder())?;
        // Asked before anything is started: a port that is taken ends the command at once, with nothing half done.
        drop(TcpListener::bind(args.listen).with_context(|| taken(args.listen))?);
        let mut nodes = vec![args.node.clone()];
        nodes.extend(args.remote_nodes.iter().filter(|n| **n != args.node).cloned());
        let log_server = log_server::LogServer::start(args, &data, &nodes).await?;
        let mut up =
            Self { address: args.listen, data, shutdown, services: tokio::task::JoinSet::new(), log_server };
        let listening = up.start_services(args);
        let address = tokio::select! {
            address = listening => address,
            () = up.shutdown.cancelled() => bail!("it was stopped before it was up"),
        };
        match address {
            Ok(address) => up.address = address,
            Err(_) => {
                up.end().await;
                bail!("the API did not come up; the reason is in the lines above")
            }
        }
        up.data.write_address(up.address)?;
        up.wait_until_ready().await;
        Ok(up)
    }

    /// Waits until all services say that they do their work. One that does not is no reason to end: `status` tells.
    async fn wait_until_ready(&self) {
        let url = format!("http://{}/readyz", self.address);
        let ready = async {
            while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = ready => {}
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(READY_WITHIN) => {
                tracing::warn!("not everything is ready yet; 'strongroom status' says what is not");
            }
        }
    }

    /// Runs until shutdown, and ends everything.
    pub async fn until_end(self) -> anyhow::Result<()> {
        self.shutdown.cancelled().await;
        self.end().await;
        Ok(())
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        while self.services.join_next().await.is_some() {}
        // Last, so that the last words of the others are stored.
        self.log_server.stop().await;
    }

    /// Starts all services; the receiver tells when the API listens, or that it never will.
    fn start_services(&mut self, args: &UpArgs) -> oneshot::Receiver<SocketAddr> {
        let limits =
            Limits { global: args.max_jobs, per_server: args.max_jobs_per_server, ..Limits::default() };
        let lease_s = args.lease_s;
        self.core("scheduler", move |bus, shutdown| {
            let config = strongroom_scheduler::Config { limits, lease_s, ..Default::default() };
            strongroom_scheduler::run(config, bus, shutdown)
        });
        let state_dir = self.data.of("catalog");
        self.core("catalog", move |bus, shutdown| {
            strongroom_catalog::run(
                strongroom_catalog::Config { state_dir: state_dir.clone() },
                bus,
                shutdown,
            )
        });
        let usual = strongroom_recovery::Config::default();
        let docker_socket = args.containers.socket().map_or(usual.docker_socket, std::path::Path::to_owned);
        let recovery = strongroom_recovery::Config { docker_socket, borg: args.borg.clone(), ..usual };
        self.core("recovery", move |bus, shutdown| strongroom_recovery::run(recovery.clone(), bus, shutdown));
        let state_dir = self.data.of("notifier");
        self.core("notifier", move |bus, shutdown| {
            let config = strongroom_notifier::Config { state_dir: state_dir.clone(), ..Default::default() };
            strongroom_notifier::run(config, bus, shutdown)
        });
        self.start_node(args);
        self.start_gateway(args.listen)
    }

    fn core<F, R>(&mut self, name: &'static str, run: F)
    where
        F: Fn(Bus, Shutdown) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let settings = self.log_server.settings(name);
        let run = std::sync::Arc::new(run);
        host::keep(&mut self.services, name, &self.shutdown, move |shutdown| {
            let (settings, run) = (settings.clone(), run.clone());
            async move { run(Bus::connect(&settings).await?, shutdown).await }
        });
    }

    fn start_node(&mut self, args: &UpArgs) {
        let (node, borg) = (args.node.clone(), args.borg.clone());
        let (allow_hooks, programs) = (args.allow_hooks.clone(), args.programs.clone());
        let containers = args.containers.clone();
        let settings = self.log_server.node_settings(&node);
        let state_dir = self.data.of("executor");
        host::keep(&mut self.services, "executor", &self.shutdown, move |shutdown| {
            let (settings, node) = (settings.clone(), node.clone());
            let config = strongroom_executor::Config {
                borg: borg.clone(),
                allow_hooks: allow_hooks.clone(),
                programs: programs.clone(),
                containers: containers.clone(),
                ..strongroom_executor::Config::new(node.clone(), state_dir.clone())
            };
            async move {
                let bus = NodeBus::connect(&settings, node).await?;
                strongroom_executor::run(config, bus, shutdown).await
            }
        });
    }

    fn start_gateway(&mut self, listen: SocketAddr) -> oneshot::Receiver<SocketAddr> {
        let (tell, told) = oneshot::channel();
        let first = std::sync::Mutex::new(Some(tell));
        let settings = self.log_server.settings("gateway");
        let state_dir = self.data.of("gateway");
        let shutdown_all = self.shutdown.clone();
        let monitor = self.log_server.monitor().to_owned();
        host::keep(&mut self.services, "gateway", &self.shutdown, move |shutdown| {
            let on_listening = first.lock().ok().and_then(|mut first| first.take());
            let is_first = on_listening.is_some();
            let (settings, state_dir, shutdown_all) =
                (settings.clone(), state_dir.clone(), shutdown_all.clone());
            let nats_monitor = Some(monitor.clone());
            async move {
                let bus = Bus::connect(&settings).await?;
                let config = strongroom_gateway::Config { listen, state_dir, nats_monitor, on_listening };
                let result = strongroom_gateway::run(config, bus, shutdown).await;
                if is_first && result.is_err() {
                    // It never listened, or not for long: a person who just started it should see that at once.
                    shutdown_all.cancel();
                }
                result
            }
        });
        told
    }
}

fn taken(listen: SocketAddr) -> String {
    format!("{listen} cannot be listened on; end what listens there, or choose another address with --listen")
}
