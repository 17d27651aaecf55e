//! One process that owns a sandbox and judges cases in it, one at a time.
//!
//! The driver speaks to it in lines of JSON: a job on its standard input, an answer on its standard
//! output. It is a process of its own so that a case can take it down without ending the suite,
//! and so that everything a run leaves behind is found below one pid.

use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use executor::{
    Captured, InputFile, Isolation, MIB, Outcome, PathRequest, Program, RunReport, RunRequest,
    Runner, Sandbox, SandboxConfig, SandboxError,
};
use serde_json::{Value, json};
use wasm::{Cache, Mode, WasmConfig, WasmSandbox};

use crate::case::{Case, Expected, Text, UsageBound, When, find, replace};
use crate::host;
use crate::unprivileged;
use crate::watch::{self, Peak, Sampler};

/// Two, even on one processor: some cases are about what two runs do to each other.
const SLOTS: usize = 2;
/// How often the second program of a file looks for what the first one planted.
const LOOKS: usize = 3;
/// What [`Sandbox::run`] may take on top of twice the wall limit.
const RUN_GRACE: Duration = Duration::from_secs(10);
/// More than a supervisor of two small runs ever needs, less than one unbounded buffer.
const SUPERVISOR_BYTES: u64 = 320 * MIB;
/// The most that a report pipe brings back.
const REPORT_BYTES: u64 = 16 * MIB;
/// What an interpreter takes before the program's own memory begins.
const INTERPRETER_BYTES: u64 = 64 * MIB;

/// Reads jobs until end of file.
///
/// # Errors
///
/// The driver is gone.
pub fn serve(python: PathBuf) -> io::Result<()> {
    // Whatever loses its parent becomes ours, and is seen.
    nix::sys::prctl::set_child_subreaper(true)?;
    let config = SandboxConfig {
        python: Some(python),
        slots: Some(SLOTS),
        path: match std::env::var("CODEJURY_TEST_PATH").as_deref() {
            Ok("cold") => PathRequest::Cold,
            _ => PathRequest::Warm,
        },
        ..SandboxConfig::default()
    };
    answer(Sandbox::new(config).map_err(|error| explain(&error)))
}

/// Fuel that counts as one second on the wasm backend: little, so that an endless loop is cheap.
const FUEL_PER_SECOND: u64 = 1_000_000_000;
/// The first argument of a wasm worker process.
pub const WASM_WORKER: &str = "--wasm-worker";

/// The same on the wasm backend, to be started without any privilege.
///
/// # Errors
///
/// The driver is gone.
pub fn serve_on_wasm() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let privileges = unprivileged::privileges();
    let sandbox = || {
        if !privileges.is_empty() {
            return Err(format!("too much is permitted: {privileges:?}"));
        }
        let cache = Cache::of_user().map_err(|error| error.to_string())?;
        let bundle = cache
            .installed(Mode::Deterministic)
            .map_err(|error| error.to_string())?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let config = WasmConfig {
            bundle,
            mode: Mode::Deterministic,
            fuel_per_second: FUEL_PER_SECOND,
            slots: Some(SLOTS),
            worker: (program.into(), vec![WASM_WORKER.into()]),
        };
        let sandbox = WasmSandbox::new(config).map_err(|error| explain(&error))?;
        // Filters can be added to filters.
        if cfg!(target_arch = "x86_64") && !sandbox.is_confined() {
            return Err("its workers are not behind their filter".to_owned());
        }
        Ok(sandbox)
    };
    answer(sandbox())
}

fn answer(runner: Result<impl Runner, String>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let runner = match runner {
        Ok(runner) => runner,
        Err(error) => return writeln!(output, "{}", json!({"failures": [error]})),
    };
    writeln!(output, "{}", json!({"failures": []}))?;
    output.flush()?;
    for line in io::stdin().lock().lines() {
        let failures = match Job::read(&line?) {
            Ok(job) => job.judge(&runner),
            Err(error) => vec![error],
        };
        writeln!(output, "{}", json!({"failures": failures}))?;
        output.flush()?;
    }
    Ok(())
}

/// One case to judge.
#[derive(Debug)]
pub struct Job {
    case: Case,
    facts: String,
    secrets: Vec<String>,
}

impl Job {
    /// The line that asks a worker to judge the case in `text`.
    pub fn write(name: &str, text: &str, facts: &str, secrets: &[&str]) -> String {
        json!({"name": name, "text": text, "facts": facts, "secrets": secrets}).to_string()
    }

    fn read(line: &str) -> Result<Self, String> {
        let job: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |key: &str| {
            job[key]
                .as_str()
                .ok_or_else(|| format!("a job without {key}"))
        };
        let secrets = job["secrets"].as_array().into_iter().flatten();
        let case = Case::parse(text("name")?, text("text")?)?;
        Ok(Self {
            case,
            facts: text("facts")?.to_owned(),
            secrets: secrets
                .filter_map(|secret| secret.as_str().map(str::to_owned))
                .collect(),
        })
    }

    /// Runs the case and says all that was not as it must be.
    fn judge(mut self, sandbox: &dyn Runner) -> Vec<String> {
        if sandbox.isolation() == Isolation::Wasm {
            self.case = self.case.on_wasm();
        }
        let mut failures = Vec::new();
        let mounts = watch::mounts();
        let sampler = Sampler::start();
        let at_once = match &self.case.second {
            None => {
                let end = self.run(sandbox, &self.case.source, "");
                failures.extend(self.check(&end, &self.case.expect, true));
                failures.extend(leftovers(sandbox));
                1
            }
            Some((When::Then, look)) => {
                let planted = self.run(sandbox, &self.case.source, "");
                failures.extend(self.check(&planted, &self.case.first, false));
                failures.extend(leftovers(sandbox));
                let before = planted.stdout();
                for _ in 0..LOOKS {
                    let end = self.run(sandbox, look, &before);
                    failures.extend(self.check(&end, &self.case.expect, true));
                    failures.extend(leftovers(sandbox));
                }
                1
            }
            Some((When::Beside, beside)) => {
                failures.extend(self.judge_beside(sandbox, beside));
                failures.extend(leftovers(sandbox));
                2
            }
        };
        failures.extend(self.check_peak(&sampler.stop(), at_once));
        failures.extend(self.benign(sandbox));
        let mounts_now = watch::mounts();
        if mounts_now != mounts {
            let changed: Vec<_> = mounts_now.symmetric_difference(&mounts).collect();
            failures.push(format!("mounts of the host changed: {changed:?}"));
        }
        for file in host::marked_files() {
            failures.push(format!("left on the host: {}", file.display()));
        }
        failures.extend(check_supervisor());
        // Each look may have found the same.
        let mut told = HashSet::new();
        failures.retain(|failure| told.insert(failure.clone()));
        failures
    }

    /// Runs the second program again and again while the first one runs.
    fn judge_beside(&self, sandbox: &dyn Runner, beside: &[u8]) -> Vec<String> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let end = self.run(sandbox, &self.case.source, "");
                over.store(true, Ordering::SeqCst);
                self.check(&end, &self.case.first, false)
            });
            // The first one needs a moment to be at it.
            std::thread::sleep(Duration::from_millis(300));
            let mut failures = Vec::new();
            loop {
                let last = over.load(Ordering::SeqCst);
                let end = self.run(sandbox, beside, "");
                failures.extend(self.check(&end, &self.case.expect, true));
                if last {
                    break;
                }
            }
            failures.extend(first.join().expect("judging does not panic"));
            failures
        })
    }

    fn run(&self, sandbox: &dyn Runner, source: &[u8], before: &str) -> End {
        let case = &self.case;
        let args = case.args.iter().map(|arg| {
            let arg = replace(arg, b"{host}", self.facts.as_bytes());
            std::ffi::OsString::from_vec(replace(&arg, b"{before}", before.as_bytes()))
        });
        let files = case.files.iter().map(|(path, content)| InputFile {
            path: path.clone(),
            content: Arc::from(content.as_slice()),
        });
        let request = RunRequest {
            imports: None,
            sources: Vec::new(),
            code: None,
            resident: None,
            program: Program::Python {
                source: Arc::from(source),
                args: args.collect(),
            },
            stdin: Arc::from(case.stdin.as_slice()),
            files: files.collect(),
            env: case.env.clone(),
            limits: case.limits.clone(),
            network: case.network,
            report_pipe: case.report.is_some(),
            collect: case.collect.clone(),
        };
        let begun = Instant::now();
        let report = sandbox.run(&request);
        End {
            report,
            isolation: sandbox.isolation(),
            took: begun.elapsed(),
        }
    }

    fn check(&self, end: &End, expect: &[Expected], all: bool) -> Vec<String> {
        let case = &self.case;
        let mut failures = Vec::new();
        let bound = 2 * case.limits.wall_time + RUN_GRACE;
        if end.took > bound {
            failures.push(format!("run took {:?}, more than {bound:?}", end.took));
        }
        let report = match &end.report {
            Ok(report) => report,
            Err(SandboxError::InvalidRequest(_)) if expect.contains(&Expected::InvalidRequest) => {
                return failures;
            }
            Err(error) => {
                failures.push(format!("the sandbox failed: {}", explain(error)));
                return failures;
            }
        };
        if report.isolation != end.isolation {
            failures.push(format!("isolated by {:?}", report.isolation));
        }
        // Nothing is said about a first program that lacks what it needs.
        let any = expect.is_empty();
        if !any && !expect.contains(&Expected::Outcome(report.outcome)) {
            failures.push(format!(
                "outcome {:?}, expected {expect:?}{}",
                report.outcome,
                streams(report)
            ));
        }
        if find(&report.stdout.bytes, b"ESCAPED").is_some() {
            failures.push(format!("it says so itself:{}", streams(report)));
            return failures;
        }
        let collected = report.collected.iter().map(|(_, bytes)| bytes);
        for bytes in [&report.stdout.bytes, &report.stderr.bytes, &report.report]
            .into_iter()
            .chain(collected)
        {
            for secret in &self.secrets {
                if find(bytes, secret.as_bytes()).is_some() {
                    failures.push(format!("a secret of the host came out:{}", streams(report)));
                }
            }
        }
        if all {
            failures.extend(self.check_texts(report));
        }
        failures
    }

    fn check_texts(&self, report: &RunReport) -> Vec<String> {
        let case = &self.case;
        let mut failures = Vec::new();
        let any = Text::Any;
        let texts = [
            ("stdout", &case.stdout, &report.stdout.bytes),
            ("stderr", &case.stderr, &report.stderr.bytes),
            (
                "report",
                case.report.as_ref().unwrap_or(&any),
                &report.report,
            ),
        ];
        for (name, text, bytes) in texts {
            if !text.allows(bytes) {
                failures.push(format!(
                    "{name} is not as stated ({text:?}):{}",
                    streams(report)
                ));
            }
        }
        let collected: Vec<_> = report
            .collected
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        if collected != case.collected {
            failures.push(format!(
                "collected {collected:?}, expected {:?}",
                case.collected
            ));
        }
        for (name, captured, cap) in [
            ("stdout", &report.stdout, case.limits.stdout_bytes),
            ("stderr", &report.stderr, case.limits.stderr_bytes),
        ] {
            if captured.bytes.len() as u64 > cap
                || captured.bytes_total < captured.bytes.len() as u64
            {
                failures.push(format!(
                    "{name} kept {} of {} bytes",
                    captured.bytes.len(),
                    captured.bytes_total
                ));
            }
        }
        if report.report.len() as u64 > REPORT_BYTES {
            failures.push(format!(
                "the report pipe brought {} bytes",
                report.report.len()
            ));
        }
        for bound in &case.usage {
            let usage = &report.usage;
            let holds = match *bound {
                UsageBound::Wall(most) => usage.wall_time <= most,
                UsageBound::Cpu(most) => usage.cpu_time() <= most,
                UsageBound::MemoryPeak(most) => usage.memory_peak_bytes <= most,
                UsageBound::StdoutTotal(least) => report.stdout.bytes_total >= least,
                UsageBound::StderrTotal(least) => report.stderr.bytes_total >= least,
            };
            if !holds {
                failures.push(format!(
                    "{bound:?} does not hold: {usage:?}{}",
                    streams(report)
                ));
            }
        }
        failures
    }

    /// What was seen from outside while it ran, `runs` at a time.
    fn check_peak(&self, peak: &Peak, runs: u64) -> Vec<String> {
        let limits = &self.case.limits;
        let mut failures = Vec::new();
        // One more: a run is a process before its limits are set.
        let tasks = runs * (u64::from(limits.tasks) + 1);
        if peak.tasks > tasks {
            failures.push(format!("{} tasks at one time, allowed {tasks}", peak.tasks));
        }
        let bytes =
            runs.saturating_mul(limits.memory_bytes.saturating_mul(3) / 2 + INTERPRETER_BYTES);
        if peak.resident_bytes > bytes {
            failures.push(format!(
                "{} bytes resident at one time, allowed {bytes}",
                peak.resident_bytes
            ));
        }
        if let Some(process) = &peak.host_root {
            failures.push(format!("a run was root on the host: {process:?}"));
        }
        failures
    }

    /// After each hostile program an ordinary one gets the right answer, in the same kind of cell.
    fn benign(&self, sandbox: &dyn Runner) -> Vec<String> {
        let mut request = RunRequest::python(&b"print(sum(map(int, input().split())))"[..]);
        request.stdin = Arc::from(&b"20 3 19\n"[..]);
        if !self.case.expect.contains(&Expected::InvalidRequest) {
            request.limits = self.case.limits.clone();
            request.limits.memory_bytes = request.limits.memory_bytes.max(32 * MIB);
            request.limits.wall_time = Duration::from_secs(20);
            request.limits.cpu_time = Duration::from_secs(20);
            request.limits.stdout_bytes = MIB;
        }
        request.network = self.case.network;
        match sandbox.run(&request) {
            Ok(report)
                if report.outcome == Outcome::Exited { code: 0 }
                    && report.stdout.bytes == b"42\n" =>
            {
                Vec::new()
            }
            Ok(report) => vec![format!(
                "an ordinary run afterwards: {:?}{}",
                report.outcome,
                streams(&report)
            )],
            Err(error) => vec![format!("an ordinary run afterwards: {}", explain(&error))],
        }
    }
}

struct End {
    report: Result<RunReport, SandboxError>,
    /// What the runner gives.
    isolation: Isolation,
    took: Duration,
}

impl End {
    fn stdout(&self) -> String {
        let bytes = self
            .report
            .as_ref()
            .map_or(&[][..], |report| &report.stdout.bytes);
        String::from_utf8_lossy(bytes).trim().replace('\0', "")
    }
}

/// Everything a run started is gone when its answer is there: at once, not soon.
fn leftovers(sandbox: &dyn Runner) -> Vec<String> {
    let ourselves = nix::unistd::getpid().as_raw();
    let mut left = watch::run_processes(ourselves);
    if sandbox.isolation() == Isolation::Wasm {
        // Nothing but its workers, one for each slot.
        let others = watch::descendants(ourselves);
        left.extend(others.into_iter().skip(SLOTS));
    }
    left.iter()
        .map(|process| format!("still alive after its run: {process:?}"))
        .collect()
}

/// Descriptors, threads and memory of this process stay in proportion to the cells it keeps.
fn check_supervisor() -> Vec<String> {
    let mut failures = Vec::new();
    let ourselves = nix::unistd::getpid().as_raw();
    let cells = watch::descendants(ourselves)
        .iter()
        .filter(|process| process.inner_pid == Some(1))
        .count();
    let descriptors = watch::descriptors();
    if descriptors > 24 + 12 * cells {
        failures.push(format!(
            "the supervisor holds {descriptors} descriptors with {cells} cells"
        ));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    let (threads, peak_bytes) = (field("Threads:"), field("VmHWM:") * 1024);
    if threads > 16 {
        failures.push(format!("the supervisor has {threads} threads"));
    }
    if peak_bytes > SUPERVISOR_BYTES {
        failures.push(format!("the supervisor took {peak_bytes} bytes"));
    }
    failures
}

fn streams(report: &RunReport) -> String {
    let excerpt = |captured: &Captured| {
        let text = String::from_utf8_lossy(&captured.bytes);
        let shown: String = text
            .chars()
            .rev()
            .take(1500)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        format!("{:?} ({} bytes)", shown, captured.bytes_total)
    };
    format!(
        "\n      stdout: {}\n      stderr: {}",
        excerpt(&report.stdout),
        excerpt(&report.stderr)
    )
}

fn explain(error: &SandboxError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
