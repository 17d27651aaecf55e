//! What happened to one program, on CPython compiled to WebAssembly?
//!
//! The second backend beside `executor`'s native one, for hosts that allow no namespaces, and for
//! limits that mean the same on every machine.

pub mod engine;
pub mod snapshot;
pub mod wasi;
