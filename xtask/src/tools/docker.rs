//! Docker's engine for the tests, of which each starts one of its own. It is much to put onto the machine of a person, and not
//! every machine can run it: tests that find none say that they were skipped.

use super::databases::Policy;
use super::{apt, on_path};
use std::path::Path;

/// Installs it where a build machine asks for everything; elsewhere it is used when it is there.
pub fn ensure_where_asked() {
    let asked = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "0" && ci != "false");
    if is_there() || !asked {
        return;
    }
    println!(
        "installing Docker's engine: the tests run programs of databases in containers (package docker.io, from this \
         distribution through apt-get; its own service is not started now)"
    );
    // Where the package has no client, that is one of its own.
    let installed = Policy::place().and_then(|policy| {
        let installed = apt::install(&["docker.io", "docker-cli"]).or_else(|_| apt::install(&["docker.io"]));
        policy.put_back()?;
        installed
    });
    if let Err(problem) = installed {
        println!("xtask: {problem}; tests that need Docker are skipped");
    }
}

fn is_there() -> bool {
    let daemon = on_path("dockerd").is_some() || Path::new("/usr/sbin/dockerd").is_file();
    daemon && on_path("docker").is_some()
}
