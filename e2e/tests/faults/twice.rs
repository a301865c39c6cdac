//! Every delivery comes twice: work to the node, reports to the scheduler.

use crate::work::Work;
use anyhow::Result;
use strongroom_e2e::Fleet;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_delivered_twice_and_happens_once() -> Result<()> {
    let mut fleet =
        Fleet::start_with(1, |_, process| process.env("STRONGROOM_FAULTS", "deliver-twice")).await?;
    let mut work = Work::define(&fleet, 77).await?;
    for round in 0..12 {
        work.ask(&fleet.api, round).await?;
    }
    let numbers = work.check(&mut fleet).await?;
    println!("everything twice: {numbers}");
    Ok(())
}
