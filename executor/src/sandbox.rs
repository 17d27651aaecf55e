//! The supervisor's side of a run: a cell is taken, the program goes in, its output is drained, and
//! what the cell says about its end becomes a report. The cell's own page (`cell/src/lib.rs`) tells
//! who talks to whom.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::cell::protocol::{
    Answer, Command, Ended, INLINE_PAYLOAD_BYTES, MAIN_FILE, Payload, RunHeader, Wire,
};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;

use crate::capture::Capture;
use crate::cells::{self, Cell, CellKey, CellPlan, IdSource};
use crate::cgroup::Cgroups;
use crate::outcome::{Evidence, classify};
use crate::root_plan::RootPlan;
use crate::seccomp::Filters;
use crate::{
    Interpreter, Isolation, IsolationRequest, Limits, MIB, Network, Outcome, Path, Program,
    RunReport, RunRequest, SandboxError, Usage, host,
};

/// After this many runs a cell is replaced, whatever the proof says.
const RUNS_PER_CELL: u64 = 2000;
/// A cell that has not answered this long after twice the wall limit is given up.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// What a harness may say through its report pipe.
const REPORT_BYTES: u64 = 16 * MIB;
/// Collected files larger than this are cut.
const COLLECT_BYTES: u64 = 64 * MIB;
/// One read of a pipe.
const CHUNK: usize = 64 * 1024;

/// How to build a [`Sandbox`].
#[derive(Clone, Debug, Default)]
pub struct SandboxConfig {
    /// The interpreter as the user names it (a path or a name on PATH, shims and venvs included);
    /// `None` takes `python3` of PATH.
    pub python: Option<PathBuf>,
    /// Which isolation is acceptable.
    pub isolation: IsolationRequest,
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
    plan: CellPlan,
    one_shot_cells: bool,
    slots: Slots,
    idle: Mutex<HashMap<CellKey, Vec<Cell>>>,
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
            let sandbox = Self {
                plan: CellPlan {
                    isolation,
                    root: RootPlan::new(&interpreter, &config.more_paths),
                    filters: Filters::compile()?,
                    cgroups: Cgroups::detect(),
                    landlock_abi: host::landlock_abi(),
                    ids: IdSource::new()?,
                },
                interpreter: interpreter.clone(),
                one_shot_cells: config.one_shot_cells,
                slots: Slots::new(slots.max(1)),
                idle: Mutex::default(),
            };
            let first = sandbox.start_cell(CellKey::new(Network::None, &Limits::default()))?;
            sandbox.give_back(first, false);
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
        // each time, while a harmless one does not, is the cause.
        for _ in 0..2 {
            if cancel.is_some_and(Cancel::is_cancelled) {
                return Err(SandboxError::Cancelled);
            }
            match self.attempt(request, cancel) {
                Err(Attempt::Lost(reason)) => lost = reason,
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(report) => return Ok(report),
            }
        }
        let control = RunRequest::python(&b"print('ok')"[..]);
        match self.attempt(&control, cancel) {
            Ok(report) if report.stdout.bytes == b"ok\n" => Ok(RunReport {
                outcome: Outcome::CellLost,
                stdout: crate::Captured::default(),
                stderr: crate::Captured::default(),
                report: Vec::new(),
                collected: Vec::new(),
                usage: Usage::default(),
                isolation: self.isolation(),
                path: Path::Cold,
                wasm: None,
            }),
            _ => Err(SandboxError::CellLost(lost)),
        }
    }

    fn attempt(&self, request: &RunRequest, cancel: Option<&Cancel>) -> Result<RunReport, Attempt> {
        let begun = Instant::now();
        let key = CellKey::new(request.network, &request.limits);
        // Files need a cell of their own: what a run may change must be gone with it.
        let alone = self.one_shot_cells
            || request.network == Network::Loopback
            || !request.files.is_empty()
            || !request.collect.is_empty()
            || matches!(request.program, Program::Command { .. });
        let reused = if alone {
            None
        } else {
            self.lock_idle().get_mut(&key).and_then(Vec::pop)
        };
        let mut cell = match reused {
            Some(cell) => cell,
            None => self.start_cell(key).map_err(Attempt::Failed)?,
        };
        cell.runs += 1;
        match self.run_in(&mut cell, request, cancel, begun) {
            Ok((report, reusable)) => {
                if reusable && !alone {
                    self.give_back(cell, true);
                }
                Ok(report)
            }
            Err(error) => Err(error),
        }
    }

    fn run_in(
        &self,
        cell: &mut Cell,
        request: &RunRequest,
        cancel: Option<&Cancel>,
        begun: Instant,
    ) -> Result<(RunReport, bool), Attempt> {
        let limits = &request.limits;
        cell.cgroup
            .begin_run(limits.memory_bytes)
            .map_err(|e| Attempt::Failed(cells::setup_error("preparing the cgroup", e)))?;
        let kills_before = cell.cgroup.oom_kills();
        let (mut pipes, inside) = Pipes::new(request).map_err(Attempt::system("making pipes"))?;
        pipes.feed();
        let payload = self.payload(cell, request);
        let header = RunHeader {
            run: cell.runs,
            wall_ns: nanoseconds(limits.wall_time),
            cpu_ns: nanoseconds(limits.cpu_time),
            address_space_bytes: self
                .interpreter
                .address_space_bytes
                .saturating_add(limits.memory_bytes),
            memory_bytes: limits.memory_bytes,
            script: matches!(request.program, Program::Python { .. }),
            collect: request.collect.clone(),
        };
        let sent = send_payload(cell, &payload, &inside)
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
            path: Path::Cold,
            wasm: None,
        };
        Ok((report, reusable))
    }

    fn payload(&self, cell: &Cell, request: &RunRequest) -> Payload {
        let (program, argv, source) = match &request.program {
            Program::Python { source, args } => {
                let python = &self.interpreter.executable;
                let mut argv = vec![python.clone().into_os_string(), MAIN_FILE.into()];
                argv.extend(args.iter().cloned());
                (python.clone(), argv, Some(source.to_vec()))
            }
            Program::Command { argv } => (
                argv.first().map(PathBuf::from).unwrap_or_default(),
                argv.clone(),
                None,
            ),
        };
        Payload {
            run: cell.runs,
            program,
            argv,
            env: cells::environment(cell, &request.env),
            source,
            files: request
                .files
                .iter()
                .map(|file| (file.path.clone(), file.content.to_vec()))
                .collect(),
            report: request.report_pipe,
        }
    }

    fn start_cell(&self, key: CellKey) -> Result<Cell, SandboxError> {
        Cell::start(&self.plan, key).map_err(|error| match error {
            SandboxError::CellSetup { step, source } => {
                host::explain(self.plan.isolation, step, source)
            }
            other => other,
        })
    }

    fn give_back(&self, cell: Cell, used: bool) {
        if used && self.one_shot_cells {
            return;
        }
        let mut idle = self.lock_idle();
        // Cells of limits that nobody asks for any more must not pile up.
        let count: usize = idle.values().map(Vec::len).sum();
        let evicted = if count > 2 * self.slots.count {
            let other = idle
                .keys()
                .find(|key| **key != cell.key && !idle[*key].is_empty())
                .cloned();
            other.and_then(|key| idle.get_mut(&key)?.pop())
        } else {
            None
        };
        idle.retain(|_, cells| !cells.is_empty());
        idle.entry(cell.key.clone()).or_default().push(cell);
        drop(idle);
        drop(evicted); // ends a process: not under the lock
    }

    fn lock_idle(&self) -> MutexGuard<'_, HashMap<CellKey, Vec<Cell>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

fn send_payload(cell: &Cell, payload: &Payload, inside: &[OwnedFd]) -> io::Result<()> {
    let encoded = payload.encode();
    let mut fds: Vec<RawFd> = inside.iter().map(AsRawFd::as_raw_fd).collect();
    if encoded.len() <= INLINE_PAYLOAD_BYTES {
        return cells::send(&cell.payload, &[&[1], &encoded[..]].concat(), &fds);
    }
    let file = cells::memory_file(&encoded)?;
    fds.insert(0, file.as_raw_fd());
    cells::send(&cell.payload, &[0], &fds)
}

/// Our ends of a run's pipes, and what has come through them.
struct Pipes {
    stdin: Option<File>,
    unwritten: Arc<[u8]>,
    written: usize,
    stdout_pipe: Option<File>,
    stderr_pipe: Option<File>,
    report_pipe: Option<File>,
    stdout: Capture,
    stderr: Capture,
    report: Capture,
    chunk: Vec<u8>,
}

/// What a wait found.
#[derive(Default)]
struct News {
    control: bool,
    cancelled: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    report: bool,
}

impl Pipes {
    /// Fresh pipes for every run: a shared one would carry flags and bytes from run to run.
    fn new(request: &RunRequest) -> nix::Result<(Self, Vec<OwnedFd>)> {
        let (stdin_read, stdin_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout_read, stdout_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr_read, stderr_write) = pipe2(OFlag::O_CLOEXEC)?;
        let mut inside = vec![stdin_read, stdout_write, stderr_write];
        let mut report_pipe = None;
        if request.report_pipe {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            inside.push(write);
            report_pipe = Some(File::from(read));
        }
        for fd in &inside {
            // The run has another user id, and may open /dev/stdin by name.
            fchmod(fd, Mode::from_bits_truncate(0o666))?;
        }
        let ours = [Some(&stdin_write), Some(&stdout_read), Some(&stderr_read)];
        for fd in ours.into_iter().flatten() {
            set_nonblocking(fd)?;
        }
        if let Some(report) = &report_pipe {
            set_nonblocking(report)?;
        }
        let limits = &request.limits;
        let pipes = Self {
            stdin: Some(stdin_write.into()),
            unwritten: Arc::clone(&request.stdin),
            written: 0,
            stdout_pipe: Some(stdout_read.into()),
            stderr_pipe: Some(stderr_read.into()),
            report_pipe,
            stdout: Capture::head(limits.stdout_bytes),
            stderr: Capture::head_and_tail(limits.stderr_bytes),
            report: Capture::head(REPORT_BYTES),
            chunk: vec![0; CHUNK],
        };
        Ok((pipes, inside))
    }

    /// Writes as much stdin as fits; closes it at its end, or when nobody reads it any more.
    fn feed(&mut self) {
        use std::io::Write;
        let Some(pipe) = &mut self.stdin else { return };
        loop {
            if self.written == self.unwritten.len() {
                self.stdin = None;
                return;
            }
            match pipe.write(&self.unwritten[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
    }

    fn wait(&self, cell: &Cell, cancel: Option<&Cancel>, give_up: Instant) -> nix::Result<News> {
        // In the order of `News`; what is closed is left out.
        let wanted = [
            (Some(cell.control.as_fd()), PollFlags::POLLIN),
            (cancel.map(|c| c.0.as_fd()), PollFlags::POLLIN),
            (self.stdin.as_ref().map(AsFd::as_fd), PollFlags::POLLOUT),
            (
                self.stdout_pipe.as_ref().map(AsFd::as_fd),
                PollFlags::POLLIN,
            ),
            (
                self.stderr_pipe.as_ref().map(AsFd::as_fd),
                PollFlags::POLLIN,
            ),
            (
                self.report_pipe.as_ref().map(AsFd::as_fd),
                PollFlags::POLLIN,
            ),
        ];
        let mut fds: Vec<PollFd> = wanted
            .iter()
            .filter_map(|(fd, events)| Some(PollFd::new((*fd)?, *events)))
            .collect();
        let left = give_up.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(News::default()),
            Err(e) => return Err(e),
        }
        let mut polled = fds.iter();
        let [control, cancelled, stdin, stdout, stderr, report] = wanted
            .map(|(fd, _)| fd.is_some() && polled.next().is_some_and(|p| p.any() == Some(true)));
        Ok(News {
            control,
            cancelled,
            stdin,
            stdout,
            stderr,
            report,
        })
    }

    fn move_bytes(&mut self, news: &News) {
        if news.stdin {
            self.feed();
        }
        // One chunk each: a flood on one must not starve the others or the clock.
        if news.stdout {
            read_some(&mut self.stdout_pipe, &mut self.stdout, &mut self.chunk);
        }
        if news.stderr {
            read_some(&mut self.stderr_pipe, &mut self.stderr, &mut self.chunk);
        }
        if news.report {
            read_some(&mut self.report_pipe, &mut self.report, &mut self.chunk);
        }
    }

    /// Takes what is left in the pipes. All writers are dead, so this ends.
    fn drain(&mut self) {
        while read_some(&mut self.stdout_pipe, &mut self.stdout, &mut self.chunk) {}
        while read_some(&mut self.stderr_pipe, &mut self.stderr, &mut self.chunk) {}
        while read_some(&mut self.report_pipe, &mut self.report, &mut self.chunk) {}
    }
}

/// Reads one chunk; closes the pipe at its end. Says whether there may be more right now.
fn read_some(pipe: &mut Option<File>, capture: &mut Capture, chunk: &mut [u8]) -> bool {
    let Some(file) = pipe else { return false };
    match file.read(chunk) {
        Ok(0) => {
            *pipe = None;
            false
        }
        Ok(n) => {
            capture.push(&chunk[..n]);
            true
        }
        Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
        Err(_) => false,
    }
}

fn set_nonblocking(fd: &impl AsFd) -> nix::Result<()> {
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
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

/// Refuses what cannot be carried out as written, before anything is started.
fn validate(request: &RunRequest, isolation: Isolation) -> Result<(), SandboxError> {
    use std::os::unix::ffi::OsStrExt;
    let invalid = |text: String| Err(SandboxError::InvalidRequest(text));
    let limits = &request.limits;
    let zero = [
        ("wall_time", limits.wall_time.is_zero()),
        ("cpu_time", limits.cpu_time.is_zero()),
        ("memory_bytes", limits.memory_bytes == 0),
        ("tasks", limits.tasks == 0),
        ("open_files", limits.open_files < 8),
        ("scratch_bytes", limits.scratch_bytes == 0),
        ("scratch_inodes", limits.scratch_inodes == 0),
    ];
    if let Some((name, _)) = zero.iter().find(|(_, bad)| *bad) {
        return invalid(format!("limit {name} is too small to run anything"));
    }
    let day = Duration::from_secs(24 * 3600);
    if limits.wall_time > day || limits.cpu_time > 1024 * day {
        return invalid("a time limit is longer than a day".to_owned());
    }
    let argv = match &request.program {
        Program::Python { args, .. } => args,
        Program::Command { argv } if argv.is_empty() => {
            return invalid("the command is empty".to_owned());
        }
        Program::Command { argv } => argv,
    };
    if argv.iter().any(|arg| arg.as_bytes().contains(&0)) {
        return invalid("an argument holds a NUL byte".to_owned());
    }
    for (name, value) in &request.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return invalid(format!("environment variable {name:?} is malformed"));
        }
    }
    for path in request
        .files
        .iter()
        .map(|f| &f.path)
        .chain(&request.collect)
    {
        if !cells::is_runs_own(path, isolation == Isolation::Namespaces) {
            return invalid(format!(
                "file path {path:?} is not in the working directory or another folder of the run"
            ));
        }
    }
    // Sums of these with our own share must not wrap around.
    let sizes = [
        ("memory_bytes", limits.memory_bytes),
        ("scratch_bytes", limits.scratch_bytes),
        ("scratch_inodes", limits.scratch_inodes),
    ];
    if let Some((name, _)) = sizes.iter().find(|(_, size)| *size > 1 << 50) {
        return invalid(format!("limit {name} is more than any host has"));
    }
    for file in &request.files {
        let is_program = matches!(request.program, Program::Python { .. });
        if is_program && file.path.starts_with(MAIN_FILE) {
            return invalid(format!(
                "a file may not be called {MAIN_FILE}: that is the program"
            ));
        }
        if request
            .files
            .iter()
            .any(|other| other.path != file.path && other.path.starts_with(&file.path))
        {
            return invalid(format!("{:?} is both a file and a folder", file.path));
        }
    }
    Ok(())
}

/// How many runs may go on at once.
#[derive(Debug)]
struct Slots {
    count: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

struct Slot<'a>(&'a Slots);

impl Slots {
    fn new(count: usize) -> Self {
        Self {
            count,
            free: Mutex::new(count),
            freed: Condvar::new(),
        }
    }

    fn take(&self) -> Slot<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}
