//! A log with much in it, written as the services write it.

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;
use std::path::Path;
use strongroom_bus::nats::Settings;
use strongroom_bus::{Bus, Context, Head, NewEvent};
use strongroom_domain::{Aggregate, ArchiveId, Event, EventId, JobId, Kind, RepositoryId};
use uuid::Uuid;

/// Appends at once: each waits until it is on disk.
const AT_ONCE: usize = 256;

/// The log of a `strongroom up` with this data folder, as the scheduler writes it.
pub async fn scheduler_of(data: &Path) -> Result<Bus> {
    let config = std::fs::read_to_string(data.join("nats-server.conf"))?;
    let listen = config.lines().find_map(|l| l.strip_prefix("listen: ")).unwrap_or_default();
    let settings = Settings {
        urls: format!("nats://{}", listen.trim_matches('"')),
        user: "scheduler".into(),
        nkey_file: data.join("keys/scheduler.nk"),
    };
    Ok(Bus::connect(&settings).await?)
}

/// Archives that a scan found: one event each.
pub async fn archives(bus: &Bus, count: u64) -> Result<()> {
    each(count, async |n| {
        let repository: RepositoryId = "filled".parse()?;
        let borg_id = format!("{n:064x}");
        let id = ArchiveId::of(&repository, &borg_id);
        let at = jiff::Timestamp::from_second(1_700_000_000 + i64::try_from(n)?)?;
        let adopted = json!({
            "repository": repository, "server": "filled", "plan": "filled", "job": Uuid::now_v7(),
            "facts": {
                "id": id, "name": format!("filled-{n}"), "borg_id": borg_id, "started_at": at, "ended_at": at,
                "stats": {
                    "files": 100 + n, "original_size_bytes": 1_000_000 + n, "compressed_size_bytes": 500_000,
                    "deduplicated_size_bytes": 10_000, "duration_ms": 1000, "average_rate_bytes_per_s": 1_000_000,
                },
            },
        });
        append(bus, Aggregate::new(Kind::Archive, id), &Head::default(), Event::ArchiveAdopted(serde_json::from_value(adopted)?))
            .await
            .map(|_| ())
    })
    .await
}

/// Jobs from their requests to their archives: three events each.
pub async fn jobs(bus: &Bus, count: u64) -> Result<()> {
    each(count, async |n| {
        let job = JobId(Uuid::now_v7());
        let aggregate = Aggregate::new(Kind::Job, job);
        let repository: RepositoryId = "filled".parse()?;
        let borg_id = format!("{n:064x}");
        let requested = json!({
            "spec": {
                "kind": "backup", "plan": "filled", "compression": "lz4",
                "access": { "repository": repository, "location": "/b/s/filled", "encryption": "none" },
                "source": { "type": "files", "paths": ["/srv/data"], "excludes": ["*/cache"] },
            },
            "server": "filled", "node": "filled", "trigger": { "type": "manual" },
        });
        let started = json!({ "attempt": 1, "node": "filled", "epoch": n + 1, "boot": "b" });
        let at = jiff::Timestamp::from_second(1_700_000_000 + i64::try_from(n)?)?;
        let done = json!({
            "epoch": n + 1,
            "outcome": {
                "completeness": "complete",
                "result": {
                    "kind": "backup",
                    "archive": {
                        "id": ArchiveId::of(&repository, &borg_id), "name": format!("filled-{job}"), "borg_id": borg_id,
                        "started_at": at, "ended_at": at,
                    },
                },
            },
        });
        let mut head = Head::default();
        for event in [
            Event::JobRequested(serde_json::from_value(requested)?),
            Event::JobStarted(serde_json::from_value(started)?),
            Event::JobSucceeded(serde_json::from_value(done)?),
        ] {
            head = append(bus, aggregate.clone(), &head, event).await?;
        }
        Ok(())
    })
    .await
}

async fn append(bus: &Bus, aggregate: Aggregate, head: &Head, event: Event) -> Result<Head> {
    let new = NewEvent { id: EventId(Uuid::now_v7()), at: strongroom_service::clock::now(), event };
    Ok(bus.journal().append(&aggregate, head, &new, &Context::service("bench")).await?.head)
}

async fn each(count: u64, work: impl AsyncFn(u64) -> Result<()>) -> Result<()> {
    stream::iter(0..count).map(|n| Ok(work(n))).try_buffer_unordered(AT_ONCE).try_collect().await
}
