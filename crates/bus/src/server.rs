//! The nats-server beneath: its keys, rights, configuration, streams, and the child that runs it.

pub mod binary;
pub mod child;
pub mod config;
pub mod keys;
pub mod monitor;
pub mod permissions;
pub mod provision;
pub mod supervisor;
