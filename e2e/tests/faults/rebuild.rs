//! The catalog is a cache: deleted, it comes back the same.

use anyhow::Result;
use serde_json::{Value, json};
use strongroom_e2e::{Fleet, Tree};

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_was_deleted_comes_back_the_same() -> Result<()> {
    let mut fleet = Fleet::start(1).await?;
    let tree = Tree::new(80, 10, 10_000)?;
    fleet.api.define("web", &fleet.folder().join("web"), &[tree.path()]).await?;
    for _ in 0..3 {
        fleet.api.run("web").await?;
    }
    let gone = fleet.api.list("/archives").await?;
    let gone = gone[0]["id"].as_str().unwrap().to_owned();
    let deleting = fleet.api.delete(&format!("/archives/{gone}")).await?.expect(202)?;
    fleet.api.ended(deleting.text("/id")?).await?;
    fleet.api.post("/plans/web/pause", &json!({ "reason": "a test" })).await?;
    let below = tree.path().strip_prefix("/")?.display().to_string();
    let kept = fleet.api.list("/archives").await?[0]["id"].as_str().unwrap().to_owned();
    assert!(!fleet.api.browse(&kept, &below).await?.is_empty());
    let before = everything(&fleet).await?;
    assert!(before.iter().all(|(_, items)| !items.is_empty()), "{before:?}");

    fleet.kill("catalog")?;
    std::fs::remove_dir_all(fleet.folder().join("catalog"))?;
    fleet.start_service("catalog")?;
    fleet.wait_until_ready().await?;
    let after = everything(&fleet).await?;
    assert_eq!(before, after);
    let path = format!("/archives/{kept}/files?path={below}");
    assert!(!fleet.api.list(&path).await?.is_empty(), "the file index did not come back");
    Ok(())
}

async fn everything(fleet: &Fleet) -> Result<Vec<(&'static str, Vec<Value>)>> {
    let mut out = Vec::new();
    for path in ["/servers", "/destinations", "/repositories", "/plans", "/jobs", "/archives", "/tokens"] {
        out.push((path, fleet.api.list(path).await?));
    }
    Ok(out)
}
