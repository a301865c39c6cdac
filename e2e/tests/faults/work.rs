//! The work that goes on while things are broken, and the look at everything when it is done.

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use strongroom_domain::Kind;
use strongroom_e2e::{Api, Fleet, History, Laws, Tree, archives_in, wait_until};

/// How long a fleet may take to come to rest after the last kill, on a machine that does other things too.
const REST: Duration = Duration::from_secs(240);
/// How many archives the plan that runs by itself keeps.
const KEPT: usize = 2;
/// How many repositories are worked on at once.
const REPOSITORIES: usize = 3;

/// Repositories with a plan each, and one plan that runs by itself.
pub struct Work {
    tree: Tree,
    passphrases: Vec<String>,
    accepted: Vec<(Kind, String)>,
    random: StdRng,
}

impl Work {
    /// Defines it all.
    pub async fn define(fleet: &Fleet, seed: u64) -> Result<Self> {
        let tree = Tree::new(seed, 20, 60_000)?;
        let mut passphrases = Vec::new();
        for n in 0..REPOSITORIES {
            let place = fleet.folder().join(format!("r{n}"));
            passphrases.push(fleet.api.define(&format!("r{n}"), &place, &[tree.path()]).await?);
        }
        let often = json!({
            "server": "r0", "repository": "r0", "source": { "type": "files", "paths": [tree.path()] },
            "schedule": { "cron": "*/3 * * * * *", "overlap": "skip", "catch_up": "latest" },
            "retention": { "keep_last": KEPT },
        });
        fleet.api.put("/plans/often", &often).await?.expect(201)?;
        Ok(Self { tree, passphrases, accepted: Vec::new(), random: StdRng::seed_from_u64(seed) })
    }

    /// Asks for one more thing, as users do; keeps asking until it is answered.
    pub async fn ask(&mut self, api: &Api, round: u64) -> Result<()> {
        let plan = format!("/plans/r{}/run", self.random.random_range(0..REPOSITORIES));
        self.tree.change(round, "changing", 50_000)?;
        let asked = api.persist(Method::POST, &plan, &json!({})).await?.expect(202)?;
        let job = asked.text("/id")?.to_owned();
        if self.random.random_range(0..6) == 0 {
            // It may have ended already: then it is answered with a conflict.
            api.persist(Method::POST, &format!("/jobs/{job}/cancel"), &json!({})).await?;
        }
        self.accepted.push((Kind::Job, job));
        if self.random.random_range(0..4) == 0 {
            let name = format!("s{round}");
            let reply =
                api.persist(Method::PUT, &format!("/servers/{name}"), &json!({ "node": "node1" })).await?;
            ensure!(matches!(reply.status, 200 | 201), "{}: {}", reply.status, reply.body);
            self.accepted.push((Kind::Server, name));
        }
        Ok(())
    }

    /// Lets everything come to rest, and checks all laws. Gives numbers for people.
    pub async fn check(&self, fleet: &mut Fleet) -> Result<String> {
        fleet.api.persist(Method::POST, "/plans/often/pause", &json!({ "reason": "the test ends" })).await?;
        let bus = fleet.reader().await?;
        let history = wait_until("every job to end", REST, async || {
            let history = History::read(&bus).await.ok()?;
            let laws = Laws { history: &history };
            let is_at_rest = history.open_jobs() == 0 && laws.only_what_was_decided_is_removed().is_ok();
            is_at_rest.then_some(history)
        })
        .await
        .with_context(|| fleet.last_words())?;
        let fallen = fleet.fallen();
        ensure!(fallen.is_empty(), "services ended by themselves: {fallen:?}");

        let laws = Laws { history: &history };
        let jobs = laws.every_request_ends_once()?;
        laws.epochs_grow()?;
        let triggers = laws.no_trigger_is_lost_or_doubled()?;
        laws.what_was_accepted_is_there(&self.accepted)?;
        let removed = laws.only_what_was_decided_is_removed()?;
        let archives = self.compare_archives(fleet, &laws).await?;
        let of_often = fleet.api.list("/archives?plan=often").await?.len();
        ensure!(removed == 0 || of_often >= KEPT, "{of_often} archives are left of a plan that keeps {KEPT}");
        Ok(format!(
            "{jobs} jobs, {triggers} nominal times, {archives} archives, {removed} removed, {} events",
            history.events.len()
        ))
    }

    async fn compare_archives(&self, fleet: &Fleet, laws: &Laws<'_>) -> Result<usize> {
        let base = fleet.folder().join("borg-of-the-test");
        let mut in_repositories = BTreeSet::new();
        for (n, passphrase) in self.passphrases.iter().enumerate() {
            let place = fleet.folder().join(format!("r{n}/repositories/r{n}/r{n}"));
            in_repositories.extend(archives_in(&place, passphrase, &base)?);
        }
        // An attempt that was fenced off can have finished its archive unheard; a scan finds and adopts it.
        for n in 0..REPOSITORIES {
            let scan = fleet.api.post(&format!("/repositories/r{n}/scan"), &json!({})).await?.expect(202)?;
            let scanned = fleet.api.ended(scan.text("/id")?).await?;
            ensure!(scanned["phase"] == "complete", "{scanned}");
        }
        let catalog = wait_until("the catalog to hold what the repositories hold", REST, async || {
            let listed = fleet.api.list("/archives").await.ok()?;
            let names: BTreeSet<String> =
                listed.iter().filter_map(|a| Some(a.pointer("/facts/name")?.as_str()?.to_owned())).collect();
            (names == in_repositories && listed.len() == names.len()).then_some(names)
        })
        .await;
        let catalog = match catalog {
            Ok(catalog) => catalog,
            Err(_) => {
                let listed = fleet.api.list("/archives").await?;
                listed.iter().filter_map(|a| Some(a.pointer("/facts/name")?.as_str()?.to_owned())).collect()
            }
        };
        laws.archives_are_there(&catalog, &in_repositories)?;
        let made = laws.archive_names_of_successes();
        ensure!(
            made.is_subset(&in_repositories),
            "a success without its archive: {made:?} {in_repositories:?}"
        );
        let missing: Vec<Value> =
            fleet.api.list("/archives").await?.into_iter().filter(|a| a["missing"] == true).collect();
        ensure!(missing.is_empty(), "archives are told missing that are there: {missing:?}");
        Ok(in_repositories.len())
    }
}
