//! The stream of events: what it gives is the log, and it goes on exactly where it was cut.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use strongroom_e2e::{PATIENCE, Single};

/// Reads frames until so many have an id; gives (id, type, data) of each.
async fn read(request: reqwest::RequestBuilder, count: usize) -> Result<Vec<(u64, String, Value)>> {
    let reading = async {
        let mut response = request.send().await?.error_for_status()?;
        let mut text = String::new();
        loop {
            let frames: Vec<(u64, String, Value)> = text.split("\n\n").filter_map(frame).collect();
            if frames.len() >= count {
                return Ok(frames[..count].to_vec());
            }
            let chunk = response.chunk().await?.context("the stream ended")?;
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await?
}

fn frame(text: &str) -> Option<(u64, String, Value)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.map(|l| l.strip_prefix(' ').unwrap_or(l).to_owned())
    };
    // A frame that is not whole yet has no data that can be read.
    Some((field("id")?.parse().ok()?, field("event")?, serde_json::from_str(&field("data")?).ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_goes_on_where_it_was() -> Result<()> {
    let single = Single::start().await?;
    for n in 0..20 {
        single.api.put(&format!("/servers/s{n}"), &json!({ "node": "local" })).await?.expect(201)?;
    }
    let events = || single.api.request(Method::GET, "/events");
    let all = read(events().query(&[("after", "0")]), 20).await?;
    assert!(all.windows(2).all(|w| w[1].0 == w[0].0 + 1), "a sequence is missing: {all:?}");
    let (last, kind, data) = &all[7];
    assert_eq!(data["sequence"], *last);
    assert_eq!(data["type"], kind.as_str());
    let rest = read(events().header("last-event-id", last.to_string()), 12).await?;
    assert_eq!(rest, all[8..].to_vec());
    let servers = read(events().query(&[("after", "0"), ("kinds", "server")]), 15).await?;
    assert!(servers.iter().all(|(_, kind, _)| kind == "strongroom.server.defined.v1"), "{servers:?}");
    // Live, without a word about the past.
    let live = tokio::spawn(read(events(), 1));
    let mut n = 20;
    while !live.is_finished() {
        single.api.put(&format!("/servers/s{n}"), &json!({ "node": "local" })).await?.expect(201)?;
        n += 1;
    }
    assert!(live.await??[0].0 > all[19].0);
    for bad in ["soon", "999999999"] {
        let request = events().query(&[("after", bad)]);
        assert_eq!(single.api.send(request).await?.status, 422, "{bad}");
    }
    assert!(
        !all.iter().any(|(_, _, data)| data.to_string().contains("sha256")),
        "a hash of a token is shown"
    );
    Ok(())
}
