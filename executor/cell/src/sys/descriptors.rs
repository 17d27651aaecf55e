//! Descriptors, and what is read and written through them.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{Errno, check, cstring};

pub(crate) fn close(fd: RawFd) {
    // SAFETY: closing a number is memory-safe; callers pass numbers that only they use.
    unsafe { libc::close(fd) };
}

/// Takes ownership of a descriptor number that this process got by agreement or from a call.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a number that was just returned by the kernel or that the protocol
    // assigns to them, and own it nowhere else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn dup2(from: RawFd, to: RawFd) -> Result<(), Errno> {
    call!(libc::dup2(from, to)).map(drop)
}

/// Duplicates `fd` to a number of at least `least`, closed at exec.
pub(crate) fn dup_above(fd: RawFd, least: RawFd) -> Result<RawFd, Errno> {
    call!(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least)).map(|fd| fd as RawFd)
}

pub(crate) fn set_cloexec(fd: RawFd) -> Result<(), Errno> {
    call!(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC)).map(drop)
}

/// Marks every descriptor from `first` on to be closed at exec.
pub(crate) fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: i64 = 4;
    match call!(libc::syscall(
        libc::SYS_close_range,
        i64::from(first),
        i64::from(u32::MAX),
        CLOSE_RANGE_CLOEXEC
    ) as i64)
    {
        Ok(_) => Ok(()),
        // Before Linux 5.11: one by one. The cell's own table is small.
        Err(libc::ENOSYS | libc::EINVAL | libc::EPERM) => {
            for fd in first..1024 {
                let _ = set_cloexec(fd);
            }
            Ok(())
        }
        Err(errno) => Err(errno),
    }
}

pub(crate) fn set_nonblocking(fd: RawFd) -> Result<(), Errno> {
    call!(libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK)).map(drop)
}

/// Lets `fd` survive exec.
pub(crate) fn clear_cloexec(fd: RawFd) -> Result<(), Errno> {
    call!(libc::fcntl(fd, libc::F_SETFD, 0)).map(drop)
}

pub(crate) fn is_open(fd: RawFd) -> bool {
    call!(libc::fcntl(fd, libc::F_GETFD)).is_ok()
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: RawFd) -> Result<(), Errno> {
    match call!(libc::syscall(
        libc::SYS_close_range,
        i64::from(first),
        i64::from(u32::MAX),
        0_i64
    ) as i64)
    {
        Ok(_) => Ok(()),
        // Before Linux 5.9: one by one. The table of a cell is small.
        Err(libc::ENOSYS | libc::EPERM) => {
            (first..1024).for_each(close);
            Ok(())
        }
        Err(errno) => Err(errno),
    }
}

/// Writes from the start of a file, whose offset stays.
pub(crate) fn write_at(fd: RawFd, bytes: &[u8]) -> Result<(), Errno> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match call!(libc::pwrite(fd, rest.as_ptr().cast(), rest.len(), at as i64) as i64) {
            Ok(n) => at += n as usize,
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut fds = [0; 2];
    call!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
    Ok((own(fds[0]), own(fds[1])))
}

pub(crate) fn open(path: &Path, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    let path = cstring(path)?;
    call!(libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode)).map(|fd| own(fd as RawFd))
}

/// An empty file that only its descriptor names.
pub(crate) fn memory_file(name: &CStr) -> Result<OwnedFd, Errno> {
    call!(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC)).map(|fd| own(fd as RawFd))
}

pub(crate) fn open_at(dir: RawFd, name: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    call!(libc::openat(dir, name.as_ptr(), flags | libc::O_CLOEXEC)).map(|fd| own(fd as RawFd))
}

pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match call!(libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) as i64) {
            Err(libc::EINTR) => {}
            other => return other.map(|n| n as usize),
        }
    }
}

pub(crate) fn pread(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    call!(libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) as i64).map(|n| n as usize)
}

pub(crate) fn write_all(fd: RawFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match call!(libc::write(fd, bytes.as_ptr().cast(), bytes.len()) as i64) {
            Ok(n) => bytes = &bytes[n as usize..],
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets a kernel value through a descriptor that stays open: only writes at offset 0 count.
pub(crate) fn write_at_start(fd: RawFd, bytes: &[u8]) -> Result<(), Errno> {
    call!(libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), 0) as i64).map(drop)
}

/// Writes a small kernel file (`/proc/…`, cgroups) in one call.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Errno> {
    let fd = open(path, libc::O_WRONLY, 0)?;
    write_all(fd.as_raw_fd(), bytes)
}

pub(crate) fn truncate(fd: RawFd) -> Result<(), Errno> {
    call!(libc::ftruncate(fd, 0)).map(drop)
}

pub(crate) fn fstat(fd: RawFd) -> Result<libc::stat, Errno> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    call!(libc::fstat(fd, stat.as_mut_ptr()))?;
    // SAFETY: fstat succeeded, so it has filled the structure.
    Ok(unsafe { stat.assume_init() })
}

pub(crate) fn fstatfs(fd: RawFd) -> Result<libc::statfs, Errno> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    call!(libc::fstatfs(fd, stat.as_mut_ptr()))?;
    // SAFETY: fstatfs succeeded, so it has filled the structure.
    Ok(unsafe { stat.assume_init() })
}
