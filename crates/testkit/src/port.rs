//! Ports that no other test takes: not at the same time, and not while a server that was killed is down.

use anyhow::{Context, Result};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// Below the range that the system takes ports for outgoing connections from: those would come and go on a port whose
/// server is down for a moment.
const FIRST: u64 = 15_000;
const LAST: u64 = 32_000;

/// A TCP port on loopback. It is ours for as long as this lives, among all tests of this machine.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: File,
}

impl Port {
    /// A port that nobody uses.
    pub fn claim() -> Result<Self> {
        let folder = std::env::temp_dir().join("strongroom-test-ports");
        std::fs::create_dir_all(&folder)?;
        let range = LAST - FIRST;
        let start = RandomState::new().hash_one(std::process::id()) % range;
        for offset in 0..range {
            let number = u16::try_from(FIRST + (start + offset) % range)?;
            let path = folder.join(number.to_string());
            let claim = File::create(&path).with_context(|| path.display().to_string())?;
            if claim.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        anyhow::bail!("no port between {FIRST} and {LAST} is free")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_out_once_even_while_nobody_listens_there() {
        let ports: Vec<Port> = (0..50).map(|_| Port::claim().unwrap()).collect();
        let numbers: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
    }
}
