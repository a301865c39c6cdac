//! NATS itself: one connection, and the few calls of JetStream's API that the bus is made of. They are written out
//! as requests, because each service has the right to exactly these subjects and to no others.

mod connection;
mod log;

pub use connection::{Connection, Pulled, Settings};
pub use log::NatsLog;
