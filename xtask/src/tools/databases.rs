//! Database servers for the tests: each test starts one of its own, and what the package would start by itself is not wanted.

use super::apt;
use crate::Result;
use std::path::Path;

/// Keeps the package from making and starting a server of its own.
const NO_MAIN_CLUSTER: &str = "create_main_cluster = false\n";

/// Finds them, and installs what is missing.
pub fn ensure() -> Result<()> {
    if has_postgresql(Path::new("/usr/lib/postgresql")) {
        return Ok(());
    }
    println!(
        "installing postgresql: the tests dump and restore databases of real servers (package postgresql, from this distribution through apt-get)"
    );
    apt::place(NO_MAIN_CLUSTER, "/etc/postgresql-common/createcluster.d/strongroom-tests.conf")?;
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
