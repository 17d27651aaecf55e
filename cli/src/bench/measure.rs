//! What so many runs of one program cost, done this way or that.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use executor::{RunRequest, Runner, Sandbox};
use nix::sys::resource::{UsageWho, getrusage};
use tempfile::TempDir;

use crate::exit::{ExitCode, Failure};

/// What the programs read and print.
pub(super) const INPUT: &[u8] = b"hello\n";
const SCRIPT: &str = include_str!("bare.py");

/// Of one round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) runs_per_s: f64,
    /// Of everything that took part: this process, cells, programs.
    pub(super) cpu_us_per_run: f64,
}

/// The ways without a sandbox.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bare {
    Fork,
    Subprocess,
}

/// The means to measure with.
pub(super) struct Bench {
    python: PathBuf,
    workers: usize,
    folder: TempDir,
}

impl Bench {
    pub(super) fn new(python: PathBuf, workers: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("codejury-bench-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        write(&folder.path().join("bare.py"), SCRIPT.as_bytes())?;
        write(&folder.path().join("program.py.in"), INPUT)?;
        Ok(Self {
            python,
            workers,
            folder,
        })
    }

    /// Without a sandbox: as many processes as there are workers, each with its share of the runs.
    pub(super) fn bare(&self, how: Bare, program: &str, runs: u32) -> anyhow::Result<Cost> {
        let file = self.folder.path().join("program.py");
        write(&file, program.as_bytes())?;
        let share = runs.div_ceil(self.workers as u32);
        let started: Vec<_> = (0..self.workers)
            .map(|_| {
                Command::new(&self.python)
                    .arg(self.folder.path().join("bare.py"))
                    .arg(match how {
                        Bare::Fork => "fork",
                        Bare::Subprocess => "subprocess",
                    })
                    .arg(&file)
                    .arg(share.to_string())
                    // As in the sandbox.
                    .envs([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")])
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::inherit())
                    .spawn()
            })
            .collect();
        let mut cost = Cost::default();
        let mut cpu_s = 0.0;
        for process in started {
            let output = process
                .and_then(|process| process.wait_with_output())
                .with_context(|| format!("cannot run {}", self.python.display()))?;
            let text = String::from_utf8_lossy(&output.stdout);
            let mut figures = text.split(' ').map(|figure| figure.parse::<f64>().ok());
            let (Some(Some(cpu)), Some(Some(seconds)), true) =
                (figures.next(), figures.next(), output.status.success())
            else {
                let message = "the program without a sandbox failed; its standard error says why";
                return Err(Failure::new(ExitCode::OurFailure, message).into());
            };
            cpu_s += cpu;
            cost.runs_per_s += f64::from(share) / seconds;
        }
        cost.cpu_us_per_run = cpu_s * 1e6 / f64::from(share * self.workers as u32);
        Ok(cost)
    }

    /// In the native sandbox, with the whole life of its cells.
    pub(super) fn native(
        &self,
        sandbox: &Sandbox,
        program: &str,
        runs: u32,
        compiled: bool,
    ) -> anyhow::Result<Cost> {
        let mut request = request(program);
        if compiled {
            request.code = Some(compile(sandbox, program)?);
        }
        sandbox.run(&request)?; // what is found out once
        sandbox.close_idle_cells();
        self.cost(runs, || {
            self.all(sandbox, &request, runs)?;
            sandbox.close_idle_cells();
            Ok(())
        })
    }

    /// In a sandbox with the whole of its life.
    pub(super) fn whole(
        &self,
        program: &str,
        runs: u32,
        make: &dyn Fn() -> anyhow::Result<Box<dyn Runner>>,
    ) -> anyhow::Result<Cost> {
        let request = request(program);
        self.cost(runs, || self.all(&*make()?, &request, runs))
    }

    fn all(&self, runner: &dyn Runner, request: &RunRequest, runs: u32) -> anyhow::Result<()> {
        let left = AtomicU32::new(runs);
        let work = || -> anyhow::Result<()> {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let report = runner.run(request)?;
                if report.stdout.bytes != INPUT {
                    let message = format!("a run ended otherwise than it should: {report:?}");
                    return Err(Failure::new(ExitCode::OurFailure, message).into());
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.workers).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("it does not panic"))
        })
    }

    fn cost(&self, runs: u32, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Cost> {
        let (cpu_before, before) = (cpu()?, Instant::now());
        work()?;
        let (cpu, wall) = (cpu()? - cpu_before, before.elapsed());
        Ok(Cost {
            runs_per_s: f64::from(runs) / wall.as_secs_f64(),
            cpu_us_per_run: cpu.as_secs_f64() * 1e6 / f64::from(runs),
        })
    }
}

pub(super) fn request(program: &str) -> RunRequest {
    let mut request = RunRequest::python(program.as_bytes());
    request.stdin = INPUT.to_vec().into();
    request
}

/// Compiled in the sandbox by a run of its own, as the judge does.
fn compile(sandbox: &Sandbox, program: &str) -> anyhow::Result<std::sync::Arc<[u8]>> {
    let name = sandbox.interpreter().script();
    let source = format!(
        "import marshal\ncode = compile({program:?}, {name:?}, 'exec')\nopen(3, 'wb').write(marshal.dumps(code))\n"
    );
    let mut request = RunRequest::python(source.as_bytes());
    request.report_pipe = true;
    Ok(sandbox.run(&request)?.report.into())
}

/// CPU time of this process and of everything that it has waited for.
fn cpu() -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).context("cannot ask for own CPU time")?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
        }
    }
    Ok(sum)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
