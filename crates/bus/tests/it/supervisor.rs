//! The server as a child: it comes up fit, comes back after a kill, dies with its parent, and is never the second one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use strongroom_bus::server::config::{ServerConfig, render};
use strongroom_bus::server::keys::KeyRing;
use strongroom_bus::server::provision::Provision;
use strongroom_bus::server::supervisor::{ReloadError, ServerState, StartError, Supervisor, config_path};
use strongroom_bus::server::{binary, monitor};
use strongroom_bus::{Bus, Context, Head, NodeBus, nats::Settings};
use strongroom_testkit::{Port, wait_until};

const WAIT: Duration = Duration::from_secs(60);

/// One folder with all that a server needs.
struct Place {
    config: ServerConfig,
    keys: KeyRing,
    folder: PathBuf,
}

impl Place {
    fn new(folder: &Path, port: u16, monitor_port: u16) -> Self {
        let config = ServerConfig {
            name: "n".into(),
            host: "127.0.0.1".into(),
            port,
            monitor_port,
            store_dir: folder.join("log"),
            max_store_bytes: provision().store_bytes(),
            log_file: Some(folder.join("nats-server.log")),
            cluster: None,
        };
        let keys = KeyRing::open(&folder.join("keys"), &[]).unwrap();
        Self { config, keys, folder: folder.to_owned() }
    }

    async fn start(&self) -> Result<Supervisor, StartError> {
        let text = render(&self.config, &[], self.keys.public());
        let binary = binary::find().expect("the tests need a nats-server; 'cargo xtask test' installs one");
        Supervisor::start(&binary, &self.config, &text, &config_path(&self.folder)).await
    }

    fn settings(&self, user: &str) -> Settings {
        let urls = format!("nats://127.0.0.1:{}", self.config.port);
        Settings { urls, user: user.into(), nkey_file: self.keys.seed_file(user) }
    }
}

fn provision() -> Provision {
    Provision {
        replicas: 1,
        log_max_bytes: 64 << 20,
        indexes_max_bytes: 64 << 20,
        nodes: vec![],
        work_ack_wait: WAIT,
        generation: "g".into(),
    }
}

fn runs(pid: u32) -> bool {
    // A child that ended and was not waited for yet is a zombie: it holds nothing.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_after_a_kill_with_all_that_was_acknowledged() {
    let (folder, port, monitor_port) =
        (tempfile::tempdir().unwrap(), Port::claim().unwrap(), Port::claim().unwrap());
    let place = Place::new(folder.path(), port.number(), monitor_port.number());
    let server = place.start().await.unwrap();
    monitor::check(server.monitor()).await.unwrap();
    provision().apply(&place.settings("provisioner")).await.unwrap();
    let bus = Bus::connect(&place.settings("gateway")).await.unwrap();
    let (plan, event) = (crate::some_plan(), crate::paused("x"));
    bus.journal().append(&plan, &Head::default(), &event, &Context::default()).await.unwrap();
    let (first, mut state) = (server.pid().unwrap(), server.state());
    kill(first);
    tokio::time::timeout(WAIT, state.wait_for(|s| matches!(s, ServerState::Running(pid) if *pid != first)))
        .await
        .expect("it was not started again")
        .unwrap();
    let history = wait_until("the log after a kill", WAIT, async || bus.journal().load(&plan).await.ok())
        .await
        .unwrap();
    assert_eq!(history.events.len(), 1);
    let second = server.pid().unwrap();
    server.stop().await;
    assert!(!runs(second), "it lives on after stop");
    assert_eq!(*state.borrow(), ServerState::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_without_a_restart_and_nobody_is_cut_off() {
    let (folder, port, monitor_port) =
        (tempfile::tempdir().unwrap(), Port::claim().unwrap(), Port::claim().unwrap());
    let place = Place::new(folder.path(), port.number(), monitor_port.number());
    let server = place.start().await.unwrap();
    provision().apply(&place.settings("provisioner")).await.unwrap();
    let bus = Bus::connect(&place.settings("gateway")).await.unwrap();
    let pid = server.pid();
    let nodes = ["late".parse().unwrap()];
    let keys = KeyRing::open(&folder.path().join("keys"), &nodes).unwrap();
    server.reload(&render(&place.config, &nodes, keys.public())).await.unwrap();
    Provision { nodes: nodes.to_vec(), ..provision() }.apply(&place.settings("provisioner")).await.unwrap();
    let node = NodeBus::connect(&place.settings("node-late"), "late".parse().unwrap()).await.unwrap();
    assert!(node.next_work(Duration::from_millis(100)).await.unwrap().is_none());
    assert!(bus.is_connected());
    bus.journal().load(&crate::some_plan()).await.unwrap();
    assert_eq!(server.pid(), pid);
    let refused = server.reload("no_such_setting: 1").await.unwrap_err();
    assert!(matches!(&refused, ReloadError::Refused(why) if why.contains("no_such_setting")), "{refused}");
    // Not even a crash brings the bad one into force.
    let mut state = server.state();
    kill(pid.unwrap());
    let back = state.wait_for(|s| matches!(s, ServerState::Running(other) if Some(*other) != pid));
    tokio::time::timeout(WAIT, back).await.expect("a bad configuration ended the server").unwrap();
    wait_until("the log", WAIT, async || bus.log_state().await.ok()).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_named_and_nothing_is_started() {
    let (folder, port, monitor_port) =
        (tempfile::tempdir().unwrap(), Port::claim().unwrap(), Port::claim().unwrap());
    let _busy = std::net::TcpListener::bind(("127.0.0.1", port.number())).unwrap();
    let place = Place::new(folder.path(), port.number(), monitor_port.number());
    let refused = place.start().await.err().unwrap();
    assert!(matches!(refused, StartError::PortTaken { port: p, .. } if p == port.number()));
    assert!(refused.to_string().contains(&port.number().to_string()), "{refused}");
    assert!(!place.config.store_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_at_once_is_an_error_with_its_last_words() {
    let (folder, port, monitor_port) =
        (tempfile::tempdir().unwrap(), Port::claim().unwrap(), Port::claim().unwrap());
    let place = Place::new(folder.path(), port.number(), monitor_port.number());
    let binary = binary::find().unwrap();
    let refused =
        Supervisor::start(&binary, &place.config, "no_such_setting: 1", &config_path(folder.path())).await;
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("no_such_setting"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_is_refused() {
    let (folder, port, monitor_port) =
        (tempfile::tempdir().unwrap(), Port::claim().unwrap(), Port::claim().unwrap());
    let place = Place::new(folder.path(), port.number(), monitor_port.number());
    let lax = render(&place.config, &[], place.keys.public())
        .replace("sync_interval: always", "sync_interval: \"2m\"");
    let binary = binary::find().unwrap();
    let refused = Supervisor::start(&binary, &place.config, &lax, &config_path(folder.path())).await;
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("sync_interval: always"), "{text}");
}

/// Not a test by itself: the parent that the next test kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the parent in another test"]
async fn parent() {
    let Some(place) = std::env::var_os("STRONGROOM_TEST_PLACE") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    let place =
        Place::new(Path::new(&place), number("STRONGROOM_TEST_PORT"), number("STRONGROOM_TEST_MONITOR"));
    let server = place.start().await.unwrap();
    println!("\nrunning {}", server.pid().unwrap());
    std::future::pending::<()>().await;
}

fn start_parent(place: &Place) -> (std::process::Child, u32) {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "supervisor::parent", "--ignored", "--nocapture"])
        .env("STRONGROOM_TEST_PLACE", &place.folder)
        .env("STRONGROOM_TEST_PORT", place.config.port.to_string())
        .env("STRONGROOM_TEST_MONITOR", place.config.monitor_port.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("running ")?.parse().ok());
    (parent, pid.expect("the parent started no server"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_dies_with_its_parent_and_the_next_one_waits_for_that() {
    let (folder, port, monitor_port) =
        (tempfile::tempdir().unwrap(), Port::claim().unwrap(), Port::claim().unwrap());
    let place = Place::new(folder.path(), port.number(), monitor_port.number());
    let (mut parent, first) = start_parent(&place);
    assert!(runs(first));
    parent.kill().unwrap();
    parent.wait().unwrap();
    // At once, while the first server is still about to end.
    let server = place.start().await.unwrap();
    assert!(!runs(first), "two servers ran on one store");
    assert_ne!(server.pid(), Some(first));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_a_store_is_refused_while_the_first_one_lives() {
    let ports: Vec<Port> = (0..4).map(|_| Port::claim().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let first = Place::new(folder.path(), ports[0].number(), ports[1].number());
    let server = first.start().await.unwrap();
    let second = Place::new(folder.path(), ports[2].number(), ports[3].number());
    let refused = second.start().await.err().unwrap();
    assert!(matches!(refused, StartError::StoreInUse { .. }), "{refused}");
    assert!(server.pid().is_some_and(runs), "the first one suffered");
    server.stop().await;
}
