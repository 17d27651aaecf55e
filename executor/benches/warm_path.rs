//! CPU of a sandboxed warm run against a bare fork (T0) and a bare subprocess, paired.
//!
//! `cargo bench -p executor --bench warm_path` prints, per round, the CPU time per run of the whole
//! process tree of each and the ratios; quote the medians. T0 is the least that any sandbox built on
//! fork can cost: a warm CPython with the program's imports done, that forks, runs compiled code,
//! flushes and leaves, without a sandbox, limits, pipes or a program of its own. The subprocess is
//! Python's own `subprocess.run`. `CODEJURY_BENCH_PYTHON` names the interpreter; numpy is measured
//! where it has it. An argument picks programs by a part of their name.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use executor::{PathRequest, RunRequest, Sandbox, SandboxConfig};
use nix::sys::resource::{UsageWho, getrusage};

const ROUNDS: usize = 9;
/// As many as a cell lives for.
const RUNS: u32 = 2000;
/// Name, and text; each prints what it reads.
const PROGRAMS: [(&str, &str); 3] = [
    ("trivial", "print(input())\n"),
    (
        "standard",
        "from typing import List, Optional\nimport math, re, random\nfrom collections import deque\n\
         from functools import lru_cache\nprint(input())\n",
    ),
    (
        "numpy",
        "import numpy as np\nassert np.arange(10).sum() == 45\nprint(input())\n",
    ),
];

/// Prints CPU microseconds per run: of forks, then of subprocesses.
const BARE: &str = r#"
import gc, os, resource, subprocess, sys
file, runs = sys.argv[1], int(sys.argv[2])
def cpu():
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
text = open(file).read()
exec("\n".join(line for line in text.split("\n") if line.startswith(("import", "from"))))
code = compile(text, "main.py", "exec")
source = os.open(file + ".in", os.O_RDONLY)
os.dup2(source, 0)
kept = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.stdin = open(0, closefd=False)
gc.collect(); gc.freeze()
before = cpu()
for _ in range(runs):
    os.lseek(0, 0, 0)
    pid = os.fork()
    if pid == 0:
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
forks = (cpu() - before) / runs * 1e6
runs = max(runs // 20, 1)
before = cpu()
for _ in range(runs):
    subprocess.run([sys.executable, file], input=b"hello\n", capture_output=True)
os.write(kept, b"%f %f" % (forks, (cpu() - before) / runs * 1e6))
"#;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = arguments.iter().any(|a| a == "--bench");
    let (rounds, runs) = if measured { (ROUNDS, RUNS) } else { (1, 20) };
    let wanted = arguments.iter().find(|a| !a.starts_with('-'));
    let named = std::env::var_os("CODEJURY_BENCH_PYTHON").map(Into::into);
    let sandbox = |path| {
        Sandbox::new(SandboxConfig {
            python: named.clone(),
            path,
            slots: Some(1),
            ..SandboxConfig::default()
        })
        .expect("a sandbox")
    };
    let cold = sandbox(PathRequest::Cold);
    let python = cold.interpreter().executable.clone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("program.py");
    std::fs::write(folder.path().join("program.py.in"), "hello\n").expect("a temporary file");
    for (name, program) in PROGRAMS {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        if cold.run(&request(program)).expect("a run").stdout.bytes != b"hello\n" {
            println!("{name}: this interpreter cannot run it");
            continue;
        }
        std::fs::write(&file, program).expect("a temporary file");
        println!("{name}: CPU per run");
        println!("round  fork_us  subprocess_us  warm_us  compiled_us");
        let mut rows = Vec::new();
        for round in 0..rounds {
            let (fork, subprocess) = bare(&python, &file, runs);
            let warm = warm(&sandbox, program, runs, false);
            let compiled = self::warm(&sandbox, program, runs, true);
            println!("{round:5}  {fork:7.0}  {subprocess:13.0}  {warm:7.0}  {compiled:11.0}");
            rows.push([fork, subprocess, warm, compiled]);
        }
        let median = |what: &str, of: &dyn Fn(&[f64; 4]) -> f64| {
            let mut ratios: Vec<f64> = rows.iter().map(of).collect();
            ratios.sort_by(f64::total_cmp);
            let last = ratios.len() - 1;
            println!(
                "{name}, {what}: median {:.2}, range {:.2} to {:.2}",
                ratios[last / 2],
                ratios[0],
                ratios[last]
            );
        };
        median("warm / fork", &|r| r[2] / r[0]);
        median("warm, compiled once / fork", &|r| r[3] / r[0]);
        median("subprocess / warm", &|r| r[1] / r[2]);
        median("subprocess / warm, compiled once", &|r| r[1] / r[3]);
    }
}

fn request(program: &str) -> RunRequest {
    let mut request = RunRequest::python(program.as_bytes());
    request.stdin = b"hello\n".to_vec().into();
    request
}

fn bare(python: &std::path::Path, file: &std::path::Path, runs: u32) -> (f64, f64) {
    let mut child = Command::new(python)
        .args(["-", file.to_str().expect("a plain path"), &runs.to_string()])
        // As in the sandbox.
        .envs([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(BARE.as_bytes()).expect("a short write");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends").stdout;
    let text = String::from_utf8(output).expect("two numbers");
    let mut figures = text.split(' ').map(|n| n.parse().expect("a number"));
    (figures.next().expect("two"), figures.next().expect("two"))
}

/// Cell's life included: its start, its runs, its end; but not finding the interpreter.
fn warm(sandbox: &dyn Fn(PathRequest) -> Sandbox, program: &str, runs: u32, compiled: bool) -> f64 {
    let sandbox = sandbox(PathRequest::Warm);
    let mut request = request(program);
    if compiled {
        request.code = Some(compile(&sandbox, program));
    }
    let work = || {
        assert_eq!(
            sandbox.run(&request).expect("a run").stdout.bytes,
            b"hello\n"
        )
    };
    work();
    let cpu = cpu_of(|| {
        for _ in 0..runs {
            sandbox.run(&request).expect("a run");
        }
        sandbox.close_idle_cells();
    });
    cpu.as_secs_f64() * 1e6 / f64::from(runs)
}

/// Compiled in the sandbox by a run of its own, as a judge would.
fn compile(sandbox: &Sandbox, program: &str) -> std::sync::Arc<[u8]> {
    let name = sandbox.interpreter().script();
    let source = format!(
        "import marshal\ncode = compile({program:?}, {name:?}, 'exec')\nopen(3, 'wb').write(marshal.dumps(code))\n"
    );
    let mut request = RunRequest::python(source.as_bytes());
    request.report_pipe = true;
    sandbox.run(&request).expect("a run").report.into()
}

/// CPU time this process and everything it has waited for spend in `work`.
fn cpu_of(work: impl FnOnce()) -> Duration {
    let now = || {
        [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
            .into_iter()
            .map(|who| getrusage(who).expect("own usage"))
            .flat_map(|usage| [usage.user_time(), usage.system_time()])
            .map(|t| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000))
            .sum::<Duration>()
    };
    let before = now();
    work();
    now() - before
}
