//! Landlock rulesets.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{Errno, check, fstat, open, own};

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
