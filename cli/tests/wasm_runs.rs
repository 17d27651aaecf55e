//! `--backend wasm`: what runs, which settings it takes, and what a submission finds.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::interpreter::{assert_fails, installed, real, release, set_mode};
use support::{Ended, Folder, end_of};

#[test]
fn the_backend_runs_on_what_is_installed() {
    let folder = installed();
    folder.file("x.py", "print(1)");
    for flags in [
        "--backend wasm",
        "--backend wasm --wasm-mode plain",
        "--isolation wasm",
    ] {
        let mut command = folder.command(format!("run {flags} --json x.py").split_whitespace());
        command.env("CODEJURY_WASM_DIR", folder.join("home"));
        let ended = end_of(command.spawn().expect("it starts"));
        // The module's own sum, as its exit status.
        assert_eq!(ended.code, 1, "{flags}: {}", ended.stderr);
        for part in [
            "\"code\":14",
            "\"backend\":\"wasm\"",
            "\"isolation\":\"wasm\"",
            "\"module_sha256\":\"",
        ] {
            assert!(
                ended.stdout.contains(part),
                "{flags}: no {part} in {}",
                ended.stdout
            );
        }
        let has_fuel = !ended.stdout.contains("\"fuel\":null");
        assert_eq!(
            has_fuel,
            !flags.contains("plain"),
            "{flags}: {}",
            ended.stdout
        );
    }
}

#[test]
fn the_fuel_of_a_second_is_chosen_and_recorded() {
    let folder = installed();
    folder.file("x.py", "print(1)");
    let run = |flags: &str| {
        let line = format!("run {flags} --json x.py");
        let mut command = folder.command(line.split_whitespace());
        command.env("CODEJURY_WASM_DIR", folder.join("home"));
        end_of(command.spawn().expect("it starts"))
    };
    for (flags, said) in [
        ("--backend wasm", "\"fuel_per_second\":30000000000"),
        (
            "--backend wasm --wasm-fuel-per-second 2000000",
            "\"fuel_per_second\":2000000",
        ),
    ] {
        let ended = run(flags);
        assert!(ended.stdout.contains(said), "{flags}: {}", ended.stdout);
    }
    for flags in [
        "--wasm-fuel-per-second 2000000",
        "--backend wasm --wasm-mode plain --wasm-fuel-per-second 2000000",
    ] {
        assert_fails(&run(flags), 2, &["contradict each other"]);
    }
    assert_fails_to_parse(&run("--backend wasm --wasm-fuel-per-second 0"));
}

#[track_caller]
fn assert_fails_to_parse(ended: &Ended) {
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("--wasm-fuel-per-second"),
        "{}",
        ended.stderr
    );
}

/// The best that a host without namespaces gives is wasm if its interpreter is there, and the
/// restricted level if not; a `--python` of one's own asks for the native backend.
#[test]
fn the_best_available_without_namespaces_is_wasm() {
    let folder = release();
    folder.file("x.py", "print(1)");
    for (path, mode) in [
        (folder.path().to_owned(), 0o777),
        (folder.join("python"), 0o644),
    ] {
        set_mode(&path, mode);
    }
    fs::copy(env!("CARGO_BIN_EXE_codejury"), folder.join("codejury")).expect("a copy");
    let python = std::env::var("CODEJURY_TEST_PYTHON").unwrap_or("/usr/bin/python3".into());
    // As an ordinary user, in a namespace that allows no further one.
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces
        export PATH={}:$PATH
        best() {{ ./codejury run --isolation best-available \"$@\" --json x.py; }}
        CODEJURY_WASM_DIR=$PWD/home; export CODEJURY_WASM_DIR
        best
        ./codejury wasm setup --python python
        best
        best --python {python}
        best --backend native --python {python}",
        Path::new(&python).parent().expect("a folder").display()
    );
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args("--reuid 64801 --regid 64801 --clear-groups unshare".split(' '));
        command
    } else {
        Command::new("unshare")
    };
    command
        .args(["--user", "--map-root-user", "sh", "-c", &script])
        .current_dir(folder.path())
        .env_remove("CODEJURY_WASM_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = end_of(
        command
            .spawn()
            .expect("setpriv and unshare are there (util-linux)"),
    );
    let isolations: Vec<_> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a report"))
        .map(|report| report["isolation"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        isolations,
        ["restricted", "wasm", "restricted", "restricted"],
        "{}",
        ended.stderr
    );
}

/// On the real interpreter: what stands behind the job on standard input are the tests, and the proofs
/// that they were passed.
#[test]
fn a_submission_cannot_read_its_tests() {
    if real().is_none() {
        return;
    }
    let submission = r#"
import os, sys

ways = [
    input,
    sys.stdin.read,
    lambda: os.read(0, 1 << 20),
    lambda: open("/dev/stdin").read(),
    lambda: (os.lseek(0, 0, 0), os.read(0, 1 << 20))[1],
]
seen = []
for way in ways:
    try:
        seen.append(way())
    except (EOFError, OSError):
        pass

def f(x):
    return "seen" if any(seen) else x
"#;
    let problems = r#"{"problem_id":"asserts","kind":"asserts","tests":["assert f(1) == 1"]}
{"problem_id":"check","kind":"check","prompt":"","entry_point":"f","test":"def check(f):\n    assert f(1) == 1\n"}
{"problem_id":"call","kind":"call","entry_point":"f","tests":[{"args":[1],"expected":1}]}
"#;
    let folder = Folder::new();
    folder.file("problems.jsonl", problems);
    let completions = ["asserts", "check", "call"].map(|problem_id| {
        serde_json::json!({ "problem_id": problem_id, "sample": 0, "source": submission })
            .to_string()
    });
    folder.file("completions.jsonl", completions.join("\n"));
    for backend in ["native", "wasm"] {
        let ended = folder.run(&format!(
            "judge --dataset problems.jsonl --completions completions.jsonl --backend {backend} --out {backend} --json"
        ));
        assert_eq!(ended.code, 0, "{backend}: {}", ended.stderr);
        let verdicts = folder.read(&format!("{backend}/verdicts/problems.jsonl"));
        assert_eq!(
            verdicts.matches("\"accepted\":true").count(),
            3,
            "{backend}: {verdicts}"
        );
    }
}

/// The configuration of an evaluation has it too; a flag wins over it.
#[test]
fn an_evaluation_takes_the_fuel_of_a_second_from_its_configuration() {
    if real().is_none() {
        return;
    }
    let folder = Folder::new();
    let row = serde_json::json!({"problem_id": "x/0", "dataset": "x", "kind": "stdio", "prompt": "",
        "tests": [{"stdin": "", "expected": ""}], "reference": "print(1)"});
    folder.file("x.jsonl", format!("{row}\n"));
    folder.file("eval.toml", "[judging]\nwasm_fuel_per_second = 2_000_000\n");
    let run = |flags: &str, out: &str| {
        let line = format!(
            "eval --generator reference --model-name m --step 9 --only x --dataset x=x.jsonl --out {out} {flags}"
        );
        folder.run(&line)
    };
    let with_wasm = "--config eval.toml --backend wasm";
    for (number, (flags, fuel)) in [
        ("--backend wasm".to_owned(), Some(30_000_000_000_u64)),
        (with_wasm.to_owned(), Some(2_000_000)),
        (
            format!("{with_wasm} --wasm-fuel-per-second 3000000"),
            Some(3_000_000),
        ),
        (format!("{with_wasm} --wasm-mode plain"), None),
        ("--config eval.toml --backend native".to_owned(), None),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out{number}");
        let ended = run(&flags, &out);
        assert_eq!(ended.code, 0, "{flags}: {}", ended.stderr);
        let summary = folder.read(&format!("{out}/eval_step_9/run.json"));
        let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
        let said = &summary["settings"]["fuel_per_second"];
        assert_eq!(said.as_u64(), fuel, "{flags}: {summary}");
    }
    let refused = run("--set judging.wasm_fuel_per_second=5", "refused");
    assert_fails(
        &refused,
        2,
        &["judging.wasm_fuel_per_second must be between"],
    );
}
