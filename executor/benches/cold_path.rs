//! CPU of a sandboxed cold run against a bare start of the same program, paired.
//!
//! `cargo bench -p executor --bench cold_path` prints, per round, the CPU time per run of the whole
//! process tree (this process, the cells, the programs) and the ratio; quote the median ratio. The
//! bare side is `fork` + `exec` + `wait` with pipes for the three streams, which is less than what
//! Python's own `subprocess.run` costs.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use executor::{RunRequest, Sandbox, SandboxConfig};
use nix::sys::resource::{UsageWho, getrusage};

const ROUNDS: usize = 15;
const RUNS: u32 = 40;
const PROGRAM: &str = "print(input())\n";

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let (rounds, runs) = if std::env::args().any(|a| a == "--bench") {
        (ROUNDS, RUNS)
    } else {
        (1, 2)
    };
    let config = || SandboxConfig {
        slots: Some(1),
        ..SandboxConfig::default()
    };
    let python = Sandbox::new(config())
        .expect("a sandbox")
        .interpreter()
        .executable
        .clone();
    let file = tempfile::Builder::new()
        .suffix(".py")
        .tempfile()
        .expect("a temporary file");
    file.as_file()
        .write_all(PROGRAM.as_bytes())
        .expect("a temporary file");

    let mut ratios = Vec::new();
    println!("round  bare_ms  sandboxed_ms  ratio   (CPU per run)");
    for round in 0..rounds {
        let bare = cpu_of(|| {
            for _ in 0..runs {
                let mut child = Command::new(&python)
                    .arg(file.path())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("python starts");
                child
                    .stdin
                    .take()
                    .expect("piped")
                    .write_all(b"hello\n")
                    .expect("a short write");
                assert_eq!(
                    child.wait_with_output().expect("it ends").stdout,
                    b"hello\n"
                );
            }
        });
        // The cell's whole life counts: its start, its runs, its end.
        let sandboxed = cpu_of(|| {
            let sandbox = Sandbox::new(config()).expect("a sandbox");
            let mut request = RunRequest::python(PROGRAM.as_bytes());
            request.stdin = b"hello\n".to_vec().into();
            for _ in 0..runs {
                assert_eq!(
                    sandbox.run(&request).expect("a run").stdout.bytes,
                    b"hello\n"
                );
            }
        });
        // Finding the interpreter starts it twice; a sandbox does so once in its life.
        let resolving = cpu_of(|| drop(executor::Interpreter::resolve(None).expect("python")));
        let sandboxed = sandboxed.saturating_sub(resolving);
        let ratio = sandboxed.as_secs_f64() / bare.as_secs_f64();
        let per_run_ms = |cpu: Duration| cpu.as_secs_f64() * 1e3 / f64::from(runs);
        println!(
            "{round:5}  {:7.2}  {:12.2}  {ratio:5.3}",
            per_run_ms(bare),
            per_run_ms(sandboxed)
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share) as usize];
    println!(
        "ratio: median {:.3}, range {:.3} to {:.3}",
        at(0.5),
        at(0.0),
        at(1.0)
    );
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
