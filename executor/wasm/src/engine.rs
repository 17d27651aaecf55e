//! The one configuration of wasmtime: what setup compiles, runs load.
//!
//! Fuel is a function of the module, of wasmtime's version and of nothing here that could differ
//! between hosts; a compiled module is a function of all of it, so [`config_hash`] is part of its
//! file's name.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy, WasmBacktraceDetails,
};

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
/// The host lacks address space or memory for the pool.
pub fn engine(mode: Mode) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    // One guest at a time in a worker process.
    pool.total_core_instances(1)
        .total_memories(1)
        .total_tables(1)
        .max_unused_warm_slots(1)
        .table_elements(65_536)
        .max_core_instance_size(4 * MIB)
        .max_memory_size(4096 * MIB)
        // Pages a run has touched are reset in place rather than given back. Without the kernel's
        // help in finding them that would be slower than giving everything back.
        .linear_memory_keep_resident(64 * MIB)
        .table_keep_resident(MIB)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(WASM_STACK_BYTES)
        // Unused, but wasmtime wants it to be no smaller.
        .async_stack_size(THREAD_STACK_BYTES)
        // The snapshot is mapped copy-on-write whatever its size; copied it costs milliseconds.
        .memory_guaranteed_dense_image_size(128 * MIB as u64);
    settings(&mut config, mode);
    Engine::new(&config)
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
        .memory_reservation(4096 * MIB as u64)
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
