//! Files by path, mounts, and the root.

use std::ffi::CStr;
use std::mem::{MaybeUninit, size_of_val};
use std::path::Path;
use std::ptr;

use super::{Errno, check, cstring};

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
