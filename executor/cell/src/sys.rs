//! The system calls of the cell, each with its error as a value. All `unsafe` of this crate that
//! is not the fork itself stands here.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// A kernel error number.
pub(crate) type Errno = i32;

pub(crate) fn last() -> Errno {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

fn check(result: i64) -> Result<i64, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

macro_rules! call {
    ($e:expr) => {
        // SAFETY: every pointer handed to the call below comes from a reference or a slice that
        // outlives the call, with the length that belongs to it; the call keeps none of them.
        check(i64::from(unsafe { $e }))
    };
}

pub(crate) fn cstring(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)
}

// --- descriptors ---

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

// --- files and mounts ---

pub(crate) fn mkdir(path: &Path, mode: u32) -> Result<(), Errno> {
    let path = cstring(path)?;
    match call!(libc::mkdir(path.as_ptr(), mode)) {
        Err(libc::EEXIST) => Ok(()),
        other => other.map(drop),
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) -> Result<(), Errno> {
    let path = cstring(path)?;
    call!(libc::chmod(path.as_ptr(), mode)).map(drop)
}

pub(crate) fn symlink(says: &Path, at: &Path) -> Result<(), Errno> {
    let (says, at) = (cstring(says)?, cstring(at)?);
    call!(libc::symlink(says.as_ptr(), at.as_ptr())).map(drop)
}

pub(crate) fn chdir(path: &Path) -> Result<(), Errno> {
    let path = cstring(path)?;
    call!(libc::chdir(path.as_ptr())).map(drop)
}

pub(crate) fn mount(
    source: Option<&Path>,
    target: &Path,
    kind: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    let source = source.map(cstring).transpose()?;
    let target = cstring(target)?;
    let pointer = |s: Option<&CStr>| s.map_or(ptr::null(), CStr::as_ptr);
    call!(libc::mount(
        pointer(source.as_deref()),
        target.as_ptr(),
        pointer(kind),
        flags,
        pointer(data).cast(),
    ))
    .map(drop)
}

/// Adds read-only, nosuid and (unless `devices`) nodev to a whole mount tree.
pub(crate) fn lock_mount(target: &Path, devices: bool) -> Result<(), Errno> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    const AT_RECURSIVE: i64 = 0x8000;
    const RDONLY: u64 = 1;
    const NOSUID: u64 = 2;
    const NODEV: u64 = 4;
    let set = RDONLY | NOSUID | if devices { 0 } else { NODEV };
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let path = cstring(target)?;
    match call!(libc::syscall(
        libc::SYS_mount_setattr,
        i64::from(libc::AT_FDCWD),
        path.as_ptr(),
        AT_RECURSIVE,
        &raw const attr,
        size_of_val(&attr)
    ) as i64)
    {
        Ok(_) => Ok(()),
        Err(libc::ENOSYS) => remount_read_only(target, devices),
        Err(errno) => Err(errno),
    }
}

/// Before Linux 5.12. Flags that the host locked on the source must be repeated.
fn remount_read_only(target: &Path, devices: bool) -> Result<(), Errno> {
    let path = cstring(target)?;
    let mut have = MaybeUninit::<libc::statvfs>::uninit();
    call!(libc::statvfs(path.as_ptr(), have.as_mut_ptr()))?;
    // SAFETY: statvfs succeeded, so it has filled the structure.
    let have = unsafe { have.assume_init() }.f_flag;
    let repeat = [
        (libc::ST_NODEV, libc::MS_NODEV),
        (libc::ST_NOEXEC, libc::MS_NOEXEC),
        (libc::ST_NOATIME, libc::MS_NOATIME),
        (libc::ST_NODIRATIME, libc::MS_NODIRATIME),
        (libc::ST_RELATIME, libc::MS_RELATIME),
    ];
    let nodev = if devices { 0 } else { libc::MS_NODEV };
    let fixed = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | nodev;
    let flags = repeat
        .iter()
        .filter(|(st, _)| have & st != 0)
        .fold(fixed, |flags, (_, ms)| flags | ms);
    mount(None, target, None, flags, None)
}

/// Takes a mount out of sight; what holds it open keeps it.
pub(crate) fn detach(at: &Path) -> Result<(), Errno> {
    let at = cstring(at)?;
    call!(libc::umount2(at.as_ptr(), libc::MNT_DETACH)).map(drop)
}

pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    let path = cstring(path)?;
    call!(libc::rmdir(path.as_ptr())).map(drop)
}

/// Makes the current directory the root and lets go of the old one.
pub(crate) fn pivot_root_here() -> Result<(), Errno> {
    call!(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) as i64)?;
    call!(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
    chdir(Path::new("/"))
}

// --- identity and lock-down ---

pub(crate) fn set_ids(id_user: u32, id_group: u32) -> Result<(), Errno> {
    call!(libc::setresgid(id_group, id_group, id_group))?;
    call!(libc::setresuid(id_user, id_user, id_user)).map(drop)
}

pub(crate) fn drop_groups() -> Result<(), Errno> {
    call!(libc::setgroups(0, ptr::null())).map(drop)
}

pub(crate) fn setsid() -> Result<(), Errno> {
    call!(libc::setsid()).map(drop)
}

pub(crate) fn sethostname(name: &[u8]) -> Result<(), Errno> {
    call!(libc::sethostname(name.as_ptr().cast(), name.len())).map(drop)
}

pub(crate) fn prctl(option: i32, argument: u64) -> Result<i64, Errno> {
    call!(libc::prctl(option, argument, 0_u64, 0_u64, 0_u64))
}

/// Leaves exactly `keep` in the effective and permitted sets, nothing in the inheritable one.
pub(crate) fn set_capabilities(keep: &[u32]) -> Result<(), Errno> {
    write_capabilities(keep, false)
}

/// As [`set_capabilities`], and through the next exec whoever we are.
pub(crate) fn set_capabilities_through_exec(keep: &[u32]) -> Result<(), Errno> {
    write_capabilities(keep, true)?;
    for &cap in keep {
        call!(libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE,
            u64::from(cap),
            0_u64,
            0_u64
        ))?;
    }
    Ok(())
}

fn write_capabilities(keep: &[u32], inheritable: bool) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    for &cap in keep {
        let word = &mut data[(cap / 32) as usize];
        word.effective |= 1 << (cap % 32);
        word.permitted |= 1 << (cap % 32);
        if inheritable {
            word.inheritable |= 1 << (cap % 32);
        }
    }
    call!(libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) as i64).map(drop)
}

pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    // A hard limit that the host already lowered stays where it is: we may not be able to raise it.
    let now = get_rlimit(resource)?;
    let limit = libc::rlimit {
        rlim_cur: soft.min(hard).min(now.rlim_max),
        rlim_max: hard.min(now.rlim_max),
    };
    call!(libc::setrlimit(resource as _, &raw const limit)).map(drop)
}

/// Without regard to what it was.
pub(crate) fn set_rlimit_exactly(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit {
        rlim_cur: soft.min(hard),
        rlim_max: hard,
    };
    call!(libc::setrlimit(resource as _, &raw const limit)).map(drop)
}

pub(crate) fn get_rlimit(resource: u32) -> Result<libc::rlimit, Errno> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    call!(libc::getrlimit(resource as _, &raw mut limit))?;
    Ok(limit)
}

/// How much may wait in a socket of this one's kind before its sender has to wait.
pub(crate) fn send_buffer_bytes(socket: RawFd) -> Result<u64, Errno> {
    let mut bytes: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    call!(libc::getsockopt(
        socket,
        libc::SOL_SOCKET,
        libc::SO_SNDBUF,
        (&raw mut bytes).cast(),
        &raw mut size,
    ))?;
    Ok(bytes.max(0) as u64)
}

/// Raises the soft limit of another process as far as its hard limit lets it.
pub(crate) fn raise_soft_rlimit(pid: i32, resource: u32, soft: u64) -> Result<(), Errno> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    call!(libc::prlimit(pid, resource as _, ptr::null(), &raw mut now))?;
    now.rlim_cur = soft.min(now.rlim_max);
    call!(libc::prlimit(
        pid,
        resource as _,
        &raw const now,
        ptr::null_mut()
    ))
    .map(drop)
}

/// Installs one compiled filter for this thread and all it starts.
pub(crate) fn install_filter(program: &[u8]) -> Result<(), Errno> {
    const SECCOMP_SET_MODE_FILTER: i64 = 1;
    let count =
        u16::try_from(program.len() / size_of::<libc::sock_filter>()).map_err(|_| libc::EINVAL)?;
    // The bytes need the alignment of their type.
    let words: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: count,
        filter: words.as_ptr().cast_mut(),
    };
    call!(libc::syscall(
        libc::SYS_seccomp,
        SECCOMP_SET_MODE_FILTER,
        0_i64,
        &raw const program
    ) as i64)
    .map(drop)
}

// --- landlock ---

/// A ruleset that allows nothing of what `abi` can scope: no signal out of the run, no abstract
/// socket of others, no TCP. The file system is bounded by the private root.
pub(crate) fn landlock_scopes(abi: u32, tcp: bool) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Ruleset {
        fs: u64,
        net: u64,
        scoped: u64,
    }
    let ruleset = Ruleset {
        fs: 0,
        net: if abi >= 4 && !tcp { 3 } else { 0 },
        scoped: if abi >= 6 { 3 } else { 0 },
    };
    landlock_create(
        &raw const ruleset as *const u8,
        if abi >= 6 { 24 } else { 16 },
    )
}

fn landlock_create(attr: *const u8, size: usize) -> Result<OwnedFd, Errno> {
    call!(libc::syscall(libc::SYS_landlock_create_ruleset, attr, size, 0_i64) as i64)
        .map(|fd| own(fd as RawFd))
}

/// File-system access that `abi` knows: everything is handled, and only what is added is allowed.
pub(crate) fn landlock_files(abi: u32, tcp: bool) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Ruleset {
        fs: u64,
        net: u64,
        scoped: u64,
    }
    let ruleset = Ruleset {
        fs: landlock_all(abi),
        net: if abi >= 4 && !tcp { 3 } else { 0 },
        scoped: if abi >= 6 { 3 } else { 0 },
    };
    let size = if abi >= 6 {
        24
    } else if abi >= 4 {
        16
    } else {
        8
    };
    landlock_create(&raw const ruleset as *const u8, size)
}

fn landlock_all(abi: u32) -> u64 {
    let mut all = (1 << 13) - 1;
    if abi >= 2 {
        all |= 1 << 13; // refer
    }
    if abi >= 3 {
        all |= 1 << 14; // truncate
    }
    if abi >= 5 {
        all |= 1 << 15; // ioctl of devices
    }
    all
}

/// Allows reading (and, if asked, writing) below `path`.
pub(crate) fn landlock_allow(
    ruleset: RawFd,
    abi: u32,
    path: &Path,
    write: bool,
) -> Result<(), Errno> {
    const EXECUTE: u64 = 1;
    const READ_FILE: u64 = 4;
    const READ_DIR: u64 = 8;
    const WRITE_FILE: u64 = 2;
    #[repr(C, packed)]
    struct PathBeneath {
        allowed: u64,
        parent: i32,
    }
    let at = open(path, libc::O_PATH, 0)?;
    let directory = fstat(at.as_raw_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let mut allowed = if write {
        landlock_all(abi)
    } else {
        EXECUTE | READ_FILE | READ_DIR
    };
    if !directory {
        allowed &= EXECUTE | READ_FILE | WRITE_FILE | if abi >= 3 { 1 << 14 } else { 0 };
    }
    let rule = PathBeneath {
        allowed,
        parent: at.as_raw_fd(),
    };
    call!(libc::syscall(
        libc::SYS_landlock_add_rule,
        i64::from(ruleset),
        1_i64,
        &raw const rule,
        0_i64
    ) as i64)
    .map(drop)
}

pub(crate) fn landlock_restrict(ruleset: RawFd) -> Result<(), Errno> {
    call!(libc::syscall(libc::SYS_landlock_restrict_self, i64::from(ruleset), 0_i64) as i64)
        .map(drop)
}

// --- processes, signals, time ---

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

// --- sockets ---

/// Receives one message, up to the buffer's capacity (no page of it is touched that the message does
/// not fill); descriptors that come with it are closed at exec. An empty message means
/// that the other side is gone.
pub(crate) fn receive(fd: RawFd, buffer: &mut Vec<u8>, flags: i32) -> Result<Vec<OwnedFd>, Errno> {
    buffer.clear();
    let mut control = [0_u64; 16]; // aligned; room for 8 descriptors and the header
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.capacity(),
    };
    // SAFETY: a zeroed msghdr is a value; its pointers are set below.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let n = loop {
        match call!(libc::recvmsg(fd, &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) as i64) {
            Err(libc::EINTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    // SAFETY: recvmsg filled `message`, whose buffers outlive this block; the CMSG macros walk only
    // within msg_controllen, and SCM_RIGHTS data is an array of descriptors that are ours now.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let count =
                    ((*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                fds.extend((0..count).map(|i| own(data.add(i).read_unaligned())));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    // SAFETY: the kernel has written the first n bytes, which lie within the capacity it was told.
    unsafe { buffer.set_len(n as usize) };
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(libc::EMSGSIZE);
    }
    Ok(fds)
}

/// Sends one message, with a descriptor if one is given.
pub(crate) fn send(fd: RawFd, bytes: &[u8], attached: Option<RawFd>) -> Result<(), Errno> {
    let mut control = [0_u64; 4];
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a zeroed msghdr is a value; its pointers are set below.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if let Some(attached) = attached {
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: `control` has room for one header and one descriptor, and is aligned for both.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header)
                .cast::<RawFd>()
                .write_unaligned(attached);
        }
    }
    loop {
        match call!(libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) as i64) {
            Err(libc::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Brings the loopback of this network namespace up.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let socket = call!(libc::socket(
        libc::AF_INET,
        libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
        0
    ))
    .map(|fd| own(fd as RawFd))?;
    // SAFETY: a zeroed ifreq is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
    call!(libc::ioctl(
        socket.as_raw_fd(),
        libc::SIOCSIFFLAGS as _,
        &raw const request
    ))
    .map(drop)
}

/// How many threads this process has.
pub(crate) fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
