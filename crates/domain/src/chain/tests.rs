#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use proptest::prelude::*;
use uuid::Uuid;

const DAY: i64 = 24 * 3600;

fn id(n: u128) -> ArchiveId {
    ArchiveId(Uuid::from_u128(n))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn link(n: u128, base: Option<u128>, made_at: i64) -> Link {
    let target = |n: u128| Target { id: id(n), name: format!("p-{n}"), borg_id: format!("{n}") };
    let position = Position::Mysql(RedoPosition {
        from_lsn: 0,
        to_lsn: 1,
        data_id: "u".into(),
        series: "10.11".into(),
        stopped_at: at(made_at),
    });
    let variant = if base.is_none() { Variant::Full } else { Variant::Incremental };
    Link {
        base: Base { archive: target(n), physical: Physical { variant, base: base.map(target), position } },
        repository: "r".parse().unwrap(),
        source: "postgresql".into(),
        made_at: at(made_at),
        incomplete: false,
        gone: false,
    }
}

/// A full archive and two on top of it.
fn three() -> Chain {
    let mut chain = Chain::default();
    for made in [link(1, None, 0), link(2, Some(1), 3600), link(3, Some(2), 7200)] {
        chain.made(made);
    }
    chain
}

fn next(chain: &Chain, variant: Variant, full_every: FullEvery, now: i64) -> Result<u128, Why> {
    let repository = "r".parse().unwrap();
    let wanted = Wanted {
        variant,
        full_every,
        full: false,
        repository: &repository,
        source: "postgresql",
        increments: Increments::Wal,
    };
    match chain.choose(wanted, at(now)) {
        Choice::Full(why) => Err(why),
        Choice::On(base) => Ok(base.archive.id.0.as_u128()),
    }
}

const NONE: FullEvery = FullEvery { archives: None, days: None };

#[test]
fn each_variant_is_made_on_what_it_goes_back_to() {
    use Variant::{Differential, Full, Incremental};
    assert_eq!(next(&Chain::default(), Incremental, NONE, 0), Err(Why::First));
    let chain = three();
    assert_eq!(next(&chain, Incremental, NONE, DAY), Ok(3));
    assert_eq!(next(&chain, Differential, NONE, DAY), Ok(1));
    assert_eq!(next(&chain, Full, NONE, DAY), Err(Why::Asked));
    let repository = "r".parse().unwrap();
    let asked = Wanted {
        variant: Incremental,
        full_every: NONE,
        full: true,
        repository: &repository,
        source: "postgresql",
        increments: Increments::Wal,
    };
    assert_eq!(chain.choose(asked, at(DAY)), Choice::Full(Why::Asked));
    let mut chain = chain;
    chain.made(link(4, None, DAY));
    assert_eq!(next(&chain, Incremental, NONE, DAY), Ok(4), "a new full one begins a new chain");
}

#[test]
fn a_full_one_is_due_by_number_or_by_age() {
    let (chain, days, archives) = (
        three(),
        |n| FullEvery { days: Some(n), archives: None },
        |n| FullEvery { archives: Some(n), days: None },
    );
    let inc = Variant::Incremental;
    assert_eq!(next(&chain, inc, NONE, 6 * DAY), Ok(3));
    assert_eq!(next(&chain, inc, NONE, 7 * DAY), Err(Why::Due), "seven days when nothing is said");
    assert_eq!(next(&chain, inc, days(1), DAY - 3600), Ok(3));
    assert_eq!(next(&chain, inc, days(1), DAY - 10), Err(Why::Due), "the daily run of the next day");
    assert_eq!(next(&chain, inc, archives(3), 400 * DAY), Ok(3));
    assert_eq!(next(&chain, inc, archives(2), 0), Err(Why::Due));
    let both = FullEvery { archives: Some(9), days: Some(1) };
    assert_eq!(next(&chain, inc, both, 2 * DAY), Err(Why::Due));
}

#[test]
fn nothing_is_made_on_what_cannot_be_restored() {
    use Variant::{Differential, Incremental};
    let mut gone = three();
    gone.set_gone(id(2), true);
    assert_eq!(next(&gone, Incremental, NONE, DAY), Err(Why::Gone), "the middle one is needed");
    assert_eq!(next(&gone, Differential, NONE, DAY), Ok(1), "it is not for this");
    gone.set_gone(id(2), false);
    assert_eq!(next(&gone, Incremental, NONE, DAY), Ok(3), "a scan has found it again");
    gone.set_gone(id(1), true);
    assert_eq!(next(&gone, Differential, NONE, DAY), Err(Why::Gone));

    let mut incomplete = three();
    incomplete.made(Link { incomplete: true, ..link(4, Some(3), 9000) });
    assert_eq!(next(&incomplete, Incremental, NONE, DAY), Err(Why::Gone));

    let mut broken = three();
    broken.broke();
    assert_eq!(next(&broken, Incremental, NONE, DAY), Err(Why::Broken));
    assert_eq!(next(&broken, Differential, NONE, DAY), Err(Why::Broken));
    broken.made(link(5, None, DAY));
    assert_eq!(next(&broken, Incremental, NONE, DAY), Ok(5), "a new full one mends it");

    let mut moved = three();
    moved.links[0].repository = "other".parse().unwrap();
    assert_eq!(next(&moved, Incremental, NONE, DAY), Err(Why::Elsewhere));
    let mut other = Chain::default();
    other.made(Link { source: "mysql".into(), ..link(1, None, 0) });
    assert_eq!(next(&other, Incremental, NONE, DAY), Err(Why::Elsewhere));
    let mut headless = Chain::default();
    headless.made(link(3, Some(2), 0));
    assert_eq!(next(&headless, Incremental, NONE, DAY), Err(Why::First));
}

#[test]
fn places_in_the_log_are_written_as_the_server_writes_them() {
    for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
        assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
    }
    assert!("1/0".parse::<Lsn>().unwrap() > "0/FFFFFFFF".parse::<Lsn>().unwrap());
    for odd in ["", "/", "1", "1/", "+1/2", "1/100000000", "x/1"] {
        assert!(odd.parse::<Lsn>().is_err(), "{odd}");
    }
    let until = |value| serde_json::from_value::<Until>(value).unwrap().to_string();
    assert_eq!(until(serde_json::json!({ "lsn": "0/3000148" })), "0/3000148");
    assert_eq!(until(serde_json::json!({ "time": "2026-03-01T00:00:00Z" })), "2026-03-01T00:00:00Z");
}

proptest! {
    /// Whatever is deleted, what the next one is made on can be followed down to a full one that is there.
    #[test]
    fn what_is_chosen_leads_to_a_full_one(
        made in proptest::collection::vec(any::<bool>(), 1..8),
        gone in proptest::collection::vec(0u128..8, 0..4),
        differential in any::<bool>(),
    ) {
        let mut chain = Chain::default();
        for (n, full) in made.iter().enumerate() {
            let n = n as u128;
            let base = (!full && n > 0).then(|| n - 1);
            chain.made(link(n, base, n as i64));
        }
        gone.iter().for_each(|n| chain.set_gone(id(*n), true));
        let variant = if differential { Variant::Differential } else { Variant::Incremental };
        if let Ok(mut n) = next(&chain, variant, NONE, 100) {
            loop {
                prop_assert!(!gone.contains(&n));
                let link = chain.links.iter().find(|l| l.id() == id(n)).unwrap();
                match &link.base.physical.base {
                    None => break,
                    Some(base) => n = base.id.0.as_u128(),
                }
            }
        }
    }
}

#[test]
fn nothing_is_made_on_what_is_followed_by_other_means() {
    let with = |mut link: Link, blocks: Option<Blocks>| {
        link.base.physical.position = Position::Postgresql(WalPosition {
            system_identifier: "7".into(),
            timeline: 1,
            segment_bytes: 16 << 20,
            start_lsn: Lsn(1),
            stop_lsn: Lsn(2),
            stopped_at: at(0),
            slot: None,
            blocks,
        });
        link
    };
    let repository = "r".parse().unwrap();
    let next = |chain: &Chain, increments: Increments| {
        let (variant, source) = (Variant::Incremental, "postgresql");
        let wanted =
            Wanted { variant, full_every: NONE, full: false, repository: &repository, source, increments };
        match chain.choose(wanted, at(60)) {
            Choice::Full(why) => Err(why),
            Choice::On(base) => Ok(base.archive.id.0.as_u128()),
        }
    };
    let (mut log, mut blocks) = (Chain::default(), Chain::default());
    log.made(with(link(1, None, 0), None));
    blocks.made(with(link(1, None, 0), Some(Blocks { since_lsn: None, manifest_sha256: "d".into() })));
    assert_eq!(next(&log, Increments::Wal), Ok(1));
    assert_eq!(next(&log, Increments::Blocks), Err(Why::OtherMeans));
    assert_eq!(next(&blocks, Increments::Blocks), Ok(1));
    assert_eq!(next(&blocks, Increments::Wal), Err(Why::OtherMeans));
}
