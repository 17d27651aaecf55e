//! Runs every hostile program of `escape/` and `limits/`, each as a test of its own.
//!
//! ```text
//!  driver (this process: traps, named tests)
//!    |-- worker as root ---- its sandbox, its cells      root::escape/ptrace
//!    |-- worker as a user -- its sandbox, its cells      user::escape/ptrace
//!    |-- worker as a user to whom namespaces, mounts and cgroups are forbidden, on the wasm
//!    |   backend --------- its sandbox, its processes    wasm::escape/ptrace
//!    `-- bare interpreter as that user, no sandbox       control::escape/ptrace
//! ```
//!
//! Started by root, each case runs twice, as root and as an ordinary user; started by an ordinary
//! user, only so. On the wasm backend it always runs as an ordinary user; what some programs come to
//! there their headers say, and `wasm/` has more that look for the host in its own ways. The control shows that the case can fail: without a sandbox it must print ESCAPED.
//!
//! A case whose attack this host cannot even try is skipped, and the skip is a failure unless
//! `expected-skips` names it with the fact that excuses it. Filters and `--list` work as with any
//! Rust test; `CODEJURY_TEST_PYTHON` names the interpreter (one that every user may start).

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;
use wasm::Cache;
use workspace_tests::case::{Case, OnWasm, When, load_folder, replace};
use workspace_tests::host::{Features, SECRET_VARIABLE, Traps};
use workspace_tests::unprivileged::{self, ORDINARY_UID, Refusal};
use workspace_tests::watch;
use workspace_tests::worker::{self, Job};

/// The promises about one run, by row of the security page. B9 is expressly not promised.
const PROMISES: [&str; 41] = [
    "A1",
    "A2",
    "A3",
    "A4",
    "A5",
    "A6",
    "A7",
    "A8",
    "A9",
    "A10",
    "A11",
    "A12",
    "B1",
    "B2",
    "B3",
    "B4",
    "B5",
    "B6",
    "B7",
    "B8",
    "C1",
    "C2",
    "C3",
    "C4",
    "C5",
    "C6",
    "C7",
    "D1",
    "D2",
    "D3",
    "D4",
    "D5",
    "D6",
    "D7",
    "D8",
    "D9",
    "D10",
    "D11",
    "E1",
    "warm",
    "reliability",
];
/// How long an answer may take beyond what the runs of a case may.
const ANSWER_GRACE: Duration = Duration::from_secs(60);
/// After kill -9 of a supervisor. The goal is one second; a loaded machine gets more.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut own_args = std::env::args_os().skip(1);
    let served = match own_args
        .next()
        .and_then(|arg| arg.into_string().ok())
        .as_deref()
    {
        Some("--worker") => {
            let python = own_args.next().map(PathBuf::from).unwrap_or_default();
            Some(worker::serve(python))
        }
        Some("--worker-on-wasm") => Some(worker::serve_on_wasm()),
        Some(worker::WASM_WORKER) => wasm::worker::main(own_args),
        _ => None,
    };
    match served {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(_)) => return ExitCode::FAILURE,
        None => {}
    }
    let mut args = Arguments::from_args();
    // One thread for each worker: two cases of one worker would only wait for each other.
    args.test_threads.get_or_insert(2);
    match trials() {
        Ok(trials) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: the hostile programs cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, String> {
    // Whatever a killed worker leaves becomes ours, and is seen.
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| error.to_string())?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let load = |folders: &[&str]| -> Result<Vec<Arc<Case>>, String> {
        let mut cases = Vec::new();
        for folder in folders {
            cases.extend(load_folder(&here.join(folder))?.into_iter().map(Arc::new));
        }
        Ok(cases)
    };
    let cases = load(&["escape", "limits"])?;
    let skips = Skips::read(&here.join("expected-skips"))?;
    let python = python()?;
    let features = Features::probe(&python)?;
    let traps = Arc::new(Traps::set().map_err(|error| format!("setting traps: {error}"))?);
    let identities = identities(&python)?;
    let bare = Arc::new(Bare::new(python)?);

    let mut trials = vec![covers_every_promise(&cases)];
    for case in &cases {
        let path = here.join(&case.name).with_extension("py");
        let text = Arc::new(fs::read_to_string(&path).map_err(|error| error.to_string())?);
        let lacks = case
            .needs
            .iter()
            .find_map(|need| Some((need.clone(), features.lacks(need)?)));
        for (who, identity) in &identities {
            let name = format!("{who}::{}", case.name);
            let missing = match identity {
                None => Some((
                    "root".to_owned(),
                    "needs root, the suite was started by an ordinary user".to_owned(),
                )),
                Some(_) => lacks.clone(),
            };
            if let Some((need, reason)) = missing {
                trials.push(skips.skipped(name, &need, reason));
            } else if let Some(identity) = identity {
                let (case, text) = (Arc::clone(case), Arc::clone(&text));
                let (identity, traps) = (Arc::clone(identity), Arc::clone(&traps));
                trials.push(Trial::test(name, move || {
                    verdict(&identity.judge(&case, &text, &traps))
                }));
            }
        }
        if case.control_escapes && lacks.is_none() {
            trials.push(control(case, &bare));
        }
    }
    let own = load(&["wasm"])?;
    let can_escape = own.iter().filter(|case| case.control_escapes);
    trials.extend(can_escape.map(|case| control(case, &bare)));
    let all: Vec<_> = cases.into_iter().chain(own).collect();
    trials.extend(trials_on_wasm(here, &all, &bare.python, &traps)?);
    Ok(trials)
}

fn control(case: &Arc<Case>, bare: &Arc<Bare>) -> Trial {
    let (case, bare) = (Arc::clone(case), Arc::clone(bare));
    let name = format!("control::{}", case.name);
    Trial::test(name, move || bare.must_escape(&case))
}

/// Every program that can be tried there on the wasm backend, without any privilege.
fn trials_on_wasm(
    here: &Path,
    cases: &[Arc<Case>],
    python: &Path,
    traps: &Arc<Traps>,
) -> Result<Vec<Trial>, String> {
    if std::env::var("CODEJURY_TEST_PATH").is_ok() {
        return Ok(Vec::new()); // paths are the native backend's
    }
    let installed = match Cache::of_user().and_then(|cache| cache.manifest().map(|_| cache)) {
        Ok(installed) => installed,
        Err(error) => {
            // CI has one.
            let excused = std::env::var_os("CI").is_none();
            let message = format!("{error}; {}", error.hint());
            let trial = Trial::test("wasm::installed", move || Err(message.into()));
            return Ok(vec![trial.with_ignored_flag(excused)]);
        }
    };
    let identity = Arc::new(Identity::on_wasm(python, &installed)?);
    let mut trials = Vec::new();
    for case in cases {
        if case.kill_supervisor || matches!(case.wasm, Some(OnWasm::Not(_))) {
            continue;
        }
        let path = here.join(&case.name).with_extension("py");
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let (case, traps) = (Arc::clone(case), Arc::clone(traps));
        let identity = Arc::clone(&identity);
        let name = format!("wasm::{}", case.name);
        trials.push(Trial::test(name, move || {
            verdict(&identity.judge(&case, &text, &traps))
        }));
    }
    Ok(trials)
}

fn verdict(failures: &[String]) -> Result<(), Failed> {
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n    ").into())
    }
}

/// A promise that no program attacks is one nobody keeps.
fn covers_every_promise(cases: &[Arc<Case>]) -> Trial {
    let attacked: BTreeSet<String> = cases.iter().flat_map(|case| case.rows.clone()).collect();
    Trial::test("suite::every_promise_is_attacked", move || {
        let promised: BTreeSet<String> = PROMISES.iter().map(|row| (*row).to_owned()).collect();
        let missing: Vec<_> = promised.difference(&attacked).collect();
        let unknown: Vec<_> = attacked.difference(&promised).collect();
        if missing.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        Err(format!("no program for {missing:?}, no promise called {unknown:?}").into())
    })
}

/// The interpreter under test, as a path that every user may start.
fn python() -> Result<PathBuf, String> {
    match std::env::var_os("CODEJURY_TEST_PYTHON") {
        Some(python) => Ok(PathBuf::from(python)),
        None if Path::new("/usr/bin/python3").exists() => Ok(PathBuf::from("/usr/bin/python3")),
        None => Err(
            "no /usr/bin/python3; set CODEJURY_TEST_PYTHON to a python that every user may start"
                .into(),
        ),
    }
}

/// Who runs the cases: the name in test names, and nobody where this process cannot become them.
type Identities = Vec<(&'static str, Option<Arc<Identity>>)>;

fn identities(python: &Path) -> Result<Identities, String> {
    if !nix::unistd::geteuid().is_root() {
        let user = Identity::new(python, None)?;
        return Ok(vec![("root", None), ("user", Some(Arc::new(user)))]);
    }
    let root = Identity::new(python, None)?;
    let user = Identity::new(python, Some(ORDINARY_UID))?;
    Ok(vec![
        ("root", Some(Arc::new(root))),
        ("user", Some(Arc::new(user))),
    ])
}

/// A user of the host with a worker.
struct Identity {
    uid: Option<u32>,
    /// Its copy of the interpreter, if it uses the wasm backend.
    wasm: Option<PathBuf>,
    python: PathBuf,
    /// Holds a copy of this executable where the user can reach it.
    home: TempDir,
    worker: Mutex<Option<Worker>>,
}

impl Identity {
    fn new(python: &Path, uid: Option<u32>) -> Result<Self, String> {
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
    fn on_wasm(python: &Path, installed: &Cache) -> Result<Self, String> {
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
    fn judge(&self, case: &Case, text: &str, traps: &Traps) -> Vec<String> {
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

/// The bare interpreter as an ordinary user: what a program does without a sandbox.
struct Bare {
    python: PathBuf,
    uid: Option<u32>,
    home: TempDir,
    /// Traps of its own: here they are meant to be touched.
    traps: Traps,
}

impl Bare {
    fn new(python: PathBuf) -> Result<Self, String> {
        let uid = nix::unistd::geteuid().is_root().then_some(ORDINARY_UID);
        let home = shared_folder()?;
        let work = home.path().join("work");
        fs::create_dir(&work).map_err(|error| error.to_string())?;
        std::os::unix::fs::chown(&work, uid, uid).map_err(|error| error.to_string())?;
        Ok(Self {
            python,
            uid,
            home,
            traps: Traps::set().map_err(|error| error.to_string())?,
        })
    }

    fn must_escape(&self, case: &Case) -> Result<(), Failed> {
        let last = match &case.second {
            None => self.start(case, &case.source, "first", "")?.output()?,
            Some((When::Then, look)) => {
                let before = self.start(case, &case.source, "first", "")?.output()?;
                self.start(case, look, "second", before.trim())?.output()?
            }
            Some((When::Beside, beside)) => {
                let first = self.start(case, &case.source, "first", "")?;
                std::thread::sleep(Duration::from_millis(500));
                let last = self.start(case, beside, "second", "")?.output()?;
                drop(first);
                last
            }
        };
        if last.contains("ESCAPED") {
            return Ok(());
        }
        Err(format!(
            "without a sandbox it must escape, else it proves nothing; it printed {last:?}"
        )
        .into())
    }

    fn start(
        &self,
        case: &Case,
        source: &[u8],
        name: &str,
        before: &str,
    ) -> Result<BareRun, Failed> {
        let file = self
            .home
            .path()
            .join(format!("{}-{name}.py", case.name.replace('/', "-")));
        fs::write(&file, source)?;
        // A program that hangs or eats memory must not take the host with it.
        let mut command = Command::new("timeout");
        command.args([
            "--signal=KILL",
            "20",
            "prlimit",
            "--as=4294967296",
            "--cpu=10",
            "--fsize=67108864",
        ]);
        command.arg(&self.python).arg(&file);
        for arg in &case.args {
            let arg = replace(arg, b"{host}", self.traps.facts().as_bytes());
            command.arg(
                String::from_utf8_lossy(&replace(&arg, b"{before}", before.as_bytes())).as_ref(),
            );
        }
        command
            .current_dir(self.home.path().join("work"))
            .env(SECRET_VARIABLE, self.traps.environment());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        Ok(BareRun(command.process_group(0).spawn()?))
    }
}

/// Killed with everything of its process group when dropped.
struct BareRun(Child);

impl BareRun {
    fn output(mut self) -> Result<String, Failed> {
        let stdout = self.0.stdout.take().ok_or("no pipe")?;
        let mut text = Vec::new();
        // Not to the end of the pipe: a daemon may hold it. A case says what it says on one line.
        BufReader::new(stdout).read_until(b'\n', &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for BareRun {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-(self.0.id() as i32)), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// A temporary folder that every user may enter.
fn shared_folder() -> Result<TempDir, String> {
    let folder = tempfile::Builder::new()
        .prefix("codejury-hostile-run-")
        .tempdir()
        .map_err(|error| error.to_string())?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The skips that are known, each with the fact about a host that excuses it.
struct Skips(Vec<(String, String, String)>);

impl Skips {
    fn read(file: &Path) -> Result<Self, String> {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let known = lines.map(|line| {
            let mut words = line.split_whitespace();
            let (pattern, need) = (words.next()?.to_owned(), words.next()?.to_owned());
            let fact = words.collect::<Vec<_>>().join(" ");
            (!fact.is_empty()).then_some((pattern, need, fact))
        });
        known
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(|| format!("{}: a line without a fact", file.display()))
    }

    /// A test that shows as ignored if the skip is excused, and fails if not.
    fn skipped(&self, name: String, need: &str, reason: String) -> Trial {
        let excuse = self
            .0
            .iter()
            .find(|(pattern, lacking, _)| lacking == need && matches(pattern, &name));
        let message = match excuse {
            Some((_, _, fact)) => format!("skipped: {reason}; excused: {fact}"),
            None => format!("skipped: {reason}; expected-skips has no line that excuses it"),
        };
        let (excused, label) = (excuse.is_some(), name.clone());
        if excused {
            eprintln!("{label} {message}");
        }
        Trial::test(name, move || Err(message.into())).with_ignored_flag(excused)
    }
}

/// Whether `name` fits `pattern`, in which one `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        }
    }
}
