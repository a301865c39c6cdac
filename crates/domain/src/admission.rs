//! Which waiting jobs may start now. A pure function of what waits, what runs and the limits.
//!
//! The accident that this prevents is P4: two writers on one repository. Borg's own lock stands behind it; this keeps
//! everybody from ever waiting on it. A backup takes that lock for itself and a restore shares it, so a backup that began
//! beside a long restore would end as "repository locked" after a minute, and a restore beside a long backup as well.

use crate::{DestinationId, JobId, NodeId, RepositoryId, ServerId};
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

/// How many jobs may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// On all servers together.
    pub global: u32,
    /// For one server whose definition does not say.
    pub per_server: u32,
    /// At one destination whose definition does not say; any number, when absent.
    pub per_destination: Option<u32>,
    /// In one repository whose definition does not say, of those that only read; any number, when absent.
    pub per_repository: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { global: 8, per_server: 4, per_destination: None, per_repository: None }
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
    /// At which destination that lies.
    pub destination: Option<DestinationId>,
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
    /// The limits of what it is for, where their definitions give one.
    pub own: OwnLimits,
}

/// The limits that definitions give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// That of its server.
    pub server: Option<u32>,
    /// That of its destination.
    pub destination: Option<u32>,
    /// That of its repository.
    pub repository: Option<u32>,
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
    /// All slots of the destination are taken.
    DestinationLimit {
        /// Which one.
        destination: DestinationId,
        /// How many there are.
        limit: u32,
    },
    /// All slots of its repository are taken.
    RepositoryLimit {
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
///
/// A higher priority goes first. Among equals it is the turn of the server that has the fewest slots, so that a server with a
/// thousand jobs does not keep the one job of another waiting; and within a server of who has waited longest.
pub fn admit(limits: Limits, holders: &[Holder], waiters: &[Waiter]) -> (Vec<JobId>, Vec<(JobId, Waiting)>) {
    let mut taken = Taken::by(holders);
    let held: HashSet<JobId> = holders.iter().map(|holder| holder.job).collect();
    let mut by_priority: BTreeMap<Reverse<u8>, HashMap<&ServerId, Vec<&Waiter>>> = BTreeMap::new();
    for waiter in waiters.iter().filter(|waiter| !held.contains(&waiter.holder.job)) {
        let of_priority = by_priority.entry(Reverse(waiter.priority)).or_default();
        of_priority.entry(&waiter.holder.server).or_default().push(waiter);
    }
    let (mut admitted, mut waiting) = (Vec::new(), Vec::new());
    for mut servers in by_priority.into_values() {
        let mut queues: HashMap<&ServerId, VecDeque<&Waiter>> = HashMap::new();
        let mut turns = BTreeSet::new();
        for (server, mut queue) in servers.drain() {
            queue.sort_by_key(|waiter| (waiter.since, waiter.holder.job));
            turns.extend(queue.first().map(|first| turn(&taken, first)));
            queues.insert(server, queue.into());
        }
        while let Some((_, _, _, server)) = turns.pop_first() {
            let Some(queue) = queues.get_mut(server) else { continue };
            let Some(waiter) = queue.pop_front() else { continue };
            match taken.wait(limits, waiter) {
                Some(why) => waiting.push((waiter.holder.job, why)),
                None => {
                    taken.enter(&waiter.holder);
                    admitted.push(waiter.holder.job);
                }
            }
            turns.extend(queue.front().map(|next| turn(&taken, next)));
        }
    }
    (admitted, waiting)
}

/// When the first of a server's queue has its turn: the least goes first.
fn turn<'a>(taken: &Taken, first: &'a Waiter) -> (u32, Timestamp, JobId, &'a ServerId) {
    let Holder { job, server, .. } = &first.holder;
    (taken.on_server(server), first.since, *job, server)
}

/// The slots that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: u32,
    servers: HashMap<ServerId, u32>,
    destinations: HashMap<DestinationId, u32>,
    rooms: HashMap<RepositoryId, Room>,
}

impl Taken {
    fn by(holders: &[Holder]) -> Self {
        let mut taken = Self::default();
        holders.iter().for_each(|holder| taken.enter(holder));
        taken
    }

    fn enter(&mut self, holder: &Holder) {
        self.all = self.all.saturating_add(1);
        *self.servers.entry(holder.server.clone()).or_default() += 1;
        if let Some(destination) = &holder.destination {
            *self.destinations.entry(destination.clone()).or_default() += 1;
        }
        if let Some(repository) = &holder.repository {
            self.rooms.entry(repository.clone()).or_default().enter(holder);
        }
    }

    fn on_server(&self, server: &ServerId) -> u32 {
        self.servers.get(server).copied().unwrap_or(0)
    }

    /// Why a job has to wait; nothing, when it may start.
    fn wait(&mut self, limits: Limits, waiter: &Waiter) -> Option<Waiting> {
        let Holder { job, server, repository, destination, writes } = &waiter.holder;
        let mut room = repository.as_ref().map(|id| self.rooms.entry(id.clone()).or_default());
        if let Some(behind) = room.as_ref().and_then(|room| room.behind(*writes)) {
            if let Some(room) = room.filter(|_| *writes) {
                room.next.get_or_insert(*job);
            }
            return Some(Waiting::Repository { behind });
        }
        let in_room = room.as_mut().map_or(0, |room| room.count);
        let on_server = self.on_server(server);
        if self.all >= limits.global {
            return Some(Waiting::GlobalLimit { limit: limits.global });
        }
        let limit = waiter.own.server.unwrap_or(limits.per_server);
        if on_server >= limit {
            return Some(Waiting::ServerLimit { limit });
        }
        if let Some(destination) = destination
            && let Some(limit) = waiter.own.destination.or(limits.per_destination)
            && self.destinations.get(destination).copied().unwrap_or(0) >= limit
        {
            return Some(Waiting::DestinationLimit { destination: destination.clone(), limit });
        }
        let limit = repository.as_ref().and(waiter.own.repository.or(limits.per_repository));
        limit.filter(|limit| in_room >= *limit).map(|limit| Waiting::RepositoryLimit { limit })
    }
}

/// Who is at work in a repository.
#[derive(Debug, Default)]
struct Room {
    writer: Option<JobId>,
    reader: Option<JobId>,
    /// How many there are.
    count: u32,
    /// A writer that waits for readers: those that come after it do not go before it, or it would wait for ever.
    next: Option<JobId>,
}

impl Room {
    fn enter(&mut self, holder: &Holder) {
        self.count = self.count.saturating_add(1);
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
                destination: Some("d".parse().unwrap()),
                writes,
            },
            node: "n".parse().unwrap(),
            priority,
            since: Timestamp::from_second(i64::try_from(n).unwrap()).unwrap(),
            own: OwnLimits::default(),
        }
    }

    #[test]
    fn a_restore_goes_before_an_older_backup() {
        let limits = Limits { global: 1, per_server: 1, ..Limits::default() };
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
        let full = Limits { global: 9, per_server: 1, ..Limits::default() };
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
        let full = Limits { global: 1, per_server: 1, ..Limits::default() };
        let (admitted, waiting) = admit(full, &[waiter(1, 1, 1, true, 1).holder], &[test]);
        assert_eq!((admitted.len(), waiting.len()), (0, 1));
    }

    #[test]
    fn a_server_with_a_thousand_jobs_does_not_keep_the_one_job_of_another_waiting() {
        let mut waiters: Vec<Waiter> = (0..1000).map(|n| waiter(n, 1, n as u8, false, 1)).collect();
        waiters.push(waiter(5000, 2, 200, true, 1));
        let limits = Limits { global: 4, per_server: 4, ..Limits::default() };
        let (admitted, _) = admit(limits, &[], &waiters);
        assert!(admitted.contains(&JobId(Uuid::from_u128(5000))), "{admitted:?}");
        // What it holds already counts: the other two go to who has none.
        let running: Vec<Holder> = waiters.iter().take(2).map(|w| w.holder.clone()).collect();
        waiters.push(waiter(5001, 2, 201, true, 1));
        let (admitted, _) = admit(limits, &running, &waiters);
        assert_eq!(admitted, [5000, 5001].map(|n| JobId(Uuid::from_u128(n))));
    }

    #[test]
    fn a_destination_and_a_repository_bear_no_more_than_is_said() {
        let all: Vec<Waiter> = (1..5).map(|n| waiter(n, n as u8, n as u8, true, 1)).collect();
        let limits = Limits { per_destination: Some(2), ..Limits::default() };
        let (admitted, waiting) = admit(limits, &[], &all);
        assert_eq!(admitted.len(), 2);
        let full = Waiting::DestinationLimit { destination: "d".parse().unwrap(), limit: 2 };
        assert_eq!(waiting.iter().map(|(_, why)| why.clone()).collect::<Vec<_>>(), [full.clone(), full]);
        let own = |n: u128| Waiter {
            own: OwnLimits { destination: Some(3), ..OwnLimits::default() },
            ..waiter(n, n as u8, n as u8, true, 1)
        };
        let (admitted, _) = admit(limits, &[], &(1..5).map(own).collect::<Vec<_>>());
        assert_eq!(admitted.len(), 3, "its own limit counts");
        let readers: Vec<Waiter> = (1..5).map(|n| waiter(n, n as u8, 1, false, 1)).collect();
        let limits = Limits { per_repository: Some(3), ..Limits::default() };
        let (admitted, waiting) = admit(limits, &[], &readers);
        assert_eq!((admitted.len(), &waiting[0].1), (3, &Waiting::RepositoryLimit { limit: 3 }));
    }

    proptest! {
        #[test]
        fn slots_are_shared_evenly_by_servers_that_want_more_than_there_are(
            wanted in proptest::collection::vec(1u128..30, 1..6), global in 1u32..20,
        ) {
            let mut waiters = Vec::new();
            for (server, count) in wanted.iter().enumerate() {
                for n in 0..*count {
                    let id = server as u128 * 1000 + n;
                    let mut one = waiter(id, server as u8, 0, false, 1);
                    one.holder.repository = None;
                    waiters.push(one);
                }
            }
            let limits = Limits { global, per_server: 1000, ..Limits::default() };
            let (admitted, _) = admit(limits, &[], &waiters);
            let of = |server: usize| admitted.iter().filter(|job| job.0.as_u128() / 1000 == server as u128).count() as u128;
            for (a, wanted_a) in wanted.iter().enumerate() {
                for b in 0..wanted.len() {
                    // Who has fewer than another by more than one has all that it wants.
                    prop_assert!(of(a) + 1 >= of(b) || of(a) == *wanted_a, "{wanted:?} {global}");
                }
            }
        }

        #[test]
        fn no_limit_is_ever_passed(
            held in proptest::collection::vec((0u8..3, 0u8..4), 0..4),
            asked in proptest::collection::vec((0u8..3, 0u8..4, any::<bool>(), 0u8..4), 0..30),
            global in 1u32..8, per_server in 1u32..4,
        ) {
            let limits = Limits { global, per_server, ..Limits::default() };
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
