//! From fork to the program's first instruction: the checklist of one run.

use std::ffi::{CString, OsStr};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::protocol::{MAIN_FILE, Payload, RUN_ID, RunHeader, Setup, Wire};
use crate::sys::{self, Errno};

/// Everything a run's checklist needs, made before the fork.
pub(crate) struct Prepared<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) header: &'a RunHeader,
    pub(crate) payload_socket: RawFd,
    /// Restricts the run when landlock is there.
    pub(crate) landlock: Option<RawFd>,
}

/// What the run learns from its payload on the way.
#[derive(Default)]
pub(crate) struct Arrived {
    payload: Payload,
    fds: Vec<OwnedFd>,
}

pub(crate) type StepFn = fn(&Prepared, &mut Arrived) -> Result<(), Errno>;

/// The checklist. Each step's name completes "… failed".
pub(crate) const STEPS: &[(&str, StepFn)] = &[
    ("receiving the program", receive),
    ("writing main.py", write_main), // main.py belongs to the cell: before the id changes
    ("placing descriptors", place_descriptors),
    ("resetting signals", reset_signals),
    ("leaving the cell's session", leave_session), // no terminal, no signals to or from pid 1's group
    ("setting limits", set_limits),
    ("dropping privileges", drop_privileges), // after everything that needed the cell's user
    ("writing input files", write_files),     // owned by the run, so it may change them
    ("restricting itself", restrict),
    ("closing descriptors", close_others),
    ("installing the filter", install_filters), // last: it denies calls that the steps above use
    ("starting the program", execute),
];

/// Runs the checklist; ends in the program, or tells `report` which step failed.
pub(crate) fn enter(prepared: &Prepared, report: &OwnedFd) -> ! {
    let mut arrived = Arrived::default();
    for (index, (_, run)) in STEPS.iter().enumerate() {
        if let Err(errno) = run(prepared, &mut arrived) {
            let mut bytes = Vec::with_capacity(8);
            (index as u32).put(&mut bytes);
            errno.put(&mut bytes);
            let _ = sys::write_all(report.as_raw_fd(), &bytes);
            break;
        }
    }
    // SAFETY: _exit has no memory effects; destructors and atexit handlers of the parent's image
    // must not run twice.
    unsafe { libc::_exit(127) }
}

fn receive(prepared: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    let mut message = Vec::new();
    let mut fds = sys::receive(prepared.payload_socket, &mut message, libc::MSG_DONTWAIT)?;
    let Some((inline, body)) = message.split_first() else {
        return Err(libc::EPROTO);
    };
    let payload = if *inline == 1 {
        Payload::decode(body)
    } else {
        if fds.is_empty() {
            return Err(libc::EPROTO);
        }
        let mut bytes = Vec::new();
        std::fs::File::from(fds.remove(0))
            .read_to_end(&mut bytes)
            .map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
        Payload::decode(&bytes)
    };
    arrived.payload = payload.map_err(|_| libc::EPROTO)?;
    arrived.fds = fds;
    let expected = if arrived.payload.report { 4 } else { 3 };
    // A payload of another run means that an earlier child died before it took its own.
    if arrived.payload.run != prepared.header.run || arrived.fds.len() != expected {
        return Err(libc::EPROTO);
    }
    Ok(())
}

fn write_main(prepared: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    if !prepared.header.script {
        // A command's folder holds its own files only; its cell serves no other run.
        let _ = std::fs::remove_file(MAIN_FILE);
    }
    match arrived.payload.source.take() {
        Some(source) => {
            // Through a description of its own, gone at exec: the file must have no writer when
            // pid 1 takes its lease, and its offset is nobody else's.
            let own = sys::open(Path::new(MAIN_FILE), libc::O_WRONLY | libc::O_CREAT, 0o644)?;
            sys::write_all(own.as_raw_fd(), &source)
        }
        None => Ok(()),
    }
}

fn place_descriptors(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    // Above the range first: a received descriptor may itself be numbered 0 to 3.
    let mut lifted = Vec::new();
    for fd in arrived.fds.drain(..) {
        lifted.push(sys::own(sys::dup_above(fd.as_raw_fd(), 16)?));
    }
    for (target, fd) in lifted.iter().enumerate() {
        sys::dup2(fd.as_raw_fd(), target as RawFd)?;
    }
    Ok(())
}

fn reset_signals(_: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    sys::reset_signals()
}

fn leave_session(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    if !prepared.setup.namespaces {
        // No pid namespace ends the run with the cell: ask the kernel to.
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    }
    sys::setsid()
}

fn set_limits(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    let (setup, header) = (prepared.setup, prepared.header);
    let cpu_s = header.cpu_ns.div_ceil(1_000_000_000);
    // With one mapped id pid 1 counts among the run's user's tasks.
    let tasks = u64::from(setup.tasks) + u64::from(setup.host_ids.is_none());
    let stack_hard = sys::get_rlimit(libc::RLIMIT_STACK)?.rlim_max;
    let same = |n: u64| (n, n);
    let limits = [
        (libc::RLIMIT_AS, same(header.address_space_bytes)),
        // Second line, far behind: pid 1 counts the whole run's CPU time exactly. The kernel counts
        // for this limit in ticks, which on a host that shares its processors run a third too fast.
        (libc::RLIMIT_CPU, (2 * cpu_s + 5, 2 * cpu_s + 6)),
        // At exec, so that thread stacks keep their size; pid 1 raises it before the program runs.
        (libc::RLIMIT_STACK, (8 << 20, stack_hard)),
        (libc::RLIMIT_FSIZE, same(setup.file_size_bytes)),
        (libc::RLIMIT_NOFILE, same(u64::from(setup.open_files))),
        (libc::RLIMIT_MEMLOCK, same(64 << 10)),
        // 1, not 0: the kernel then also leaves piped core handlers alone.
        (libc::RLIMIT_CORE, same(1)),
        (libc::RLIMIT_MSGQUEUE, same(0)),
        (libc::RLIMIT_SIGPENDING, same(256)),
        (libc::RLIMIT_NICE, same(0)),
        (libc::RLIMIT_RTPRIO, same(0)),
    ];
    for (resource, (soft, hard)) in limits {
        sys::set_rlimit(resource, soft, hard)?;
    }
    // For an id that others use too, NPROC would count their processes: there the watcher bounds.
    if setup.namespaces || setup.host_ids.is_some() {
        sys::set_rlimit(libc::RLIMIT_NPROC, tasks, tasks)?;
    }
    Ok(())
}

fn drop_privileges(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    if let Some(ids) = prepared.setup.host_ids {
        let id = if prepared.setup.namespaces {
            RUN_ID
        } else {
            ids.run
        };
        sys::set_ids(id, id)?;
    }
    // Always: with one mapped id no id change has cleared them.
    sys::set_capabilities(&[])
}

fn write_files(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    for (path, content) in std::mem::take(&mut arrived.payload.files) {
        // An absolute one starts at the run's own root.
        let plain = |c| matches!(c, Component::Normal(_) | Component::RootDir);
        if !path.components().all(plain) {
            return Err(libc::EINVAL);
        }
        let mut folders: Vec<_> = path
            .ancestors()
            .skip(1)
            .filter(|p| !p.as_os_str().is_empty())
            .collect();
        folders.reverse();
        for folder in folders {
            sys::mkdir(folder, 0o755)?;
        }
        let file = sys::open(
            &path,
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW,
            0o644,
        )?;
        sys::write_all(file.as_raw_fd(), &content)?;
    }
    Ok(())
}

fn restrict(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    prepared.landlock.map_or(Ok(()), sys::landlock_restrict)
}

fn close_others(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    sys::cloexec_from(if arrived.payload.report { 4 } else { 3 })
}

fn install_filters(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    prepared
        .setup
        .filters_run
        .iter()
        .try_for_each(|filter| sys::install_filter(filter))
}

fn execute(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    let payload = &arrived.payload;
    let c = |s: &OsStr| CString::new(s.as_bytes()).map_err(|_| libc::EINVAL);
    let argv = payload
        .argv
        .iter()
        .map(|s| c(s))
        .collect::<Result<Vec<_>, _>>()?;
    let env = payload
        .env
        .iter()
        .map(|s| c(s))
        .collect::<Result<Vec<_>, _>>()?;
    let pointers = |list: &[CString]| {
        list.iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv_pointers, env_pointers) = (pointers(&argv), pointers(&env));
    let mut errno = libc::ENOENT;
    for candidate in candidates(payload) {
        let path = sys::cstring(&candidate)?;
        // SAFETY: both arrays end in a null pointer and point into strings that live until the
        // call has replaced this image or returned.
        unsafe { libc::execve(path.as_ptr(), argv_pointers.as_ptr(), env_pointers.as_ptr()) };
        errno = sys::last();
        if errno != libc::ENOENT && errno != libc::ENOTDIR {
            break;
        }
    }
    Err(errno)
}

/// Where the executable may lie: as named, or along the run's own PATH.
fn candidates(payload: &Payload) -> Vec<PathBuf> {
    let program = &payload.program;
    if program.components().count() != 1 || program.is_absolute() {
        return vec![program.clone()];
    }
    let path = payload
        .env
        .iter()
        .find_map(|e| e.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or_default();
    path.split(|b| *b == b':')
        .map(|folder| Path::new(OsStr::from_bytes(folder)).join(program))
        .collect()
}
