//! The catalog's rebuild from the log, against a consumer that only decodes.

use crate::fill;
use crate::numbers::{median, ratio};
use anyhow::Result;
use std::time::{Duration, Instant};
use strongroom_bus::{Bus, Delivery};
use strongroom_catalog::rebuild_once;
use strongroom_testkit::Nats;

#[derive(clap::Args)]
pub struct Args {
    /// Events in the log.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

pub async fn bench(args: &Args) -> Result<()> {
    let nats = Nats::one(&[]).await?;
    let scheduler = nats.bus("scheduler").await?;
    println!("writing {} events", args.events);
    fill::jobs(&scheduler, args.events / 3).await?;
    let bus = nats.bus("catalog").await?;
    let (mut rebuilds, mut decodes) = (Vec::new(), Vec::new());
    // One of each before the clock runs: caches of the machine are as warm for the first as for the last.
    decode(&bus).await?;
    for round in 1..=args.rounds {
        let folder = tempfile::tempdir()?;
        let began = Instant::now();
        rebuild_once(bus.clone(), folder.path()).await?;
        rebuilds.push(began.elapsed());
        decodes.push(decode(&bus).await?);
        println!("round {round}: rebuild {:.2?}, decoding alone {:.2?}", rebuilds.last(), decodes.last());
    }
    let (rebuild, decode) = (median(rebuilds), median(decodes));
    let a_second = |time: Duration| args.events as f64 / time.as_secs_f64();
    println!("rebuild          {:>9.0} events/s", a_second(rebuild));
    println!("decoding alone   {:>9.0} events/s", a_second(decode));
    println!("rebuild reaches  {:>9.2} of decoding alone (to reach: 0.5)", ratio(decode, rebuild));
    Ok(())
}

async fn decode(bus: &Bus) -> Result<Duration> {
    let began = Instant::now();
    let mut follower = bus.follow(0);
    loop {
        match follower.next().await? {
            Delivery::CaughtUp(_) => return Ok(began.elapsed()),
            Delivery::Event(_) => {}
            Delivery::Poison(poison) => anyhow::bail!("{poison:?}"),
        }
    }
}
