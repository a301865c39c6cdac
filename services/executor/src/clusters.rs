//! PostgreSQL servers that run on this node.

use crate::control::NoOutcome;
use crate::core::clusters::{PREFIX, SUFFIX, read, told};
use std::path::{Path, PathBuf};
use strongroom_domain::FailureCode;
use strongroom_domain::probe::Cluster;

/// Where servers have their sockets: that of most distributions, and PostgreSQL's own.
const FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
/// How much of a lock is read.
const LOCK_BYTES: u64 = 16 << 10;

/// Those with a socket in the usual folders or in this one, by their ports.
pub async fn running(folder: Option<&str>) -> Vec<Cluster> {
    let folders: Vec<PathBuf> = folder.into_iter().chain(FOLDERS).map(PathBuf::from).collect();
    // A list for people: where it cannot be made, they do without.
    tokio::task::spawn_blocking(move || look(&folders)).await.unwrap_or_default()
}

/// Those on the node, when a connection leads to one of them by its socket.
pub async fn of_node(host: Option<&str>) -> Vec<Cluster> {
    match host {
        None => running(None).await,
        Some(folder) if folder.starts_with('/') => running(Some(folder)).await,
        Some(_) => Vec::new(),
    }
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

fn look(folders: &[PathBuf]) -> Vec<Cluster> {
    let mut found: Vec<Cluster> = Vec::new();
    for entry in folders.iter().flat_map(std::fs::read_dir).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
            continue;
        }
        let Some((process, mut cluster)) = small(&entry.path()).and_then(|text| read(&text)) else {
            continue;
        };
        // One that was killed leaves its lock behind.
        if Path::new("/proc").join(process.to_string()).exists()
            && !found.iter().any(|other| other.data_folder == cluster.data_folder)
        {
            let version = small(&Path::new(&cluster.data_folder).join("PG_VERSION"));
            let is_one = |text: &str| text.len() < 16 && text.chars().all(|c| c.is_ascii_digit() || c == '.');
            let version = version.map(|text| text.trim().to_owned()).filter(|text| is_one(text));
            cluster.version = version.map(|number| format!("PostgreSQL {number}"));
            found.push(cluster);
        }
    }
    found.sort_by_key(|cluster| cluster.port);
    found
}

fn small(path: &Path) -> Option<String> {
    use std::io::Read;
    // In a folder for all, anybody may have put a pipe there.
    let file = path
        .symlink_metadata()
        .ok()
        .filter(|there| there.is_file())
        .and_then(|_| std::fs::File::open(path).ok())?;
    let mut text = String::new();
    file.take(LOCK_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}
