//! Starting: what stands in the way is said, and nothing is half done.

use anyhow::Result;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use strongroom_e2e::{Single, strongroom};

fn up(data: &std::path::Path, listen: &str, environment: &[(&str, &str)]) -> Result<(Output, String)> {
    let mut command = strongroom()?;
    command.args(["up", "--listen", listen, "--data"]).arg(data).envs(environment.iter().copied());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, said))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_on_the_same_folder_is_refused_and_the_first_goes_on() -> Result<()> {
    let single = Single::start().await?;
    let (output, said) = up(&single.data(), "127.0.0.1:0", &[])?;
    assert!(!output.status.success() && said.contains("in use by another process"), "{said}");
    single.api.get("/servers").await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_named_and_nothing_is_started() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let folder = tempfile::tempdir()?;
    let (output, said) = up(folder.path(), &address, &[])?;
    assert!(!output.status.success() && said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(!folder.path().join("log").exists(), "a log was begun");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_is_too_old_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let old = folder.path().join("nats-server");
    std::fs::write(&old, "#!/bin/sh\necho 'nats-server: v2.9.10'\n")?;
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755))?;
    let data = folder.path().join("data");
    let (output, said) = up(&data, "127.0.0.1:0", &[("NATS_SERVER", old.to_str().unwrap())])?;
    assert!(!output.status.success() && said.contains("2.9.10") && said.contains("2.15.1"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_is_told_to_and_leaves_no_process_behind() -> Result<()> {
    let mut single = Single::start().await?;
    let pid = single.process.pid().unwrap();
    let mine = single.data().display().to_string();
    let children = || -> Vec<String> {
        std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| std::fs::read_to_string(e.path().join("cmdline")).ok())
            .filter(|line| line.contains(&mine))
            .collect()
    };
    assert!(children().len() >= 2, "the process {pid} and its nats-server should run");
    let status = single.process.stop().await?;
    assert!(status.success(), "{status}: {}", single.process.tail());
    let left = children();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
