//! The README's two commands and the repository's own checks.

fn main() {}
