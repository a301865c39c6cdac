//! Who may say and hear what: one table.
//!
//! The accident that this file prevents: subject permissions inside one account do not hold a hostile node. It wrote
//! into the log through the reply subject of an allowed request, because the server answers with its own rights. So
//! nodes have an account of their own and reach the core through service imports only, where a reply subject is a
//! subject of *their* account.

use crate::subjects;
use strongroom_domain::Kind;

/// A core service: its user, and the kinds of aggregates that it may write.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The user's name, which is the service's.
    pub user: &'static str,
    /// The aggregates that it decides about.
    pub writes: &'static [Kind],
    /// Further subjects that it may publish.
    pub publishes: &'static [&'static str],
    /// Further subjects that it may hear.
    pub hears: &'static [&'static str],
}

/// What nodes' users begin with, so that no node can take the name of a service.
pub const NODE_PREFIX: &str = "node-";

/// The core services and the provisioner, which alone may make, change and purge streams.
pub const SERVICES: &[Service] = &[
    Service { user: "provisioner", writes: &[], publishes: &["$JS.API.>"], hears: &[] },
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
        publishes: &["strongroom.secret.>", "$JS.API.DIRECT.GET.STRONGROOM_QUARANTINE"],
        hears: &["strongroom.status.>"],
    },
    Service {
        user: "scheduler",
        writes: &[Kind::Job, Kind::Schedule, Kind::Queue, Kind::Archive, Kind::Node, Kind::Server],
        publishes: &[
            "strongroom.work.>",
            "$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_REPORTS.scheduler",
            "$JS.ACK.STRONGROOM_REPORTS.scheduler.>",
            "$JS.API.STREAM.PURGE.STRONGROOM_INDEXES",
        ],
        hears: &["strongroom.lease.*", "strongroom.status.>"],
    },
    Service {
        user: "catalog",
        writes: &[Kind::Audit],
        publishes: &["$JS.API.DIRECT.GET.STRONGROOM_INDEXES"],
        hears: &["strongroom.status.>"],
    },
    Service { user: "recovery", writes: &[Kind::Session, Kind::Proof], publishes: &[], hears: &[] },
    Service { user: "notifier", writes: &[Kind::Notification], publishes: &[], hears: &[] },
];

/// What every core service may publish to follow the log, ask and answer.
const COMMON_PUBLISH: &[&str] = &[
    "$JS.API.STREAM.INFO.STRONGROOM",
    "$JS.API.DIRECT.GET.STRONGROOM",
    "$JS.API.DIRECT.GET.STRONGROOM_STATUS",
    "$JS.API.DIRECT.GET.STRONGROOM_SECRETS",
    "strongroom.query.>",
];

/// The rights of one user: what it may publish and what it may subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Subjects to publish.
    pub publish: Vec<String>,
    /// Subjects to subscribe to.
    pub subscribe: Vec<String>,
    /// Whether it may answer requests on the asker's reply subject.
    pub answers: bool,
}

impl Service {
    /// The rights that the table gives this service.
    pub fn rights(&self) -> Rights {
        let mut publish: Vec<String> = self.writes.iter().map(|k| format!("strongroom.evt.{k}.*")).collect();
        publish.extend(self.publishes.iter().map(|s| (*s).to_owned()));
        let mut subscribe = vec![format!("_INBOX_{}.>", self.user)];
        subscribe.extend(self.hears.iter().map(|s| (*s).to_owned()));
        let answers = !self.writes.is_empty();
        if answers {
            publish.extend(COMMON_PUBLISH.iter().map(|s| (*s).to_owned()));
            publish.push(subjects::quarantine(self.user, ">"));
            subscribe.push(subjects::EVENTS.to_owned());
            // A service hears the questions to itself only, so that it cannot answer in another's name.
            subscribe.push(subjects::query(self.user, ">"));
        }
        Rights { publish, subscribe, answers }
    }
}

/// What the core account opens to the nodes' account, as (subject, whether many messages may answer).
pub const NODE_EXPORTS: &[(&str, bool)] = &[
    ("$JS.API.CONSUMER.MSG.NEXT.STRONGROOM_WORK.*", true),
    ("$JS.ACK.STRONGROOM_WORK.>", false),
    ("strongroom.report.*", false),
    ("strongroom.status.*.*", false),
    ("strongroom.index.*.*.*", false),
    ("strongroom.lease.*", false),
];

/// The rights of a node inside its account: its own subjects and no other's.
pub fn node_rights(node: &str) -> Rights {
    Rights {
        publish: vec![
            format!("$JS.API.CONSUMER.MSG.NEXT.{}.{node}", subjects::WORK),
            format!("$JS.ACK.{}.{node}.>", subjects::WORK),
            subjects::report(node),
            subjects::status(node, "*"),
            format!("strongroom.index.{node}.*.*"),
            subjects::lease(node),
        ],
        subscribe: vec![format!("_INBOX_{NODE_PREFIX}{node}.>")],
        answers: false,
    }
}
