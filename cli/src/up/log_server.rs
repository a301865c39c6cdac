//! The nats-server beneath: found, configured with everyone's rights, supervised, its streams made.

use super::data::DataFolder;
use crate::args::UpArgs;
use crate::provision::WORK_ACK_WAIT;
use anyhow::Context;
use strongroom_bus::nats::Settings;
use strongroom_bus::server::binary;
use strongroom_bus::server::config::{ServerConfig, render};
use strongroom_bus::server::keys::KeyRing;
use strongroom_bus::server::permissions::{PROVISIONER, node_user};
use strongroom_bus::server::provision::Provision;
use strongroom_bus::server::supervisor::{StartError, Supervisor, config_path, free_port};
use strongroom_domain::NodeId;

/// The server and the keys to it.
pub struct LogServer {
    supervisor: Supervisor,
    keys: KeyRing,
    url: String,
}

/// How often other free ports are tried when somebody took one between looking and listening.
const PORT_TRIES: u32 = 5;

impl LogServer {
    /// Starts it and makes the streams.
    pub async fn start(args: &UpArgs, data: &DataFolder, nodes: &[NodeId]) -> anyhow::Result<Self> {
        let binary = binary::find()?;
        let keys = KeyRing::open(&data.of("keys"), nodes)?;
        let decided = data.log_settings(args.log_max_bytes)?;
        let provision = Provision {
            replicas: 1,
            log_max_bytes: decided.log_max_bytes,
            indexes_max_bytes: decided.indexes_max_bytes,
            nodes: nodes.to_vec(),
            work_ack_wait: WORK_ACK_WAIT,
            generation: decided.generation,
        };
        let mut tries = 0;
        let (supervisor, config) = loop {
            let config = server_config(args, data, &provision)?;
            let rendered = render(&config, nodes, keys.public());
            match Supervisor::start(&binary, &config, &rendered, &config_path(data.path())).await {
                Ok(supervisor) => break (supervisor, config),
                Err(StartError::PortTaken { .. }) if args.nats_listen.port() == 0 && tries < PORT_TRIES => {
                    tries += 1
                }
                Err(e) => return Err(e.into()),
            }
        };
        let server = Self { supervisor, keys, url: format!("nats://{}:{}", config.host, config.port) };
        provision.apply(&server.settings(PROVISIONER)).await?;
        Ok(server)
    }

    /// How a service connects.
    pub fn settings(&self, user: &str) -> Settings {
        Settings { urls: self.url.clone(), user: user.to_owned(), nkey_file: self.keys.seed_file(user) }
    }

    /// How a node connects.
    pub fn node_settings(&self, node: &NodeId) -> Settings {
        self.settings(&node_user(node))
    }

    /// Where it says how it is.
    pub fn monitor(&self) -> &str {
        self.supervisor.monitor()
    }

    /// Ends it.
    pub async fn stop(self) {
        self.supervisor.stop().await;
    }
}

fn server_config(args: &UpArgs, data: &DataFolder, provision: &Provision) -> anyhow::Result<ServerConfig> {
    let port = match args.nats_listen.port() {
        0 => free_port().context("looking for a free port")?,
        port => port,
    };
    Ok(ServerConfig {
        name: "strongroom".into(),
        host: args.nats_listen.ip().to_string(),
        port,
        monitor_port: free_port().context("looking for a free port")?,
        store_dir: data.of("log"),
        max_store_bytes: provision.store_bytes(),
        log_file: Some(data.path().join("nats-server.log")),
        cluster: None,
    })
}
