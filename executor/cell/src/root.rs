//! The cell's world: its namespaces, and a root file system of just what the interpreter needs.
//!
//! The order is the point of this file. Host paths are opened while the process still is who the
//! supervisor is (an interpreter may lie below a folder that nobody else may enter); everything
//! after that is made as the cell's own user, because a tmpfs of a user namespace takes no files of
//! an unmapped one.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use crate::protocol::{Hello, RUN_ID, SCRATCH, Setup, WORK_DIR, Wire};
use crate::step::{Step, step};
use crate::sys::{self, Errno};

/// Parts of procfs that tell about the host. Most are root's already; this is the second lock.
const MASKED_FILES: [&str; 12] = [
    "locks", // locks of open files have no owner, so those of the whole host are listed
    "kcore",
    "keys",
    "key-users",
    "kallsyms",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "sysrq-trigger",
    "timer_list",
    "sched_debug",
    "interrupts",
];
const MASKED_FOLDERS: [&str; 3] = ["scsi", "acpi", "sys/kernel/debug"];

/// Splits this process: the new one is pid 1 of a new set of namespaces and a child of the
/// supervisor, the old one maps its ids and goes.
pub(crate) fn enter_namespaces(control: &OwnedFd, setup: &Setup) -> Step<()> {
    let (mapped_read, mapped_write) = step("making a pipe", sys::pipe())?;
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWNET
        | libc::CLONE_PARENT;
    assert_eq!(
        sys::thread_count(),
        1,
        "the cell process must stay single-threaded"
    );
    // SAFETY: one thread exists (asserted above), so no lock can be held by a thread that the child
    // will not have; without CLONE_VM and with a null stack this is a fork.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            i64::from(flags | libc::SIGCHLD),
            0_i64,
            0_i64,
            0_i64,
            0_i64,
        )
    };
    if pid < 0 {
        return step(
            "creating namespaces (user, mount, pid, ipc, uts, cgroup, network)",
            Err(sys::last()),
        );
    }
    if pid > 0 {
        drop(mapped_read);
        introduce_and_leave(control, setup, pid as i32, &mapped_write);
    }
    drop(mapped_write);
    // One byte: the maps are written. End of file: they could not be, and the reason is on its way.
    match sys::read(mapped_read.as_raw_fd(), &mut [0]) {
        Ok(1) => Ok(()),
        _ => std::process::exit(1),
    }
}

fn introduce_and_leave(control: &OwnedFd, setup: &Setup, pid: i32, mapped: &OwnedFd) -> ! {
    let told = step("opening a pidfd", sys::pidfd_open(pid)).and_then(|pidfd| {
        let hello = Hello::Spawned(pid).encode();
        step(
            "introducing the cell",
            sys::send(control.as_raw_fd(), &hello, Some(pidfd.as_raw_fd())),
        )
    });
    let done = told
        .and_then(|()| step("mapping user and group ids", write_maps(setup, pid)))
        .and_then(|()| {
            step(
                "starting the cell",
                sys::write_all(mapped.as_raw_fd(), b"1"),
            )
        });
    if let Err(failure) = done {
        let _ = sys::send(control.as_raw_fd(), &Hello::Failed(failure).encode(), None);
    }
    std::process::exit(0);
}

fn write_maps(setup: &Setup, pid: i32) -> Result<(), Errno> {
    let file = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    // SAFETY: geteuid and getegid have no arguments and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    match setup.host_ids {
        Some(ids) => {
            let map = format!("0 {} 1\n{RUN_ID} {} 1\n", ids.cell, ids.run);
            sys::write_file(&file("uid_map"), map.as_bytes())?;
            sys::write_file(&file("gid_map"), map.as_bytes())
        }
        None => {
            sys::write_file(&file("setgroups"), b"deny")?;
            sys::write_file(&file("uid_map"), format!("{RUN_ID} {user} 1\n").as_bytes())?;
            sys::write_file(&file("gid_map"), format!("{RUN_ID} {group} 1\n").as_bytes())
        }
    }
}

/// Without namespaces: this process stays who it is and adopts what its runs leave behind.
pub(crate) fn use_host(control: &OwnedFd, setup: &Setup) -> Step<()> {
    let pid = sys::getpid();
    let pidfd = step("opening a pidfd", sys::pidfd_open(pid))?;
    let hello = Hello::Spawned(pid).encode();
    step(
        "introducing the cell",
        sys::send(control.as_raw_fd(), &hello, Some(pidfd.as_raw_fd())),
    )?;
    step(
        "becoming a subreaper",
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1),
    )?;
    if setup.host_ids.is_some() {
        step("dropping groups", sys::drop_groups())?;
    }
    let scratch = setup
        .scratch_dir
        .as_deref()
        .unwrap_or(Path::new("/nonexistent"));
    step(
        format!("entering {}", scratch.display()),
        sys::chdir(&scratch.join("work")),
    )
}

/// Makes the private root and moves into it. Returns the handle on the next pid, where there is one.
pub(crate) fn build(setup: &Setup) -> Step<Option<OwnedFd>> {
    // Nothing mounted here may appear outside, nor the other way round.
    step(
        "making mounts private",
        sys::mount(
            None,
            Path::new("/"),
            None,
            libc::MS_REC | libc::MS_PRIVATE,
            None,
        ),
    )?;
    let mut sources = Vec::with_capacity(setup.binds.len());
    for bind in &setup.binds {
        let name = format!("opening {}", bind.source.display());
        sources.push(step(name, sys::open(&bind.source, libc::O_PATH, 0))?);
    }

    let cell_id = if setup.host_ids.is_some() { 0 } else { RUN_ID };
    let root = Path::new(if Path::new("/tmp").is_dir() {
        "/tmp"
    } else {
        "/mnt"
    });
    let nosuid_nodev = libc::MS_NOSUID | libc::MS_NODEV;
    tmpfs(
        root,
        nosuid_nodev,
        &format!("uid={cell_id},gid={cell_id},mode=0755,size=4m,nr_inodes=8192"),
    )?;
    step("entering the new root", sys::chdir(root))?;
    if setup.host_ids.is_some() {
        step("dropping groups", sys::drop_groups())?;
        step("becoming the cell's user", sys::set_ids(cell_id, cell_id))?;
    }

    for (bind, source) in setup.binds.iter().zip(&sources) {
        place(&bind.source, &bind.target, source.as_raw_fd(), bind.device)?;
    }
    drop(sources);
    for (at, says) in &setup.symlinks {
        let at = inside(at);
        parents(&at)?;
        step(format!("linking {}", at.display()), sys::symlink(says, &at))?;
    }
    for (path, content) in &setup.files {
        write_root_file(&inside(path), content)?;
    }
    mount_proc()?;
    let last_pid = open_last_pid()?;
    mount_scratch(setup, cell_id)?;

    step("locking the new root", lock_root())?;
    step("changing the root", sys::pivot_root_here())?;
    step("naming the host", sys::sethostname(b"codejury"))?;
    if setup.loopback {
        step("bringing the loopback up", sys::loopback_up())?;
    }
    step(
        "entering the working directory",
        sys::chdir(Path::new(WORK_DIR)),
    )?;
    Ok(last_pid)
}

fn inside(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_path_buf()
}

fn parents(path: &Path) -> Step<()> {
    let mut ancestors: Vec<_> = path
        .ancestors()
        .skip(1)
        .filter(|p| !p.as_os_str().is_empty())
        .collect();
    ancestors.reverse();
    for folder in ancestors {
        step(
            format!("making /{}", folder.display()),
            sys::mkdir(folder, 0o755),
        )?;
    }
    Ok(())
}

fn write_root_file(path: &Path, content: &[u8]) -> Step<()> {
    parents(path)?;
    let name = || format!("writing /{}", path.display());
    let file = step(
        name(),
        sys::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, 0o644),
    )?;
    step(name(), sys::write_all(file.as_raw_fd(), content))
}

/// Binds an opened host path at its place, read-only.
fn place(source: &Path, target: &Path, opened: RawFd, device: bool) -> Step<()> {
    let target = inside(target);
    parents(&target)?;
    let name = || format!("binding {}", source.display());
    let folder = step(name(), sys::fstat(opened))?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if folder {
        step(name(), sys::mkdir(&target, 0o755))?;
    } else {
        drop(step(
            name(),
            sys::open(&target, libc::O_WRONLY | libc::O_CREAT, 0o644),
        )?);
    }
    bind(opened, &target, folder)
        .and_then(|()| sys::lock_mount(&target, device))
        .or_else(|e| step(name(), Err(e)))
}

fn bind(opened: RawFd, target: &Path, recursive: bool) -> Result<(), Errno> {
    let source = PathBuf::from(format!("/proc/self/fd/{opened}"));
    let flags = libc::MS_BIND | if recursive { libc::MS_REC } else { 0 };
    sys::mount(Some(&source), target, None, flags, None)
}

fn tmpfs(at: &Path, flags: u64, options: &str) -> Step<()> {
    let options = step(
        "writing mount options",
        CString::new(options).map_err(|_| libc::EINVAL),
    )?;
    let source = Path::new("codejury");
    step(
        format!("mounting a tmpfs on {}", at.display()),
        sys::mount(Some(source), at, Some(c"tmpfs"), flags, Some(&options)),
    )
}

/// A procfs that shows the run its own processes and nothing to write.
fn mount_proc() -> Step<()> {
    let proc = Path::new("proc");
    step("making /proc", sys::mkdir(proc, 0o755))?;
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let source = Some(Path::new("proc"));
    // A container's own /proc is often covered in places; then the kernel gives only the pid part.
    let mounted =
        sys::mount(source, proc, Some(c"proc"), flags, Some(c"hidepid=2")).or_else(|_| {
            sys::mount(
                source,
                proc,
                Some(c"proc"),
                flags,
                Some(c"hidepid=2,subset=pid"),
            )
        });
    step("mounting /proc", mounted)?;
    let null = step(
        "opening /dev/null",
        sys::open(Path::new("dev/null"), libc::O_PATH, 0),
    )?;
    for name in MASKED_FILES {
        let path = proc.join(name);
        if path.exists() {
            step(
                format!("covering /proc/{name}"),
                bind(null.as_raw_fd(), &path, false),
            )?;
        }
    }
    for name in MASKED_FOLDERS {
        let path = proc.join(name);
        if path.is_dir() {
            tmpfs(
                &path,
                libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
                "mode=0555,size=0,nr_inodes=2",
            )?;
        }
    }
    Ok(())
}

/// One tmpfs for everything a run can write, so that one quota bounds it and one look proves it
/// empty. Its folders belong to the cell, not to the run: nobody inside can change their modes.
fn mount_scratch(setup: &Setup, cell_id: u32) -> Step<()> {
    let hold = Path::new(".scratch");
    step("making the scratch space", sys::mkdir(hold, 0o755))?;
    let inodes = setup.scratch_inodes + 2 + SCRATCH.len() as u64; // its root, its folders, main.py
    let options = format!(
        "uid={cell_id},gid={cell_id},mode=0755,size={},nr_inodes={inodes}",
        setup.scratch_bytes
    );
    tmpfs(hold, libc::MS_NOSUID | libc::MS_NODEV, &options)?;
    for (name, at) in SCRATCH {
        let folder = hold.join(name);
        let at = inside(Path::new(at));
        let label = || format!("making /{}", at.display());
        step(label(), sys::mkdir(&folder, 0o755))?;
        step(label(), sys::chmod(&folder, 0o1777))?; // past the umask
        parents(&at)?;
        step(label(), sys::mkdir(&at, 0o755))?;
        let opened = step(label(), sys::open(&folder, libc::O_PATH, 0))?;
        step(label(), bind(opened.as_raw_fd(), &at, false))?;
    }
    // The holding folder is only the handle; the binds keep the tmpfs.
    step(
        "hiding the scratch space",
        sys::mount(None, hold, None, libc::MS_PRIVATE, None),
    )?;
    step(
        "hiding the scratch space",
        sys::detach(hold).and_then(|()| sys::rmdir(hold)),
    )
}

/// The knob that lets pid 1 give every run the same pid; programs print it. Opened through a
/// procfs of its own, since the one that runs see is read-only.
fn open_last_pid() -> Step<Option<OwnedFd>> {
    let hold = Path::new(".proc");
    step("opening ns_last_pid", sys::mkdir(hold, 0o755))?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let mounted = sys::mount(Some(Path::new("proc")), hold, Some(c"proc"), flags, None);
    let opened = mounted.ok().and_then(|()| {
        let opened = sys::open(&hold.join("sys/kernel/ns_last_pid"), libc::O_WRONLY, 0).ok();
        sys::detach(hold).ok()?;
        opened
    });
    step("opening ns_last_pid", sys::rmdir(hold))?;
    Ok(opened)
}

fn lock_root() -> Result<(), Errno> {
    let flags =
        libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(None, Path::new("."), None, flags, None)
}
