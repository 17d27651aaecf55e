//! One guest from instance to answer, inside a worker.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use executor::Limits;
use wasmtime::{Engine, InstancePre, Linker, Module, Store, Trap, UpdateDeadline};

use crate::engine::{self, Mode};
use crate::memory::Place;
use crate::protocol::{Answer, End, Job};
use crate::wasi::{self, Clock, FuelClock, GivenFile, RealClock, Start, State, Stop, Written};

/// Where the guest finds its standard library: an archive under the name of native's folder, so
/// that tracebacks say the same.
pub const STDLIB: &str = "/usr/lib/python3.11";
/// What the module runs a program with: `() -> i32`, the exit status.
pub const RUN: &str = "run_quick";
/// What a run may bring back in one collected file; as natively.
pub(crate) const COLLECT_BYTES: u64 = 64 << 20;
/// Fuel for instantiating, which is not the program's to pay.
const SETUP_FUEL: u64 = i64::MAX as u64;

/// A module ready to be instantiated again and again.
pub(crate) struct Guests {
    engine: Engine,
    pre: InstancePre<State>,
    stdlib: Arc<[u8]>,
    mode: Mode,
}

/// A finished run, whose memory is not given back yet.
pub(crate) struct Finished {
    pub(crate) answer: Answer,
    pub(crate) written: Written,
    /// Dropping it resets the guest's memory, which takes a while: send the answer first.
    pub(crate) store: Store<State>,
}

impl Guests {
    /// Loads a compiled module, whose memory begins with `image`.
    ///
    /// # Safety
    ///
    /// `compiled` was written by wasmtime, and nobody changes either file while this process runs.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn load(
        compiled: &Path,
        image: Option<&Path>,
        stdlib: Arc<[u8]>,
        mode: Mode,
    ) -> wasmtime::Result<Self> {
        let engine = engine::engine_at(mode, Place::new(image)?)?;
        // SAFETY: the caller vouches for the file.
        let module = unsafe { Module::deserialize_file(&engine, compiled)? };
        Self::of(engine, &module, stdlib, mode)
    }

    pub(crate) fn of(
        engine: Engine,
        module: &Module,
        stdlib: Arc<[u8]>,
        mode: Mode,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)?;
        let pre = linker.instantiate_pre(module)?;
        Ok(Self {
            engine,
            pre,
            stdlib,
            mode,
        })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Moves the clock of plain mode's limits on.
    pub(crate) fn ticker(&self) -> Engine {
        self.engine.clone()
    }

    /// Makes one run.
    pub(crate) fn run(&self, job: Job, blobs: Vec<Vec<u8>>) -> io::Result<Finished> {
        let begun = Instant::now();
        let parts = Parts::new(&job, blobs)?;
        let fuel_per_second = job.fuel_per_second;
        let limits = Limits::from(job.limits);
        let clock = |mode| match (mode, fuel_per_second) {
            (Mode::Deterministic, Some(fuel)) => Ok(Clock::Fuel(FuelClock::new(
                fuel,
                limits.cpu_time,
                limits.wall_time,
            ))),
            (Mode::Plain, None) => Ok(Clock::Real(RealClock::new(
                limits.cpu_time,
                limits.wall_time,
            ))),
            _ => Err(io::Error::other("a job for the other mode")),
        };
        let mut args = vec![b"main.py".to_vec()];
        args.extend(parts.args);
        let mut files = parts.files;
        files.push(GivenFile {
            path: "main.py".into(),
            content: parts.program.into(),
        });
        files.push(GivenFile {
            path: STDLIB.into(),
            content: self.stdlib.clone(),
        });
        let start = Start {
            args,
            environ: job.environ.into_iter().map(String::into_bytes).collect(),
            stdin: parts.stdin.into(),
            files,
            report: job.report,
            limits: &limits,
            clock: clock(self.mode)?,
            seed: job.seed,
        };
        let state = State::new(start).map_err(io::Error::other)?;
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        let called = self.instantiate(&mut store).and_then(|run| {
            // Its time begins now.
            let clock = clock(self.mode)?;
            if let Clock::Fuel(clock) = &clock {
                store.set_fuel(clock.left())?;
            }
            store.data_mut().clock = clock;
            Ok(run)
        });
        let setup_time = begun.elapsed();
        let result = called.and_then(|run| run.call(&mut store, ()));
        let left = store.get_fuel().unwrap_or(0);
        let state = store.data_mut();
        if let Clock::Fuel(clock) = &mut state.clock {
            clock.sync(left);
        }
        let end = end_of(result, &state.clock);
        let (cpu_time, wall_time) = (state.clock.cpu_time(), state.clock.wall_time());
        let fuel = match &state.clock {
            Clock::Fuel(clock) => Some(clock.used()),
            _ => None,
        };
        let (memory_denied, memory_peak_bytes) = (state.limiter.denied, state.limiter.peak_bytes);
        let written = state.finish(&parts.collect, COLLECT_BYTES as usize);
        let answer = Answer {
            end,
            output_limit: written.output_limit,
            memory_denied,
            stdout_total: written.stdout.bytes_total,
            stderr_total: written.stderr.bytes_total,
            collected: written.collected.len(),
            fuel,
            cpu_time,
            wall_time,
            setup_time,
            memory_peak_bytes,
        };
        Ok(Finished {
            answer,
            written,
            store,
        })
    }

    fn instantiate(
        &self,
        store: &mut Store<State>,
    ) -> wasmtime::Result<wasmtime::TypedFunc<(), i32>> {
        match self.mode {
            Mode::Deterministic => store.set_fuel(SETUP_FUEL)?,
            Mode::Plain => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_callback(|at| match &at.data().clock {
                    Clock::Real(clock) => {
                        clock.check().map_err(wasmtime::Error::new)?;
                        Ok(UpdateDeadline::Continue(1))
                    }
                    _ => Ok(UpdateDeadline::Continue(1)),
                });
            }
        }
        let instance = self.pre.instantiate(&mut *store)?;
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
        store.data_mut().set_memory(memory);
        instance.get_typed_func(&mut *store, RUN)
    }
}

/// What a guest's call came to.
fn end_of(result: wasmtime::Result<i32>, clock: &Clock) -> End {
    let error = match result {
        Ok(status) => return End::Exited((status & 255) as u8),
        Err(error) => error,
    };
    let out_of_time = || match clock {
        Clock::Fuel(clock) if !clock.cpu_is_the_bound() => End::WallLimit,
        _ => End::CpuLimit,
    };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match *stop {
            Stop::Exit(code) => End::Exited(code),
            Stop::Signal(signal) => End::Signaled(signal),
            Stop::Time => out_of_time(),
            Stop::Sleep => End::WallLimit,
            Stop::Output => End::OutputLimit,
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => out_of_time(),
        Some(Trap::StackOverflow | Trap::MemoryOutOfBounds) => End::Signaled(libc::SIGSEGV),
        Some(Trap::UnreachableCodeReached) => End::Signaled(libc::SIGABRT),
        _ => End::Failed(format!("{error:?}")),
    }
}

/// A job's blobs by what they are.
struct Parts {
    program: Vec<u8>,
    stdin: Vec<u8>,
    args: Vec<Vec<u8>>,
    files: Vec<GivenFile>,
    collect: Vec<PathBuf>,
}

impl Parts {
    fn new(job: &Job, blobs: Vec<Vec<u8>>) -> io::Result<Self> {
        let mut blobs = blobs.into_iter();
        let mut next = || {
            blobs
                .next()
                .ok_or_else(|| io::Error::other("a job with too few blobs"))
        };
        let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
        Ok(Self {
            program: next()?,
            stdin: next()?,
            args: (0..job.args).map(|_| next()).collect::<io::Result<_>>()?,
            files: (0..job.files)
                .map(|_| {
                    Ok(GivenFile {
                        path: path(next()?),
                        content: next()?.into(),
                    })
                })
                .collect::<io::Result<_>>()?,
            collect: (0..job.collect)
                .map(|_| next().map(path))
                .collect::<io::Result<_>>()?,
        })
    }
}
