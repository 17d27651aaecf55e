//! Landlock rulesets.

use std::mem::size_of_val;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{Errno, check, fstat, open, own};

/// A ruleset that allows nothing of what `abi` can scope: no signal out of the run, no abstract
/// socket of others, no TCP. The file system is bounded by the private root.
pub(crate) fn landlock_scopes(abi: u32, tcp: bool) -> Result<OwnedFd, Errno> {
    landlock_ruleset(abi, 0, tcp)
}

/// The same, and file-system access that `abi` knows: everything is handled, and only what is added
/// is allowed.
pub(crate) fn landlock_files(abi: u32, tcp: bool) -> Result<OwnedFd, Errno> {
    landlock_ruleset(abi, landlock_all(abi), tcp)
}

fn landlock_ruleset(abi: u32, files: u64, tcp: bool) -> Result<OwnedFd, Errno> {
    const BIND_AND_CONNECT: u64 = 3;
    const SOCKETS_AND_SIGNALS: u64 = 3;
    let attributes = [
        files,
        if tcp { 0 } else { BIND_AND_CONNECT },
        SOCKETS_AND_SIGNALS,
    ];
    // As many as this kernel knows.
    let count = match abi {
        0..=3 => 1,
        4 | 5 => 2,
        _ => 3,
    };
    let known = &attributes[..count];
    call!(libc::syscall(
        libc::SYS_landlock_create_ruleset,
        known.as_ptr(),
        size_of_val(known),
        0_i64
    ) as i64)
    .map(|fd| own(fd as RawFd))
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
