//! kill -9 of everything at random moments while jobs run, on one nats-server and on three.
//!
//! `STRONGROOM_KILLS=500 cargo test -p strongroom-e2e --test faults kills` is the longer run;
//! `STRONGROOM_SEED` repeats one.

use crate::work::Work;
use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use strongroom_e2e::{Fleet, PATIENCE, SERVICES, wait_until};

/// How many kills of each of the two runs in CI.
const KILLS: u64 = 18;

#[tokio::test(flavor = "multi_thread")]
async fn kills_on_one_nats_server() -> Result<()> {
    kills(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_on_three_nats_servers() -> Result<()> {
    kills(3).await
}

async fn kills(members: usize) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let count = number("STRONGROOM_KILLS").unwrap_or(KILLS);
    let seed = number("STRONGROOM_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("{members} nats-servers, {count} kills, STRONGROOM_SEED={seed}");
    let mut fleet = Fleet::start_with(members, |name, process| match name {
        // A dead executor is noticed within seconds, so that the test does not wait for most of its time.
        "scheduler" => process.env("STRONGROOM_LEASE_S", "15"),
        _ => process,
    })
    .await?;
    let mut work = Work::define(&fleet, seed).await?;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..count {
        work.ask(&fleet.api, round).await.with_context(|| fleet.last_words())?;
        // Somewhere in the middle of what was asked for.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..700))).await;
        let victim = random.random_range(0..SERVICES.len() + 2);
        match SERVICES.get(victim) {
            Some(service) => {
                fleet.kill(service)?;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
                fleet.start_service(service)?;
            }
            None => {
                let member = random.random_range(0..members);
                fleet.nats.kill(member)?;
                fleet.nats.start_member(member)?;
                if members > 1 {
                    // Two of three down at once is no fault that a log can bear.
                    wait_until("the cluster to be whole", PATIENCE, async || {
                        fleet.nats.wait_until_healthy().await.ok()
                    })
                    .await?;
                }
            }
        }
    }
    fleet.wait_until_ready().await?;
    let numbers = work.check(&mut fleet).await?;
    println!("{count} kills with seed {seed}: {numbers}");
    Ok(())
}
