//! What is measured against its rivals.

fn main() {}
