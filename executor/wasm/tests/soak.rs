//! Many runs in the same workers, with crashes, traps, limits and killed workers mixed in: what every
//! run comes to is known, and memory, mappings and descriptors must stay what they were.
//!
//! `CODEJURY_SOAK_RUNS` says how many (a million takes hours); 600 without it. With
//! `CODEJURY_SOAK_LOG` a line is written to that file at every fiftieth of the way.

mod support;

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use executor::{LimitKind, MIB, Outcome, RunRequest, Runner as _};
use wasm::{Mode, WasmSandbox};

/// Runs go on in this many threads.
const THREADS: u64 = 2;

/// A program, and how it ends under [`request`]'s limits.
const PROGRAMS: &[(&str, Outcome)] = &[
    ("print(input())", Outcome::Exited { code: 0 }),
    (
        "import json, re\nprint(json.dumps(re.findall('[a-z]+', input())))",
        Outcome::Exited { code: 0 },
    ),
    (
        "print(input())\nraise ValueError",
        Outcome::Exited { code: 1 },
    ),
    ("import os\nos._exit(250)", Outcome::Exited { code: 250 }),
    (
        "import os\nos.abort()",
        Outcome::Signaled {
            signal: libc::SIGABRT,
        },
    ),
    (
        "import functools, sys\nsys.setrecursionlimit(10**6)\nf = functools.lru_cache(None)(lambda n: n and f(n - 1))\nf(200000)",
        Outcome::Signaled {
            signal: libc::SIGSEGV,
        },
    ),
    ("x = bytearray(1 << 26)", limit(LimitKind::Memory)),
    (
        "x = []\nwhile True: x.append(bytes(1 << 16))",
        limit(LimitKind::Memory),
    ),
    ("while True: pass", limit(LimitKind::CpuTime)),
    ("import time\ntime.sleep(10**6)", limit(LimitKind::WallTime)),
    ("while True: print('x' * 65536)", limit(LimitKind::Output)),
    (
        "open('a', 'w').write('x' * 100000)\nimport os\nos.mkdir('b')\nprint(os.listdir())",
        Outcome::Exited { code: 0 },
    ),
];

const fn limit(limit: LimitKind) -> Outcome {
    Outcome::LimitExceeded { limit }
}

fn request(source: &str) -> RunRequest {
    let mut request = RunRequest::python(source.as_bytes());
    request.stdin = (&b"hello\n"[..]).into();
    request.limits.cpu_time = Duration::from_millis(40);
    request.limits.wall_time = Duration::from_secs(2);
    request.limits.memory_bytes = 48 * MIB;
    request.limits.stdout_bytes = MIB;
    request
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    resident_kib: u64,
    mappings: u64,
    descriptors: u64,
}

impl Held {
    /// `None` once the process has gone.
    fn by(process: &str) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        let status = read("status")?;
        let resident = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some(Self {
            resident_kib: resident.split_whitespace().nth(1)?.parse().ok()?,
            mappings: read("maps")?.lines().count() as u64,
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64,
        })
    }

    fn most(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            mappings: self.mappings.max(other.mappings),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// What this process and the worst of its idle workers hold.
fn held(sandbox: &WasmSandbox) -> [Held; 2] {
    let workers = sandbox.idle_workers();
    let worst = workers
        .iter()
        .filter_map(|pid| Held::by(&pid.to_string()))
        .fold(Held::default(), Held::most);
    [Held::by("self").expect("this process is there"), worst]
}

fn run_many(sandbox: &WasmSandbox, from: u64, to: u64) {
    let next = AtomicU64::new(from);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        return;
                    }
                    // Two of three are ordinary programs; the rest takes turns.
                    let which = match number % 3 {
                        0 => (number / 3) as usize % PROGRAMS.len(),
                        other => other as usize - 1,
                    };
                    let (source, outcome) = PROGRAMS[which];
                    let report = sandbox.run(&request(source)).expect("a report");
                    assert_eq!(report.outcome, outcome, "run {number}: {source}");
                    // A worker that dies must cost nobody anything.
                    if number.is_multiple_of(997)
                        && let Some(&worker) = sandbox.idle_workers().first()
                    {
                        kill(worker);
                    }
                }
            });
        }
    });
}

fn kill(worker: u32) {
    // It is a child that has not been waited for: the number is its own until then, unless another
    // thread has just replaced it, and then it belongs to nobody yet.
    let pid = nix::unistd::Pid::from_raw(worker as i32);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn memory_mappings_and_descriptors_stay_what_they_were() {
    let Some(sandbox) = support::sandbox(Mode::Deterministic, Some(THREADS as usize)) else {
        return;
    };
    let runs = env::var("CODEJURY_SOAK_RUNS").map_or(600, |runs| runs.parse().expect("a number"));
    let mut log = env::var_os("CODEJURY_SOAK_LOG").map(|path| File::create(path).expect("a file"));
    let step = (runs / 50).max(200);
    let mut done = 0;
    let mut baseline = None;
    while done < runs {
        run_many(&sandbox, done, done + step);
        done += step;
        let now = held(&sandbox);
        if let Some(log) = &mut log {
            writeln!(
                log,
                "{done} runs: this process {:?}, worker {:?}",
                now[0], now[1]
            )
            .expect("room");
        }
        // By then every program has run in every worker.
        let first = *baseline.get_or_insert(now);
        for (first, now) in first.iter().zip(&now) {
            assert!(
                now.descriptors <= first.descriptors + 2,
                "{first:?}, after {done} runs {now:?}"
            );
            assert!(
                now.mappings <= first.mappings + 64,
                "{first:?}, after {done} runs {now:?}"
            );
            // Pages that a run has touched stay with a worker, up to a fixed amount.
            assert!(
                now.resident_kib <= first.resident_kib + 96 * 1024,
                "{first:?}, after {done} runs {now:?}"
            );
        }
    }
}
