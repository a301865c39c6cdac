//! Which PostgreSQL servers run on a node, by the locks of their sockets.
//!
//! A server writes beside each of its sockets, `.s.PGSQL.5432`, a file that ends in `.lock`: its process, its data folder, when
//! it was started, its port, and the folder of the socket, each in a line (`CreateLockFile` of PostgreSQL,
//! `src/include/utils/pidfile.h`). The same lines begin `postmaster.pid` in the data folder, with no folder of a socket where
//! there is none. Sockets can lie anywhere; the kernel lists the paths of all (`/proc/net/unix`, `man 5 proc`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use strongroom_domain::probe::Cluster;

/// What the name of a socket begins with.
pub const PREFIX: &str = ".s.PGSQL.";
/// And what that of its lock ends with.
pub const SUFFIX: &str = ".lock";

/// The socket of the server with this port in a folder.
pub fn socket(folder: &str, port: u16) -> PathBuf {
    PathBuf::from(format!("{folder}/{PREFIX}{port}"))
}

/// What such a file says of a server: its process, and where it is.
pub fn read(text: &str) -> Option<(u32, Cluster)> {
    let mut lines = text.lines();
    let process = lines.next()?.trim().parse().ok()?;
    let data_folder = lines.next()?.to_owned();
    let port = lines.nth(1)?.trim().parse().ok()?;
    let socket = lines.next()?.to_owned();
    let is_path = data_folder.starts_with('/') && (socket.is_empty() || socket.starts_with('/'));
    is_path.then_some((process, Cluster { port, socket, data_folder, version: None }))
}

/// The folders in which servers have sockets now, and their ports, as the kernel lists them.
pub fn sockets(listed: &str) -> Vec<(String, u16)> {
    let paths = listed.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    let found = paths.filter_map(|path| {
        let (folder, name) = path.rsplit_once('/')?;
        Some((folder.to_owned(), name.strip_prefix(PREFIX)?.parse().ok()?))
    });
    found.collect::<BTreeSet<_>>().into_iter().collect()
}

/// All of them, in words for people.
pub fn told(clusters: &[Cluster]) -> String {
    let each = clusters.iter().map(|cluster| {
        let Cluster { port, socket, version, .. } = cluster;
        let version = version.as_deref().unwrap_or("one");
        if socket.is_empty() {
            format!("{version} on port {port}")
        } else {
            format!("{version} on port {port}, socket in {socket}")
        }
    });
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_lock_says_where_its_server_is_and_half_of_one_says_nothing() {
        let text = "4711\n/var/lib/postgresql/15/main\n1763750000\n5433\n/run/postgresql\n";
        let (process, cluster) = read(text).unwrap();
        assert_eq!((process, cluster.port, &*cluster.socket), (4711, 5433, "/run/postgresql"));
        assert_eq!(cluster.data_folder, "/var/lib/postgresql/15/main");
        for lines in 0..5 {
            let half: Vec<&str> = text.lines().take(lines).collect();
            assert_eq!(read(&half.join("\n")), None, "{lines} lines");
        }
        assert_eq!(read("x\n/d\n1\n5432\n/s\n"), None);
        assert_eq!(read("1\nd\n1\n5432\n/s\n"), None);
        assert_eq!(told(&[cluster]), "one on port 5433, socket in /run/postgresql");
        let (_, by_net) = read("1\n/d\n1\n5434\n\n*\n").unwrap();
        assert_eq!(told(&[by_net]), "one on port 5434");
    }

    #[test]
    fn sockets_of_servers_are_found_among_all_of_the_machine() {
        let listed = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 71 /tmp/a b/.s.PGSQL.5433\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 72 /tmp/a b/.s.PGSQL.5433\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 73 @/x/.s.PGSQL.1.lock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 74\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 75 /run/docker.sock\n";
        assert_eq!(sockets(listed), [("/tmp/a b".to_owned(), 5433)]);
    }
}
