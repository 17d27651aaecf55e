//! One cell as the supervisor holds it: started, talked to, and ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ::cell::protocol::{
    self, CGROUP_FD, CONTROL_FD, Hello, HostIds, MAIN_FILE, OOM_FD, OomNotice, PAYLOAD_FD,
    SETUP_FD, Setup, WORK_DIR, Wire, ZYGOTE_FD, Zygote,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tempfile::TempDir;

use crate::cgroup::{CellCgroup, Cgroups};
use crate::root_plan::RootPlan;
use crate::seccomp::Filters;
use crate::{Imports, Isolation, Network, Resident, RunRequest, SandboxError};

/// The executable of every cell, built by `build.rs`.
const EXECUTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/codejury-cell"));
/// What a run can write besides its working directory.
const OTHER_FOLDERS: [&str; 3] = ["/tmp", "/mnt", "/dev/shm"];
/// The library that makes a zygote of an interpreter, built by `build.rs`.
const ZYGOTE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libcodejury_zygote.so"));
/// Descriptors of ours that must survive until a cell's exec have at least this number.
const ABOVE_TARGETS: RawFd = 64;
/// A cell that is not ready after this long hangs.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What stays the same for all runs of a cell. Runs that differ here never share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CellKey {
    /// Whether runs are forked from a warmed interpreter.
    pub(crate) path: crate::Path,
    pub(crate) network: Network,
    /// What lies ready in a warmed interpreter.
    pub(crate) imports: Imports,
    pub(crate) resident: Option<Resident>,
    tasks: u32,
    open_files: u32,
    file_size_bytes: u64,
    scratch_bytes: u64,
    scratch_inodes: u64,
}

impl CellKey {
    /// What `request` needs, with these imports.
    pub(crate) fn new(path: crate::Path, request: &RunRequest, imports: Imports) -> Self {
        let limits = &request.limits;
        let (imports, resident) = match path {
            crate::Path::Warm => (imports, request.resident.clone()),
            crate::Path::Cold => (Imports::default(), None),
        };
        Self {
            path,
            network: request.network,
            imports,
            resident,
            tasks: limits.tasks,
            open_files: limits.open_files,
            file_size_bytes: limits.file_size_bytes,
            scratch_bytes: limits.scratch_bytes,
            scratch_inodes: limits.scratch_inodes,
        }
    }
}

/// What all cells of a sandbox are made from.
#[derive(Debug)]
pub(crate) struct CellPlan {
    pub(crate) python: PathBuf,
    pub(crate) isolation: Isolation,
    pub(crate) root: RootPlan,
    pub(crate) filters: Filters,
    pub(crate) cgroups: Cgroups,
    pub(crate) landlock_abi: u32,
    pub(crate) ids: IdSource,
}

/// A running cell. Dropping it ends it and everything inside.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) key: CellKey,
    pub(crate) control: OwnedFd,
    pub(crate) payload: OwnedFd,
    pidfd: OwnedFd,
    /// Set where the started process is itself the cell (`restricted`).
    process: Option<Child>,
    // Fields drop in order: the folders go after the processes in them.
    pub(crate) cgroup: CellCgroup,
    scratch: Option<TempDir>,
    pub(crate) runs: u64,
    /// Memory of its own while it is idle.
    pub(crate) own_bytes: u64,
}

impl Cell {
    /// Starts a cell and waits until it is ready. Blocks for a few milliseconds, at most 20 s.
    pub(crate) fn start(plan: &CellPlan, key: CellKey) -> Result<Self, SandboxError> {
        let namespaces = plan.isolation == Isolation::Namespaces;
        let cgroup = plan
            .cgroups
            .make(key.tasks)
            .map_err(|e| setup_error("making the cgroup", e))?;
        let host_ids = plan.ids.next();
        let scratch = if namespaces {
            None
        } else {
            Some(host_scratch(host_ids)?)
        };
        let (oom_notice, _) = cgroup.oom_notice();
        let memory_cgroup = oom_notice != OomNotice::None;
        let setup = Setup {
            namespaces,
            host_ids,
            binds: plan.root.binds.clone(),
            symlinks: plan.root.symlinks.clone(),
            files: plan.root.files.clone(),
            scratch_dir: scratch.as_ref().map(|dir| dir.path().to_owned()),
            scratch_bytes: key.scratch_bytes,
            scratch_inodes: key.scratch_inodes,
            loopback: key.network == Network::Loopback,
            cgroups: u32::try_from(cgroup.procs.len()).unwrap_or(0),
            oom_notice,
            memory_cgroup,
            landlock_abi: plan.landlock_abi,
            tasks: key.tasks,
            open_files: key.open_files,
            file_size_bytes: key.file_size_bytes,
            filters_once: plan.filters.once(key.network, memory_cgroup),
            filters_run: plan.filters.run(),
            zygote: (key.path == crate::Path::Warm).then(|| zygote(plan, &key)),
        };
        let (control, control_inside) = seqpacket_pair()?;
        let (payload, payload_inside) = seqpacket_pair()?;
        let mut process = spawn(&setup, &cgroup, &control_inside, &payload_inside)?;
        drop((control_inside, payload_inside));
        // Closed as soon as the cell is ready; until then its last words come through.
        let complaints = process.stderr.take();
        let introduced = introduce(&control, Instant::now() + READY_WITHIN);
        if introduced.is_err() || namespaces {
            // In the good case it has split off pid 1 and is gone; in the bad one it must be.
            if introduced.is_err() {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
        let pidfd = introduced?;
        let process = (!namespaces).then_some(process);
        let mut cell = Self {
            key,
            control,
            payload,
            pidfd,
            process,
            cgroup,
            scratch,
            runs: 0,
            own_bytes: 0,
        };
        cell.own_bytes = cell.await_ready().map_err(|error| match complaints {
            Some(stderr) => interpreters_words(error, stderr),
            None => error,
        })?;
        cell.cgroup.note_own();
        Ok(cell)
    }

    fn await_ready(&self) -> Result<u64, SandboxError> {
        match hello(&self.control, Instant::now() + READY_WITHIN)? {
            (Hello::Ready(own_bytes), _) => Ok(own_bytes),
            (Hello::Failed(failure), _) => Err(setup_error(
                &failure.step,
                io::Error::from_raw_os_error(failure.errno),
            )),
            (Hello::Spawned(_), _) => Err(setup_error(
                "introducing the cell",
                io::ErrorKind::InvalidData.into(),
            )),
        }
    }

    /// How its runs start.
    pub(crate) fn path(&self) -> crate::Path {
        self.key.path
    }

    /// Where the run's folders lie, as the run sees them.
    pub(crate) fn folders(&self) -> (PathBuf, PathBuf) {
        match &self.scratch {
            Some(dir) => (dir.path().join("work"), dir.path().join("tmp")),
            None => (WORK_DIR.into(), "/tmp".into()),
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if self.process.is_some() {
            // Without a pid namespace only the cell itself can end what its runs left: let it.
            let _ = nix::sys::socket::shutdown(
                self.control.as_raw_fd(),
                nix::sys::socket::Shutdown::Both,
            );
            let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(2000_u16));
        }
        kill_by_pidfd(&self.pidfd);
        let _ = waitid(
            Id::PIDFd(self.pidfd.as_fd()),
            WaitPidFlag::WEXITED | WaitPidFlag::__WALL,
        );
    }
}

#[allow(
    unsafe_code,
    reason = "no wrapper for pidfd_send_signal in the libraries we use"
)]
fn kill_by_pidfd(pidfd: &OwnedFd) {
    // SAFETY: the call reads no memory of ours: a descriptor, a number, a null pointer, no flags.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<u8>(),
            0,
        );
    }
}

pub(crate) fn setup_error(step: &str, source: io::Error) -> SandboxError {
    SandboxError::CellSetup {
        step: step.to_owned(),
        source,
    }
}

/// The environment of every run, the same on every path.
pub(crate) fn fixed_environment() -> Vec<(&'static str, &'static str)> {
    vec![
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", WORK_DIR),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PYTHONHASHSEED", "0"),
        // On a host with many cores these libraries alone would cross the task limit.
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
    ]
}

/// `fixed_environment` with the cell's own folders and a request's additions, as `NAME=value`.
pub fn environment((work, tmp): (PathBuf, PathBuf), added: &[(String, String)]) -> Vec<OsString> {
    let mut all: Vec<(OsString, OsString)> = fixed_environment()
        .into_iter()
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    let own = [("HOME".into(), work.into()), ("TMPDIR".into(), tmp.into())];
    for (name, value) in own
        .into_iter()
        .chain(added.iter().map(|(k, v)| (k.into(), v.into())))
    {
        match all.iter_mut().find(|(have, _)| *have == name) {
            Some((_, have)) => *have = value,
            None => all.push((name, value)),
        }
    }
    all.into_iter()
        .map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            pair
        })
        .collect()
}

/// The interpreter as a run of it is started, to be stopped at its program.
fn zygote(plan: &CellPlan, key: &CellKey) -> Zygote {
    Zygote {
        program: plan.python.clone(),
        argv: vec![plan.python.clone().into(), MAIN_FILE.into()],
        env: environment((WORK_DIR.into(), "/tmp".into()), &[]),
        imports: key.imports.to_wire(),
        resident: key.resident.as_ref().map(|resident| resident.code.to_vec()),
    }
}

/// Adds what an interpreter that did not get ready has written.
fn interpreters_words(error: SandboxError, mut stderr: std::process::ChildStderr) -> SandboxError {
    use std::io::Read;
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
    let mut text = [0; 2048];
    let n = match poll(&mut fds, PollTimeout::ZERO) {
        Ok(n) if n > 0 => stderr.read(&mut text).unwrap_or(0),
        _ => 0,
    };
    let text = String::from_utf8_lossy(&text[..n])
        .trim()
        .replace('\n', " / ");
    match error {
        SandboxError::CellSetup { step, source } if !text.is_empty() => SandboxError::CellSetup {
            step: format!("{step} (the interpreter says: {text})"),
            source,
        },
        other => other,
    }
}

/// Hands out host ids, different for each cell: before Linux 5.14 several limits count per host id.
#[derive(Debug)]
pub(crate) struct IdSource {
    /// First id and how many pairs; `None` maps the caller's own id.
    range: Option<(u32, u32)>,
    next: std::sync::atomic::AtomicU32,
}

impl IdSource {
    /// Decides by who we are. A run must never be the host's root.
    pub(crate) fn new() -> Result<Self, SandboxError> {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let range = if nix::unistd::geteuid().is_root() {
            range_of(&map)?
        } else {
            None
        };
        Ok(Self {
            range,
            next: (std::process::id().wrapping_mul(4096)).into(),
        })
    }

    fn next(&self) -> Option<HostIds> {
        let (first, pairs) = self.range?;
        let index = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % pairs;
        Some(HostIds {
            cell: first + 2 * index,
            run: first + 2 * index + 1,
        })
    }
}

/// Ids far from those of people and services, within what this user namespace has.
fn range_of(uid_map: &str) -> Result<Option<(u32, u32)>, SandboxError> {
    let extents: Vec<(u64, u64, u64)> = uid_map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(|f| f.parse::<u64>().ok());
            Some((fields.next()??, fields.next()??, fields.next()??))
        })
        .collect();
    let Some((inside, _, length)) = extents.iter().copied().max_by_key(|(_, _, length)| *length)
    else {
        return Err(no_ids("the user id map cannot be read"));
    };
    if length < 1024 {
        // A container's root that is an ordinary user outside maps itself, like any ordinary user.
        let root_outside = extents
            .iter()
            .any(|(inside, outside, _)| *inside == 0 && *outside == 0);
        return if root_outside {
            Err(no_ids("this root is the host's root with no ids to spare"))
        } else {
            Ok(None)
        };
    }
    let first = (inside + length / 2).max(inside + 512);
    let pairs = ((inside + length - first) / 2).min(1 << 24);
    Ok(Some((
        u32::try_from(first).unwrap_or(u32::MAX / 2),
        u32::try_from(pairs).unwrap_or(1),
    )))
}

fn no_ids(reason: &str) -> SandboxError {
    SandboxError::IsolationUnavailable {
        layer: "user namespace",
        reason: format!("programs must not run as the host's root, and {reason}"),
        remedy: "run codejury as an ordinary user".to_owned(),
    }
}

fn host_scratch(ids: Option<HostIds>) -> Result<TempDir, SandboxError> {
    let make = || -> io::Result<TempDir> {
        let dir = tempfile::Builder::new().prefix("codejury-").tempdir()?;
        if let Some(ids) = ids {
            std::os::unix::fs::chown(dir.path(), Some(ids.run), Some(ids.run))?;
        }
        for name in ["work", "tmp", "shm", "mnt"] {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder)?;
            if let Some(ids) = ids {
                std::os::unix::fs::chown(&folder, Some(ids.run), Some(ids.run))?;
            }
        }
        Ok(dir)
    };
    make().map_err(|e| setup_error("making the scratch folder", e))
}

fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(|e| setup_error("making a socket pair", e.into()))
}

/// Where the cell's executable can be started from.
enum Executable {
    Memory(File),
    // Some hosts forbid executing memory files.
    Disk(tempfile::TempPath),
}

impl Executable {
    fn get() -> Result<&'static Self, SandboxError> {
        static ONCE: OnceLock<Executable> = OnceLock::new();
        if let Some(found) = ONCE.get() {
            return Ok(found);
        }
        let made = Self::in_memory().or_else(|_| Self::on_disk());
        let made = made.map_err(|e| setup_error("unpacking the cell's executable", e))?;
        Ok(ONCE.get_or_init(|| made))
    }

    fn in_memory() -> io::Result<Self> {
        // It is started by its number, which must still be its own when a cell's are in place.
        let file = sealed_file(c"codejury-cell", EXECUTABLE)?;
        let made = Self::Memory(above_targets(file.as_fd())?.into());
        // By hand it only prints a line and ends with 2; a host that forbids it fails here.
        Process::new(made.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(made)
    }

    fn on_disk() -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let mut file = tempfile::Builder::new()
            .prefix("codejury-cell-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempfile()?;
        file.write_all(EXECUTABLE)?;
        Ok(Self::Disk(file.into_temp_path()))
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Memory(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            Self::Disk(path) => path.to_path_buf(),
        }
    }
}

/// The zygote's library as a sealed memory file, shared by all cells.
fn zygote_library() -> Result<&'static File, SandboxError> {
    static ONCE: OnceLock<File> = OnceLock::new();
    if let Some(found) = ONCE.get() {
        return Ok(found);
    }
    let made = sealed_file(c"codejury-zygote", ZYGOTE)
        .map_err(|e| setup_error("unpacking the zygote's library", e))?;
    Ok(ONCE.get_or_init(|| made))
}

/// A copy of a descriptor whose number is none that a cell's own descriptors get between fork and
/// exec.
fn above_targets(fd: BorrowedFd) -> io::Result<OwnedFd> {
    const _: () = assert!(CGROUP_FD < ABOVE_TARGETS && ZYGOTE_FD < ABOVE_TARGETS);
    let above = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(ABOVE_TARGETS))?;
    #[allow(unsafe_code, reason = "fcntl returns a bare number")]
    // SAFETY: fcntl has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(above) })
}

fn sealed_file(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<File> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

fn spawn(
    setup: &Setup,
    cgroup: &CellCgroup,
    control: &OwnedFd,
    payload: &OwnedFd,
) -> Result<Child, SandboxError> {
    let setup_file = setup_file(setup).map_err(|e| setup_error("writing the setup", e))?;
    let mut wanted: Vec<(BorrowedFd, RawFd)> = vec![
        (control.as_fd(), CONTROL_FD),
        (payload.as_fd(), PAYLOAD_FD),
        (setup_file.as_fd(), SETUP_FD),
    ];
    if let (_, Some(notice)) = cgroup.oom_notice() {
        wanted.push((notice.as_fd(), OOM_FD));
    }
    for (file, target) in cgroup.procs.iter().zip(CGROUP_FD..) {
        wanted.push((file.as_fd(), target));
    }
    if setup.zygote.is_some() {
        wanted.push((zygote_library()?.as_fd(), ZYGOTE_FD));
    }
    // Lifted above every target first: a source may itself have a target's number.
    let mut lifted = Vec::with_capacity(wanted.len());
    for (fd, target) in wanted {
        let above = above_targets(fd).map_err(|e| setup_error("duplicating a descriptor", e))?;
        lifted.push((above, target));
    }
    let mut process = Process::new(Executable::get()?.path());
    process.env_clear().current_dir("/");
    // A zygote's streams are made on the same kind of file as those of its runs.
    for set in [Process::stdin, Process::stdout, Process::stderr] {
        set(
            &mut process,
            match setup.zygote {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            },
        );
    }
    let pairs: Vec<(RawFd, RawFd)> = lifted
        .iter()
        .map(|(fd, target)| (fd.as_raw_fd(), *target))
        .collect();
    #[allow(
        unsafe_code,
        reason = "descriptors get their numbers between fork and exec"
    )]
    // SAFETY: between fork and exec only dup2 is called, which is async-signal-safe and allocates
    // nothing; `pairs` was allocated before.
    unsafe {
        process.pre_exec(move || {
            for &(from, to) in &pairs {
                if libc::dup2(from, to) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    process
        .spawn()
        .map_err(|e| setup_error("starting the cell's executable", e))
}

fn setup_file(setup: &Setup) -> io::Result<File> {
    let mut file = match memfd_create(c"codejury-setup", MFdFlags::MFD_CLOEXEC) {
        Ok(fd) => File::from(fd),
        Err(_) => tempfile::tempfile()?,
    };
    file.write_all(&protocol::VERSION.to_le_bytes())?;
    file.write_all(&setup.encode())?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn introduce(control: &OwnedFd, deadline: Instant) -> Result<OwnedFd, SandboxError> {
    match hello(control, deadline)? {
        (Hello::Spawned(_), Some(pidfd)) => Ok(pidfd),
        (Hello::Failed(failure), _) => Err(setup_error(
            &failure.step,
            io::Error::from_raw_os_error(failure.errno),
        )),
        _ => Err(setup_error(
            "introducing the cell",
            io::ErrorKind::InvalidData.into(),
        )),
    }
}

fn hello(control: &OwnedFd, deadline: Instant) -> Result<(Hello, Option<OwnedFd>), SandboxError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let ready =
        poll(&mut fds, timeout).map_err(|e| setup_error("waiting for the cell", e.into()))?;
    if ready == 0 {
        return Err(setup_error(
            "waiting for the cell",
            io::ErrorKind::TimedOut.into(),
        ));
    }
    let (message, fd) = receive(control).map_err(|e| setup_error("waiting for the cell", e))?;
    if message.is_empty() {
        return Err(setup_error(
            "waiting for the cell",
            io::ErrorKind::UnexpectedEof.into(),
        ));
    }
    let hello = Hello::decode(&message).map_err(|_| {
        setup_error(
            "reading the cell's answer",
            io::ErrorKind::InvalidData.into(),
        )
    })?;
    Ok((hello, fd))
}

/// Receives one message and the descriptor attached to it, if any. Empty: the cell is gone.
pub(crate) fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut vectors = [IoSliceMut::new(&mut bytes)];
    let (n, attached) = loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut vectors,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
            Ok(message) => {
                let mut attached = None;
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        for fd in fds {
                            #[allow(
                                unsafe_code,
                                reason = "received descriptors arrive as bare numbers"
                            )]
                            // SAFETY: the kernel has just made this descriptor for us alone.
                            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                            attached = Some(fd);
                        }
                    }
                }
                break (message.bytes, attached);
            }
        }
    };
    bytes.truncate(n);
    Ok((bytes, attached))
}

/// Sends one message with descriptors; never raises SIGPIPE.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let attached: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            attached,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// A memory file with `bytes`, for payloads too large for a message.
pub(crate) fn memory_file(bytes: &[u8]) -> io::Result<File> {
    let mut file = match memfd_create(c"codejury-payload", MFdFlags::MFD_CLOEXEC) {
        Ok(fd) => File::from(fd),
        Err(_) => tempfile::tempfile()?,
    };
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// Whether a path names a file of the run's own folders: relative to the working directory, or, in
/// a root of its own, absolute below one of the other folders that a run can write.
pub(crate) fn is_runs_own(path: &Path, own_root: bool) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let below = OTHER_FOLDERS
        .iter()
        .find_map(|folder| path.strip_prefix(folder).ok());
    let inner = match below {
        Some(_) if !own_root => return false,
        Some(inner) => inner,
        None => path,
    };
    inner.components().next().is_some()
        && inner
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)))
        && !path.as_os_str().as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_never_get_the_hosts_root_or_a_persons_id() {
        let cases = [
            ("the host", "         0          0 4294967295\n", Some(true)),
            (
                "a container with subordinate ids",
                "0 1000 1\n1 100000 65536\n",
                Some(true),
            ),
            (
                "a container with one id of an ordinary user",
                "0 1000 1\n",
                Some(false),
            ),
            ("a namespace with one id, the host's root", "0 0 1\n", None),
            ("unreadable", "", None),
        ];
        for (name, map, expected) in cases {
            let range = range_of(map).ok();
            assert_eq!(range.map(|r| r.is_some()), expected, "case: {name}");
            if let Some(Some((first, pairs))) = range {
                assert!(first > 500 && pairs > 0, "case: {name}: {first} {pairs}");
            }
        }
    }

    #[test]
    fn the_executable_keeps_its_number_while_a_cells_descriptors_are_put_in_place() {
        if let Executable::Memory(file) = Executable::get().expect("it can be unpacked") {
            assert!(file.as_raw_fd() >= ABOVE_TARGETS, "{}", file.as_raw_fd());
        }
    }

    #[test]
    fn only_paths_of_the_runs_own_folders_are_taken() {
        for (path, fine, fine_in_own_root) in [
            ("a", true, true),
            ("a/b.txt", true, true),
            ("", false, false),
            ("../a", false, false),
            ("a/../b", false, false),
            ("a\0b", false, false),
            ("/a", false, false),
            ("/etc/passwd", false, false),
            ("/mnt/a/b", false, true),
            ("/tmp/a", false, true),
            ("/dev/shm/a", false, true),
            ("/mnt", false, false),
            ("/mnt/../etc/a", false, false),
            ("/tmpa", false, false),
        ] {
            assert_eq!(is_runs_own(Path::new(path), false), fine, "{path:?}");
            assert_eq!(
                is_runs_own(Path::new(path), true),
                fine_in_own_root,
                "{path:?}"
            );
        }
    }
}
