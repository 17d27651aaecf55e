//! The wasm backend on a host that gives nothing: an ordinary user without cgroups, behind a filter
//! that refuses every call which makes or joins a namespace or mounts anything.
//!
//! Each test has the installed interpreter in a folder that is this user's alone. `tests/tests/hostile`
//! runs the escape and limit programs like that.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Child, Command, Stdio};

use judge::{SubmissionSource, Verdict};
use serde_json::{Value, json};
use support::interpreter::real;
use support::{Ended, Folder, end_of};
use workspace_tests::unprivileged::{Refusal, copy_interpreter, ordinary_user};
use workspace_tests::verdicts::{b64, cases};

/// Little fuel is a second, so that endless loops are cheap.
const FUEL: &str = "--wasm-fuel-per-second 1000000000";
const REFUSALS: [Refusal; 2] = [Refusal::NotPermitted, Refusal::NotImplemented];

/// A folder of the ordinary user's with the command and the interpreter; `None`, loudly, where none
/// is installed. CI has one.
fn folder() -> Option<Folder> {
    let installed = real()?;
    let folder = Folder::new();
    fs::copy(env!("CARGO_BIN_EXE_codejury"), folder.join("codejury")).expect("a copy");
    let user = ordinary_user();
    copy_interpreter(installed.folder(), &folder.join("interpreter"), user).expect("a copy");
    chown(folder.path(), user, user).expect("root can");
    folder.file("x.py", "print(input())\n");
    let everybody = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.join("x.py"), everybody).expect("a file of ours");
    Some(folder)
}

/// Runs a command line like that.
fn run(folder: &Folder, refusal: Refusal, line: &str) -> Ended {
    end_of(start(folder, refusal, line))
}

fn start(folder: &Folder, refusal: Refusal, line: &str) -> Child {
    let mut command = Command::new(folder.join("codejury"));
    command
        .args(line.split_whitespace())
        .current_dir(folder.path())
        .env("CODEJURY_WASM_DIR", folder.join("interpreter"))
        .env("HOME", folder.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    refusal.apply(&mut command).expect("a filter");
    command.spawn().expect("the command starts")
}

#[test]
fn the_doctor_says_what_there_is_and_runs_what_they_had() {
    let Some(folder) = folder() else { return };
    let python = std::env::var("CODEJURY_TEST_PYTHON").unwrap_or("/usr/bin/python3".into());
    for refusal in REFUSALS {
        let doctor = run(
            &folder,
            refusal,
            &format!("doctor --json --python {python}"),
        );
        assert_eq!(doctor.code, 1, "{refusal:?}: {}", doctor.stderr);
        let report: Value = serde_json::from_str(&doctor.stdout).expect("JSON");
        let checks: BTreeMap<_, _> = report["checks"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|check| (check["name"].as_str().expect("a name"), check))
            .collect();
        assert_eq!(checks["namespaces"]["status"], "fail", "{}", doctor.stdout);
        let wasm = checks["wasm backend"];
        let detail = wasm["detail"].as_str().expect("a text");
        // Where a process may have a filter of its own, and where not.
        let (status, said) = match refusal {
            Refusal::NotPermitted if cfg!(target_arch = "x86_64") => ("pass", "behind a filter"),
            _ => ("caution", "no filter of their own"),
        };
        assert_eq!(wasm["status"], status, "{refusal:?}: {detail}");
        assert!(detail.contains(said), "{refusal:?}: {detail}");

        let native = run(&folder, refusal, &format!("run --python {python} x.py"));
        assert_eq!((native.code, native.stdout.as_str()), (3, ""));
        assert!(native.stderr.contains("namespaces"), "{}", native.stderr);

        for flags in [
            "--backend wasm",
            "--isolation best-available",
            "--backend auto",
        ] {
            let ended = run(&folder, refusal, &format!("run {flags} --json x.py"));
            let report: Value = serde_json::from_str(&ended.stdout)
                .unwrap_or_else(|error| panic!("{flags}: {error}: {}", ended.stderr));
            // There is nothing on standard input.
            assert_eq!(report["outcome"]["code"], 1, "{flags}");
            assert_eq!(report["isolation"], "wasm", "{flags}");
            assert_eq!(report["backend"], "wasm", "{flags}");
        }
    }
}

/// Right and wrong programs, cheats and bombs, each judged as its file says.
#[test]
fn programs_get_their_verdicts() {
    let Some(folder) = folder() else { return };
    let plain = judge::JudgeConfig::default();
    let cases: Vec<_> = cases()
        .into_iter()
        .filter(|case| {
            matches!(case.source, SubmissionSource::Program(_))
                && case.on_wasm.is_some()
                && case.config.aggregate == plain.aggregate
                && case.config.stop_after_failures == plain.stop_after_failures
                && case.config.max_timeouts == plain.max_timeouts
        })
        .collect();
    assert!(cases.len() > 100, "only {} programs found", cases.len());
    let problems = cases.iter().map(|case| {
        let mut row = case.row.clone();
        if row["prompt"] == "def f(x):\n" {
            // These stand alone, and `source` may also be what comes after a prompt.
            row["prompt"] = "".into();
        }
        format!("{row}\n")
    });
    let problems: String = problems.collect();
    let completions = cases.iter().map(|case| {
        let SubmissionSource::Program(source) = &case.source else {
            unreachable!("filtered above");
        };
        let id = &case.name;
        let row = json!({ "problem_id": id, "sample": 0, "source_b64": b64(source) });
        format!("{row}\n")
    });
    folder.file("verdicts.jsonl", problems);
    folder.file("completions.jsonl", completions.collect::<String>());
    let mut said = Vec::new();
    for refusal in REFUSALS {
        let out = format!("{refusal:?}");
        let line = format!(
            "judge --backend wasm {FUEL} --dataset verdicts.jsonl --completions completions.jsonl --out {out}"
        );
        let ended = run(&folder, refusal, &line);
        assert!([0, 4].contains(&ended.code), "{}", ended.stderr);
        let verdicts: BTreeMap<String, Verdict> = folder
            .read(&format!("{out}/verdicts/verdicts.jsonl"))
            .lines()
            .map(|line| serde_json::from_str::<Verdict>(line).expect("a verdict"))
            .map(|verdict| (verdict.problem_id.to_string(), verdict))
            .collect();
        assert_eq!(verdicts.len(), cases.len());
        let settings: Value = serde_json::from_str(&folder.read(&format!("{out}/run.json")))
            .map(|mut run: Value| run["settings"].take())
            .expect("JSON");
        for name in ["isolation", "backend"] {
            assert_eq!(settings[name], "wasm", "{settings}");
        }
        let mut wrong = Vec::new();
        for case in &cases {
            let verdict = &verdicts[&case.name];
            let expected = case.on_wasm.as_ref().expect("filtered above");
            if let Some(found) = expected.differs(verdict) {
                wrong.push(format!(
                    "{}: expected {expected:?}, found {found}\n  {:?}",
                    case.name, verdict.evidence
                ));
            }
            assert_eq!(verdict.backend, "wasm", "{}", case.name);
            assert_eq!(
                verdict.isolation,
                executor::Isolation::Wasm,
                "{}",
                case.name
            );
        }
        assert!(wrong.is_empty(), "{refusal:?}\n{}", wrong.join("\n"));
        let lasting = verdicts.values().map(|verdict| {
            let wasm = verdict.wasm.as_ref();
            (
                verdict.problem_id.to_string(),
                verdict.error_type,
                wasm.and_then(|wasm| wasm.fuel),
            )
        });
        said.push(lasting.collect::<Vec<_>>());
    }
    // Nor does it matter how the host says no.
    assert_eq!(said[0], said[1]);
}

#[test]
fn a_server_serves_python() {
    let Some(folder) = folder() else { return };
    let line = "serve --backend wasm --listen 127.0.0.1:0 --ready-file ready";
    let mut server = start(&folder, Refusal::NotPermitted, line);
    support::wait_until("the server is ready", || {
        let ended = server.try_wait().expect("it is ours");
        assert!(ended.is_none(), "it ended: {ended:?}");
        folder.join("ready").exists()
    });
    let ready: Value = serde_json::from_str(&folder.read("ready")).expect("JSON");
    let url = ready["url"].as_str().expect("a text");
    let address = url.strip_prefix("http://").expect("a URL");
    let post = |language: &str, code: &str| -> Value {
        let body = json!({ "language": language, "code": code, "stdin": "hi" }).to_string();
        let mut stream = TcpStream::connect(address).expect("it listens");
        let length = body.len();
        write!(
            stream,
            "POST /run_code HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    };
    let python = post("python", "print(input() + '!')");
    assert_eq!(python["status"], "Success", "{python}");
    assert_eq!(python["run_result"]["stdout"], "hi!\n", "{python}");
    let bash = post("bash", "echo hi");
    assert_eq!(bash["status"], "Failed", "{bash}");
    let said = bash["run_result"]["stderr"].as_str().expect("a text");
    assert!(said.contains("need the native backend"), "{bash}");
    server.kill().expect("it is ours");
    server.wait().expect("it is ours");
}
