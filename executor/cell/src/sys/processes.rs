//! Processes, signals, and waiting.

use std::ffi::{CStr, CString};
use std::mem::{size_of, zeroed};
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;

use super::{Errno, check, last, own, read};

/// Nanoseconds of the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: a zeroed timespec is a value; clock_gettime fills it.
    let mut now: libc::timespec = unsafe { zeroed() };
    // SAFETY: `now` is valid for writing; the monotonic clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// One reaped process.
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) status: i32,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) max_rss_kib: u64,
}

/// What `wait4` knows.
pub(crate) enum Waited {
    /// A process ended and was reaped.
    One(Reaped),
    /// There are processes, none has ended.
    Alive,
    /// There is no process left.
    Nobody,
}

pub(crate) fn reap() -> Result<Waited, Errno> {
    let mut status = 0;
    // SAFETY: a zeroed rusage is a value; wait4 fills it when it reaps.
    let mut usage: libc::rusage = unsafe { zeroed() };
    let us = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    loop {
        return match call!(libc::wait4(
            -1,
            &raw mut status,
            libc::WNOHANG | libc::__WALL,
            &raw mut usage
        )) {
            Ok(0) => Ok(Waited::Alive),
            Ok(pid) => Ok(Waited::One(Reaped {
                pid: pid as i32,
                status,
                user_us: us(usage.ru_utime),
                system_us: us(usage.ru_stime),
                max_rss_kib: usage.ru_maxrss as u64,
            })),
            Err(libc::ECHILD) => Ok(Waited::Nobody),
            Err(libc::EINTR) => continue,
            Err(errno) => Err(errno),
        };
    }
}

pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    call!(libc::kill(pid, signal)).map(drop)
}

/// Replaces this process's image; returns only why that failed.
pub(crate) fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| {
        list.iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer and point into strings that live until the call has
    // replaced this image or returned.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last()
}

/// Ends this process at once.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no memory effects; destructors and atexit handlers of the parent's image
    // must not run twice.
    unsafe { libc::_exit(status) }
}

pub(crate) fn getpid() -> i32 {
    // SAFETY: getpid has no arguments and cannot fail.
    unsafe { libc::getpid() }
}

pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    call!(libc::syscall(libc::SYS_pidfd_open, i64::from(pid), 0_i64) as i64)
        .map(|fd| own(fd as RawFd))
}

/// Blocks `signals` and returns a descriptor that reads them.
pub(crate) fn signal_fd(signals: &[i32]) -> Result<OwnedFd, Errno> {
    // SAFETY: a zeroed sigset is the empty set on Linux; the calls below only fill it.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    for &signal in signals {
        call!(libc::sigaddset(&raw mut set, signal))?;
    }
    call!(libc::sigprocmask(
        libc::SIG_BLOCK,
        &raw const set,
        ptr::null_mut()
    ))?;
    call!(libc::signalfd(
        -1,
        &raw const set,
        libc::SFD_CLOEXEC | libc::SFD_NONBLOCK
    ))
    .map(|fd| own(fd as RawFd))
}

/// Gives the run the signal state that a fresh process has: nothing blocked, nothing ignored.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    // SAFETY: a zeroed sigset is the empty set on Linux.
    let set: libc::sigset_t = unsafe { zeroed() };
    // Ignored signals survive exec; Rust ignores SIGPIPE, a supervisor's parent may ignore others.
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; numbers that cannot be set only return an error.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    call!(libc::sigprocmask(
        libc::SIG_SETMASK,
        &raw const set,
        ptr::null_mut()
    ))
    .map(drop)
}

/// Blocks nothing any more.
pub(crate) fn unblock_signals() -> Result<(), Errno> {
    // SAFETY: a zeroed sigset is the empty set on Linux.
    let set: libc::sigset_t = unsafe { zeroed() };
    call!(libc::sigprocmask(
        libc::SIG_SETMASK,
        &raw const set,
        ptr::null_mut()
    ))
    .map(drop)
}

/// Reads all pending signals; returns whether `wanted` was among them.
pub(crate) fn take_signals(fd: RawFd, wanted: i32) -> bool {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut found = false;
    // Few kinds are read here, and each is pending once at most: one call takes them all.
    let mut buffer = [0_u8; 4 * SIZE];
    let n = read(fd, &mut buffer).unwrap_or(0);
    for signal in buffer[..n].chunks_exact(SIZE) {
        let number = u32::from_ne_bytes([signal[0], signal[1], signal[2], signal[3]]);
        found |= number == wanted as u32;
    }
    found
}

/// Waits for one of `fds`; `timeout_ns` of `None` waits for ever. Returns their `revents`.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout_ns: Option<u64>) -> Result<(), Errno> {
    let timeout = timeout_ns.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as _,
        tv_nsec: (ns % 1_000_000_000) as _,
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    for fd in fds.iter_mut() {
        fd.revents = 0;
    }
    match call!(libc::ppoll(
        fds.as_mut_ptr(),
        fds.len() as _,
        timeout,
        ptr::null()
    )) {
        Ok(_) | Err(libc::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Asks for SIGIO when somebody opens the file of `fd` for reading; the opener waits meanwhile.
pub(crate) fn take_write_lease(fd: RawFd) -> Result<(), Errno> {
    call!(libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK)).map(drop)
}

pub(crate) fn release_lease(fd: RawFd) -> Result<(), Errno> {
    call!(libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK)).map(drop)
}

/// How many threads this process has.
pub(crate) fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
