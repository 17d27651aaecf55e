//! The supervisor's side of a run on wasm: from request to report.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use executor::backend::{Evidence, Slots, classify, environment, validate};
use executor::{
    Cancel, Captured, Interpreter, Isolation, Path, Program, RunReport, RunRequest, Runner,
    SandboxError, Usage, WasmUsage,
};

use crate::engine::{Mode, WASMTIME_VERSION};
use crate::guest::COLLECT_BYTES;
use crate::missing;
use crate::pool::{Launch, NoAnswer, Pool, Worker};
use crate::protocol::{Answer, End, Job};
use crate::worker;

/// Fuel that counts as one second, measured over programs of programming contests: about what a
/// second of native CPU time comes to.
pub const FUEL_PER_SECOND: u64 = 30_000_000_000;
/// A worker that has used this many times the CPU limit is broken, not slow.
const WATCHDOG_FACTOR: u32 = 20;
/// For what a worker does besides: resetting memory, loading.
const WATCHDOG_GRACE: Duration = Duration::from_secs(10);
/// What comes through the report pipe at most.
const REPORT_BYTES: u64 = 16 << 20;

/// An interpreter that is installed: where its parts are, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The module compiled for the mode wanted. A file that only this user can change.
    pub compiled: PathBuf,
    /// What the module's memory begins with, if it was taken out of the module.
    pub image: Option<PathBuf>,
    /// The standard library's archive.
    pub stdlib: PathBuf,
    /// The module it was compiled from.
    pub module_sha256: String,
    /// `3.11.2`.
    pub python_version: String,
}

/// How to build a [`WasmSandbox`].
#[derive(Clone, Debug)]
pub struct WasmConfig {
    /// The interpreter.
    pub bundle: Bundle,
    /// How time is limited; `bundle.compiled` must be compiled for it.
    pub mode: Mode,
    /// Fuel that counts as one second of CPU time.
    pub fuel_per_second: u64,
    /// How many runs may go on at once; `None` is one for each processor.
    pub slots: Option<usize>,
    /// The executable of a worker and its first arguments; it must call [`worker::main`] with those
    /// that follow.
    pub worker: (OsString, Vec<OsString>),
}

/// Runs programs on CPython compiled to WebAssembly, each in an instance of its own, in worker
/// processes. Share it between threads.
#[derive(Debug)]
pub struct WasmSandbox {
    interpreter: Interpreter,
    module_sha256: Arc<str>,
    wasmtime: Arc<str>,
    mode: Mode,
    fuel_per_second: u64,
    slots: Slots,
    pool: Pool,
    confined: bool,
    /// Say to `wasm setup` that this compiled module and its image are still used.
    _in_use: Vec<File>,
}

impl WasmSandbox {
    /// Starts a first worker, so that what cannot work is found out here. Runs no program.
    ///
    /// # Errors
    ///
    /// A worker cannot be started, or cannot load the module.
    pub fn new(config: WasmConfig) -> Result<Self, SandboxError> {
        if config.fuel_per_second == 0 {
            let text = "a second must be some fuel".to_owned();
            return Err(SandboxError::InvalidRequest(text));
        }
        let bundle = config.bundle;
        let (program, mut arguments) = config.worker;
        arguments.extend(worker::arguments(&bundle, config.mode));
        let in_use = [Some(&bundle.compiled), bundle.image.as_ref()]
            .into_iter()
            .flatten()
            .map(|file| {
                let file = File::open(file)?;
                file.lock_shared().map(|()| file)
            })
            .collect::<io::Result<_>>()
            .map_err(|source| SandboxError::System {
                what: "opening the compiled interpreter",
                source,
            })?;
        let pool = Pool::new(Launch { program, arguments });
        let first = pool.take()?;
        let confined = first.confined;
        pool.give_back(first);
        let slots = config
            .slots
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let limits_of_time = match config.mode {
            Mode::Deterministic => config.fuel_per_second.to_string(),
            Mode::Plain => "plain".to_owned(),
        };
        Ok(Self {
            interpreter: Interpreter::of_backend(
                bundle.compiled,
                format!("CPython {} (wasm)", bundle.python_version),
                format!(
                    "{}-{WASMTIME_VERSION}-{limits_of_time}",
                    bundle.module_sha256
                ),
            ),
            module_sha256: bundle.module_sha256.into(),
            wasmtime: WASMTIME_VERSION.into(),
            mode: config.mode,
            fuel_per_second: config.fuel_per_second,
            slots: Slots::new(slots.max(1)),
            pool,
            confined,
            _in_use: in_use,
        })
    }

    /// Whether workers are behind their seccomp filter too.
    pub fn is_confined(&self) -> bool {
        self.confined
    }

    /// The process ids of workers that are idle now.
    pub fn idle_workers(&self) -> Vec<u32> {
        self.pool.idle_pids()
    }

    fn attempt(
        &self,
        worker: &mut Worker,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, NoAnswer> {
        let invalid = |text: &str| NoAnswer::Failed(SandboxError::InvalidRequest(text.to_owned()));
        let Program::Python { source, args } = &request.program else {
            return Err(invalid("the wasm backend runs Python programs only"));
        };
        let limits = &request.limits;
        let environ = environment((crate::wasi::WORK.into(), "/tmp".into()), &request.env)
            .into_iter()
            .map(OsString::into_string)
            .collect::<Result<_, _>>()
            .map_err(|_| invalid("an environment variable is not UTF-8"))?;
        let job = Job {
            args: args.len(),
            files: request.files.len(),
            collect: request.collect.len(),
            environ,
            limits: limits.into(),
            report: request.report_pipe,
            seed: match self.mode {
                Mode::Deterministic => 0,
                Mode::Plain => random_seed().map_err(NoAnswer::Failed)?,
            },
            fuel_per_second: match self.mode {
                Mode::Deterministic => Some(self.fuel_per_second),
                Mode::Plain => None,
            },
        };
        let mut blobs: Vec<&[u8]> = vec![source, &request.stdin];
        blobs.extend(args.iter().map(|arg| arg.as_bytes()));
        for file in &request.files {
            blobs.extend([file.path.as_os_str().as_bytes(), &*file.content]);
        }
        blobs.extend(
            request
                .collect
                .iter()
                .map(|path| path.as_os_str().as_bytes()),
        );
        let most_bytes = limits
            .stdout_bytes
            .saturating_add(limits.stderr_bytes)
            .saturating_add(REPORT_BYTES)
            .saturating_add(request.collect.len() as u64 * (COLLECT_BYTES + 4096));
        let cpu_limit = limits.cpu_time.saturating_mul(WATCHDOG_FACTOR) + WATCHDOG_GRACE;
        let (answer, blobs) = worker.run(job, &blobs, most_bytes, cpu_limit, cancel)?;
        self.report(request, answer, blobs)
    }

    fn report(
        &self,
        request: &RunRequest,
        answer: Answer,
        blobs: Vec<Vec<u8>>,
    ) -> Result<RunReport, NoAnswer> {
        let mut evidence = Evidence {
            output_limit: answer.output_limit,
            cpu_time: answer.cpu_time,
            cpu_time_limit: request.limits.cpu_time,
            ..Evidence::default()
        };
        let mut ended = None;
        match answer.end {
            End::Exited(code) => {
                evidence.status = i32::from(code) << 8;
                ended = Some(code);
            }
            End::Signaled(signal) => evidence.status = signal,
            End::CpuLimit => evidence.cpu_limit = true,
            End::WallLimit => evidence.wall_limit = true,
            End::OutputLimit => {}
            End::Failed(reason) => {
                return Err(NoAnswer::Failed(SandboxError::CellLost(format!(
                    "the interpreter broke: {reason}"
                ))));
            }
        }
        // One that lived with less memory than it wanted has crossed no limit.
        evidence.memory_limit = answer.memory_denied && ended != Some(0);
        let mut blobs = blobs.into_iter();
        let mut next = || blobs.next().unwrap_or_default();
        let captured = |bytes: Vec<u8>, bytes_total: u64| Captured {
            truncated: (bytes.len() as u64) < bytes_total,
            bytes,
            bytes_total,
        };
        let stdout = captured(next(), answer.stdout_total);
        let stderr = captured(next(), answer.stderr_total);
        let report = next();
        let collected = (0..answer.collected)
            .map(|_| {
                let path = PathBuf::from(OsString::from_vec(next()));
                (path, next())
            })
            .collect();
        let missing = missing::modules(&stderr.bytes, &report);
        Ok(RunReport {
            outcome: classify(&evidence),
            stdout,
            stderr,
            report,
            collected,
            usage: Usage {
                wall_time: answer.wall_time,
                cpu_user: answer.cpu_time,
                cpu_system: Duration::ZERO,
                setup_time: answer.setup_time,
                memory_peak_bytes: answer.memory_peak_bytes,
            },
            isolation: Isolation::Wasm,
            path: Path::Warm,
            wasm: Some(WasmUsage {
                fuel: answer.fuel,
                fuel_per_second: answer.fuel.map(|_| self.fuel_per_second),
                module_sha256: self.module_sha256.clone(),
                wasmtime: self.wasmtime.clone(),
                missing,
            }),
        })
    }
}

impl Runner for WasmSandbox {
    fn run_until(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, SandboxError> {
        validate(request, Isolation::Wasm)?;
        let _slot = self.slots.take();
        let mut lost = String::new();
        for _ in 0..2 {
            if cancel.is_some_and(Cancel::is_cancelled) {
                return Err(SandboxError::Cancelled);
            }
            let mut worker = self.pool.take()?;
            match self.attempt(&mut worker, request, cancel) {
                Ok(report) => {
                    self.pool.give_back(worker);
                    return Ok(report);
                }
                Err(NoAnswer::Lost(reason)) => lost = reason,
                Err(NoAnswer::Failed(error)) => return Err(error),
            }
        }
        Err(SandboxError::CellLost(lost))
    }

    fn isolation(&self) -> Isolation {
        Isolation::Wasm
    }

    fn backend(&self) -> &'static str {
        "wasm"
    }

    fn fuel_per_second(&self) -> Option<u64> {
        match self.mode {
            Mode::Deterministic => Some(self.fuel_per_second),
            Mode::Plain => None,
        }
    }

    fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }
}

fn random_seed() -> Result<u64, SandboxError> {
    let mut seed = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut seed))
        .map_err(|source| SandboxError::System {
            what: "reading /dev/urandom",
            source,
        })?;
    Ok(u64::from_le_bytes(seed))
}
