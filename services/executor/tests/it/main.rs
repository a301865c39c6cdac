//! The executor with a real borg on a real nats-server. The tests play the scheduler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod accidents;
mod bounds;
mod census;
mod clusters;
mod databases;
mod databases_back;
mod downloads;
mod dump_store;
mod dump_store_copies;
mod dump_store_databases;
mod dump_store_elsewhere;
mod dump_store_files;
mod failures;
mod findings;
mod foreign;
mod gpg;
mod hooks;
mod leftovers;
mod lives;
mod look;
mod mongodb;
mod mysql;
mod mysql_connections;
mod mysql_restores;
mod placing;
mod previews;
mod quiesce;
mod restores;
mod secrecy;
mod sets;
mod sqlite;
mod stage;
mod stores;
mod wholeness;
mod work;
