//! Who may say and hear what: one table.
//!
//! The accident that this file prevents: permissions on subjects do not hold a hostile user inside an account. The
//! server answers with its own rights to whatever reply subject a request carries, so one that may read anything may
//! also have it stored as an event of any aggregate; and one that may answer a question may ask itself one, with an
//! event's subject to reply to. Both were done, on a real server (`docs/decisions`). So every user has an account of its
//! own, the streams have one more, and what an account imports is all that it can reach: a reply subject is then a
//! subject of the asker's account, where nothing listens. The permissions of each user say the same a second time.

use crate::subjects;
use strongroom_domain::{Kind, NodeId};

/// A core service: its user, and the kinds of aggregates that it may write.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The user's name, which is the service's and its account's.
    pub user: &'static str,
    /// The aggregates that it decides about.
    pub writes: &'static [Kind],
    /// Further subjects of the store that it may publish to.
    pub publishes: &'static [&'static str],
    /// Further subjects that it may hear, as they come.
    pub hears: &'static [&'static str],
}

/// The user that makes, changes and purges streams, and the only one in the account of the streams.
pub const PROVISIONER: &str = "provisioner";

/// The account of the streams.
pub const STORE: &str = "store";

/// What nodes' users begin with, so that no node can take the name of a service.
pub const NODE_PREFIX: &str = "node-";

/// The core services.
pub const SERVICES: &[Service] = &[
    Service {
        user: "gateway",
        writes: &[
            Kind::Server,
            Kind::Destination,
            Kind::Repository,
            Kind::Plan,
            Kind::Guard,
            Kind::Channel,
            Kind::Template,
            Kind::Token,
            Kind::Settings,
            Kind::Job,
            Kind::Archive,
            Kind::Session,
        ],
        publishes: &[
            "strongroom.secret.*.*",
            "$JS.API.STREAM.MSG.GET.STRONGROOM_SECRETS",
            "$JS.API.DIRECT.GET.STRONGROOM_QUARANTINE",
        ],
        hears: &[subjects::STORED_STATUSES, PIECES],
    },
    Service {
        user: "scheduler",
        writes: &[
            Kind::Job,
            Kind::Schedule,
            Kind::Retention,
            Kind::Queue,
            Kind::Archive,
            Kind::Node,
            Kind::Server,
        ],
        publishes: &[
            "strongroom.work.*",
            "$JS.API.STREAM.INFO.STRONGROOM_WORK",
            "$JS.API.DIRECT.GET.STRONGROOM_WORK",
            "$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_REPORTS.scheduler",
            "$JS.ACK.STRONGROOM_REPORTS.scheduler.>",
            "$JS.API.STREAM.MSG.GET.STRONGROOM_SECRETS",
            "$JS.API.STREAM.PURGE.STRONGROOM_INDEXES",
        ],
        hears: &[subjects::STORED_STATUSES, LEASES],
    },
    Service {
        user: "catalog",
        writes: &[Kind::Audit],
        publishes: &["$JS.API.STREAM.MSG.GET.STRONGROOM_INDEXES", "$JS.API.DIRECT.GET.STRONGROOM_QUARANTINE"],
        hears: &[subjects::STORED_STATUSES],
    },
    Service {
        user: "recovery",
        writes: &[Kind::Session, Kind::Proof],
        publishes: &["$JS.API.STREAM.MSG.GET.STRONGROOM_SECRETS"],
        hears: &[],
    },
    Service {
        user: "notifier",
        writes: &[Kind::Notification],
        publishes: &["$JS.API.STREAM.MSG.GET.STRONGROOM_SECRETS"],
        hears: &[],
    },
];

/// What every core service may publish to, to follow the log and to look at status.
const COMMON: &[&str] = &[
    "$JS.API.STREAM.INFO.STRONGROOM",
    "$JS.API.STREAM.MSG.GET.STRONGROOM",
    "$JS.API.DIRECT.GET.STRONGROOM",
    "$JS.API.STREAM.MSG.GET.STRONGROOM_STATUS",
];

/// Where nodes ask whether their attempts still stand; the scheduler hears it and answers.
const LEASES: &str = "strongroom.lease.*";

/// Where nodes send the pieces of downloads; the gateway that waits for one hears it and answers.
const PIECES: &str = "strongroom.piece.*.*";

/// What of nodes a service answers besides, when it hears it.
const OF_NODES: [&str; 2] = [LEASES, PIECES];

/// Imported by every account and allowed to nobody. Without it the server gives an account that has no streams an import
/// of the whole JetStream API, which then answers "not enabled" before the store has answered at all.
const SHADOW: &str = "$JS.API.INFO";

/// How many messages may answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// One.
    One,
    /// Any number, with at most this time before the first and between two. The server remembers the asker for that
    /// long, so it is no longer than it must be where questions are frequent.
    Many {
        /// In seconds.
        within_s: u32,
    },
}

/// What the account of the streams opens. What an account may reach of it is what it imports.
const STORE_SERVICES: &[(&str, Answers)] = &[
    ("strongroom.evt.*.*", Answers::One),
    ("strongroom.work.*", Answers::One),
    ("strongroom.report.*", Answers::One),
    ("strongroom.status.*.*", Answers::One),
    ("strongroom.secret.*.*", Answers::One),
    ("strongroom.index.*.*.*", Answers::One),
    ("strongroom.quarantine.>", Answers::One),
    (SHADOW, Answers::One),
    ("$JS.API.STREAM.INFO.*", Answers::One),
    ("$JS.API.STREAM.MSG.GET.*", Answers::One),
    ("$JS.API.STREAM.PURGE.STRONGROOM_INDEXES", Answers::One),
    ("$JS.API.DIRECT.GET.*", Answers::Many { within_s: 10 }),
    // A pull waits for work: this is the longest that it may.
    ("$JS.API.CONSUMER.MSG.NEXT.*.*", Answers::Many { within_s: 120 }),
    ("$JS.ACK.>", Answers::One),
];

/// What may be heard of the account of the streams, as it comes.
const STORE_FEEDS: &[&str] = &[subjects::STORED_EVENTS, subjects::STORED_STATUSES];

/// The rights of one user inside its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Subjects to publish.
    pub publish: Vec<String>,
    /// Subjects to subscribe to.
    pub subscribe: Vec<String>,
}

/// What an account opens to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// Requests to this subject.
    Service(String, Answers),
    /// What is published on this subject.
    Feed(String),
}

/// What an account can reach of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// Requests to this subject are carried to that account.
    Service {
        /// Which account.
        account: String,
        /// Which subject, the same on both sides.
        subject: String,
    },
    /// What is published on this subject there is heard here.
    Feed {
        /// Which account.
        account: String,
        /// Which subject, the same on both sides.
        subject: String,
    },
}

/// An account with its one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user.
    pub user: String,
    /// What the user may do inside of it.
    pub rights: Rights,
    /// What others may reach.
    pub exports: Vec<Export>,
    /// What it reaches of others.
    pub imports: Vec<Import>,
}

impl Account {
    /// Whether the streams are in this account.
    pub fn has_streams(&self) -> bool {
        self.name == STORE
    }
}

/// All accounts: that of the streams, one a core service, one a node.
pub fn accounts(nodes: &[NodeId]) -> Vec<Account> {
    let services = SERVICES.iter().map(Service::account);
    std::iter::once(store()).chain(services).chain(nodes.iter().map(node)).collect()
}

/// The user of a node.
pub fn node_user(node: &NodeId) -> String {
    format!("{NODE_PREFIX}{node}")
}

fn store() -> Account {
    let services =
        STORE_SERVICES.iter().map(|(subject, answers)| Export::Service((*subject).into(), *answers));
    let feeds = STORE_FEEDS.iter().map(|subject| Export::Feed((*subject).into()));
    Account {
        name: STORE.into(),
        user: PROVISIONER.into(),
        rights: Rights { publish: vec!["$JS.API.>".into()], subscribe: vec![inbox(PROVISIONER)] },
        exports: services.chain(feeds).collect(),
        imports: Vec::new(),
    }
}

impl Service {
    fn account(&self) -> Account {
        let mut reached: Vec<String> = self.writes.iter().map(|k| format!("strongroom.evt.{k}.*")).collect();
        reached.extend(COMMON.iter().chain(self.publishes).map(|s| (*s).to_owned()));
        reached.push(subjects::quarantine(self.user, ">"));
        let mut imports = from_store(&reached);
        let heard =
            std::iter::once(&subjects::STORED_EVENTS).chain(self.hears).filter(|s| STORE_FEEDS.contains(s));
        imports.extend(heard.map(|s| Import::Feed { account: STORE.into(), subject: (*s).into() }));
        for other in SERVICES.iter().filter(|other| other.user != self.user) {
            let (account, subject) = (other.user.into(), subjects::query(other.user, ">"));
            imports.push(Import::Service { account, subject });
        }
        let mut exports = vec![Export::Service(subjects::query(self.user, ">"), Answers::One)];
        for subject in OF_NODES.into_iter().filter(|subject| self.hears.contains(subject)) {
            exports.push(Export::Service(subject.into(), Answers::One));
        }
        let mut publish = reached;
        publish.push(subjects::query("*", ">"));
        // Where questions from other accounts are answered. Not `allow_responses`: whoever asks itself a question would
        // gain the right to any subject that it names as the reply.
        publish.push("_R_.>".into());
        let mut subscribe =
            vec![inbox(self.user), subjects::STORED_EVENTS.into(), subjects::query(self.user, ">")];
        subscribe.extend(self.hears.iter().map(|s| (*s).to_owned()));
        Account {
            name: self.user.into(),
            user: self.user.into(),
            rights: Rights { publish, subscribe },
            exports,
            imports,
        }
    }
}

/// A node pulls its own work, acks it, reports, says how it is, stores indexes, asks for its lease, and sends the pieces of
/// downloads of its own jobs. Nothing else.
fn node(node: &NodeId) -> Account {
    let name = node.as_str();
    let stored = [
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{name}", subjects::WORK),
        format!("$JS.ACK.{}.{name}.>", subjects::WORK),
        subjects::report(name),
        subjects::status(name, "*"),
        format!("strongroom.index.{name}.*.*"),
    ];
    let answered = [(LEASES, subjects::lease(name)), (PIECES, subjects::piece(name, "*"))];
    let mut imports = from_store(&stored);
    for (heard, subject) in &answered {
        let answering = SERVICES.iter().filter(|s| s.hears.contains(heard));
        imports
            .extend(answering.map(|s| Import::Service { account: s.user.into(), subject: subject.clone() }));
    }
    let user = node_user(node);
    Account {
        name: user.clone(),
        rights: Rights {
            publish: stored.into_iter().chain(answered.map(|(_, subject)| subject)).collect(),
            subscribe: vec![inbox(&user)],
        },
        user,
        exports: Vec::new(),
        imports,
    }
}

fn inbox(user: &str) -> String {
    format!("_INBOX_{user}.>")
}

fn from_store(subjects: &[String]) -> Vec<Import> {
    let all = std::iter::once(SHADOW).chain(subjects.iter().map(String::as_str));
    all.map(|subject| Import::Service { account: STORE.into(), subject: subject.into() }).collect()
}

#[cfg(test)]
mod tests;
