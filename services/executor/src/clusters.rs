//! PostgreSQL servers that run on this node.

use crate::control::NoOutcome;
use crate::core::clusters::{PREFIX, SUFFIX, read, sockets, told};
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_domain::FailureCode;
use strongroom_domain::probe::Cluster;

/// Where servers have their sockets: that of most distributions, and PostgreSQL's own.
const FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
/// How much of a lock is read.
const LOCK_BYTES: u64 = 16 << 10;
/// Where the kernel lists all sockets with paths, and how much of that is read.
const SOCKETS: &str = "/proc/net/unix";
const SOCKETS_BYTES: u64 = 8 << 20;
/// How long a name may take to be looked up.
const RESOLVED_WITHIN: Duration = Duration::from_secs(2);

/// All of them, by their ports; `folder` is one of sockets besides those where they usually are.
pub async fn running(folder: Option<&str>) -> Vec<Cluster> {
    let folders: Vec<PathBuf> = folder.into_iter().chain(FOLDERS).map(PathBuf::from).collect();
    // A list for people: where it cannot be made, they do without.
    tokio::task::spawn_blocking(move || look(folders)).await.unwrap_or_default()
}

/// Those on the node, when a connection leads to one of them, by its socket or by an address of the node.
pub async fn of_node(host: Option<&str>) -> Vec<Cluster> {
    match host {
        None => running(None).await,
        Some(folder) if folder.starts_with('/') => running(Some(folder)).await,
        Some(host) if is_here(host).await => running(None).await,
        Some(_) => Vec::new(),
    }
}

/// Whether a name or an address is this node's own.
async fn is_here(host: &str) -> bool {
    let found = tokio::time::timeout(RESOLVED_WITHIN, tokio::net::lookup_host((host, 0))).await;
    // The kernel lends only addresses that are its own.
    found.is_ok_and(|found| {
        found.is_ok_and(|mut all| all.any(|address| std::net::UdpSocket::bind(address).is_ok()))
    })
}

/// Who has mistaken the port or the socket learns which there are.
pub fn with_those(why: NoOutcome, clusters: &[Cluster]) -> NoOutcome {
    match why {
        NoOutcome::Failed(mut failure)
            if failure.code == FailureCode::ServerUnreachable && !clusters.is_empty() =>
        {
            failure.message = format!("{}; on this node run: {}", failure.message, told(clusters));
            NoOutcome::Failed(failure)
        }
        other => other,
    }
}

fn look(mut folders: Vec<PathBuf>) -> Vec<Cluster> {
    let sockets = small(Path::new(SOCKETS), SOCKETS_BYTES).map(|listed| sockets(&listed)).unwrap_or_default();
    folders.extend(sockets.iter().map(|(folder, _)| PathBuf::from(folder)));
    let locks = folders.iter().flat_map(std::fs::read_dir).flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_lock = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        is_lock.then(|| entry.path())
    });
    // One without a socket has only its data folder, in which it works.
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let process = entry.path();
        let name = small(&process.join("comm"), LOCK_BYTES)?;
        matches!(name.trim(), "postgres" | "postmaster").then(|| process.join("cwd/postmaster.pid"))
    });
    let mut found: Vec<Cluster> = Vec::new();
    for file in locks.chain(processes) {
        let Some((process, mut cluster)) = small(&file, LOCK_BYTES).and_then(|text| read(&text)) else {
            continue;
        };
        // One that was killed leaves its lock behind, and in a container there are other numbers.
        let process = Path::new("/proc").join(process.to_string());
        let lives = if file.starts_with("/proc") { file.starts_with(&process) } else { process.exists() };
        if lives && !found.iter().any(|other| other.data_folder == cluster.data_folder) {
            let version = small(&Path::new(&cluster.data_folder).join("PG_VERSION"), LOCK_BYTES);
            let is_one = |text: &str| text.len() < 16 && text.chars().all(|c| c.is_ascii_digit() || c == '.');
            let version = version.map(|text| text.trim().to_owned()).filter(|text| is_one(text));
            cluster.version = version.map(|number| format!("PostgreSQL {number}"));
            found.push(cluster);
        }
    }
    // Of another user's server nothing may be read but that it has a socket.
    for (socket, port) in sockets {
        if !found.iter().any(|cluster| cluster.port == port) {
            found.push(Cluster { port, socket, data_folder: String::new(), version: None });
        }
    }
    found.sort_by_key(|cluster| cluster.port);
    found
}

fn small(path: &Path, limit: u64) -> Option<String> {
    use std::io::Read;
    // In a folder for all, anybody may have put a pipe there.
    let file = path
        .symlink_metadata()
        .ok()
        .filter(|there| there.is_file())
        .and_then(|_| std::fs::File::open(path).ok())?;
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text).ok()?;
    Some(text)
}
