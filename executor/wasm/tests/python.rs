//! What CPython for WASI does with programs: `programs/*.py`, each of which says what must become of
//! it. Needs an installed interpreter (`codejury wasm setup`).

mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use executor::{LimitKind, Outcome, RunReport, RunRequest, Runner as _};
use support::sandbox;
use wasm::setup::Parts;
use wasm::{Cache, Mode, WasmSandbox};

/// What a program's comments ask for.
#[derive(Default)]
struct Expected {
    outcome: Option<Outcome>,
    stdin: String,
    stdout: String,
    stderr: Vec<String>,
    cpu_time: Option<Duration>,
}

fn expected(text: &str) -> Expected {
    let mut expected = Expected::default();
    for line in text.lines() {
        let Some((key, value)) = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(": "))
        else {
            continue;
        };
        match key {
            "stdin" => expected.stdin = value.replace("\\n", "\n"),
            "stdout" => expected.stdout += &format!("{value}\n"),
            "cpu_time_ms" => {
                let milliseconds = value.parse().expect("a number");
                expected.cpu_time = Some(Duration::from_millis(milliseconds));
            }
            "stderr" => expected.stderr.push(value.to_owned()),
            "expect" => {
                let number = |text: &str| text.parse::<u8>().expect("a number");
                expected.outcome = Some(match value.split_once(' ').expect("two words") {
                    ("exit", code) => Outcome::Exited { code: number(code) },
                    ("signal", signal) => Outcome::Signaled {
                        signal: number(signal).into(),
                    },
                    ("limit", "memory") => Outcome::LimitExceeded {
                        limit: LimitKind::Memory,
                    },
                    ("limit", "output") => Outcome::LimitExceeded {
                        limit: LimitKind::Output,
                    },
                    ("limit", "cpu_time") => Outcome::LimitExceeded {
                        limit: LimitKind::CpuTime,
                    },
                    ("limit", "wall_time") => Outcome::LimitExceeded {
                        limit: LimitKind::WallTime,
                    },
                    other => panic!("`{other:?}` is no outcome that is known here"),
                });
            }
            _ => {}
        }
    }
    expected
}

fn run(sandbox: &WasmSandbox, program: &str, expected: &Expected) -> RunReport {
    let mut request = RunRequest::python(program.as_bytes());
    request.stdin = expected.stdin.as_bytes().into();
    if let Some(cpu_time) = expected.cpu_time {
        request.limits.cpu_time = cpu_time;
    }
    sandbox.run(&request).expect("the sandbox works")
}

/// How much of a flood is kept is another test's subject.
const OUTPUT_LIMIT: Outcome = Outcome::LimitExceeded {
    limit: LimitKind::Output,
};

fn programs() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(paths.len() > 10);
    paths
}

#[test]
fn programs_end_as_they_say() {
    let Some(sandbox) = sandbox(Mode::Deterministic, None) else {
        return;
    };
    let mut wrong = Vec::new();
    for path in programs() {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("it can be read");
        let expected = expected(&text);
        let report = run(&sandbox, &text, &expected);
        let stdout = String::from_utf8_lossy(&report.stdout.bytes);
        let stderr = String::from_utf8_lossy(&report.stderr.bytes);
        let outcome = expected.outcome.expect("every program says how it ends");
        let as_expected = report.outcome == outcome
            && (stdout == expected.stdout || outcome == OUTPUT_LIMIT)
            && expected.stderr.iter().all(|line| stderr.contains(line));
        if !as_expected {
            wrong.push(format!("{name}: {:?}\n{stdout}\n{stderr}", report.outcome));
        }
        // And again, to the last unit of fuel.
        let again = run(&sandbox, &text, &expected);
        let fuel = |report: &RunReport| report.wasm.as_ref().and_then(|wasm| wasm.fuel);
        assert_eq!(fuel(&again), fuel(&report), "{name}");
        assert_eq!(again.stdout, report.stdout, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Links, archives and takes the snapshot a second time from what a build has compiled: needs the
/// folder that `codejury wasm setup --build --work` kept.
#[test]
fn a_second_link_and_snapshot_give_the_same_bytes() {
    let Some(work) = env::var_os("CODEJURY_WASM_BUILD").map(PathBuf::from) else {
        assert!(env::var_os("CI").is_none(), "CI sets CODEJURY_WASM_BUILD");
        eprintln!("skipped: CODEJURY_WASM_BUILD names no folder that a build has kept");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/build-python-wasi");
    let status = Command::new(script)
        .arg("--work")
        .arg(&work)
        .arg(&made)
        .status();
    assert!(status.expect("the script starts").success());
    let parts = Parts::from_build(&made).expect("it starts");
    let installed = Cache::of_user().and_then(|cache| cache.manifest());
    let installed = installed.expect("the build was installed");
    let manifest = parts.manifest();
    assert_eq!(manifest.stdlib_sha256, installed.stdlib_sha256);
    assert_eq!(manifest.module_sha256, installed.module_sha256);
}
