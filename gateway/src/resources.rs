//! The things of the API, a file each.

pub mod archives;
pub mod channels;
pub mod cleanup;
pub mod cluster_restores;
pub mod database_connection;
pub mod database_restores;
pub mod definition;
pub mod destinations;
pub mod downloads;
pub mod dump_restores;
pub mod holds;
pub mod jobs;
pub mod plan_retention;
pub mod plans;
pub mod probes;
pub mod repositories;
pub mod reviews;
pub mod schedules;
pub mod servers;
pub mod settings;
pub mod system;
pub mod tokens;
pub mod usage;
