//! What the processes of a run use right now, read from the cell's own procfs.

use std::fs;
use std::path::PathBuf;

/// Live figures of all processes but this one.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) processes: u32,
    /// CPU time so far, of the processes and the children they have waited for.
    pub(crate) cpu_us: u64,
}

/// Processes of the run: in a pid namespace all but pid 1, else this process's descendants.
pub(crate) fn processes(namespaces: bool) -> Vec<i32> {
    let own = crate::sys::getpid();
    let all = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own);
    if namespaces {
        all.collect()
    } else {
        descendants(own, all.collect())
    }
}

fn descendants(own: i32, all: Vec<i32>) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = all
        .into_iter()
        .filter_map(|pid| Some((pid, stat_fields(pid)?.get(1)?.parse().ok()?)))
        .collect();
    let mut found = vec![own];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.remove(0);
    found
}

/// CPU time of the live processes.
pub(crate) fn live(namespaces: bool) -> Live {
    // SAFETY: sysconf only reads a constant.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let mut live = Live::default();
    for pid in processes(namespaces) {
        let Some(fields) = stat_fields(pid) else {
            continue;
        };
        // Fields after the name: state is 0, utime 11, stime 12, cutime 13, cstime 14.
        let ticks: u64 = fields
            .iter()
            .skip(11)
            .take(4)
            .filter_map(|f| f.parse::<u64>().ok())
            .sum();
        live.processes += 1;
        live.cpu_us += ticks * 1_000_000 / ticks_per_s;
    }
    live
}

fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, parentheses and blanks too: fields start after the last one.
    let after = stat.iter().rposition(|b| *b == b')')? + 2;
    let text = String::from_utf8_lossy(stat.get(after..)?).into_owned();
    Some(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Memory of all processes together, in bytes; shared pages count once among those that share them.
pub(crate) fn memory_bytes(namespaces: bool) -> u64 {
    processes(namespaces)
        .into_iter()
        .filter_map(proportional_set_bytes)
        .sum()
}

fn proportional_set_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|l| l.starts_with("Pss:"))?;
    line.split_ascii_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Memory of this process that no file backs, in bytes.
pub(crate) fn own_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text
        .split_ascii_whitespace()
        .skip(1)
        .map(|n| n.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    // SAFETY: sysconf only reads a constant.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64;
    resident.saturating_sub(shared) * page_bytes
}

/// How long the main thread of `pid` has waited for a CPU, in nanoseconds.
pub(crate) fn run_delay_ns(pid: i32) -> u64 {
    let path = PathBuf::from(format!("/proc/{pid}/schedstat"));
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
