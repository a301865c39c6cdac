//! `strongroom plans run --wait` against bare `borg create` with the same options on the same tree.

use crate::numbers::{median, ratio};
use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use strongroom_e2e::{PATIENCE, Single, wait_until};

#[derive(clap::Args)]
pub struct Args {
    /// Files of the tree.
    #[arg(long, default_value_t = 20_000)]
    files: usize,
    /// Megabytes of the tree.
    #[arg(long, default_value_t = 2000)]
    megabytes: usize,
    /// Rounds of the first run, each into new repositories; the median counts.
    #[arg(long, default_value_t = 3)]
    first_rounds: u32,
    /// Rounds of the unchanged run; the median counts.
    #[arg(long, default_value_t = 11)]
    rounds: u32,
}

pub async fn bench(args: &Args) -> Result<()> {
    let single = Single::start().await?;
    let (tree, small) = (tempfile::tempdir()?, tempfile::tempdir()?);
    println!("writing {} files of {} MB together", args.files, args.megabytes);
    grow(tree.path(), args.files, args.megabytes * 1_000_000)?;
    grow(small.path(), 1, 1000)?;
    let (mut bare_first, mut ours_first) = (vec![], vec![]);
    for round in 0..args.first_rounds {
        let (bare, ours) = first(&single, round, tree.path()).await?;
        bare_first.push(bare);
        ours_first.push(ours);
    }
    let (bare_first, ours_first) = (median(bare_first), median(ours_first));
    println!(
        "first run       borg {bare_first:.2?}, strongroom {ours_first:.2?}, ratio {:.3}",
        ratio(ours_first, bare_first)
    );
    single.api.define("large", &single.folder().join("large"), &[tree.path()]).await?;
    // Into the same repository, as bare borg's: how long it takes to open one depends on what it holds.
    let plan = json!({
        "server": "large", "repository": "large", "source": { "type": "files", "paths": [small.path()] },
    });
    single.api.put("/plans/small", &plan).await?.expect(201)?;
    let bare = Bare::new(single.folder())?;
    bare.create("first", tree.path())?;
    ours(&single, "large").await?;
    settle()?;
    let (mut bare_again, mut ours_again, mut bare_small, mut ours_small) = (vec![], vec![], vec![], vec![]);
    for round in 0..args.rounds {
        bare_again.push(bare.create(&format!("again{round}"), tree.path())?);
        ours_again.push(ours(&single, "large").await?);
        bare_small.push(bare.create(&format!("small{round}"), small.path())?);
        ours_small.push(ours(&single, "small").await?);
    }
    let (bare_again, ours_again) = (median(bare_again), median(ours_again));
    let fixed = median(ours_small).saturating_sub(median(bare_small));
    println!(
        "unchanged run   borg {bare_again:.2?}, strongroom {ours_again:.2?}, ratio {:.3}",
        ratio(ours_again, bare_again)
    );
    println!("fixed cost      {fixed:.2?} (a run over one small file, less borg's own time for it)");
    for (name, ours, bare) in [("first", ours_first, bare_first), ("unchanged", ours_again, bare_again)] {
        let without = ours.saturating_sub(fixed);
        println!("{name:<10} less the fixed cost: {:.3} times borg (to reach: 1.03)", ratio(without, bare));
    }
    println!("request to borg's start {:.0?} (median; to reach: 150 ms)", to_start(&single).await?);
    Ok(())
}

/// A first run into new repositories, by turns before and after bare borg's.
async fn first(single: &Single, round: u32, tree: &Path) -> Result<(Duration, Duration)> {
    let (name, folder) = (format!("first{round}"), single.folder().join(format!("first{round}")));
    std::fs::create_dir_all(&folder)?;
    single.api.define(&name, &folder, &[tree]).await?;
    let bare = Bare::new(&folder)?;
    let (mut took_bare, mut took_ours) = (Duration::ZERO, Duration::ZERO);
    for turn in [round % 2, 1 - round % 2] {
        settle()?;
        if turn == 0 {
            took_bare = bare.create("first", tree)?;
        } else {
            took_ours = ours(single, &name).await?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok((took_bare, took_ours))
}

/// Who comes next would else write out what was written just before.
fn settle() -> Result<()> {
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    Ok(())
}

/// From the request's event to that of the attempt's beginning, after which borg is started at once.
async fn to_start(single: &Single) -> Result<Duration> {
    let jobs = single.api.list("/jobs?plan=small").await?;
    let at = |job: &Value, field: &str| -> Option<jiff::Timestamp> { job.get(field)?.as_str()?.parse().ok() };
    let times = jobs.iter().filter_map(|job| {
        let took = at(job, "started_at")?.duration_since(at(job, "requested_at")?);
        Duration::try_from(took).ok()
    });
    Ok(median(times.collect()))
}

async fn ours(single: &Single, plan: &str) -> Result<Duration> {
    let began = Instant::now();
    let (code, out, err) = single.client(&["plans", "run", plan, "--wait"])?;
    ensure!(code == 0, "the run ended with {code}: {err}{out}");
    let took = began.elapsed();
    // The index of its files is made after it, and must not take time from what is measured next.
    let newest = format!("/archives?plan={plan}&limit=1");
    wait_until("the index", PATIENCE, async || {
        let archives = single.api.get(&newest).await.ok()?.body;
        archives.pointer("/items/0/facts/index/entries").and_then(Value::as_u64)
    })
    .await?;
    Ok(took)
}

/// Borg as somebody would run it by hand, with the options that the executor gives it.
struct Bare {
    repository: String,
    base: String,
}

impl Bare {
    fn new(folder: &Path) -> Result<Self> {
        let path = |name: &str| folder.join(name).display().to_string();
        let bare = Self { repository: path("bare"), base: path("bare-base") };
        bare.borg(&["init", "--encryption", "repokey-blake2", &bare.repository])?;
        Ok(bare)
    }

    fn create(&self, name: &str, tree: &Path) -> Result<Duration> {
        let archive = format!("{}::{name}", self.repository);
        let comment = json!({ "strongroom": 0 }).to_string().replace('{', "{{").replace('}', "}}");
        let tree = tree.display().to_string();
        let line = [
            "--log-json",
            "--progress",
            "create",
            "--json",
            "--comment",
            &comment,
            "--compression",
            "zstd,3",
            "--checkpoint-interval",
            "300",
            &archive,
            "--",
            &tree,
        ];
        let began = Instant::now();
        self.borg(&line)?;
        Ok(began.elapsed())
    }

    fn borg(&self, line: &[&str]) -> Result<()> {
        let output = Command::new("borg")
            .args(line)
            .envs([("BORG_BASE_DIR", self.base.as_str()), ("BORG_PASSPHRASE", "bench")])
            .stdin(Stdio::null())
            .output()
            .context("starting borg")?;
        ensure!(output.status.success(), "borg: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// A tree whose bytes compress to about half.
fn grow(folder: &Path, files: usize, bytes: usize) -> Result<()> {
    let mut random = StdRng::seed_from_u64(1);
    let size = bytes / files;
    for n in 0..files {
        let below = folder.join(format!("d{}", n % 200));
        std::fs::create_dir_all(&below)?;
        let mut content = vec![b'x'; size];
        if let Some(half) = content.get_mut(..size / 2) {
            random.fill_bytes(half);
        }
        std::fs::write(below.join(format!("f{n}")), content)?;
    }
    Ok(())
}
