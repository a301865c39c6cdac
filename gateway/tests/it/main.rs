//! The gateway on a real log, asked over HTTP; the other services are played.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod applications;
mod archives;
mod cleanup;
mod databases;
mod definitions;
mod downloads;
mod dumps;
mod ending;
mod events;
mod holds;
mod mongodb;
mod mysql;
mod players;
mod probes;
mod repositories;
mod requests;
mod retention;
mod schedules;
mod settings;
mod stage;
mod stores;
mod system;
mod tokens;
mod variants;
mod work;
