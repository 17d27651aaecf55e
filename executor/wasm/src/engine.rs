//! The one configuration of wasmtime: what setup compiles, runs load.
//!
//! Fuel is a function of the module, of wasmtime's version and of nothing here that could differ
//! between hosts; a compiled module is a function of all of it, so [`config_hash`] is part of its
//! file's name.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use std::sync::Arc;

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, Strategy, WasmBacktraceDetails,
};

use crate::memory::{GUARD_BYTES, Memories, Place, RESERVED_BYTES};

/// wasmtime's version, as reports and file names say it. Pinned in `Cargo.toml`; a test compares.
pub const WASMTIME_VERSION: &str = "48.0.8";

const MIB: usize = 1024 * 1024;
/// What compiled code may use of the worker thread's stack; CPython's own recursion limits come
/// first.
pub(crate) const WASM_STACK_BYTES: usize = 32 * MIB;
/// The stack of the thread that runs guests: the guest's, and the host's own frames below it.
pub(crate) const THREAD_STACK_BYTES: usize = WASM_STACK_BYTES + 32 * MIB;

/// How time is limited.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By fuel, with a virtual clock: the same on every machine, at any load.
    #[default]
    Deterministic,
    /// By the real clock: faster, and like the native backend as repeatable as its host is idle.
    Plain,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Deterministic, Self::Plain];

    /// The word used in file names and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Plain => "plain",
        }
    }
}

/// wasmtime configured for `mode`; used to compile a module and to run it.
///
/// # Errors
///
/// This host's processor is none that code can be made for.
pub fn engine(mode: Mode) -> wasmtime::Result<Engine> {
    Engine::new(&config(mode))
}

/// The same, whose guests have their memory at `place`.
pub(crate) fn engine_at(mode: Mode, place: Arc<Place>) -> wasmtime::Result<Engine> {
    let mut config = config(mode);
    config.with_host_memory(Arc::new(Memories(place)));
    Engine::new(&config)
}

fn config(mode: Mode) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Unused, but wasmtime wants it to be no smaller.
        .async_stack_size(THREAD_STACK_BYTES);
    settings(&mut config, mode);
    config
}

/// Everything that compiled code depends on.
fn settings(config: &mut Config, mode: Mode) {
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // A NaN's bits must not depend on the processor.
        .cranelift_nan_canonicalization(true)
        .consume_fuel(mode == Mode::Deterministic)
        .epoch_interruption(mode == Mode::Plain)
        .memory_reservation(RESERVED_BYTES as u64)
        .memory_guard_size(GUARD_BYTES as u64)
        .memory_may_move(false)
        // A memory's image is ours (`image.rs`).
        .memory_init_cow(false)
        .wasm_relaxed_simd(false)
        .wasm_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false);
}

/// Names everything that code compiled by `engine` depends on, the processor's features included
/// (a cache folder can be on a file system that unlike hosts share): 16 hexadecimal digits.
pub fn config_hash(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_linked() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry), "Cargo.lock has another wasmtime");
    }

    #[test]
    fn modes_have_engines_and_names_of_their_own() {
        let [one, other] = Mode::ALL.map(|mode| config_hash(&engine(mode).expect("an engine")));
        assert_ne!(one, other);
    }
}
