//! The supervisor's side of a run: a cell is taken, the program goes in, its output is drained, and
//! what the cell says about its end becomes a report. The cell's own page (`cell/src/lib.rs`) tells
//! who talks to whom.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::cell::protocol::{
    Answer, Command, Ended, INLINE_PAYLOAD_BYTES, MAIN_FILE, Payload, RunHeader, Wire,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::cells::{self, Cell, CellKey, CellPlan, IdSource};
use crate::cgroup::Cgroups;
use crate::idle::Idle;
use crate::outcome::{Evidence, classify};
use crate::pipes::Pipes;
use crate::root_plan::RootPlan;
use crate::seccomp::Filters;
use crate::slots::Slots;
use crate::spares::Spares;
use crate::validate::validate;
use crate::{
    Imports, Interpreter, Isolation, IsolationRequest, MIB, Outcome, Path, PathRequest, Program,
    RunReport, RunRequest, SandboxError, Usage, host,
};

/// After this many runs a cell is replaced, whatever the proof says.
const RUNS_PER_CELL: u64 = 2000;
/// So many runs before that, the next cell is ordered.
const ORDER_AHEAD_RUNS: u64 = 50;
/// A cell that has not answered this long after twice the wall limit is given up.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// Collected files larger than this are cut.
const COLLECT_BYTES: u64 = 64 * MIB;
/// Idle cells for each slot, at most: one in use now, others for programs with other needs.
const IDLE_CELLS_PER_SLOT: usize = 4;
/// Memory of idle cells: so much, and so much for each slot.
const IDLE_BYTES: u64 = 512 * MIB;
const IDLE_BYTES_PER_SLOT: u64 = 64 * MIB;
/// Prints how much an interpreter maps with the packages that are put before it.
const MAPPED: &str = "\nprint(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmPeak:')])\n";

/// How to build a [`Sandbox`].
#[derive(Clone, Debug, Default)]
pub struct SandboxConfig {
    /// The interpreter as the user names it (a path or a name on PATH, shims and venvs included);
    /// `None` takes `python3` of PATH.
    pub python: Option<PathBuf>,
    /// Which isolation is acceptable.
    pub isolation: IsolationRequest,
    /// How programs are started.
    pub path: PathRequest,
    /// Throw every cell away after its run instead of reusing the ones proven clean.
    pub one_shot_cells: bool,
    /// Host folders and files that runs may read besides the interpreter's and the system's: what a
    /// compiler needs, say.
    pub more_paths: Vec<PathBuf>,
    /// How many runs may go on at once; `None` is one for each processor this process may use.
    pub slots: Option<usize>,
}

/// Runs programs, each in a cell. Share it between threads: each run takes a cell for itself, and
/// never more run at once than there are slots.
#[derive(Debug)]
pub struct Sandbox {
    interpreter: Interpreter,
    plan: Arc<CellPlan>,
    /// Why runs cannot be forked from a warmed interpreter here, if they cannot.
    not_warm: Option<String>,
    one_shot_cells: bool,
    slots: Slots,
    pub(crate) idle: Arc<Idle>,
    spares: Spares,
    /// Imports that cannot be done beforehand.
    not_importable: Mutex<HashSet<Imports>>,
    /// What packages map when they are imported, in bytes.
    package_bytes: Mutex<HashMap<Imports, u64>>,
}

/// Ends runs from outside. Clones share one switch; once thrown it stays thrown.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<EventFd>);

impl Cancel {
    /// A switch that is not thrown.
    ///
    /// # Errors
    ///
    /// This process is out of descriptors.
    pub fn new() -> Result<Self, SandboxError> {
        EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map(|fd| Self(Arc::new(fd)))
            .map_err(|e| SandboxError::System {
                what: "making an eventfd",
                source: e.into(),
            })
    }

    /// Ends every run that was given this switch, and refuses new ones. Does not block.
    pub fn cancel(&self) {
        // Fails only when the counter is full, which also reads as thrown.
        let _ = self.0.write(1);
    }

    /// Blocks until [`Cancel::cancel`] is called.
    pub fn wait(&self) {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        while !matches!(poll(&mut fds, PollTimeout::NONE), Ok(n) if n > 0) {}
    }

    /// Readable once the switch is thrown, for those who wait for other things too.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
    }
}

impl Sandbox {
    /// Resolves the interpreter and starts the first cell, so that a host that cannot give the
    /// isolation is found out here. Runs no program.
    ///
    /// # Errors
    ///
    /// The interpreter cannot be used, or the host cannot give the isolation asked for.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let interpreter = Interpreter::resolve(config.python.as_deref())?;
        let slots = config
            .slots
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let make = |isolation| -> Result<Self, SandboxError> {
            let plan = Arc::new(CellPlan {
                python: interpreter.executable.clone(),
                isolation,
                root: RootPlan::new(&interpreter, &config.more_paths),
                filters: Filters::compile()?,
                cgroups: Cgroups::detect(),
                landlock_abi: host::landlock_abi(),
                ids: IdSource::new()?,
            });
            let idle = Arc::new(Idle::new(
                IDLE_CELLS_PER_SLOT * slots.max(1),
                IDLE_BYTES + IDLE_BYTES_PER_SLOT * slots as u64,
            ));
            let mut sandbox = Self {
                spares: Spares::new(Arc::clone(&plan), Arc::clone(&idle), slots.max(1)),
                plan,
                idle,
                interpreter: interpreter.clone(),
                not_warm: match (config.path, isolation) {
                    (PathRequest::Cold, _) => Some("the cold path was asked for".to_owned()),
                    (_, Isolation::Namespaces) => None,
                    _ => Some("zygotes need namespaces".to_owned()),
                },
                one_shot_cells: config.one_shot_cells,
                slots: Slots::new(slots.max(1)),
                not_importable: Mutex::default(),
                package_bytes: Mutex::default(),
            };
            let mut first = Err(None);
            if sandbox.not_warm.is_none() {
                first = sandbox.start_first(Path::Warm).map_err(Some);
            }
            if let Err(Some(error)) = &first {
                sandbox.not_warm = Some(error.with_causes());
            }
            let first = match (first, config.path) {
                (Ok(first), _) => first,
                (Err(Some(error)), PathRequest::Warm) => return Err(error),
                (Err(None), PathRequest::Warm) => {
                    return Err(SandboxError::IsolationUnavailable {
                        layer: "warm path",
                        reason: sandbox.not_warm.unwrap_or_default(),
                        remedy: "use --path auto".to_owned(),
                    });
                }
                _ => sandbox.start_first(Path::Cold)?,
            };
            sandbox.idle.give(first);
            Ok(sandbox)
        };
        match config.isolation {
            IsolationRequest::Namespaces => make(Isolation::Namespaces),
            IsolationRequest::Restricted => make(Isolation::Restricted),
            IsolationRequest::BestAvailable => {
                make(Isolation::Namespaces).or_else(|_| make(Isolation::Restricted))
            }
        }
    }

    fn start_first(&self, path: Path) -> Result<Cell, SandboxError> {
        let request = RunRequest::python(&b""[..]);
        self.start_cell(CellKey::new(path, &request, Imports::default()))
    }

    /// Why runs are not forked from a warmed interpreter here; `None`: they are, where a request
    /// allows it.
    pub fn not_warm(&self) -> Option<&str> {
        self.not_warm.as_deref()
    }

    /// The isolation every run of this sandbox gets.
    pub fn isolation(&self) -> Isolation {
        self.plan.isolation
    }

    /// The resolved interpreter.
    pub fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }

    /// Whether a memory cgroup bounds each run; without one, each process has its own limit and a
    /// watcher adds them up.
    pub fn has_memory_cgroup(&self) -> bool {
        self.plan.cgroups.memory()
    }

    /// Runs one program and waits until it has ended and everything it started is gone.
    ///
    /// Blocks while all slots are taken; then for at most twice the wall limit plus ten seconds,
    /// whatever the program does. Neither that wait nor setup is charged to the program.
    ///
    /// # Errors
    ///
    /// A [`SandboxError`] means *we* failed and nothing is known about the program. A crash, an
    /// endless loop or a memory blow-up is `Ok`, with its outcome.
    pub fn run(&self, request: &RunRequest) -> Result<RunReport, SandboxError> {
        self.run_until(request, None)
    }

    /// [`Sandbox::run`], ended early when `cancel` is thrown.
    ///
    /// # Errors
    ///
    /// Those of `run`, and [`SandboxError::Cancelled`].
    pub fn run_until(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, SandboxError> {
        validate(request, self.plan.isolation)?;
        let _slot = self.slots.take();
        let mut lost = String::new();
        // Losing a cell is our failure, so the run is repeated; but a program that takes one down
        // each time, while a harmless one does not, is the cause. A cell that waited may have died
        // before the program came to it: only fresh ones count.
        for fresh in [false, true, true] {
            if cancel.is_some_and(Cancel::is_cancelled) {
                return Err(SandboxError::Cancelled);
            }
            match self.attempt(request, cancel, fresh) {
                Err(Attempt::Lost(reason)) => lost = reason,
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(report) => return Ok(report),
            }
        }
        let control = RunRequest::python(&b"print('ok')"[..]);
        match self.attempt(&control, cancel, true) {
            Ok(report) if report.stdout.bytes == b"ok\n" => Ok(RunReport {
                outcome: Outcome::CellLost,
                stdout: crate::Captured::default(),
                stderr: crate::Captured::default(),
                report: Vec::new(),
                collected: Vec::new(),
                usage: Usage::default(),
                isolation: self.isolation(),
                path: self.path_of(request),
                wasm: None,
            }),
            _ => Err(SandboxError::CellLost(lost)),
        }
    }

    /// One try, in a cell that waits or, if asked for, in a `fresh` one.
    fn attempt(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
        fresh: bool,
    ) -> Result<RunReport, Attempt> {
        let begun = Instant::now();
        let imports = request
            .imports
            .clone()
            .unwrap_or_else(|| match &request.program {
                Program::Python { source, .. } => Imports::of([&source[..]]),
                Program::Command { .. } => Imports::default(),
            });
        let address_space_bytes = self
            .interpreter
            .address_space_bytes
            .saturating_add(self.package_bytes(&imports, cancel)?);
        // Files need a cell of their own: what a run may change must be gone with it.
        let alone = self.one_shot_cells
            || !request.files.is_empty()
            || !request.collect.is_empty()
            || matches!(request.program, Program::Command { .. });
        let mut cell = self
            .cell_for(request, imports, alone, fresh)
            .map_err(Attempt::Failed)?;
        cell.runs += 1;
        if cell.runs + ORDER_AHEAD_RUNS == RUNS_PER_CELL {
            self.spares.order(cell.key.clone());
        }
        let ran = self.run_in(&mut cell, request, cancel, begun, address_space_bytes);
        if matches!(ran, Ok((_, true))) && !alone {
            self.idle.give(cell);
        } else if cell.runs < RUNS_PER_CELL {
            self.spares.order(cell.key.clone());
        }
        ran.map(|(report, _)| report)
    }

    /// A cell that waits, or a new one. Imports that fail beforehand are left to the program.
    fn cell_for(
        &self,
        request: &RunRequest,
        mut imports: Imports,
        alone: bool,
        fresh: bool,
    ) -> Result<Cell, SandboxError> {
        let path = self.path_of(request);
        while let Some(less) = imports.less()
            && lock(&self.not_importable).contains(&imports)
        {
            imports = less;
        }
        let mut failed = Vec::new();
        let found = loop {
            let key = CellKey::new(path, request, imports.clone());
            if !fresh && let Some(cell) = self.idle.take(&key, alone) {
                break cell;
            }
            match (self.start_cell(key), imports.less()) {
                (Ok(cell), _) => break cell,
                (Err(SandboxError::CellSetup { .. }), Some(less)) if path == Path::Warm => {
                    failed.push(std::mem::replace(&mut imports, less));
                }
                (Err(error), _) => return Err(error),
            }
        };
        // Only now is it known that the imports were the reason.
        lock(&self.not_importable).extend(failed);
        Ok(found)
    }

    /// What the packages of a program map, in bytes: its limit on address space is for what it maps
    /// itself. The same figure on both paths; found by a run of its own, once.
    fn package_bytes(&self, imports: &Imports, cancel: Option<&Cancel>) -> Result<u64, Attempt> {
        if imports.packages().is_empty() {
            return Ok(0);
        }
        if let Some(known) = lock(&self.package_bytes).get(imports) {
            return Ok(*known);
        }
        let mut source = String::new();
        for name in imports.packages() {
            source += &format!("try: import {name}\nexcept Exception: pass\n");
        }
        source += MAPPED;
        let mut request = RunRequest::python(source.as_bytes());
        request.imports = Some(Imports::default());
        request.limits.memory_bytes = request.limits.memory_bytes.max(4096 * MIB);
        // No program of anybody's runs here: whatever is lost or too slow is ours.
        let ours = |reason| Attempt::Failed(SandboxError::CellLost(reason));
        let report = self
            .attempt(&request, cancel, false)
            .map_err(|error| match error {
                Attempt::Lost(reason) => ours(reason),
                failed => failed,
            })?;
        if matches!(report.outcome, Outcome::LimitExceeded { .. }) {
            return Err(ours("measuring what packages map took too long".to_owned()));
        }
        // Packages that crash map nothing; they will crash the program, too.
        let text = String::from_utf8_lossy(&report.stdout.bytes);
        let bytes = text.trim().parse::<u64>().map_or(0, |kib| {
            (kib * 1024).saturating_sub(self.interpreter.address_space_bytes)
        });
        lock(&self.package_bytes).insert(imports.clone(), bytes);
        Ok(bytes)
    }

    fn path_of(&self, request: &RunRequest) -> Path {
        if self.not_warm.is_none() && can_be_warm(request) {
            Path::Warm
        } else {
            Path::Cold
        }
    }

    fn run_in(
        &self,
        cell: &mut Cell,
        request: &RunRequest,
        cancel: Option<&Cancel>,
        begun: Instant,
        address_space_bytes: u64,
    ) -> Result<(RunReport, bool), Attempt> {
        let limits = &request.limits;
        cell.cgroup
            .begin_run(limits.memory_bytes)
            .map_err(|e| Attempt::Failed(cells::setup_error("preparing the cgroup", e)))?;
        let kills_before = cell.cgroup.oom_kills();
        let loaded = cell.key.resident.as_ref();
        let loaded = loaded.map_or(0, |resident| resident.stdin_bytes);
        let (mut pipes, inside) =
            Pipes::new(request, loaded).map_err(Attempt::system("making pipes"))?;
        pipes.feed();
        let payload = self.payload(cell, request).encode();
        let inline = payload.len() <= INLINE_PAYLOAD_BYTES;
        let header = RunHeader {
            run: cell.runs,
            wall_ns: nanoseconds(limits.wall_time),
            cpu_ns: nanoseconds(limits.cpu_time),
            address_space_bytes: address_space_bytes.saturating_add(limits.memory_bytes),
            memory_bytes: limits.memory_bytes,
            payload_bytes: if inline { payload.len() as u32 } else { 0 },
            script: matches!(request.program, Program::Python { .. }),
            collect: request.collect.clone(),
        };
        let sent = send_payload(cell, inline, &payload, &inside)
            .and_then(|()| cells::send(&cell.control, &Command::Run(header).encode(), &[]));
        drop(inside);
        sent.map_err(|e| Attempt::Lost(format!("sending the program: {e}")))?;

        let queued_for = begun.elapsed();
        let attended = attend(cell, request, &mut pipes, cancel);
        let memory_killed = cell.cgroup.oom_kills() > kills_before;
        let (ended, collected, gave_up) = match attended {
            Ok(Attended::Ended(ended, collected)) => (ended, collected, false),
            Ok(Attended::Silent) => (Ended::default(), Vec::new(), true),
            // The kernel may pick pid 1 itself when a cgroup is full: still the run's memory.
            Err(Attempt::Lost(_)) if memory_killed => (Ended::default(), Vec::new(), true),
            Err(other) => return Err(other),
        };
        pipes.drain();
        if cancel.is_some_and(Cancel::is_cancelled) && ended.stopped {
            return Err(Attempt::Failed(SandboxError::Cancelled));
        }
        if let Some(failure) = ended.failed_step {
            return Err(Attempt::Failed(start_error(
                request,
                &failure.step,
                failure.errno,
            )));
        }
        let user = Duration::from_micros(ended.user_us);
        let system = Duration::from_micros(ended.system_us);
        let evidence = Evidence {
            status: ended.status,
            wall_limit: ended.wall_limit || gave_up && !memory_killed,
            cpu_limit: ended.cpu_limit,
            memory_limit: ended.memory_limit || memory_killed,
            output_limit: pipes.stdout.total() > limits.stdout_bytes,
            cpu_time: user + system,
            run_delay: Duration::from_nanos(ended.run_delay_ns),
            cpu_time_limit: limits.cpu_time,
        };
        let outcome = classify(&evidence);
        let out_of_memory = evidence.memory_limit;
        let memory_peak_bytes = cell.cgroup.peak_bytes().unwrap_or(ended.max_rss_kib * 1024);
        let reusable = !gave_up && !ended.dirty && !out_of_memory && cell.runs < RUNS_PER_CELL;
        let report = RunReport {
            outcome,
            stdout: pipes.stdout.finish(),
            stderr: pipes.stderr.finish(),
            report: pipes.report.finish().bytes,
            collected: collected
                .into_iter()
                .filter_map(|(index, bytes)| {
                    Some((request.collect.get(index as usize)?.clone(), bytes))
                })
                .collect(),
            usage: Usage {
                wall_time: Duration::from_nanos(ended.wall_ns),
                cpu_user: user,
                cpu_system: system,
                setup_time: queued_for + Duration::from_nanos(ended.setup_ns),
                memory_peak_bytes,
            },
            isolation: self.isolation(),
            path: cell.path(),
            wasm: None,
        };
        Ok((report, reusable))
    }

    fn payload(&self, cell: &Cell, request: &RunRequest) -> Payload {
        let warm = cell.path() == Path::Warm;
        let mut payload = Payload {
            run: cell.runs,
            files: request
                .files
                .iter()
                .map(|file| (file.path.clone(), file.content.to_vec()))
                .collect(),
            report: request.report_pipe,
            ..Payload::default()
        };
        match &request.program {
            Program::Python { source, .. } if warm => {
                payload.source = Some(source.to_vec());
                payload.code = request.code.as_ref().map(|code| code.to_vec());
                payload.resident = cell.key.resident.is_some();
                return payload;
            }
            Program::Python { source, args } => {
                let python = &self.interpreter.executable;
                payload.program = python.clone();
                payload.argv = vec![python.clone().into_os_string(), MAIN_FILE.into()];
                payload.argv.extend(args.iter().cloned());
                payload.source = Some(source.to_vec());
            }
            Program::Command { argv } => {
                payload.program = argv.first().map(PathBuf::from).unwrap_or_default();
                payload.argv = argv.clone();
            }
        }
        payload.env = cells::environment(cell.folders(), &request.env);
        payload
    }

    fn start_cell(&self, key: CellKey) -> Result<Cell, SandboxError> {
        Cell::start(&self.plan, key).map_err(|error| match error {
            SandboxError::CellSetup { step, source } => {
                host::explain(self.plan.isolation, step, source)
            }
            other => other,
        })
    }

    /// Ends the cells that no run uses, and waits for their end. New runs start new ones.
    pub fn close_idle_cells(&self) {
        self.spares.void();
        self.idle.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a zygote can do exactly what starting the interpreter for this request would do.
fn can_be_warm(request: &RunRequest) -> bool {
    let Program::Python { source, args } = &request.program else {
        return false;
    };
    // Arguments and variables are read at start, and a zygote has started.
    let as_started = args.is_empty() && request.env.is_empty();
    // Python takes an archive with a `__main__`, or compiled code, for a program too, and looks at
    // the file before it opens it.
    let tail = &source[source.len().saturating_sub(66_000)..];
    let archive = tail.windows(4).any(|bytes| bytes == b"PK\x05\x06");
    let compiled = source.len() >= 4 && source[2..4] == *b"\r\n" && source[1] < 0x20;
    // A zygote has the limit on files already when it writes the program; exec comes after.
    let fits = source.len() as u64 <= request.limits.file_size_bytes;
    as_started && !archive && !compiled && fits
}

/// Why an attempt gave no report.
enum Attempt {
    /// The cell is gone; the run may be repeated in another.
    Lost(String),
    /// Repeating would not help.
    Failed(SandboxError),
}

impl Attempt {
    fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |e| {
            Self::Failed(SandboxError::System {
                what,
                source: e.into(),
            })
        }
    }
}

/// How the wait for a run ended.
enum Attended {
    Ended(Ended, Vec<(u32, Vec<u8>)>),
    /// Pid 1 no longer answers, long after it should have ended the run.
    Silent,
}

/// Drains the program's output until pid 1 says that it is over.
fn attend(
    cell: &Cell,
    request: &RunRequest,
    pipes: &mut Pipes,
    cancel: Option<&Cancel>,
) -> Result<Attended, Attempt> {
    let give_up = Instant::now()
        + request
            .limits
            .wall_time
            .saturating_mul(2)
            .saturating_add(KILL_GRACE);
    let mut collected = Vec::new();
    let mut stopped = false;
    loop {
        if Instant::now() >= give_up {
            return Ok(Attended::Silent);
        }
        let news = pipes
            .wait(cell, if stopped { None } else { cancel }, give_up)
            .map_err(Attempt::system("waiting"))?;
        pipes.move_bytes(&news);
        let too_much = pipes.stdout.total() > request.limits.stdout_bytes;
        if (too_much || news.cancelled) && !stopped {
            stopped = true;
            // If it does not arrive, the cell is gone, and the next receive says so.
            let _ = cells::send(&cell.control, &Command::Stop.encode(), &[]);
        }
        if news.control {
            let (message, file) = cells::receive(&cell.control)
                .map_err(|e| Attempt::Lost(format!("receiving: {e}")))?;
            match Answer::decode(&message) {
                Ok(Answer::Ended(ended)) if ended.run == cell.runs => {
                    return Ok(Attended::Ended(ended, collected));
                }
                Ok(Answer::Collected(which)) => {
                    let mut bytes = Vec::new();
                    if let Some(file) = file {
                        let read = File::from(file).take(COLLECT_BYTES).read_to_end(&mut bytes);
                        read.map_err(Attempt::system("reading a collected file"))?;
                    }
                    collected.push((which.index, bytes));
                }
                _ if message.is_empty() => return Err(Attempt::Lost("pid 1 ended".to_owned())),
                _ => {
                    return Err(Attempt::Lost(format!(
                        "pid 1 said something else: {}",
                        failure_text(&message)
                    )));
                }
            }
        }
    }
}

fn failure_text(message: &[u8]) -> String {
    match ::cell::protocol::Hello::decode(message) {
        Ok(::cell::protocol::Hello::Failed(failure)) => {
            format!(
                "{} failed: {}",
                failure.step,
                io::Error::from_raw_os_error(failure.errno)
            )
        }
        _ => "an unknown message".to_owned(),
    }
}

fn send_payload(cell: &Cell, inline: bool, payload: &[u8], inside: &[OwnedFd]) -> io::Result<()> {
    let mut fds: Vec<RawFd> = inside.iter().map(AsRawFd::as_raw_fd).collect();
    if inline {
        return cells::send(&cell.payload, &[&[1], payload].concat(), &fds);
    }
    let file = cells::memory_file(payload)?;
    fds.insert(0, file.as_raw_fd());
    cells::send(&cell.payload, &[0], &fds)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A step of the run's own checklist failed. Mostly ours; but a command that is not there is the
/// caller's.
fn start_error(request: &RunRequest, step: &str, errno: i32) -> SandboxError {
    let source = io::Error::from_raw_os_error(errno);
    match (&request.program, step) {
        (Program::Command { argv }, "starting the program") => {
            let name = argv
                .first()
                .map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default();
            SandboxError::InvalidRequest(format!("command {name:?} cannot be started: {source}"))
        }
        _ => cells::setup_error(step, source),
    }
}
