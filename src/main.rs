//! The command line, still empty.

fn main() {}
