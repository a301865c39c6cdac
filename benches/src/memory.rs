//! Memory of `strongroom up`: idle, after many events, and whether it grows while idle. nats-server is a child and counted
//! by itself.

use crate::fill;
use anyhow::{Context, Result};
use std::time::Duration;
use strongroom_e2e::{Fleet, Single, wait_until};

#[derive(clap::Args)]
pub struct Args {
    /// Events to write.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// How long it is watched while idle, in seconds.
    #[arg(long, default_value_t = 60)]
    watch_s: u64,
    /// Run each service as a process of its own, and tell of each: who needs what.
    #[arg(long)]
    each: bool,
}

pub async fn bench(args: &Args) -> Result<()> {
    if args.each {
        return each(args).await;
    }
    let single = Single::start().await?;
    let pid = single.process.pid().context("it does not run")?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("idle, new                {}", told(pid)?);
    fill::jobs(&fill::scheduler_of(&single.data()).await?, args.events / 3).await?;
    let (_, last) = fill::scheduler_of(&single.data()).await?.log_state().await?;
    let caught_up = format!("catalog_sequence {last}");
    wait_until("the catalog to catch up", Duration::from_secs(600), async || {
        single.api.http_text("/metrics").await.ok()?.contains(&caught_up).then_some(())
    })
    .await?;
    println!("after {} events      {}", args.events, told(pid)?);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let first = resident_kib(pid)?;
    let mut most = first;
    for _ in 0..args.watch_s {
        tokio::time::sleep(Duration::from_secs(1)).await;
        most = most.max(resident_kib(pid)?);
    }
    println!("idle for {} s more       {}", args.watch_s, told(pid)?);
    println!("most while idle          {:.3} of what it was at first", most as f64 / first as f64);
    Ok(())
}

async fn each(args: &Args) -> Result<()> {
    let fleet = Fleet::start(1).await?;
    let bus = fleet.nats.bus("scheduler").await?;
    fill::jobs(&bus, args.events / 3).await?;
    let (_, last) = bus.log_state().await?;
    let caught_up = format!("catalog_sequence {last}");
    wait_until("the catalog to catch up", Duration::from_secs(600), async || {
        fleet.api.http_text("/metrics").await.ok()?.contains(&caught_up).then_some(())
    })
    .await?;
    println!("after {} events", args.events);
    for (name, process) in &fleet.services {
        println!("  {name:<10} {:>6} MiB", resident_kib(process.pid().context("it does not run")?)? / 1024);
    }
    Ok(())
}

fn told(pid: u32) -> Result<String> {
    let child = children(pid)?.into_iter().filter_map(|c| resident_kib(c).ok()).max().unwrap_or(0);
    Ok(format!("{} MiB, nats-server {} MiB", resident_kib(pid)? / 1024, child / 1024))
}

/// Memory of a process.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
    }
    Ok(children)
}
