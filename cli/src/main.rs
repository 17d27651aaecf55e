//! The `codejury` command: arguments become one validated configuration, then a library call.
fn main() {}
