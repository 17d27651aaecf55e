//! kill -9 of cells' first processes (zygotes on the warm path) and of the supervisor, in the middle of
//! many runs: no answer is wrong, nothing stays behind, and the work goes on.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use executor::{Outcome, PathRequest, RunRequest, Sandbox, SandboxConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use workspace_tests::watch;

/// Set for the process that makes runs: which, and on which path.
const RUNS: &str = "CODEJURY_KILLED_RUNS";
const COLD: &str = "CODEJURY_KILLED_COLD";
const WORKERS: u64 = 2;
/// The tests look at all children of this process: one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Makes the runs and tells of each: its worker, its number, what came out.
fn make_runs(range: &str) {
    let (from, to) = range.split_once("..").expect("FROM..TO");
    let to: u64 = to.parse().expect("a number");
    let sandbox = Sandbox::new(SandboxConfig {
        path: match std::env::var_os(COLD) {
            None => PathRequest::Warm,
            Some(_) => PathRequest::Cold,
        },
        slots: Some(WORKERS as usize),
        ..SandboxConfig::default()
    })
    .expect("this host can isolate (see `codejury doctor`)");
    let next = AtomicU64::new(from.parse().expect("a number"));
    let work = |worker| {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= to {
                return;
            }
            // Some take a while, so that a kill finds them in the middle.
            let source = "import time\nn = int(input())\ntime.sleep(n % 4 / 500)\nprint(n * 2)\n";
            let mut request = RunRequest::python(source.as_bytes());
            request.stdin = n.to_string().into_bytes().into();
            let answer = match sandbox.run(&request) {
                Ok(report) if report.outcome == (Outcome::Exited { code: 0 }) => {
                    String::from_utf8_lossy(&report.stdout.bytes)
                        .trim()
                        .to_owned()
                }
                Ok(report) => format!("{:?}", report.outcome),
                Err(error) => error.to_string(),
            };
            println!("run {worker} {n} {}", answer.replace('\n', " "));
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || work(worker));
        }
    });
}

/// A process that makes runs, and its account of them.
struct Supervisor {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Supervisor {
    fn start(test: &str, runs: Range<u64>, cold: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("own path"));
        command
            .args(["--exact", test, "--nocapture"])
            .env(RUNS, format!("{}..{}", runs.start, runs.end))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if cold {
            command.env(COLD, "1");
        }
        let mut child = command.spawn().expect("the test binary starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next run that it tells of: worker, number, answer.
    fn next(&mut self) -> Option<(u64, u64, String)> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 || !line.ends_with('\n') {
                return None; // also a line that a kill has cut
            }
            let mut words = line.trim_end().splitn(4, ' ');
            // What libtest prints may stand before the first one.
            if words.next().is_none_or(|word| !word.ends_with("run")) {
                continue;
            }
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let (Some(worker), Some(n)) = (number(), number()) else {
                continue;
            };
            return Some((worker, n, words.next().unwrap_or_default().to_owned()));
        }
    }
}

/// Nobody descends from us any more, soon.
fn nobody_is_left() {
    let begun = Instant::now();
    loop {
        let left = watch::descendants(getpid().as_raw());
        if left.is_empty() {
            return;
        }
        for process in &left {
            // What we inherit from a killed supervisor is ours to reap.
            let flags = nix::sys::wait::WaitPidFlag::WNOHANG;
            let _ = nix::sys::wait::waitpid(Pid::from_raw(process.pid), Some(flags));
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "left: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn all_are_right(answers: &BTreeMap<u64, String>, runs: u64) {
    for n in 0..runs {
        let expected = (n * 2).to_string();
        assert_eq!(answers.get(&n), Some(&expected), "run {n}");
    }
}

fn begin() -> std::sync::MutexGuard<'static, ()> {
    let alone = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    nix::sys::prctl::set_child_subreaper(true).expect("what a process leaves becomes ours");
    alone
}

fn kill_cells(test: &str, runs: u64, cold: bool) {
    if let Ok(range) = std::env::var(RUNS) {
        return make_runs(&range);
    }
    let _alone = begin();
    let mut supervisor = Supervisor::start(test, 0..runs, cold);
    let mut answers = BTreeMap::new();
    let mut since_kill = [0; WORKERS as usize];
    let mut kills = 0;
    while let Some((worker, n, answer)) = supervisor.next() {
        assert_eq!(answers.insert(n, answer), None, "run {n} twice");
        since_kill[worker as usize] += 1;
        // Far enough apart that no run is hit twice while it runs: that would count as its own doing.
        if since_kill.iter().all(|runs| *runs >= 6) {
            let cells: Vec<_> = watch::descendants(supervisor.pid())
                .into_iter()
                .filter(|process| process.inner_pid == Some(1) && !process.zombie)
                .collect();
            if !cells.is_empty() {
                let victim = cells[n as usize % cells.len()].pid;
                kills += i32::from(kill(Pid::from_raw(victim), Signal::SIGKILL).is_ok());
                since_kill = [0; WORKERS as usize];
            }
        }
    }
    assert!(supervisor.child.wait().expect("it is ours").success());
    all_are_right(&answers, runs);
    assert!(kills >= 5, "only {kills} kills");
    nobody_is_left();
    assert!(watch::cgroups_of(supervisor.pid()).is_empty());
}

#[test]
fn killed_zygotes_cost_no_answer() {
    kill_cells("killed_zygotes_cost_no_answer", 1000, false);
}

#[test]
fn killed_first_processes_of_cold_cells_cost_no_answer() {
    kill_cells(
        "killed_first_processes_of_cold_cells_cost_no_answer",
        150,
        true,
    );
}

#[test]
fn killed_supervisors_leave_nothing_and_the_work_goes_on() {
    const TEST: &str = "killed_supervisors_leave_nothing_and_the_work_goes_on";
    const ALL: u64 = 1000;
    if let Ok(range) = std::env::var(RUNS) {
        return make_runs(&range);
    }
    let _alone = begin();
    let mounts = watch::mounts();
    let mut answers: BTreeMap<u64, String> = BTreeMap::new();
    let mut killed = Vec::new();
    while (0..ALL).any(|n| !answers.contains_key(&n)) {
        let first = (0..ALL).find(|n| !answers.contains_key(n)).unwrap_or(ALL);
        let mut supervisor = Supervisor::start(TEST, first..ALL, false);
        // Six kills, at other numbers each time; the seventh supervisor may finish.
        let most = if killed.len() < 6 {
            130 + 7 * killed.len()
        } else {
            usize::MAX
        };
        let mut told = 0;
        while let Some((_, n, answer)) = supervisor.next() {
            if told == 0 {
                let stale: Vec<_> = killed
                    .iter()
                    .flat_map(|pid| watch::cgroups_of(*pid))
                    .collect();
                assert!(stale.is_empty(), "the next start clears away: {stale:?}");
            }
            answers.insert(n, answer);
            told += 1;
            if told == most {
                supervisor.child.kill().expect("it is ours");
            }
        }
        let status = supervisor.child.wait().expect("it is ours");
        assert!(
            status.success() || told >= most,
            "{status} after {told} runs"
        );
        nobody_is_left();
        killed.push(supervisor.pid());
    }
    assert!(killed.len() >= 6, "{} supervisors", killed.len());
    all_are_right(&answers, ALL);
    let left: Vec<_> = watch::cgroups_of(killed[killed.len() - 1]);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(watch::mounts(), mounts);
}
