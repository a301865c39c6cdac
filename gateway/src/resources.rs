//! The things of the API, a file each.

pub mod archives;
pub mod channels;
pub mod cluster_restores;
pub mod database_connection;
pub mod database_restores;
pub mod definition;
pub mod destinations;
pub mod downloads;
pub mod dump_restores;
pub mod jobs;
pub mod plans;
pub mod probes;
pub mod repositories;
pub mod servers;
pub mod system;
pub mod tokens;
pub mod usage;
