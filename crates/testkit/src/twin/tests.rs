use super::*;
use std::collections::BTreeMap;

fn on_a_paused_clock<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// Two writers that publish the same 40 times over each, whatever they are told; all answers, and the log.
fn a_day(members: Members, seed: u64) -> (Vec<PublishAnswer>, Vec<RawMessage>) {
    on_a_paused_clock(async {
        let log = TwinLog::new(members, seed);
        let write = async |writer: u64| {
            let mut answers = Vec::new();
            let mut expected = 0;
            for n in 0..40 {
                let headers = vec![("Nats-Msg-Id".to_owned(), format!("{writer}/{}", n / 2))];
                let answer = log.publish("a", headers, Bytes::new(), expected).await;
                if let PublishAnswer::Stored(sequence) | PublishAnswer::Duplicate(sequence) = answer {
                    expected = sequence;
                } else if let Ok(last) = log.last("a").await {
                    expected = last;
                }
                answers.push(answer);
            }
            answers
        };
        let (one, other) = tokio::join!(write(1), write(2));
        sleep(Duration::from_secs(10)).await;
        ([one, other].concat(), log.truth())
    })
}

#[test]
fn a_seed_is_a_behaviour() {
    for members in [Members::One, Members::Three] {
        assert_eq!(a_day(members, 7), a_day(members, 7));
        assert_ne!(a_day(members, 7), a_day(members, 8));
    }
}

#[test]
fn everything_that_was_seen_of_servers_comes_to_pass() {
    for members in [Members::One, Members::Three] {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for seed in 0..40 {
            let (answers, log) = a_day(members, seed);
            let told = answers.iter().filter(|a| matches!(a, PublishAnswer::Stored(_))).count();
            let mut count = |what, n| *seen.entry(what).or_default() += n;
            count("stored", told);
            count("stored and not told", log.len() - told);
            for answer in &answers {
                match answer {
                    PublishAnswer::Conflict => count("conflict", 1),
                    PublishAnswer::Duplicate(_) => count("duplicate", 1),
                    PublishAnswer::Unknown(_) => count("unknown", 1),
                    _ => {}
                }
            }
            for (i, message) in log.iter().enumerate() {
                assert_eq!(message.sequence, i as u64 + 1);
            }
        }
        for what in ["stored", "stored and not told", "conflict", "duplicate", "unknown"] {
            assert!(seen.get(what).is_some_and(|n| *n > 20), "{members:?}: {what}: {seen:?}");
        }
    }
}

#[test]
fn a_replica_lags_and_shows_no_gap() {
    let mut stale = 0;
    for seed in 0..10 {
        stale += on_a_paused_clock(stale_reads(seed));
    }
    assert!(stale > 100, "{stale}");
}

/// How many of 200 reads, each after a write, did not show all.
async fn stale_reads(seed: u64) -> usize {
    let log = TwinLog::new(Members::Three, seed);
    let (mut stale, mut expected) = (0, 0);
    for _ in 0..200 {
        if let PublishAnswer::Stored(sequence) = log.publish("a", Vec::new(), Bytes::new(), expected).await {
            expected = sequence;
        } else {
            sleep(Duration::from_secs(5)).await;
            expected = log.truth().len() as u64;
        }
        let Ok(read) = log.read(Some("a"), 1, 1000).await else { continue };
        assert!(read.iter().map(|m| m.sequence).eq(1..=read.len() as u64));
        stale += usize::from((read.len() as u64) < expected);
    }
    stale
}
