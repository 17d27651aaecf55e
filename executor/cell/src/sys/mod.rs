//! The system calls of the cell, each with its error as a value. All `unsafe` of this crate that
//! is not the fork itself stands here.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

// Below the macro, which they use.
mod descriptors;
mod landlock;
mod lockdown;
mod mounts;
mod processes;
mod sockets;

pub(crate) use descriptors::*;
pub(crate) use landlock::*;
pub(crate) use lockdown::*;
pub(crate) use mounts::*;
pub(crate) use processes::*;
pub(crate) use sockets::*;
