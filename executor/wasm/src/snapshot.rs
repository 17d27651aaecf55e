//! Takes the snapshot: starts the interpreter once, and writes down its memory as a module of its
//! own.
//!
//! Starting CPython and importing what programs import costs tens of milliseconds; an instance of
//! the snapshot begins where that ended. The state is a function of the module, the library and
//! this crate's WASI calls, whose clock stands still here: the same input gives the same bytes.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use wasmtime::{Instance, Linker, Module, Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::engine::{self, Mode, THREAD_STACK_BYTES};
use crate::wasi::{self, GivenFile, State};

/// The export that starts the interpreter.
pub const START: &str = "wizer-initialize";
/// The export that runs a program in a started one.
pub const RUN: &str = "run_quick";
/// Where a guest finds the standard library: one archive at its folder's path, so that the paths in
/// tracebacks are those of an installed Python.
pub const STDLIB: &str = "/usr/lib/python3.11";

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file is no module that can be started here.
    #[error("{0}")]
    Module(String),
    /// It was started, and failed.
    #[error("the interpreter did not start: {error}{}", said(stderr))]
    Start {
        /// What ended it.
        error: String,
        /// What it said.
        stderr: String,
    },
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        text => format!("\n{text}"),
    }
}

/// A module that goes on where `reactor`, started with the library in `stdlib`, has arrived.
///
/// Takes seconds: `reactor` is compiled first.
///
/// # Errors
///
/// `reactor` is no module with the exports of one of ours, or does not start.
pub fn take(reactor: &[u8], stdlib: Arc<[u8]>) -> Result<Vec<u8>, SnapshotError> {
    // Guests need more stack than a thread has by default.
    thread::scope(|scope| {
        let taken = thread::Builder::new()
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, || take_here(reactor, stdlib))
            .map_err(|error| SnapshotError::Module(format!("no thread for it: {error}")))?;
        taken.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn take_here(reactor: &[u8], stdlib: Arc<[u8]>) -> Result<Vec<u8>, SnapshotError> {
    let unfit = |error: wasmtime::Error| SnapshotError::Module(format!("{error:#}"));
    let engine = engine::engine(Mode::Deterministic).map_err(unfit)?;
    let mut wizer = Wizer::new();
    wizer.init_func(START);
    let (context, instrumented) = wizer.instrument(reactor).map_err(unfit)?;
    let module = Module::new(&engine, &instrumented).map_err(unfit)?;
    let state = State::for_snapshot(vec![GivenFile {
        path: PathBuf::from(STDLIB),
        content: stdlib,
    }])
    .map_err(SnapshotError::Module)?;
    let mut store = Store::new(&engine, state);
    store.set_fuel(u64::MAX).map_err(unfit)?;
    let mut linker = Linker::new(&engine);
    wasi::add_to_linker(&mut linker).map_err(unfit)?;
    let instance = linker.instantiate(&mut store, &module).map_err(unfit)?;
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| SnapshotError::Module("it exports no memory".to_owned()))?;
    store.data_mut().set_memory(memory);
    if let Err(error) = start(&instance, &mut store) {
        return Err(SnapshotError::Start {
            error: format!("{error:#}"),
            stderr: String::from_utf8_lossy(&store.into_data().stderr()).into_owned(),
        });
    }
    let mut started = Started { instance, store };
    finished(wizer.snapshot(&context, &mut started)).map_err(unfit)
}

/// Runs constructors, then the interpreter's start.
fn start(instance: &Instance, store: &mut Store<State>) -> wasmtime::Result<()> {
    for name in ["_initialize", START] {
        instance
            .get_typed_func::<(), ()>(&mut *store, name)?
            .call(&mut *store, ())?;
    }
    Ok(())
}

/// The started interpreter, as wizer reads it.
struct Started {
    instance: Instance,
    store: Store<State>,
}

impl InstanceState for Started {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name);
        match global.expect("wizer exports it").get(&mut self.store) {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            Val::V128(value) => SnapshotVal::V128(value.as_u128()),
            other => unreachable!("wizer's validation lets no {other:?} through"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name);
        contents(memory.expect("wizer exports it").data(&self.store));
    }
}

/// The result of a future that never waits: wizer awaits nothing but [`Started`], which is ready.
fn finished<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("reading a stopped instance waits for nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_goes_on_where_its_start_arrived() {
        let reactor = wat::parse_str(
            r#"(module
                (memory (export "memory") 1)
                (global $started (mut i32) (i32.const 0))
                (func (export "_initialize") (i32.store (i32.const 16) (i32.const 7)))
                (func (export "wizer-initialize") (global.set $started (i32.load (i32.const 16))))
                (func (export "run_quick") (result i32)
                    (i32.add (global.get $started) (i32.load (i32.const 16)))))"#,
        );
        let reactor = reactor.expect("it is well-formed");
        let taken = take(&reactor, Arc::from([])).expect("it starts");
        let engine = engine::engine(Mode::Plain).expect("an engine");
        let module = Module::new(&engine, taken).expect("a module");
        assert!(module.get_export(START).is_none() && module.get_export("_initialize").is_none());
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let run = instance.get_typed_func::<(), i32>(&mut store, RUN);
        assert_eq!(
            run.expect("it is exported")
                .call(&mut store, ())
                .expect("it returns"),
            14
        );
    }

    #[test]
    fn a_start_that_fails_says_what_the_interpreter_said() {
        let reactor = wat::parse_str(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write"
                    (func $write (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "\08\00\00\00\04\00\00\00oops")
                (func (export "_initialize"))
                (func (export "wizer-initialize")
                    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 20)))
                    unreachable))"#,
        );
        let error =
            take(&reactor.expect("it is well-formed"), Arc::from([])).expect_err("it traps");
        let text = error.to_string();
        assert!(
            text.contains("unreachable") && text.ends_with("\noops"),
            "{text}"
        );
    }
}
