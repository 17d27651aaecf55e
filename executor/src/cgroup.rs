//! Memory and task limits of a whole run, by cgroup v1 or v2, where the host delegates them.
//!
//! Each cell gets a folder of its own, which pid 1 joins at its start and in which all its runs
//! stay. Nothing here is required: without a memory controller pid 1 watches memory itself.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ::cell::protocol::OomNotice;

/// Prefix of our folders; the supervisor's pid follows, so that leftovers can be told.
const PREFIX: &str = "codejury-";

/// What this host lets us use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// Controllers in hierarchies of their own.
    V1 {
        memory: Option<PathBuf>,
        pids: Option<PathBuf>,
    },
    /// One hierarchy; `parent` has the memory and pids controllers on for its children.
    V2 { parent: PathBuf },
    /// Nothing is delegated to us; why.
    None { reason: String },
}

impl Cgroups {
    /// Looks where this process may make folders with a memory controller, and clears away those
    /// of supervisors that are gone.
    pub(crate) fn detect() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let v1 = |controller| v1_folder(&own, &mounts, controller).filter(|folder| usable(folder));
        let (memory, pids) = (v1("memory"), v1("pids"));
        if memory.is_some() || pids.is_some() {
            for folder in memory.iter().chain(&pids) {
                remove_stale(folder);
            }
            return Self::V1 { memory, pids };
        }
        match v2_folder(&own, &mounts)
            .ok_or_else(|| "no cgroup file system is mounted".to_owned())
            .and_then(v2_parent)
        {
            Ok(parent) => {
                remove_stale(&parent);
                Self::V2 { parent }
            }
            Err(reason) => Self::None { reason },
        }
    }

    /// Whether the memory of a whole run is counted and bounded.
    pub(crate) fn memory(&self) -> bool {
        matches!(
            self,
            Self::V1 {
                memory: Some(_),
                ..
            } | Self::V2 { .. }
        )
    }

    /// What `doctor` says.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::V1 { memory, pids } => {
                let part = |name, folder: &Option<PathBuf>| {
                    format!("{name} {}", if folder.is_some() { "yes" } else { "no" })
                };
                format!("v1: {}, {}", part("memory", memory), part("pids", pids))
            }
            Self::V2 { parent } => format!("v2 at {}: memory yes, pids yes", parent.display()),
            Self::None { reason } => reason.clone(),
        }
    }

    /// Makes the folders of one cell.
    pub(crate) fn make(&self, tasks: u32) -> io::Result<CellCgroup> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let mut cell = CellCgroup::default();
        // Pid 1 counts too, and must be able to fork while a bomb holds all the rest.
        let tasks = (u64::from(tasks) + 2).to_string();
        match self {
            Self::V1 { memory, pids } => {
                if let Some(parent) = memory {
                    let folder = cell.add(parent.join(&name))?;
                    cell.memory = Some(MemoryFiles::v1(&folder)?);
                }
                if let Some(parent) = pids {
                    let folder = cell.add(parent.join(&name))?;
                    fs::write(folder.join("pids.max"), tasks)?;
                }
            }
            Self::V2 { parent } => {
                let folder = cell.add(parent.join(&name))?;
                fs::write(folder.join("pids.max"), tasks)?;
                cell.memory = Some(MemoryFiles::v2(&folder)?);
            }
            Self::None { .. } => {}
        }
        Ok(cell)
    }
}

/// The cgroup folders of one cell; removed when dropped, after its processes are gone.
#[derive(Debug, Default)]
pub(crate) struct CellCgroup {
    folders: Vec<PathBuf>,
    /// `cgroup.procs` of each, for pid 1 to write itself into.
    pub(crate) procs: Vec<File>,
    memory: Option<MemoryFiles>,
}

#[derive(Debug)]
struct MemoryFiles {
    limit: File,
    swap_limit: Option<File>,
    limit_now: u64,
    usage: File,
    peak: Option<File>,
    events: File,
    notice: OwnedFd,
    kind: OomNotice,
    /// What the cell itself holds, outside of any run.
    own: u64,
    /// Usage when the current run began.
    before: u64,
}

impl CellCgroup {
    fn add(&mut self, folder: PathBuf) -> io::Result<PathBuf> {
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        self.procs.push(
            File::options()
                .write(true)
                .open(folder.join("cgroup.procs"))?,
        );
        Ok(folder)
    }

    /// What pid 1 listens to for memory kills.
    pub(crate) fn oom_notice(&self) -> (OomNotice, Option<&OwnedFd>) {
        self.memory
            .as_ref()
            .map_or((OomNotice::None, None), |m| (m.kind, Some(&m.notice)))
    }

    /// Notes what is in use before the first run: a warmed interpreter is not the program's.
    pub(crate) fn note_own(&mut self) {
        if let Some(files) = &mut self.memory {
            files.own = number(&files.usage).unwrap_or(0);
        }
    }

    /// Prepares the figures for a run that may use `memory_bytes`.
    pub(crate) fn begin_run(&mut self, memory_bytes: u64) -> io::Result<()> {
        let Some(files) = &mut self.memory else {
            return Ok(());
        };
        // The kernel's own bookkeeping and the interpreter's start come on top of what is promised.
        let limit = memory_bytes.saturating_add(32 * crate::MIB + files.own);
        if files.limit_now != limit {
            files.set_limit(limit)?;
        }
        files.before = number(&files.usage)?;
        if let Some(peak) = &files.peak {
            // Where the kernel cannot reset it, the largest process's own figure is reported.
            if rewrite(peak, b"0").is_err() {
                files.peak = None;
            }
        }
        Ok(())
    }

    /// Peak memory of the run since `begin_run`, in bytes.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let files = self.memory.as_ref()?;
        let before = files.before;
        number(files.peak.as_ref()?)
            .ok()
            .map(|peak| peak.saturating_sub(before))
    }

    /// How often the kernel has killed for memory in this cell.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(files) = &self.memory else {
            return 0;
        };
        let mut buffer = [0; 1024];
        let n = reread(&files.events, &mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..n])
            .lines()
            .find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for CellCgroup {
    fn drop(&mut self) {
        self.procs.clear();
        for folder in &self.folders {
            // A process that was killed a moment ago may still count; what stays after this is
            // removed at the next start.
            for pause_ms in [0, 1, 5, 20, 50] {
                std::thread::sleep(std::time::Duration::from_millis(pause_ms));
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
            }
        }
    }
}

impl MemoryFiles {
    fn v1(folder: &Path) -> io::Result<Self> {
        let events = open_read(folder, "memory.oom_control")?;
        // SAFETY: eventfd takes no pointers; the descriptor it returns is owned here and nowhere else.
        #[allow(unsafe_code, reason = "cgroup v1 gives notice through an eventfd")]
        let notice = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let registration = format!("{} {}", notice.as_raw_fd(), events.as_raw_fd());
        fs::write(folder.join("cgroup.event_control"), registration)?;
        Ok(Self {
            limit: open_both(folder, "memory.limit_in_bytes")?,
            swap_limit: open_both(folder, "memory.memsw.limit_in_bytes").ok(),
            limit_now: u64::MAX,
            usage: open_read(folder, "memory.usage_in_bytes")?,
            peak: open_both(folder, "memory.max_usage_in_bytes").ok(),
            events,
            notice,
            kind: OomNotice::Eventfd,
            own: 0,
            before: 0,
        })
    }

    fn v2(folder: &Path) -> io::Result<Self> {
        let _ = fs::write(folder.join("memory.swap.max"), "0");
        let events = open_read(folder, "memory.events")?;
        Ok(Self {
            limit: open_both(folder, "memory.max")?,
            swap_limit: None,
            limit_now: u64::MAX,
            usage: open_read(folder, "memory.current")?,
            peak: open_both(folder, "memory.peak").ok(),
            notice: open_read(folder, "memory.events")?.into(),
            events,
            kind: OomNotice::EventsFile,
            own: 0,
            before: 0,
        })
    }

    fn set_limit(&mut self, limit: u64) -> io::Result<()> {
        let text = limit.to_string();
        // Memory + swap may never be below memory: the order depends on the direction.
        if limit > self.limit_now
            && let Some(swap) = &self.swap_limit
        {
            rewrite(swap, text.as_bytes())?;
        }
        rewrite(&self.limit, text.as_bytes())?;
        if let Some(swap) = &self.swap_limit {
            rewrite(swap, text.as_bytes())?;
        }
        self.limit_now = limit;
        Ok(())
    }
}

fn open_read(folder: &Path, name: &str) -> io::Result<File> {
    File::open(folder.join(name))
}

fn open_both(folder: &Path, name: &str) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(folder.join(name))
}

fn rewrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)
}

fn reread(file: &File, buffer: &mut [u8; 1024]) -> io::Result<usize> {
    file.read_at(buffer, 0)
}

fn number(file: &File) -> io::Result<u64> {
    let mut buffer = [0; 1024];
    let n = reread(file, &mut buffer)?;
    let text = std::str::from_utf8(&buffer[..n]).map_err(io::Error::other)?;
    text.trim().parse().map_err(io::Error::other)
}

/// Where this process's own group of a v1 controller lies.
fn v1_folder(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers
            .split(',')
            .any(|c| c == controller)
            .then(|| parts.next())?
    })?;
    folder_of(mounts, path, |kind, options| {
        kind == "cgroup" && options.split(',').any(|o| o == controller)
    })
}

fn v2_folder(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    folder_of(mounts, path, |kind, _| kind == "cgroup2")
}

/// Joins a group's path with the mount that shows it.
fn folder_of(mounts: &str, path: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, super_block) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut super_fields = super_block.split(' ');
        let (kind, options) = (super_fields.next()?, super_fields.nth(1)?);
        if !wanted(kind, options) {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

/// Whether we can make and remove folders here.
fn usable(folder: &Path) -> bool {
    let probe = folder.join(format!("{PREFIX}{}-probe", std::process::id()));
    fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
}

/// Turns the controllers on for children. A group with processes of its own may not do that, so
/// this process moves into a leaf first, as services with delegated groups do.
fn v2_parent(own: PathBuf) -> Result<PathBuf, String> {
    let explain = |what: &str, e: io::Error| format!("cgroup v2 {}: {what}: {e}", own.display());
    let controllers =
        fs::read_to_string(own.join("cgroup.controllers")).map_err(|e| explain("reading", e))?;
    if !["memory", "pids"]
        .iter()
        .all(|c| controllers.split_whitespace().any(|have| have == *c))
    {
        return Err(format!(
            "cgroup v2 {}: the memory and pids controllers are not delegated",
            own.display()
        ));
    }
    // A second sandbox in this process finds itself in the leaf of the first.
    if own.file_name().is_some_and(|n| n == "codejury-supervisor")
        && let Some(parent) = own.parent()
        && usable(parent)
    {
        return Ok(parent.to_owned());
    }
    let leaf = own.join("codejury-supervisor");
    if let Err(e) = fs::create_dir(&leaf)
        && e.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(explain("making a folder", e));
    }
    fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())
        .map_err(|e| explain("moving into a leaf", e))?;
    fs::write(own.join("cgroup.subtree_control"), "+memory +pids")
        .map_err(|e| explain("turning controllers on", e))?;
    Ok(own)
}

/// Removes empty folders of supervisors that no longer live.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| {
            n.strip_prefix(PREFIX)?
                .split('-')
                .next()?
                .parse::<u32>()
                .ok()
        });
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 25 0:27 /docker/abc /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
32 25 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn own_group_is_found_through_its_mount() {
        let own = "8:pids:/docker/abc/job\n4:memory:/slice/x\n0::/user.slice";
        assert_eq!(
            v1_folder(own, MOUNTS, "memory"),
            Some("/sys/fs/cgroup/memory/slice/x".into())
        );
        assert_eq!(
            v1_folder(own, MOUNTS, "pids"),
            Some("/sys/fs/cgroup/pids/job".into())
        );
        assert_eq!(v1_folder(own, MOUNTS, "cpu"), None);
        assert_eq!(
            v2_folder(own, MOUNTS),
            Some("/sys/fs/cgroup/unified/user.slice".into())
        );
        assert_eq!(v2_folder("0::/", ""), None);
    }
}
