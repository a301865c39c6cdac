//! Executors that have no programs of databases but in an image, and are killed in the middle of their work.

use crate::containers::running;
use crate::lives::{Process, joined};
use crate::stage::{PATIENCE, Stage};
use crate::{look, mysql};
use anyhow::{Context, Result};
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use strongroom_domain::FailureCode as Code;
use strongroom_domain::job::Report;
use strongroom_domain::wire::LeaseAnswer;
use strongroom_testkit::{Docker, wait_until};

/// An executor on a machine with these programs.
async fn start(stage: &Stage, programs: &Path, docker: &Docker) -> Result<Process> {
    let host = docker.host();
    let more = [("DOCKER_HOST", host.as_ref()), ("PATH", programs.as_os_str())];
    let process = Process::start_with(stage, &more)?;
    joined(stage).await?;
    Ok(process)
}

/// A folder with what an executor needs of a machine, and no more. `docker` in it does not run dumps while there is a file
/// `broken` beside it.
fn programs(stage: &Stage) -> Result<PathBuf> {
    let folder = stage.path("programs");
    std::fs::create_dir(&folder)?;
    let find = |name: &str| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    for name in ["borg", "setpriv", "getent", "xargs"] {
        symlink(find(name).context("it is not here")?, folder.join(name))?;
    }
    let broken = folder.join("broken");
    for (n, docker) in ["/usr/local/bin/docker", "/usr/bin/docker"]
        .iter()
        .filter(|path| Path::new(path).is_file())
        .enumerate()
    {
        // Each in a folder of its own, as on the `PATH` of this machine.
        let at = folder.join(format!("docker{n}"));
        std::fs::create_dir(&at)?;
        let text = format!(
            "if [ -e '{}' ]; then case \"$*\" in *--single-transaction*) \
             echo 'docker: Error response from daemon: the disk is gone.' >&2; exit 125;; esac; fi\nexec '{docker}' \"$@\"\n",
            broken.display()
        );
        crate::stage::script(&at.join("docker"), &text)?;
    }
    Ok(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_executor_has_started_is_gone_and_what_others_have_is_not() -> Result<()> {
    let test = "what_a_killed_executor_has_started_is_gone";
    let Some(docker) = Docker::start(test).await? else { return Ok(()) };
    let mut all = mysql::Databases::new().await?;
    all.stage.stop().await?;
    let folder = programs(&all.stage)?;
    let path = std::env::join_paths([folder.clone(), folder.join("docker0"), folder.join("docker1")])?;
    let path = PathBuf::from(path);
    let mut process = start(&all.stage, &path, &docker).await?;
    let missing = all.stage.failure(all.backup(json!({})), Code::ToolMissing).await?;
    assert!(
        missing.message.contains("package mariadb-client") && missing.message.contains("docker pull mariadb"),
        "{missing:?}"
    );
    // It is found as soon as it is there.
    docker.image("mariadb:10", &[Path::new("/usr/bin/mariadb"), Path::new("/usr/bin/mariadb-dump")])?;
    let archive = all.archive(json!({ "databases": ["shop"] })).await?;
    let artefacts = archive["dump"]["artefacts"].as_array().unwrap();
    let part = artefacts.iter().find(|a| a["kind"] == "database").context("it is not there")?;
    let spec = all.restore(&archive, part["path"].as_str().unwrap(), "copy", json!({}));
    all.stage.success(spec).await?;
    let sum = "select count(*), sum(crc32(concat_ws('|', id, t, hex(b), g))) from `odd ``\n\\! name`";
    assert_eq!(all.server.sql("shop", sum)?, all.server.sql("copy", sum)?);
    assert_eq!(docker.containers()?, Vec::<String>::new());

    // What Docker says is told from what the program says.
    std::fs::write(folder.join("broken"), "")?;
    let failure =
        all.stage.failure(all.backup(json!({ "databases": ["shop"] })), Code::ContainerFailed).await?;
    assert!(
        failure.message.contains(
            "mariadb-dump was not run in the image mariadb:10: Error response from daemon: the disk is gone."
        ),
        "{failure:?}"
    );
    std::fs::remove_file(folder.join("broken"))?;
    assert_eq!(look::archives(&all.stage)?.len(), 1);

    // Killed in the middle.
    let mut holder = all.server.tool("mariadb");
    holder.args(["shop", "-e", "lock tables log write; select sleep(1000)"]).stdout(Stdio::null());
    let mut holder = holder.stderr(Stdio::null()).spawn()?;
    wait_until("the table to be locked", PATIENCE, async || {
        let sleeping = "select count(*) from information_schema.processlist where info like '%sleep(1000)' and state = 'User sleep'";
        all.server.sql("", sleeping).ok().filter(|count| count == "1")
    })
    .await?;
    let (job, epoch) = all.stage.emit(all.backup(json!({ "databases": ["shop"] }))).await?;
    all.stage.begun(job).await?;
    let container = running(&docker, "--single-transaction").await?;
    let label =
        docker.run(&["inspect", "--format={{index .Config.Labels \"strongroom.executor\"}}", &container])?;
    assert!(label.starts_with("strongroom-"), "{label}");
    all.stage.leases.lock().unwrap().insert(job, LeaseAnswer::Stale);
    process.kill()?;
    // Nothing outlives it.
    wait_until("the containers to be gone", PATIENCE, async || {
        docker.containers().ok().filter(Vec::is_empty)
    })
    .await?;
    // And where something does all the same, the next life looks.
    docker.image("sleeper:1", &[Path::new("/usr/bin/sleep")])?;
    let sleeper = |label: &str| {
        let label = format!("--label=strongroom.executor={label}");
        docker.run(&["run", "--detach", "--network=host", &label, "sleeper:1", "/usr/bin/sleep", "1000"])
    };
    let (ours, others) = (sleeper(&label)?, sleeper("strongroom-of-somebody-else")?);
    let process = start(&all.stage, &path, &docker).await?;
    let left = docker.containers()?;
    assert!(!left.contains(&ours) && left.contains(&others), "{left:?}");
    docker.run(&["rm", "--force", &others])?;
    // The connection of the dead one may still wait for the lock.
    let _ = holder.kill();
    holder.wait()?;
    all.server
        .sql(
            "",
            "select concat('kill ', id) from information_schema.processlist where info like '%sleep(1000)'",
        )
        .and_then(|kill| all.server.sql("", &kill))?;
    all.stage.leases.lock().unwrap().remove(&job);
    let spec = all.backup(json!({ "databases": ["shop"] }));
    let (_, epoch) = {
        let _ = epoch;
        all.stage.emit_attempt(job, 2, spec, Some(crate::stage::PASSPHRASE)).await?
    };
    assert!(matches!(all.stage.end_of(job, epoch).await?, Report::Succeeded { .. }));
    assert_eq!(look::archives(&all.stage)?.len(), 2);
    assert_eq!(docker.containers()?, Vec::<String>::new());
    drop(process);
    Ok(())
}
