//! No secret stands where it can be read: not in events, answers, logs, arguments.

use anyhow::Result;
use serde_json::json;
use strongroom_e2e::{Fleet, History, Single, Tree};

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_is_nowhere_to_be_read() -> Result<()> {
    let fleet = Fleet::start_with(1, |_, process| process.env("RUST_LOG", "debug")).await?;
    let api = &fleet.api;
    let node = api.node_joined().await?;
    let tree = Tree::new(30, 20, 100_000)?;
    let passphrase = "tr0ub4dor-and-three";
    api.put("/servers/web", &json!({ "node": node, "restore_roots": [] })).await?.expect(201)?;
    let place = fleet.folder().join("repositories");
    api.put("/destinations/web", &json!({ "location": { "type": "local", "path": place } }))
        .await?
        .expect(201)?;
    let repository = json!({
        "id": "web", "server": "web", "destination": "web", "encryption": "repokey-blake2", "passphrase": passphrase,
    });
    let made = api.post("/repositories", &repository).await?.expect(201)?;
    assert!(!made.body.to_string().contains(passphrase), "{}", made.body);
    api.ended(made.text("/init_job/id")?).await?;
    let plan = json!({ "server": "web", "repository": "web", "source": { "type": "files", "paths": [tree.path()] } });
    api.put("/plans/web", &plan).await?.expect(201)?;

    let asked = api.post("/plans/web/run", &json!({})).await?.expect(202)?;
    let mut seen = 0;
    let watching = async {
        loop {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                for file in ["cmdline", "environ"] {
                    let text = std::fs::read(entry.path().join(file)).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    assert!(!text.contains(passphrase), "{}/{file}: {text}", entry.path().display());
                    seen += 1;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    let job = tokio::select! {
        job = api.ended(asked.text("/id")?) => job?,
        () = watching => unreachable!("it watches until the job has ended"),
    };
    assert_eq!(job["phase"], "complete", "{job}");
    assert!(seen > 0);

    let history = History::read(&fleet.reader().await?).await?;
    for event in &history.events {
        assert!(!event.event.to_json().to_string().contains(passphrase), "{:?}", event.aggregate);
    }
    for (name, process) in &fleet.services {
        assert!(!process.printed().contains(passphrase), "{name} has printed it");
        assert!(!process.printed().contains(&api.token), "{name} has printed the token");
    }
    for path in ["/repositories/web", "/jobs", "/plans/web", "/tokens"] {
        let body = api.get(path).await?.body.to_string();
        assert!(!body.contains(passphrase) && !body.contains(&api.token), "{path}: {body}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_does_what_its_scope_says_and_ends_when_revoked() -> Result<()> {
    let single = Single::start().await?;
    let issued =
        single.api.post("/tokens", &json!({ "id": "watcher", "scope": "read" })).await?.expect(201)?;
    let mut reader = single.api.clone();
    reader.token = issued.text("/token")?.to_owned();
    reader.get("/plans").await?.expect(200)?;
    let refused = reader.put("/servers/web", &json!({ "node": "local" })).await?.expect(403)?;
    assert!(refused.header("content-type").unwrap().starts_with("application/problem+json"));
    let shown = single.api.get("/tokens/watcher").await?.expect(200)?;
    assert!(shown.body.get("token").is_none() && shown.body.get("sha256").is_none(), "{}", shown.body);
    single.api.delete("/tokens/watcher").await?;
    reader.get("/plans").await?.expect(401)?;
    for path in ["/healthz", "/readyz"] {
        let open = single.api.send(single.api.bare(reqwest::Method::GET, path)).await?;
        assert_eq!(open.status, 200, "{path}");
    }
    for path in ["/metrics", "/api/v1/plans", "/api/v1/events", "/api/v1/nodes"] {
        let closed = single.api.send(single.api.bare(reqwest::Method::GET, path)).await?;
        assert_eq!(closed.status, 401, "{path}");
    }
    let metrics = single.api.http_text("/metrics").await?;
    assert!(metrics.contains("strongroom_"), "{metrics}");
    Ok(())
}
