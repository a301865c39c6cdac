//! What the executor decides, without I/O: how borg is called, what its words mean, where a restore may write.

pub mod archive;
pub mod census;
pub mod clouds;
pub mod command;
pub mod dump;
pub mod dump_store;
pub mod file_name;
pub mod finding;
pub mod findings;
pub mod health;
pub mod hex;
pub mod index;
pub mod lines;
pub mod manifest;
pub mod messages;
pub mod mysql;
pub mod paths;
pub mod postgresql;
pub mod progress;
pub mod restoring;
pub mod ssh;
pub mod sum;
pub mod surrogates;
pub mod tail;
pub mod tar;
