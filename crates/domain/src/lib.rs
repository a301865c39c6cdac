//! The words of Strongroom and the decisions over them, without any outside world.
//!
//! This crate never does I/O, never reads the clock, never draws a random number and is never async: time and new
//! ids come in as arguments, so that every decision can be tested by given / when / then and replayed years later.
//!
//! Three families live here:
//! - **facts**: [`Event`] and the aggregates that they belong to ([`server`], [`plan`], [`job`], ...), each with its
//!   state, its `decide` functions and its `evolve`;
//! - **wire**: what travels beside the log and is never the truth ([`wire`]: work, reports, status, leases);
//! - **views**: what the catalog answers ([`view`]).

pub mod admission;
pub mod aggregate;
pub mod archive;
pub mod census;
pub mod chain;
pub mod channel;
pub mod cron;
pub mod definition;
pub mod destination;
pub mod event;
pub mod failure;
pub mod hook;
pub mod id;
pub mod job;
pub mod lateness;
pub mod node;
pub mod notification;
pub mod plan;
pub mod preview;
pub mod probe;
pub mod queue;
pub mod quiesce;
pub mod rejection;
pub mod repository;
pub mod retention;
pub mod schedule;
pub mod secret;
pub mod server;
pub mod settings;
pub mod source;
pub mod threshold;
pub mod token;
pub mod usage;
pub mod view;
pub mod wire;

pub use aggregate::{Aggregate, Kind};
pub use event::Event;
pub use failure::{Failure, FailureCode};
pub use id::{
    ArchiveId, ChannelId, DestinationId, EventId, JobId, NodeId, PlanId, RepositoryId, ServerId, TokenId,
};
pub use rejection::{FieldError, Rejection};
pub use secret::SecretRef;
