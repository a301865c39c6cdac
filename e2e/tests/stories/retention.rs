//! A plan that keeps no more than it says.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strongroom_e2e::{PATIENCE, Single, Tree, archives_in, wait_until};

fn names(archives: &[Value]) -> BTreeSet<String> {
    archives.iter().filter_map(|a| Some(a.pointer("/facts/name")?.as_str()?.to_owned())).collect()
}

/// Waits until the plan has these archives, in the catalog and in its repository, and the index of each is made.
async fn has(single: &Single, passphrase: &str, expected: &BTreeSet<String>) -> Result<Vec<Value>> {
    let place = single.folder().join("repositories/web/web");
    let base = single.folder().join("borg-of-the-test");
    wait_until("the archives that are kept", PATIENCE, async || {
        let listed = single.api.list("/archives?plan=web").await.ok()?;
        let there = archives_in(&place, passphrase, &base).ok()?;
        (names(&listed) == *expected && there == *expected).then_some(listed)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_keeps_what_it_says_and_tells_before_it_removes_anything() -> Result<()> {
    let single = Single::start().await?;
    let tree = Tree::new(10, 5, 1000)?;
    let passphrase = single.api.define("web", single.folder(), &[tree.path()]).await?;
    let plan = |more: Value| {
        let mut plan = json!({
            "server": "web", "repository": "web", "source": { "type": "files", "paths": [tree.path()] },
        });
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plan
    };
    let mut made = Vec::new();
    for n in 0..3 {
        tree.change(n, "changing", 20_000)?;
        let job = single.api.run("web").await?;
        made.push(job["result"]["archive"]["name"].as_str().context("a name")?.to_owned());
    }
    let all: BTreeSet<String> = made.iter().cloned().collect();
    has(&single, &passphrase, &all).await?;

    // What is wrong is told by its field, and changes nothing.
    let wrong =
        single.api.put("/plans/web", &plan(json!({ "retention": { "keep_within": "soon" } }))).await?;
    ensure!(wrong.status == 422 || wrong.status == 400, "{}", wrong.body);
    assert_eq!(wrong.text("/errors/0/field")?, "retention.keep_within", "{}", wrong.body);
    let nothing = single.api.put("/plans/web", &plan(json!({ "retention": {} }))).await?;
    assert_eq!(nothing.text("/errors/0/field")?, "retention.keep_last", "{}", nothing.body);

    // A policy is enough: the next look is not the next backup's.
    single.api.put("/plans/web", &plan(json!({ "retention": { "keep_last": 2 } }))).await?.expect(200)?;
    let two: BTreeSet<String> = made[1..].iter().cloned().collect();
    has(&single, &passphrase, &two).await?;
    // And then each backup pushes one out.
    tree.change(9, "changing", 20_000)?;
    let job = single.api.run("web").await?;
    made.push(job["result"]["archive"]["name"].as_str().context("a name")?.to_owned());
    let two: BTreeSet<String> = made[2..].iter().cloned().collect();
    has(&single, &passphrase, &two).await?;
    let prunes = wait_until("the removals to be told", PATIENCE, async || {
        let jobs = single.api.list("/jobs?phase=complete").await.ok()?;
        let prunes: Vec<Value> =
            jobs.into_iter().filter(|job| job["requested"]["spec"]["kind"] == "prune").collect();
        (prunes.len() == 2).then_some(prunes)
    })
    .await?;
    for job in &prunes {
        assert_eq!(job["result"]["deleted"].as_array().map(Vec::len), Some(1), "{job}");
        ensure!(job["result"]["freed_bytes"].as_u64().is_some(), "{job}");
    }
    Ok(())
}
