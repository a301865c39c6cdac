//! A log that is full: a clear answer, nothing lost, and room can be made.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use strongroom_e2e::{Process, Single};

fn with_room(bytes: u64) -> impl FnOnce(Process) -> Process {
    move |process| process.arg("--log-max-bytes").arg(bytes.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_is_said_and_nothing_that_was_answered_is_lost() -> Result<()> {
    let mut single = Single::start_with(with_room(200_000)).await?;
    let mut written = Vec::new();
    let refused = loop {
        let name = format!("s{}", written.len());
        // Text that does not compress away.
        let noise: String = (0..8).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        let body = json!({ "node": "local", "description": noise });
        let reply = single.api.put(&format!("/servers/{name}"), &body).await?;
        if reply.status != 201 {
            break reply;
        }
        written.push(name);
        assert!(written.len() < 5000, "the log never became full");
    };
    assert_eq!(refused.status, 507, "{}", refused.body);
    assert_eq!(refused.text("/code")?, "log_full");
    for name in [&written[0], written.last().unwrap()] {
        single.api.get(&format!("/servers/{name}")).await?.expect(200)?;
    }
    single.process.stop().await?;
    single.process = more_room(&single)?;
    single.process.start()?;
    single.wait_until_up().await?;
    let listed = single.api.list("/servers").await?;
    assert_eq!(listed.len(), written.len());
    let reply = single.api.persist(Method::PUT, "/servers/after", &json!({ "node": "local" })).await?;
    assert_eq!(reply.status, 201, "{}", reply.body);
    Ok(())
}

fn more_room(single: &Single) -> Result<Process> {
    let again = Process::new(strongroom_e2e::binary("strongroom")?, single.folder().join("output-again"))
        .arg("up")
        .arg("--data")
        .arg(single.data().display().to_string())
        .arg("--listen")
        .arg("127.0.0.1:0");
    let _ = std::fs::remove_file(single.data().join("address"));
    Ok(with_room(20_000_000)(again))
}
