//! Database servers for the tests: each test starts one of its own, and what the package would start by itself is not wanted.

use super::{apt, on_path, postgresql};
use crate::Result;
use std::path::Path;

/// Keeps the package from making and starting a server of its own.
const NO_MAIN_CLUSTER: &str = "create_main_cluster = false\n";

/// Answers that no service is to be started (`man 8 invoke-rc.d`).
const NO_SERVICES: &str =
    "#!/bin/sh\n# Put here by 'cargo xtask' while it installs a package, and removed after that.\nexit 101\n";
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where a policy that was there lies meanwhile.
const POLICY_ASIDE: &str = "/usr/sbin/policy-rc.d.before-strongroom-tests";

/// Finds them, and installs what is missing.
pub fn ensure() -> Result<()> {
    ensure_unpackers()?;
    ensure_postgresql()?;
    postgresql::ensure()?;
    ensure_mariadb()
}

/// What people unpack with, to see that what they get can be unpacked.
fn ensure_unpackers() -> Result<()> {
    if on_path("unzip").is_some() {
        return Ok(());
    }
    println!(
        "installing unzip: the tests unpack what was downloaded (package unzip, from this distribution through apt-get)"
    );
    apt::install(&["unzip"])
}

fn ensure_mariadb() -> Result<()> {
    if has_mariadb() {
        return Ok(());
    }
    println!(
        "installing mariadb-server: the tests dump and restore databases of real servers (packages mariadb-server and mariadb-backup, from this distribution through apt-get)"
    );
    let policy = Policy::place()?;
    let installed = apt::install(&["mariadb-server", "mariadb-backup"]);
    policy.put_back()?;
    installed?;
    if has_mariadb() {
        Ok(())
    } else {
        Err("packages mariadb-server and mariadb-backup are installed, but there is still no mariadbd on the PATH or in /usr/sbin, or no mariadb-backup"
            .to_owned())
    }
}

/// Keeps packages from starting services, until what was there before is put back.
pub struct Policy;

impl Policy {
    /// Puts it in place.
    pub fn place() -> Result<Self> {
        // A run that was killed has left its own here, and aside the one that people had.
        let is_ours = std::fs::read_to_string(POLICY).is_ok_and(|text| text == NO_SERVICES);
        if Path::new(POLICY).exists() && !is_ours && !Path::new(POLICY_ASIDE).exists() {
            apt::rename(POLICY, POLICY_ASIDE)?;
        }
        apt::place(NO_SERVICES, POLICY, "755")?;
        Ok(Self)
    }

    /// Puts back what was there.
    pub fn put_back(self) -> Result<()> {
        if Path::new(POLICY_ASIDE).exists() { apt::rename(POLICY_ASIDE, POLICY) } else { apt::remove(POLICY) }
    }
}

fn has_mariadb() -> bool {
    let server = on_path("mariadbd").is_some() || Path::new("/usr/sbin/mariadbd").is_file();
    server
        && ["mariadb-install-db", "mariadb-dump", "mariadb", "mariadb-backup", "mbstream"]
            .iter()
            .all(|name| on_path(name).is_some())
}

fn ensure_postgresql() -> Result<()> {
    if has_postgresql(Path::new("/usr/lib/postgresql")) {
        return Ok(());
    }
    println!(
        "installing postgresql: the tests dump and restore databases of real servers (package postgresql, from this distribution through apt-get)"
    );
    apt::place(NO_MAIN_CLUSTER, "/etc/postgresql-common/createcluster.d/strongroom-tests.conf", "644")?;
    apt::install(&["postgresql"])?;
    if has_postgresql(Path::new("/usr/lib/postgresql")) {
        Ok(())
    } else {
        Err("package postgresql is installed, but there is still no server below /usr/lib/postgresql"
            .to_owned())
    }
}

fn has_postgresql(versions: &Path) -> bool {
    let versions = std::fs::read_dir(versions).into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/postgres").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_without_a_server_are_no_server() {
        let folder = std::env::temp_dir().join(format!("strongroom-xtask-pg-{}", std::process::id()));
        let bin = folder.join("15/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("psql"), "").unwrap();
        assert!(!has_postgresql(&folder) && !has_postgresql(&folder.join("none")));
        std::fs::write(bin.join("postgres"), "").unwrap();
        assert!(has_postgresql(&folder));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
