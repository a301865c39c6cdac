//! Which waiting jobs may start now. A pure function of what waits, what runs and the limits.
//!
//! The accident that this prevents is P4: two writers on one repository. Borg's own lock stands behind it; this keeps
//! everybody from ever waiting on it. A backup takes that lock for itself and a restore shares it, so a backup that began
//! beside a long restore would end as "repository locked" after a minute, and a restore beside a long backup as well.

use crate::{JobId, NodeId, RepositoryId, ServerId};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

/// How many jobs may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// On all servers together.
    pub global: u32,
    /// For one server whose definition does not say.
    pub per_server: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { global: 8, per_server: 4 }
    }
}

/// A job that holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which job.
    pub job: JobId,
    /// For which server.
    pub server: ServerId,
    /// On which repository, when it is on one.
    pub repository: Option<RepositoryId>,
    /// Whether it writes there.
    pub writes: bool,
}

/// A job that waits for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// What it will hold.
    pub holder: Holder,
    /// Which node will do it.
    pub node: NodeId,
    /// Higher goes first.
    pub priority: u8,
    /// Earlier goes first among equals.
    pub since: Timestamp,
    /// The limit of its server, when its definition gives one.
    pub server_limit: Option<u32>,
}

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "waits_for", rename_all = "snake_case")]
pub enum Waiting {
    /// All slots are taken.
    GlobalLimit {
        /// How many there are.
        limit: u32,
    },
    /// All slots of its server are taken.
    ServerLimit {
        /// How many there are.
        limit: u32,
    },
    /// Another job is at work in its repository (one that writes is there alone), or is next there.
    Repository {
        /// That job.
        behind: JobId,
    },
    /// Its node is not heard of.
    Node {
        /// That node.
        node: NodeId,
    },
}

/// Decides for all waiting jobs at once: who may start, in that order, and why each of the others waits.
pub fn admit(limits: Limits, holders: &[Holder], waiters: &[Waiter]) -> (Vec<JobId>, Vec<(JobId, Waiting)>) {
    let mut order: Vec<&Waiter> = waiters.iter().collect();
    order.sort_by_key(|w| (std::cmp::Reverse(w.priority), w.since, w.holder.job));

    let mut running = u32::try_from(holders.len()).unwrap_or(u32::MAX);
    let mut by_server: HashMap<ServerId, u32> = HashMap::new();
    let mut rooms: HashMap<RepositoryId, Room> = HashMap::new();
    let mut held: HashSet<JobId> = HashSet::new();
    for holder in holders {
        *by_server.entry(holder.server.clone()).or_default() += 1;
        if let Some(repository) = &holder.repository {
            rooms.entry(repository.clone()).or_default().enter(holder);
        }
        held.insert(holder.job);
    }

    let (mut admitted, mut waiting) = (Vec::new(), Vec::new());
    for waiter in order {
        let Holder { job, server, repository, writes } = &waiter.holder;
        let server_limit = waiter.server_limit.unwrap_or(limits.per_server);
        let on_server = by_server.get(server).copied().unwrap_or(0);
        if held.contains(job) {
            continue;
        }
        let mut room = repository.as_ref().map(|repository| rooms.entry(repository.clone()).or_default());
        if let Some(behind) = room.as_ref().and_then(|room| room.behind(*writes)) {
            if let Some(room) = room.filter(|_| *writes) {
                room.next.get_or_insert(*job);
            }
            waiting.push((*job, Waiting::Repository { behind }));
        } else if running >= limits.global {
            waiting.push((*job, Waiting::GlobalLimit { limit: limits.global }));
        } else if on_server >= server_limit {
            waiting.push((*job, Waiting::ServerLimit { limit: server_limit }));
        } else {
            running += 1;
            *by_server.entry(server.clone()).or_default() += 1;
            if let Some(room) = &mut room {
                room.enter(&waiter.holder);
            }
            admitted.push(*job);
        }
    }
    (admitted, waiting)
}

/// Who is at work in a repository.
#[derive(Debug, Default)]
struct Room {
    writer: Option<JobId>,
    reader: Option<JobId>,
    /// A writer that waits for readers: those that come after it do not go before it, or it would wait for ever.
    next: Option<JobId>,
}

impl Room {
    fn enter(&mut self, holder: &Holder) {
        if holder.writes { &mut self.writer } else { &mut self.reader }.get_or_insert(holder.job);
    }

    /// Whom one that comes now has to wait for.
    fn behind(&self, writes: bool) -> Option<JobId> {
        self.writer.or(if writes { self.reader } else { self.next })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn waiter(n: u128, server: u8, repository: u8, writes: bool, priority: u8) -> Waiter {
        Waiter {
            holder: Holder {
                job: JobId(Uuid::from_u128(n)),
                server: format!("s{server}").parse().unwrap(),
                repository: Some(format!("r{repository}").parse().unwrap()),
                writes,
            },
            node: "n".parse().unwrap(),
            priority,
            since: Timestamp::from_second(i64::try_from(n).unwrap()).unwrap(),
            server_limit: None,
        }
    }

    #[test]
    fn a_restore_goes_before_an_older_backup() {
        let limits = Limits { global: 1, per_server: 1 };
        let (admitted, waiting) = admit(limits, &[], &[waiter(1, 1, 1, true, 1), waiter(2, 1, 2, false, 3)]);
        assert_eq!(admitted, [JobId(Uuid::from_u128(2))]);
        assert_eq!(waiting, [(JobId(Uuid::from_u128(1)), Waiting::GlobalLimit { limit: 1 })]);
    }

    #[test]
    fn the_second_writer_of_a_repository_says_whom_it_waits_for() {
        let (admitted, waiting) =
            admit(Limits::default(), &[], &[waiter(1, 1, 1, true, 1), waiter(2, 2, 1, true, 1)]);
        assert_eq!(admitted, [JobId(Uuid::from_u128(1))]);
        assert_eq!(waiting[0].1, Waiting::Repository { behind: JobId(Uuid::from_u128(1)) });
    }

    #[test]
    fn a_backup_waits_for_a_restore_and_an_index_waits_behind_the_backup() {
        let job = |n| JobId(Uuid::from_u128(n));
        let restore = waiter(1, 1, 1, false, 3).holder;
        let (backup, index) = (waiter(2, 1, 1, true, 1), waiter(3, 1, 1, false, 0));
        let (admitted, waiting) = admit(Limits::default(), &[restore], &[index.clone(), backup.clone()]);
        assert!(admitted.is_empty());
        let behind = |n| Waiting::Repository { behind: job(n) };
        assert_eq!(waiting, [(job(2), behind(1)), (job(3), behind(2))]);
        // Two that only read are there together.
        let (admitted, _) = admit(Limits::default(), &[waiter(1, 1, 1, false, 3).holder], &[index]);
        assert_eq!(admitted, [job(3)]);
        // A backup that waits for something else keeps nobody out.
        let full = Limits { global: 9, per_server: 1 };
        let other = waiter(4, 1, 2, false, 3).holder;
        let elsewhere = Waiter { node: "n".parse().unwrap(), ..waiter(5, 2, 1, false, 0) };
        let (admitted, _) = admit(full, &[other], &[backup, elsewhere]);
        assert_eq!(admitted, [job(5)]);
    }

    #[test]
    fn a_job_without_a_repository_waits_for_none() {
        let mut test = waiter(2, 1, 1, false, 4);
        test.holder.repository = None;
        let writer = waiter(1, 1, 1, true, 1).holder;
        let (admitted, _) = admit(
            Limits::default(),
            &[writer],
            &[test.clone(), Waiter { since: test.since, ..test.clone() }],
        );
        assert_eq!(admitted.first(), Some(&test.holder.job));
        let full = Limits { global: 1, per_server: 1 };
        let (admitted, waiting) = admit(full, &[waiter(1, 1, 1, true, 1).holder], &[test]);
        assert_eq!((admitted.len(), waiting.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn no_limit_is_ever_passed(
            held in proptest::collection::vec((0u8..3, 0u8..4), 0..4),
            asked in proptest::collection::vec((0u8..3, 0u8..4, any::<bool>(), 0u8..4), 0..30),
            global in 1u32..8, per_server in 1u32..4,
        ) {
            let limits = Limits { global, per_server };
            let holders: Vec<Holder> = held.iter().enumerate()
                .map(|(i, (s, r))| waiter(1000 + i as u128, *s, *r, false, 0).holder).collect();
            let waiters: Vec<Waiter> = asked.iter().enumerate()
                .map(|(i, (s, r, w, p))| waiter(i as u128, *s, *r, *w, *p)).collect();
            let (admitted, waiting) = admit(limits, &holders, &waiters);
            prop_assert_eq!(admitted.len() + waiting.len(), waiters.len());
            let now: Vec<&Holder> = holders.iter()
                .chain(waiters.iter().map(|w| &w.holder).filter(|h| admitted.contains(&h.job))).collect();
            if !admitted.is_empty() {
                prop_assert!(now.len() as u32 <= global);
            }
            for writer in now.iter().filter(|h| h.writes) {
                let there = now.iter().filter(|h| h.repository == writer.repository).count();
                prop_assert_eq!(there, 1);
            }
        }
    }
}
