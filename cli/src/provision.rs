//! `strongroom provision`: keys, configuration and streams for services that run one by one.

use crate::args::ProvisionArgs;
use anyhow::Context;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::Duration;
use strongroom_bus::nats::Settings;
use strongroom_bus::server::config::{ServerConfig, render};
use strongroom_bus::server::keys::KeyRing;
use strongroom_bus::server::permissions::PROVISIONER;
use strongroom_bus::server::provision::Provision;

/// How long a delivery to a node is kept without a sign of it; in-progress acks come every 15 s.
pub const WORK_ACK_WAIT: Duration = Duration::from_secs(60);

/// The whole command.
pub fn main(args: &ProvisionArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("strongroom provision: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ProvisionArgs) -> anyhow::Result<()> {
    let keys = KeyRing::open(&args.keys, &args.nodes)?;
    let provision = Provision {
        replicas: args.replicas,
        log_max_bytes: args.log_max_bytes,
        indexes_max_bytes: args.indexes_max_bytes,
        nodes: args.nodes.clone(),
        work_ack_wait: WORK_ACK_WAIT,
        generation: uuid::Uuid::now_v7().to_string(),
    };
    if let Some(file) = &args.nats_config {
        let config = ServerConfig {
            name: "strongroom".into(),
            host: args.listen.ip().to_string(),
            port: args.listen.port(),
            monitor_port: 8222,
            store_dir: args.store.clone(),
            max_store_bytes: provision.store_bytes(),
            log_file: None,
            cluster: None,
        };
        let rendered = render(&config, &args.nodes, keys.public());
        std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o644)
            .open(file)
            .and_then(|mut f| f.write_all(rendered.as_bytes()))
            .with_context(|| file.display().to_string())?;
        say!("wrote {}", file.display());
    }
    say!("keys of {} users are in {}", keys.public().len(), args.keys.display());
    if args.config_only {
        return Ok(());
    }
    let settings = Settings {
        urls: args.nats_url.clone(),
        user: PROVISIONER.into(),
        nkey_file: keys.seed_file(PROVISIONER),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(provision.apply(&settings))?;
    say!("streams and consumers are there");
    Ok(())
}
