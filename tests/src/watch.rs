//! What a run does to the host, seen from outside it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// One process that descends from a given one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid as we see it.
    pub pid: i32,
    /// Its parent's pid.
    pub parent: i32,
    /// Its real uid on the host.
    pub uid: u32,
    /// Its pid in the innermost pid namespace, when that is not ours.
    pub inner_pid: Option<i32>,
    /// How many threads it has.
    pub threads: u64,
    /// Whether it is dead and only waits to be reaped.
    pub zombie: bool,
    /// Its name, for messages.
    pub command: String,
}

impl Process {
    /// Whether it belongs to a program: in a cell, every process but pid 1 does.
    pub fn is_of_a_run(&self) -> bool {
        self.inner_pid.is_some_and(|pid| pid != 1)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
        };
        let pids: Vec<i32> = field("NSpid")?
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        Some(Self {
            pid: field("Pid")?.parse().ok()?,
            parent: field("PPid")?.parse().ok()?,
            uid: field("Uid")?.split_whitespace().next()?.parse().ok()?,
            inner_pid: if pids.len() > 1 {
                pids.last().copied()
            } else {
                None
            },
            threads: field("Threads")
                .and_then(|threads| threads.parse().ok())
                .unwrap_or(1),
            zombie: field("State").is_some_and(|state| state.starts_with(['Z', 'X'])),
            command: field("Name")?.to_owned(),
        })
    }
}

/// All processes that descend from `ancestor`, in no particular order.
///
/// A process whose parent dies is given to its cell's pid 1 or, with
/// [`nix::sys::prctl::set_child_subreaper`], to us; so none gets lost.
pub fn descendants(ancestor: i32) -> Vec<Process> {
    let mut processes: HashMap<i32, Process> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        else {
            continue;
        };
        // A process can end while we look: then its file is gone, and it is none.
        let status = fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
        if let Some(process) = Process::parse(&status) {
            processes.insert(process.pid, process);
        }
    }
    let descends = |process: &Process| {
        let mut parent = process.parent;
        // Parents change while we read; a walk longer than the table went in a circle.
        for _ in 0..=processes.len() {
            if parent == ancestor {
                return true;
            }
            match processes.get(&parent) {
                Some(process) => parent = process.parent,
                None => return false,
            }
        }
        false
    };
    processes
        .values()
        .filter(|process| descends(process))
        .cloned()
        .collect()
}

/// The living processes of programs below `ancestor`.
pub fn run_processes(ancestor: i32) -> Vec<Process> {
    let mut processes = descendants(ancestor);
    processes.retain(|process| process.is_of_a_run() && !process.zombie);
    processes
}

/// The mounts this process sees, one line each.
pub fn mounts() -> HashSet<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().map(str::to_owned).collect()
}

/// How many descriptors this process holds.
pub fn descriptors() -> usize {
    // One of them is the folder being read.
    fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count() - 1)
}

/// The cgroup folders that the codejury process `pid` made, wherever this host mounts cgroups.
pub fn cgroups_of(pid: i32) -> Vec<PathBuf> {
    let prefix = format!("codejury-{pid}-");
    let mut folders: Vec<PathBuf> = fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.len() > 2 && fields[2].starts_with("cgroup"))
        .map(|fields| PathBuf::from(fields[1]))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// The most that was seen of a run while it ran.
#[derive(Clone, Debug, Default)]
pub struct Peak {
    /// Processes and threads at one time.
    pub tasks: u64,
    /// Proportional set size of all processes at one time, in bytes: shared pages count once.
    pub resident_bytes: u64,
    /// A process of a program that was root on the host.
    pub host_root: Option<Process>,
}

/// Watches the runs of this process until [`Sampler::stop`].
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peak>,
}

impl Sampler {
    /// Starts looking every 20 ms; at memory, which costs more, every fifth time.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let ourselves = nix::unistd::getpid().as_raw();
            let mut peak = Peak::default();
            let mut round = 0_u32;
            while !seen.load(Ordering::Relaxed) {
                let processes = run_processes(ourselves);
                peak.tasks = peak
                    .tasks
                    .max(processes.iter().map(|process| process.threads).sum());
                if round.is_multiple_of(5) {
                    let resident = processes
                        .iter()
                        .map(|process| resident_bytes(process.pid))
                        .sum();
                    peak.resident_bytes = peak.resident_bytes.max(resident);
                }
                if let Some(root) = processes.into_iter().find(|process| process.uid == 0) {
                    peak.host_root = Some(root);
                }
                round += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Self { stop, thread }
    }

    /// Ends the watch and says what was seen.
    ///
    /// # Panics
    ///
    /// When the watching thread has panicked.
    pub fn stop(self) -> Peak {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler does not panic")
    }
}

fn resident_bytes(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const STATUS: &str = "Name:\tpython3\nState:\tS (sleeping)\nPid:\t77\nPPid:\t70\nUid:\t1000\t1000\t1000\t1000\n\
                          NSpid:\t77\t2\nThreads:\t3\n";

    #[test]
    fn pid_one_of_a_cell_is_no_process_of_a_run() {
        let run = Process::parse(STATUS).unwrap();
        assert_eq!(
            (run.pid, run.parent, run.uid, run.inner_pid, run.threads),
            (77, 70, 1000, Some(2), 3)
        );
        assert!(run.is_of_a_run());
        let init = Process::parse(&STATUS.replace("77\t2", "77\t1")).unwrap();
        assert!(!init.is_of_a_run());
        let outside = Process::parse(&STATUS.replace("77\t2", "77")).unwrap();
        assert!(!outside.is_of_a_run());
    }

    #[test]
    fn a_daemon_is_found_after_its_parent_has_gone() {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let shell = Command::new("sh")
            .args(["-c", "sleep 30 >/dev/null 2>&1 & echo $!"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let daemon: i32 = String::from_utf8(shell.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let found = descendants(nix::unistd::getpid().as_raw());
        let killed = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(daemon),
            nix::sys::signal::Signal::SIGKILL,
        );
        assert!(
            found.iter().any(|process| process.pid == daemon),
            "not found among {found:?}"
        );
        assert!(killed.is_ok());
    }
}
