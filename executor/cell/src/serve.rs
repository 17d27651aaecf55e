//! Pid 1's loop: one run at a time, watched to its end, and the proof after it.

use std::convert::Infallible;
use std::ffi::CString;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::child::{self, Launch, Prepared};
use crate::proof::Proof;
use crate::protocol::{
    Answer, Collected, Command, Ended, Hello, OOM_FD, OomNotice, RunHeader, SCRATCH, Setup,
    SetupFailure, Wire,
};
use crate::step::{Step, step};
use crate::sys::{self, Waited};
use crate::watch;

/// Soft stack limit once the program runs; exec itself sees less, so that thread stacks stay small.
pub(crate) const STACK_BYTES: u64 = 128 << 20;
/// How often the memory of a run is looked at where no cgroup bounds it.
const MEMORY_INTERVAL_NS: u64 = 20_000_000;
/// What one process may have in files and sockets before its own memory is looked at too.
const FILES_OF_ONE_BYTES: u64 = 4 << 20;
/// Never look at CPU time more often than this.
const CPU_INTERVAL_NS: u64 = 10_000_000;
/// More than any command takes.
const MESSAGE_BYTES: usize = 64 * 1024;
/// A process that survives SIGKILL this long hangs in the kernel; the cell ends with it.
const KILL_GRACE_NS: u64 = 5_000_000_000;

const CAP_DAC_READ_SEARCH: u32 = 2; // collecting files that the run made private
const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6; // with SETUID: becoming the run's user
const CAP_SETUID: u32 = 7;
const CAP_SYS_PTRACE: u32 = 19; // seeing the run's processes in a procfs that hides them
const CAP_SYS_RESOURCE: u32 = 24; // raising the run's soft stack limit
const CAP_CHECKPOINT_RESTORE: u32 = 40; // the same pid for every run

struct Server<'a, L> {
    launch: PhantomData<L>,
    control: RawFd,
    payload: RawFd,
    setup: &'a Setup,
    signals: OwnedFd,
    /// Writing n here makes n + 1 the next pid.
    last_pid: Option<OwnedFd>,
    proof: Option<Proof>,
    landlock: Option<OwnedFd>,
    cpus: u64,
    /// Where a run that is not started by exec tells which step failed; one pipe for all of them.
    failures: (OwnedFd, OwnedFd),
}

/// Locks this process down and serves runs; returns only to say what went wrong.
pub(crate) fn serve<L: Launch>(
    control: &OwnedFd,
    payload: OwnedFd,
    last_pid: Option<OwnedFd>,
    setup: Setup,
) -> Step<Infallible> {
    let signals = step(
        "blocking signals",
        sys::signal_fd(&[libc::SIGCHLD, libc::SIGIO, libc::SIGPIPE]),
    )?;
    let proof = if setup.namespaces {
        Some(step(
            "taking the baseline",
            Proof::new(payload.as_raw_fd(), setup.loopback),
        )?)
    } else {
        None
    };
    let landlock = landlock(&setup)?;
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let failures = step("making a pipe", sys::pipe())?;
    step(
        "making a pipe",
        sys::set_nonblocking(failures.0.as_raw_fd()),
    )?;
    let own_bytes = watch::own_bytes();
    lock_down::<L>(&setup)?;
    step(
        "reporting ready",
        sys::send(control.as_raw_fd(), &Hello::Ready(own_bytes).encode(), None),
    )?;
    let server = Server::<L> {
        launch: PhantomData,
        control: control.as_raw_fd(),
        payload: payload.as_raw_fd(),
        setup: &setup,
        signals,
        last_pid,
        proof,
        landlock,
        cpus,
        failures,
    };
    let mut message = Vec::with_capacity(MESSAGE_BYTES);
    loop {
        step(
            "receiving a command",
            sys::receive(server.control, &mut message, 0),
        )?;
        if message.is_empty() {
            std::process::exit(0); // the supervisor closed the cell, or is gone
        }
        match Command::decode(&message) {
            Ok(Command::Run(header)) => server.run(&header)?,
            Ok(Command::Stop) => {} // of a run that had just ended
            Err(_) => return step("reading a command", Err(libc::EPROTO)),
        }
    }
}

fn landlock(setup: &Setup) -> Step<Option<OwnedFd>> {
    let abi = setup.landlock_abi;
    if setup.namespaces {
        if abi < 4 {
            return Ok(None);
        }
        return step(
            "making the landlock ruleset",
            sys::landlock_scopes(abi, setup.loopback),
        )
        .map(Some);
    }
    if abi == 0 {
        return Ok(None);
    }
    let ruleset = step(
        "making the landlock ruleset",
        sys::landlock_files(abi, setup.loopback),
    )?;
    for bind in &setup.binds {
        let name = format!("allowing {}", bind.source.display());
        step(
            name,
            sys::landlock_allow(ruleset.as_raw_fd(), abi, &bind.source, bind.device),
        )?;
    }
    if let Some(scratch) = &setup.scratch_dir {
        for (name, _) in SCRATCH {
            let folder = scratch.join(name);
            let name = format!("allowing {}", folder.display());
            step(
                name,
                sys::landlock_allow(ruleset.as_raw_fd(), abi, &folder, true),
            )?;
        }
    }
    Ok(Some(ruleset))
}

/// What pid 1 keeps.
pub(crate) fn capabilities() -> Vec<u32> {
    let mut keep = vec![
        CAP_DAC_READ_SEARCH,
        CAP_KILL,
        CAP_SETGID,
        CAP_SETUID,
        CAP_SYS_PTRACE,
        CAP_SYS_RESOURCE,
    ];
    if sys::prctl(libc::PR_CAPBSET_READ, CAP_CHECKPOINT_RESTORE.into()).is_ok() {
        keep.push(CAP_CHECKPOINT_RESTORE);
    }
    keep
}

fn lock_down<L: Launch>(setup: &Setup) -> Step<()> {
    step("becoming undumpable", sys::prctl(libc::PR_SET_DUMPABLE, 0))?;
    step(
        "forbidding new privileges",
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1),
    )?;
    if setup.namespaces {
        for cap in 0..64 {
            match sys::prctl(libc::PR_CAPBSET_DROP, cap) {
                Ok(_) => {}
                Err(libc::EINVAL) => break, // past the last capability of this kernel
                Err(errno) => return step("emptying the bounding set", Err(errno)),
            }
        }
        step(
            "dropping capabilities",
            sys::set_capabilities(&capabilities()),
        )?;
    }
    for filter in &setup.filters_once {
        step("installing the filter", sys::install_filter(filter))?;
    }
    if !L::EXECS {
        // Nothing a forked run still has to do is refused to it: once for all of them.
        for filter in &setup.filters_run {
            step("installing the filter", sys::install_filter(filter))?;
        }
    }
    Ok(())
}

/// Where a run stands while pid 1 watches it.
struct Watched {
    pid: i32,
    started_ns: u64,
    ended: Ended,
    /// Set when the main process is reaped.
    over: bool,
    nobody_left: bool,
    killed: bool,
}

impl<L: Launch> Server<'_, L> {
    fn run(&self, header: &RunHeader) -> Step<()> {
        let begun_ns = sys::now_ns();
        let report = match L::EXECS {
            true => Some(step("making a pipe", sys::pipe())?),
            false => None,
        };
        let prepared = Prepared {
            setup: self.setup,
            header,
            payload_socket: self.payload,
            landlock: self.landlock.as_ref().map(AsRawFd::as_raw_fd),
            main_file: self.proof.as_ref().map(Proof::main_file),
        };
        if let Some(last_pid) = &self.last_pid {
            // Everybody else is gone, so 2 is free. Before Linux 5.9 it takes more rights than we keep.
            let _ = sys::write_at_start(last_pid.as_raw_fd(), b"1");
        }
        // SAFETY: this process has had one thread since its start (root.rs and the zygote assert
        // it), so no lock can be held by a thread that the child will not have; the child never
        // returns.
        let pid = unsafe { libc::fork() };
        match pid {
            0 => {
                let write = report.as_ref().map_or(&self.failures.1, |(_, write)| write);
                child::enter::<L>(&prepared, write.as_raw_fd())
            }
            -1 => return step("forking a run", Err(sys::last())),
            _ => {}
        }
        let mut failed = None;
        if let Some((read, write)) = report {
            drop(write);
            failed = failed_step::<L>(read.as_raw_fd())?;
        }
        let mut run = Watched {
            pid,
            started_ns: sys::now_ns(),
            ended: Ended {
                run: header.run,
                ..Ended::default()
            },
            over: false,
            nobody_left: false,
            killed: false,
        };
        run.ended.setup_ns = run.started_ns - begun_ns;
        if failed.is_some() {
            self.kill_all(&mut run);
        } else if L::EXECS && header.script {
            self.hold_main_file(pid);
        }
        self.watch(header, &mut run)?;
        self.clear(&mut run)?;
        if !L::EXECS {
            failed = failed_step::<L>(self.failures.0.as_raw_fd())?;
        }
        run.ended.failed_step = failed;
        self.collect(header)?;
        run.ended.dirty = !self.proof.as_ref().is_some_and(Proof::clean);
        let answer = Answer::Ended(run.ended).encode();
        step("answering", sys::send(self.control, &answer, None))
    }

    /// Keeps the interpreter from opening its program until the stack limit is raised. Whoever opens
    /// the file first waits for the lease; if that has happened already, there is nothing to wait for.
    fn hold_main_file(&self, pid: i32) {
        let held = self
            .proof
            .as_ref()
            .is_some_and(|p| sys::take_write_lease(p.main_file()).is_ok());
        if !held {
            self.raise_stack(pid);
        }
    }

    fn raise_stack(&self, pid: i32) {
        // Fails only when the process has just ended.
        let _ = sys::raise_soft_rlimit(pid, libc::RLIMIT_STACK, STACK_BYTES);
        if let Some(proof) = &self.proof {
            let _ = sys::release_lease(proof.main_file());
        }
    }

    /// Waits until the main process has ended, and makes it end when a limit is reached.
    fn watch(&self, header: &RunHeader, run: &mut Watched) -> Step<()> {
        let cpus = self.cpus;
        let mut wall_at = run.started_ns.saturating_add(header.wall_ns);
        let mut cpu_at = run
            .started_ns
            .saturating_add((header.cpu_ns / cpus).max(CPU_INTERVAL_NS));
        let mut memory_at = if self.setup.memory_cgroup {
            u64::MAX
        } else {
            run.started_ns + MEMORY_INTERVAL_NS
        };
        let mut killed_at = u64::MAX;
        while !run.over {
            let now = sys::now_ns();
            if run.killed {
                if killed_at == u64::MAX {
                    killed_at = now;
                }
                if now > killed_at.saturating_add(KILL_GRACE_NS) {
                    return step("ending a run", Err(libc::ETIMEDOUT));
                }
            } else if now >= wall_at {
                // Waiting for a CPU is not the program's doing, up to as much again.
                run.ended.run_delay_ns = watch::run_delay_ns(run.pid);
                let allowed = header
                    .wall_ns
                    .saturating_add(run.ended.run_delay_ns.min(header.wall_ns));
                wall_at = run.started_ns.saturating_add(allowed);
                if now >= wall_at {
                    run.ended.wall_limit = true;
                    self.kill_all(run);
                }
            } else if now >= cpu_at {
                let live = watch::live(self.setup.namespaces);
                let used_ns = (live.cpu_us + run.ended.user_us + run.ended.system_us) * 1000;
                let left_ns = header.cpu_ns.saturating_sub(used_ns);
                cpu_at = now + (left_ns / cpus).max(CPU_INTERVAL_NS);
                // Without a task limit of the kernel's the watcher holds the line.
                let too_many = !self.setup.namespaces && live.processes > 2 * self.setup.tasks;
                if left_ns == 0 || too_many {
                    run.ended.cpu_limit = left_ns == 0;
                    run.ended.memory_limit = too_many;
                    self.kill_all(run);
                }
            } else if now >= memory_at {
                memory_at = now + MEMORY_INTERVAL_NS;
                if self.over_memory(header) {
                    run.ended.memory_limit = true;
                    self.kill_all(run);
                }
            }
            let next = wall_at.min(cpu_at).min(memory_at);
            let timeout = if run.killed {
                MEMORY_INTERVAL_NS
            } else {
                next.saturating_sub(sys::now_ns())
            };
            self.wait_for_news(run, timeout)?;
        }
        Ok(())
    }

    /// One process alone is held by its address-space limit; several add up, and so does what lies
    /// in files and sockets.
    fn over_memory(&self, header: &RunHeader) -> bool {
        let outside = self
            .proof
            .as_ref()
            .map_or(0, |proof| proof.scratch_used_bytes() + proof.socket_bytes());
        let alone = watch::processes(self.setup.namespaces).len() <= 1;
        let inside = if alone && outside < FILES_OF_ONE_BYTES {
            0
        } else {
            watch::memory_bytes(self.setup.namespaces)
        };
        outside + inside > header.memory_bytes
    }

    /// Sleeps until a process ends, the supervisor speaks, or the time is over.
    fn wait_for_news(&self, run: &mut Watched, timeout_ns: u64) -> Step<()> {
        let entry = |fd, events| libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        let (oom_fd, oom_events) = match self.setup.oom_notice {
            OomNotice::None => (-1, 0),
            OomNotice::Eventfd => (OOM_FD, libc::POLLIN),
            OomNotice::EventsFile => (OOM_FD, libc::POLLPRI),
        };
        let mut fds = [
            entry(self.control, libc::POLLIN),
            entry(self.signals.as_raw_fd(), libc::POLLIN),
            entry(oom_fd, oom_events),
        ];
        step("waiting for a run", sys::poll(&mut fds, Some(timeout_ns)))?;
        if fds[0].revents != 0 {
            self.hear(run)?;
        }
        if fds[2].revents & oom_events != 0 {
            self.notice_memory_kill(run);
        }
        if fds[1].revents != 0 && sys::take_signals(self.signals.as_raw_fd(), libc::SIGIO) {
            self.raise_stack(run.pid);
        }
        self.reap_all(run)
    }

    fn hear(&self, run: &mut Watched) -> Step<()> {
        let mut message = Vec::with_capacity(MESSAGE_BYTES);
        step(
            "receiving a command",
            sys::receive(self.control, &mut message, 0),
        )?;
        if message.is_empty() {
            self.kill_all(run);
            std::process::exit(0);
        }
        if Command::decode(&message) == Ok(Command::Stop) && !run.killed {
            run.ended.stopped = true;
            self.kill_all(run);
        }
        Ok(())
    }

    fn notice_memory_kill(&self, run: &mut Watched) {
        let killed = match self.setup.oom_notice {
            OomNotice::None => false,
            OomNotice::Eventfd => sys::read(OOM_FD, &mut [0; 8]).is_ok(),
            OomNotice::EventsFile => {
                let mut text = [0; 512];
                let n = sys::pread(OOM_FD, &mut text).unwrap_or(0);
                oom_kills(&text[..n]) > 0
            }
        };
        if killed && !run.ended.memory_limit {
            run.ended.memory_limit = true;
            self.kill_all(run);
        }
    }

    fn reap_all(&self, run: &mut Watched) -> Step<()> {
        loop {
            match step("waiting for a run", sys::reap())? {
                Waited::One(one) => {
                    run.ended.user_us += one.user_us;
                    run.ended.system_us += one.system_us;
                    run.ended.max_rss_kib = run.ended.max_rss_kib.max(one.max_rss_kib);
                    if one.pid == run.pid {
                        run.over = true;
                        run.ended.status = one.status;
                        run.ended.wall_ns = sys::now_ns() - run.started_ns;
                    } else if run.over {
                        run.ended.leftover += 1;
                    }
                }
                Waited::Alive => return Ok(()),
                Waited::Nobody => {
                    run.nobody_left = true;
                    return Ok(());
                }
            }
        }
    }

    /// Ends everything that outlived the main process. Who forks while being killed is killed again.
    fn clear(&self, run: &mut Watched) -> Step<()> {
        if !run.nobody_left {
            self.reap_all(run)?;
        }
        let begun = sys::now_ns();
        while !run.nobody_left {
            if sys::now_ns() > begun + KILL_GRACE_NS {
                return step("clearing the cell", Err(libc::ETIMEDOUT));
            }
            self.kill_all(run);
            self.wait_for_news(run, MEMORY_INTERVAL_NS)?;
        }
        if L::EXECS
            && let Some(proof) = &self.proof
        {
            let _ = sys::release_lease(proof.main_file());
        }
        Ok(())
    }

    fn kill_all(&self, run: &mut Watched) {
        run.killed = true;
        if self.setup.namespaces {
            // Everybody in this pid namespace but pid 1, which is us.
            let _ = sys::kill(-1, libc::SIGKILL);
        } else {
            for pid in watch::processes(false) {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
        }
    }

    /// Sends the files asked for. Everything is dead, so nobody swaps a file under the opening; each
    /// part of the path is opened by itself and no link is followed.
    fn collect(&self, header: &RunHeader) -> Step<()> {
        let here = match &self.proof {
            Some(proof) => proof.work_dir(),
            None if header.collect.is_empty() => return Ok(()),
            None => libc::AT_FDCWD,
        };
        for (index, path) in header.collect.iter().enumerate() {
            let Some(file) = open_regular(here, path) else {
                continue;
            };
            let answer = Answer::Collected(Collected {
                index: index as u32,
            })
            .encode();
            step(
                "sending a file",
                sys::send(self.control, &answer, Some(file.as_raw_fd())),
            )?;
        }
        Ok(())
    }
}

/// Reads which step of a run's checklist failed, if one did.
fn failed_step<L: Launch>(report: RawFd) -> Step<Option<SetupFailure>> {
    let mut bytes = [0; 8];
    match sys::read(report, &mut bytes) {
        Ok(0) | Err(libc::EAGAIN) => return Ok(None),
        other => step("starting a run", other)?,
    };
    let mut bytes = &bytes[..];
    let index = u32::take(&mut bytes).unwrap_or(u32::MAX);
    let errno = i32::take(&mut bytes).unwrap_or(libc::EIO);
    let step = L::STEPS
        .get(index as usize)
        .map_or("an unknown step", |(name, _)| name);
    Ok(Some(SetupFailure {
        step: step.to_owned(),
        errno,
    }))
}

fn open_regular(dir: RawFd, path: &Path) -> Option<OwnedFd> {
    let mut parts = path.components().peekable();
    let mut folder: Option<OwnedFd> = None;
    if parts.next_if_eq(&Component::RootDir).is_some() {
        let root = sys::open(Path::new("/"), libc::O_RDONLY | libc::O_DIRECTORY, 0);
        folder = Some(root.ok()?);
    }
    while let Some(Component::Normal(name)) = parts.next() {
        let name = CString::new(name.as_bytes()).ok()?;
        let at = folder.as_ref().map_or(dir, AsRawFd::as_raw_fd);
        let last = parts.peek().is_none();
        let flags = libc::O_RDONLY
            | libc::O_NOFOLLOW
            | if last {
                libc::O_NONBLOCK
            } else {
                libc::O_DIRECTORY
            };
        let opened = sys::open_at(at, &name, flags).ok()?;
        if last {
            let stat = sys::fstat(opened.as_raw_fd()).ok()?;
            return (stat.st_mode & libc::S_IFMT == libc::S_IFREG).then_some(opened);
        }
        folder = Some(opened);
    }
    None
}

/// The `oom_kill` line of cgroup v2's `memory.events`.
fn oom_kills(events: &[u8]) -> u64 {
    String::from_utf8_lossy(events)
        .lines()
        .find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or(0)
}
