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
//! there their headers say, and `wasm/` has more that look for the host in its own ways. The control
//! shows that the case can fail: without a sandbox it must print ESCAPED.
//!
//! A case whose attack this host cannot even try is skipped, and the skip is a failure unless
//! `expected-skips` names it with the fact that excuses it. Filters and `--list` work as with any
//! Rust test; `CODEJURY_TEST_PYTHON` names the interpreter (one that every user may start).

mod bare;
mod identity;
mod skips;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bare::Bare;
use identity::Identity;
use libtest_mimic::{Arguments, Failed, Trial};
use skips::Skips;
use tempfile::TempDir;
use wasm::Cache;
use workspace_tests::case::{Case, OnWasm, load_folder};
use workspace_tests::host::{Features, Traps};
use workspace_tests::unprivileged::ORDINARY_UID;
use workspace_tests::worker;

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

/// A temporary folder that every user may enter.
pub(crate) fn shared_folder() -> Result<TempDir, String> {
    let folder = tempfile::Builder::new()
        .prefix("codejury-hostile-run-")
        .tempdir()
        .map_err(|error| error.to_string())?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Ok(folder)
}
