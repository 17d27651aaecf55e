//! Who a process is, what it may still do, and its limits.

use std::mem::size_of;
use std::ptr;

use super::{Errno, check};

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
