//! Runs of every sort, one after another, for as long as asked: every answer is right, and nothing
//! grows with their number: processes, descriptors, mounts, cgroups, files, memory.
//!
//! `scripts/soak` makes the long form: a million runs, and how the rate at the end compares.

use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use executor::{
    LimitKind, MIB, Network, Outcome, PathRequest, RunReport, RunRequest, Sandbox, SandboxConfig,
};
use workspace_tests::watch;

/// How many runs the long form makes, and the process that makes them.
const RUNS: &str = "CODEJURY_SOAK_RUNS";
/// How many are made at once; as many as there are processors when not set.
const SLOTS: &str = "CODEJURY_SOAK_SLOTS";
/// Set for the process that makes the runs.
const APART: &str = "CODEJURY_SOAK_APART";

/// Before the first round that is measured.
const WARM_UP_RUNS_PER_WORKER: u64 = 100;
/// Started by each worker after each round, with nothing around them: how fast the host is just then.
const BARE_PROCESSES_PER_WORKER: u64 = 50;
/// What a worker's share of this process may still settle to.
const RESIDENT_KIB_PER_WORKER: u64 = 256;

/// One sort of run: how many in each 10,000, the program, its limits, and whether it ended as it must.
struct Kind {
    name: &'static str,
    share: u64,
    source: &'static str,
    limit: fn(&mut RunRequest),
    right: fn(&RunReport) -> bool,
}

const fn kind(
    name: &'static str,
    share: u64,
    source: &'static str,
    right: fn(&RunReport) -> bool,
) -> Kind {
    Kind {
        name,
        share,
        source,
        limit: |_| {},
        right,
    }
}

fn fine(report: &RunReport) -> bool {
    report.outcome == Outcome::Exited { code: 0 }
}

fn over(report: &RunReport, limit: LimitKind) -> bool {
    report.outcome == Outcome::LimitExceeded { limit }
}

/// All but the ordinary ones, which make up the rest.
const KINDS: &[Kind] = &[
    kind(
        "imports",
        200,
        "import json, random, collections, re\n",
        fine,
    ),
    kind("an exception", 100, "[][int('5')]\n", |r| {
        r.outcome == Outcome::Exited { code: 1 }
            && r.stderr
                .bytes
                .ends_with(b"IndexError: list index out of range\n")
    }),
    kind("an exit code", 50, "import sys\nsys.exit(7)\n", |r| {
        r.outcome == Outcome::Exited { code: 7 }
    }),
    kind("a crash", 50, "import ctypes\nctypes.string_at(0)\n", |r| {
        r.outcome == Outcome::Signaled { signal: 11 }
    }),
    kind(
        "kills itself",
        20,
        "import os\nos.kill(os.getpid(), 9)\n",
        |r| r.outcome == Outcome::Signaled { signal: 9 },
    ),
    Kind {
        limit: |request| request.limits.wall_time = Duration::from_millis(100),
        ..kind("sleeps", 20, "import time\ntime.sleep(600)\n", |r| {
            over(r, LimitKind::WallTime)
        })
    },
    Kind {
        limit: |request| request.limits.cpu_time = Duration::from_millis(100),
        ..kind("loops", 10, "while True: pass\n", |r| {
            over(r, LimitKind::CpuTime)
        })
    },
    Kind {
        limit: |request| request.limits.memory_bytes = 64 * MIB,
        ..kind(
            "a memory bomb",
            20,
            "x = []\nwhile True: x.append(bytearray(1 << 20))\n",
            |r| r.outcome == Outcome::Exited { code: 1 } || over(r, LimitKind::Memory),
        )
    },
    Kind {
        limit: |request| request.limits.stdout_bytes = 64 * 1024,
        ..kind("a flood", 20, "while True: print('x' * 1000)\n", |r| {
            over(r, LimitKind::Output)
        })
    },
    kind(
        "a fork bomb",
        10,
        "import os\ntry:\n    while True: os.fork()\nexcept OSError: pass\n",
        fine,
    ),
    kind(
        "a daemon",
        20,
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)\nos.wait()\n",
        fine,
    ),
    kind(
        "threads",
        20,
        "import threading\nfor i in range(20): threading.Thread(target=sum, args=([i],)).start()\n",
        fine,
    ),
    kind(
        "files left",
        40,
        "for place in ('.', '/tmp', '/dev/shm'): open(place + '/left', 'w').write('x' * 10000)\n",
        fine,
    ),
    kind(
        "files removed",
        20,
        "import os\nopen('/tmp/gone', 'w').close(); os.remove('/tmp/gone')\n",
        fine,
    ),
    kind(
        "a socket in flight",
        20,
        "import array, socket\na, b = socket.socketpair(socket.AF_UNIX)\nc = socket.socket(socket.AF_UNIX); c.bind('\\0left'); c.listen()\n\
         for s in (a, b, c): a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno()]))])\n",
        fine,
    ),
    Kind {
        limit: |request| request.network = Network::Loopback,
        ..kind(
            "a loopback used",
            10,
            "import socket\nwith socket.create_server(('127.0.0.1', 0)) as a: socket.create_connection(a.getsockname()).close()\n",
            fine,
        )
    },
    Kind {
        limit: |request| request.stdin = vec![b'x'; 1 << 20].into(),
        ..kind(
            "a large input",
            20,
            "import sys\nassert len(sys.stdin.read()) == 1 << 20\n",
            fine,
        )
    },
    Kind {
        limit: |request| request.collect = vec!["out".into()],
        ..kind(
            "a file collected",
            10,
            "open('out', 'w').write('kept')\n",
            |r| fine(r) && r.collected.len() == 1 && r.collected[0].1 == b"kept",
        )
    },
];

fn make(sandbox: &Sandbox, n: u64) -> Result<(), String> {
    // 7919 is prime: each 10,000 runs hold each kind as often as its share says, spread evenly.
    let mut place = n * 7919 % 10_000;
    let mut request = RunRequest::python(&b"print(int(input()) * 2)\n"[..]);
    request.limits.wall_time = Duration::from_secs(60);
    request.limits.cpu_time = Duration::from_secs(60);
    let found = KINDS.iter().find(|kind| {
        let here = place < kind.share;
        place = place.saturating_sub(kind.share);
        here
    });
    let Some(kind) = found else {
        request.stdin = n.to_string().into_bytes().into();
        let report = sandbox.run(&request).map_err(|e| format!("run {n}: {e}"))?;
        let right = fine(&report) && report.stdout.bytes == format!("{}\n", n * 2).as_bytes();
        return right
            .then_some(())
            .ok_or_else(|| format!("run {n}: {report:?}"));
    };
    let ordinary = request.limits.clone();
    request = RunRequest::python(kind.source.as_bytes());
    request.limits = ordinary;
    (kind.limit)(&mut request);
    let report = sandbox
        .run(&request)
        .map_err(|e| format!("run {n}, {}: {e}", kind.name))?;
    (kind.right)(&report)
        .then_some(())
        .ok_or_else(|| format!("run {n}, {}: {report:?}", kind.name))
}

/// What this process holds, and what is there because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    processes: u64,
    descriptors: u64,
    threads: u64,
    mounts: u64,
    cgroups: u64,
    files: u64,
    resident_kib: u64,
}

impl Held {
    const NAMES: [&'static str; 7] = [
        "processes",
        "descriptors",
        "threads",
        "mounts",
        "cgroups",
        "files",
        "resident KiB",
    ];

    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
                .unwrap_or(0)
        };
        Self {
            processes: watch::descendants(nix::unistd::getpid().as_raw()).len() as u64,
            descriptors: watch::descriptors() as u64,
            threads: field("Threads:"),
            mounts: watch::mounts().len() as u64,
            cgroups: watch::cgroups_of(nix::unistd::getpid().as_raw()).len() as u64,
            files: std::fs::read_dir(std::env::temp_dir())
                .map_or(0, |entries| entries.count() as u64),
            resident_kib: field("VmRSS:"),
        }
    }

    fn values(&self) -> [u64; 7] {
        [
            self.processes,
            self.descriptors,
            self.threads,
            self.mounts,
            self.cgroups,
            self.files,
            self.resident_kib,
        ]
    }
}

/// Makes these runs, so many at once. Returns how many a second.
fn make_all(sandbox: &Sandbox, workers: usize, runs: Range<u64>) -> f64 {
    let next = AtomicU64::new(runs.start);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= runs.end {
                    return;
                }
                make(sandbox, n).unwrap_or_else(|wrong| panic!("{wrong}"));
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().expect("every run is right");
        }
    });
    (runs.end - runs.start) as f64 / begun.elapsed().as_secs_f64()
}

/// Starts bare processes, so many at once. Returns how many a second.
fn start_bare(workers: usize) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                for _ in 0..BARE_PROCESSES_PER_WORKER {
                    let ended = Command::new("/bin/true").stdin(Stdio::null()).status();
                    assert!(ended.expect("it starts").success());
                }
            });
        }
    });
    (workers as u64 * BARE_PROCESSES_PER_WORKER) as f64 / begun.elapsed().as_secs_f64()
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The process that makes the runs.
fn soak(runs: u64, slots: Option<usize>) {
    let sandbox = || {
        Sandbox::new(SandboxConfig {
            path: PathRequest::Warm,
            slots,
            ..SandboxConfig::default()
        })
        .expect("this host can isolate (see `codejury doctor`)")
    };
    drop(sandbox()); // what a process keeps for all its sandboxes is there from now on
    let before = Held::now();
    let sandbox = sandbox();
    let workers =
        slots.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let rounds = (runs / 10_000).max(12);
    println!(
        "{:>9} {:>8} {:>8} {}",
        "runs",
        "runs/s",
        "bare/s",
        Held::NAMES.map(|name| format!("{name:>12}")).concat()
    );
    let (mut held, mut rates, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    // Cells are started when they are needed: the rounds that are compared have them.
    make_all(
        &sandbox,
        workers,
        0..WARM_UP_RUNS_PER_WORKER * workers as u64,
    );
    for round in 0..rounds {
        let (first, end) = (runs * round / rounds, runs * (round + 1) / rounds);
        let rate = make_all(&sandbox, workers, first..end);
        let bare = start_bare(workers);
        rates.push(rate);
        beside.push(rate / bare);
        held.push(Held::now());
        let values = held[held.len() - 1]
            .values()
            .map(|value| format!("{value:>12}"))
            .concat();
        println!("{end:>9} {rate:>8.0} {bare:>8.0} {values}");
    }
    // What idles between runs goes up and down with chance. What grows is higher all through the
    // last third than it ever was in the first.
    let third = held.len() / 3;
    for (i, name) in Held::NAMES.iter().enumerate() {
        let most = held[..third]
            .iter()
            .map(|h| h.values()[i])
            .max()
            .unwrap_or(0);
        let least = held[held.len() - third..]
            .iter()
            .map(|h| h.values()[i])
            .min()
            .unwrap_or(0);
        let allowed = if *name == "resident KiB" {
            most + most / 20 + 2048 + RESIDENT_KIB_PER_WORKER * workers as u64
        } else {
            most
        };
        assert!(
            least <= allowed,
            "{name} grew: at most {most} at first, at least {least} at last"
        );
    }
    println!("{:>44}  last / first   medians of thirds", "");
    for (what, rates) in [
        ("runs/s", &rates),
        ("as a part of what the host does bare", &beside),
    ] {
        println!(
            "{what:>44}  {:>12.3}   {:>17.3}",
            rates[rates.len() - 1] / rates[0],
            median(&rates[rates.len() - third..]) / median(&rates[..third])
        );
    }
    drop(sandbox);
    let after = Held::now();
    let same = |held: &Held| Held {
        resident_kib: 0,
        ..held.clone()
    };
    assert_eq!(same(&after), same(&before), "left of {runs} runs");
}

/// Makes the runs in a process of its own, with an empty folder for temporary files.
fn soak_apart(test: &str, runs: &str) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    if std::env::var_os(APART).is_some() {
        let runs = number(RUNS).expect("it is set beside the other");
        return soak(runs, number(SLOTS).map(|slots| slots as usize));
    }
    nix::sys::prctl::set_child_subreaper(true).expect("what a process leaves becomes ours");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(RUNS, runs)
        .env(APART, "1")
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .spawn()
        .expect("the test binary starts");
    let pid = child.id() as i32;
    assert!(child.wait().expect("it is ours").success(), "see above");
    assert_eq!(watch::descendants(nix::unistd::getpid().as_raw()), []);
    assert_eq!(watch::cgroups_of(pid), Vec::<PathBuf>::new());
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("it is ours")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn two_thousand_runs_leave_nothing() {
    soak_apart("two_thousand_runs_leave_nothing", "2000");
}

#[test]
#[ignore = "minutes to hours: see scripts/soak"]
fn a_million_runs_leave_nothing() {
    let runs = std::env::var(RUNS).unwrap_or("1000000".to_owned());
    soak_apart("a_million_runs_leave_nothing", &runs);
}
