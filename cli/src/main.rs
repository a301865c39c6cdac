//! The strongroom binary: hosts everything on one machine, and is a client of the HTTP API.

fn main() {}
