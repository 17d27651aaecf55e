//! What happened to one program, on CPython compiled to WebAssembly?
//!
//! The second backend beside `executor`'s native one, for hosts that allow no namespaces, and for
//! limits that mean the same on every machine. [`WasmSandbox`] is a [`Runner`](executor::Runner):
//! whoever has runs made does not know which backend makes them.
//!
//! A run goes from [`sandbox`](WasmSandbox) through a worker process (`pool.rs`, `protocol.rs`,
//! [`worker`]) to an instance of its own (`guest.rs`), which sees the world through [`wasi`].
//! [`engine`] is the one configuration of wasmtime. [`AutoRunner`] joins both backends.

mod auto;
pub mod cache;
mod confine;
pub mod engine;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod image;
mod memory;
mod missing;
mod pool;
mod protocol;
mod sandbox;
pub mod setup;
pub mod snapshot;
pub mod wasi;
pub mod worker;

pub use auto::AutoRunner;
pub use cache::{Cache, SetupError};
pub use engine::{Mode, WASMTIME_VERSION};
pub use guest::{RUN, STDLIB};
pub use sandbox::{Bundle, FUEL_PER_SECOND, WasmConfig, WasmSandbox};
