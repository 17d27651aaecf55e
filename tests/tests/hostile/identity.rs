//! Who runs the cases: a user of the host, with a process that judges for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;
use wasm::Cache;
use workspace_tests::case::Case;
use workspace_tests::host::{SECRET_VARIABLE, Traps};
use workspace_tests::unprivileged::{self, Refusal};
use workspace_tests::watch;
use workspace_tests::worker::Job;

use crate::shared_folder;

/// How long an answer may take beyond what the runs of a case may.
const ANSWER_GRACE: Duration = Duration::from_secs(60);
/// After kill -9 of a supervisor. The goal is one second; a loaded machine gets more.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// A user of the host with a worker.
pub(crate) struct Identity {
    uid: Option<u32>,
    /// Its copy of the interpreter, if it uses the wasm backend.
    wasm: Option<PathBuf>,
    python: PathBuf,
    /// Holds a copy of this executable where the user can reach it.
    home: TempDir,
    worker: Mutex<Option<Worker>>,
}

impl Identity {
    pub(crate) fn new(python: &Path, uid: Option<u32>) -> Result<Self, String> {
        let home = shared_folder()?;
        let executable = std::env::current_exe().map_err(|error| error.to_string())?;
        let copy = home.path().join("hostile");
        fs::copy(&executable, &copy)
            .map_err(|error| format!("copying {}: {error}", executable.display()))?;
        let temporary = home.path().join("tmp");
        fs::create_dir(&temporary).map_err(|error| error.to_string())?;
        std::os::unix::fs::chown(&temporary, uid, uid).map_err(|error| error.to_string())?;
        Ok(Self {
            uid,
            wasm: None,
            python: python.to_owned(),
            home,
            worker: Mutex::new(None),
        })
    }

    /// An ordinary user of the wasm backend.
    pub(crate) fn on_wasm(python: &Path, installed: &Cache) -> Result<Self, String> {
        let uid = unprivileged::ordinary_user();
        let identity = Self::new(python, uid)?;
        let copy = identity.home.path().join("interpreter");
        unprivileged::copy_interpreter(installed.folder(), &copy, uid)
            .map_err(|error| format!("copying the wasm interpreter: {error}"))?;
        Ok(Self {
            wasm: Some(copy),
            ..identity
        })
    }

    /// What was not as the case says; empty is good.
    pub(crate) fn judge(&self, case: &Case, text: &str, traps: &Traps) -> Vec<String> {
        let touched = traps.touched();
        let mut failures = if case.kill_supervisor {
            self.kill_supervisor(case, text, traps)
        } else {
            self.ask(case, text, traps)
        };
        if traps.touched() != touched {
            failures.push(
                "a listener of the host was reached, by this program or by the one beside it"
                    .into(),
            );
        }
        match &case.known {
            None => failures,
            Some(known) if failures.is_empty() => {
                vec![format!("no longer so, remove the line `known: {known}`")]
            }
            Some(known) => {
                eprintln!("known: {}: {known}", case.name);
                Vec::new()
            }
        }
    }

    fn ask(&self, case: &Case, text: &str, traps: &Traps) -> Vec<String> {
        let mut slot = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            match Worker::start(self, traps) {
                Ok(worker) => *slot = Some(worker),
                Err(failures) => return failures,
            }
        }
        let worker = slot.as_mut().expect("started above");
        let job = Job::write(&case.name, text, &traps.facts(), &traps.secrets());
        // Two programs, the second up to three times.
        let patience = 4 * (2 * case.limits.wall_time + Duration::from_secs(10)) + ANSWER_GRACE;
        match worker.ask(&job, patience) {
            Ok(failures) => failures,
            Err(failure) => {
                // Dropping kills it; the next case gets another.
                *slot = None;
                vec![failure]
            }
        }
    }

    /// kill -9 of the supervisor while the program runs: nothing of it may stay.
    fn kill_supervisor(&self, case: &Case, text: &str, traps: &Traps) -> Vec<String> {
        let mounts = watch::mounts();
        let mut worker = match Worker::start(self, traps) {
            Ok(worker) => worker,
            Err(failures) => return failures,
        };
        let job = Job::write(&case.name, text, &traps.facts(), &traps.secrets());
        let supervisor = worker.pid();
        if let Err(failure) = worker.tell(&job) {
            return vec![failure];
        }
        // The program and both of its daemons.
        let begun = Instant::now();
        while watch::run_processes(supervisor).len() < 3 {
            if begun.elapsed() > Duration::from_secs(20) {
                return vec!["the program did not start within 20 s".into()];
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let started: BTreeSet<i32> = watch::descendants(supervisor)
            .iter()
            .map(|process| process.pid)
            .collect();
        drop(worker); // SIGKILL
        let killed = Instant::now();
        let mut failures = Vec::new();
        loop {
            for pid in &started {
                // Those that became our children wait for us. Others are no business of ours.
                let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
            }
            let ours = watch::descendants(std::process::id() as i32);
            let left: Vec<_> = ours
                .iter()
                .filter(|process| started.contains(&process.pid) && !process.zombie)
                .collect();
            if left.is_empty() {
                break;
            }
            if killed.elapsed() > CLEARED_WITHIN {
                failures.push(format!(
                    "alive {CLEARED_WITHIN:?} after kill -9 of the supervisor: {left:?}"
                ));
                for process in left {
                    let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if watch::mounts() != mounts {
            failures.push("mounts of the host changed".into());
        }
        let files = fs::read_dir(self.home.path().join("tmp"))
            .into_iter()
            .flatten()
            .flatten();
        failures.extend(
            files.map(|file| format!("left in the temporary folder: {}", file.path().display())),
        );
        failures
    }
}

/// A process that judges cases; killed when dropped.
struct Worker {
    process: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    fn start(identity: &Identity, traps: &Traps) -> Result<Self, Vec<String>> {
        let home = identity.home.path();
        let mut command = Command::new(home.join("hostile"));
        let failed = |what: &str| vec![format!("the worker does not start: {what}")];
        match &identity.wasm {
            None => command.arg("--worker").arg(&identity.python),
            Some(interpreter) => command
                .arg("--worker-on-wasm")
                .env("CODEJURY_WASM_DIR", interpreter),
        };
        if identity.wasm.is_some() {
            Refusal::NotPermitted
                .apply(&mut command)
                .map_err(|error| failed(&error.to_string()))?;
        }
        command
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
            .env("TMPDIR", home.join("tmp"))
            .env("HOME", home)
            .env(SECRET_VARIABLE, traps.environment());
        if let Some(uid) = identity.uid {
            command.uid(uid).gid(uid); // and no supplementary groups: the standard library sees to that
        }
        let mut process = command
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed("no pipes"));
        };
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let worker = Self {
            process,
            stdin,
            answers,
        };
        let failures = worker
            .answer(ANSWER_GRACE)
            .map_err(|failure| vec![failure])?;
        if failures.is_empty() {
            Ok(worker)
        } else {
            Err(failures)
        }
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    fn tell(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.stdin, "{line}")
            .and_then(|()| self.stdin.flush())
            .map_err(|error| format!("the supervisor is gone: {error}"))
    }

    fn ask(&mut self, line: &str, patience: Duration) -> Result<Vec<String>, String> {
        self.tell(line)?;
        self.answer(patience)
    }

    fn answer(&self, patience: Duration) -> Result<Vec<String>, String> {
        let line = self
            .answers
            .recv_timeout(patience)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    format!("no answer from the supervisor within {patience:?}")
                }
                RecvTimeoutError::Disconnected => "the supervisor died".to_owned(),
            })?;
        let answer: serde_json::Value =
            serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        let failures = answer["failures"]
            .as_array()
            .ok_or_else(|| format!("no answer: {line}"))?;
        Ok(failures
            .iter()
            .map(|failure| failure.as_str().unwrap_or_default().to_owned())
            .collect())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
