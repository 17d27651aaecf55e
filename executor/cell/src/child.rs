//! From fork to the program's first instruction: the steps of one run's checklist. Which steps, and
//! in which order, is the affair of the two ways to start a program: `exec.rs` here, and the zygote.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Component;

use crate::protocol::{Payload, RUN_ID, RunHeader, Setup, Wire};
use crate::sys::{self, Errno};

/// Everything a run's checklist needs, made before the fork.
pub(crate) struct Prepared<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) header: &'a RunHeader,
    pub(crate) payload_socket: RawFd,
    /// Restricts the run when landlock is there.
    pub(crate) landlock: Option<RawFd>,
    /// The cell's `main.py`, open for writing.
    #[allow(dead_code, reason = "only a zygote's runs write through it")]
    pub(crate) main_file: Option<RawFd>,
}

/// What the run learns from its payload on the way.
#[derive(Default)]
pub(crate) struct Arrived {
    pub(crate) payload: Payload,
    pub(crate) fds: Vec<OwnedFd>,
}

pub(crate) type StepFn = fn(&Prepared, &mut Arrived) -> Result<(), Errno>;

/// A way to start a program in the forked child.
pub(crate) trait Launch {
    /// The checklist. Each step's name completes "… failed".
    const STEPS: &'static [(&'static str, StepFn)];
    /// Whether the program starts by exec, which closes the child's end of the report pipe.
    const EXECS: bool;

    /// After the last step: runs the program, and ends with it.
    fn go(prepared: &Prepared, arrived: Arrived) -> !;
}

/// Runs the checklist; ends in the program, or tells `report` which step failed.
pub(crate) fn enter<L: Launch>(prepared: &Prepared, report: RawFd) -> ! {
    let mut arrived = Arrived::default();
    for (index, (_, run)) in L::STEPS.iter().enumerate() {
        if let Err(errno) = run(prepared, &mut arrived) {
            let mut bytes = Vec::with_capacity(8);
            (index as u32).put(&mut bytes);
            errno.put(&mut bytes);
            let _ = sys::write_all(report, &bytes);
            sys::exit_now(127);
        }
    }
    L::go(prepared, arrived)
}

pub(crate) fn receive(prepared: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    let mut message = Vec::with_capacity(prepared.header.payload_bytes as usize + 1);
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

pub(crate) fn place_descriptors(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    // Above the range first: a received descriptor may itself be numbered 0 to 3.
    for fd in &mut arrived.fds {
        if fd.as_raw_fd() < 4 {
            *fd = sys::own(sys::dup_above(fd.as_raw_fd(), 16)?);
        }
    }
    for (target, fd) in arrived.fds.iter().enumerate() {
        sys::dup2(fd.as_raw_fd(), target as RawFd)?;
    }
    Ok(())
}

pub(crate) fn leave_session(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    if !prepared.setup.namespaces {
        // No pid namespace ends the run with the cell: ask the kernel to.
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    }
    sys::setsid()
}

/// The limits of one run; `extra_bytes` is mapped already, and not by the program.
pub(crate) fn set_run_limits(header: &RunHeader, extra_bytes: u64) -> Result<(), Errno> {
    let cpu_s = header.cpu_ns.div_ceil(1_000_000_000);
    let memory = header.address_space_bytes.saturating_add(extra_bytes);
    let set = |resource, soft, hard| match sys::set_rlimit_exactly(resource, soft, hard) {
        // The host's own hard limit is lower.
        Err(libc::EPERM) => sys::set_rlimit(resource, soft, hard),
        other => other,
    };
    set(libc::RLIMIT_AS, memory, memory)?;
    // Second line, far behind: pid 1 counts the whole run's CPU time exactly. The kernel counts for
    // this limit in ticks, which on a host that shares its processors run a third too fast.
    set(libc::RLIMIT_CPU, 2 * cpu_s + 5, 2 * cpu_s + 6)
}

/// The limits that all runs of a cell share.
pub(crate) fn set_cell_limits(setup: &Setup) -> Result<(), Errno> {
    // With one mapped id pid 1 counts among the run's user's tasks.
    let tasks = u64::from(setup.tasks) + u64::from(setup.host_ids.is_none());
    let limits = [
        (libc::RLIMIT_FSIZE, setup.file_size_bytes),
        (libc::RLIMIT_NOFILE, u64::from(setup.open_files)),
        (libc::RLIMIT_MEMLOCK, 64 << 10),
        // 1, not 0: the kernel then also leaves piped core handlers alone.
        (libc::RLIMIT_CORE, 1),
        (libc::RLIMIT_MSGQUEUE, 0),
        (libc::RLIMIT_SIGPENDING, 256),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
    ];
    for (resource, limit) in limits {
        sys::set_rlimit(resource, limit, limit)?;
    }
    // For an id that others use too, NPROC would count their processes: there the watcher bounds.
    if setup.namespaces || setup.host_ids.is_some() {
        sys::set_rlimit(libc::RLIMIT_NPROC, tasks, tasks)?;
    }
    Ok(())
}

/// The stack that exec sees, so that thread stacks keep their size; it is raised before the program
/// runs.
pub(crate) fn set_stack_for_exec() -> Result<(), Errno> {
    let hard = sys::get_rlimit(libc::RLIMIT_STACK)?.rlim_max;
    sys::set_rlimit(libc::RLIMIT_STACK, 8 << 20, hard)
}

pub(crate) fn drop_privileges(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
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

pub(crate) fn write_files(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
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

pub(crate) fn restrict(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    prepared.landlock.map_or(Ok(()), sys::landlock_restrict)
}
