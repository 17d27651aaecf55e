//! The small commands, and what `--help` says.

mod support;

use std::process::Stdio;

use support::Folder;

#[test]
fn help_says_what_a_new_user_needs() {
    let folder = Folder::new();
    for (name, line) in [
        ("help", "--help"),
        ("help_short", "-h"),
        ("help_judge", "judge --help"),
        ("help_run", "run --help"),
        ("help_dataset", "dataset --help"),
        ("help_dataset_show", "dataset show --help"),
        ("help_dataset_import", "dataset import --help"),
        ("help_dataset_check", "dataset check --help"),
        ("help_doctor", "doctor --help"),
        ("help_bench", "bench --help"),
        ("help_classify", "classify --help"),
    ] {
        let ended = folder.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{line}");
        assert_transcript!(name, ended.stdout);
    }
}

#[test]
fn version_names_the_build() {
    let folder = Folder::new();
    let ended = folder.run("--version");
    assert_eq!(ended.code, 0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], concat!("codejury ", env!("CARGO_PKG_VERSION")));
    assert!(lines[1].starts_with("target:   "), "{lines:?}");
    assert!(lines[2].starts_with("compiler: rustc 1."), "{lines:?}");
    assert_eq!(folder.run("-V").stdout.lines().count(), 1);
}

#[test]
fn mistakes_in_the_command_line_are_exit_2() {
    let folder = Folder::new();
    let mut text = String::new();
    for line in [
        "",
        "jugde",
        "judge --memroy 1GB",
        "judge --wall-time 0",
        "judge --wall-time 2weeks",
        "judge --memory 0",
        "judge --memory 5000GiB",
        "judge --stdout 2GiB",
        "judge --open-files 3",
        "judge --workers 0",
        "judge --compare fuzzy",
        "judge --format csv",
        "judge --numbers 210..11",
        "judge --resume --fresh",
        "judge --cache c --no-cache",
        "judge --isolation wasm --backend native",
        "judge --isolation restricted --backend wasm",
        "judge --path warm --isolation restricted",
        "judge --backend auto --isolation wasm",
        "judge --backend wasm --python python3",
        "judge --backend wasm --path cold",
        "judge --backend wasm --network loopback",
        "run",
        "run prog.py --isolation best-available",
        "classify",
        "completions powershell",
    ] {
        let ended = folder.run(line);
        assert_eq!(ended.code, 2, "{line}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{line}");
        // Help for a bare `codejury` has a snapshot of its own.
        let said = if line.is_empty() {
            "(help)\n"
        } else {
            &ended.stderr
        };
        text += &format!("$ codejury {line}\n{said}\n");
    }
    assert_transcript!("mistakes", text);
}

#[test]
fn a_backend_whose_interpreter_is_not_installed_is_exit_3() {
    let folder = Folder::new();
    folder.file("x.py", "print(1)");
    for line in [
        "judge --backend wasm",
        "judge --isolation wasm",
        "run --backend wasm x.py",
        "run --backend auto x.py",
    ] {
        let mut command = folder.command(line.split_whitespace());
        command.env("CODEJURY_WASM_DIR", folder.join("nothing"));
        let ended = support::end_of(command.spawn().expect("it starts"));
        assert_eq!(ended.code, 3, "{line}: {}", ended.stderr);
        assert!(
            ended
                .stderr
                .starts_with("error: no interpreter for the wasm backend")
                && ended.stderr.contains("hint: `codejury wasm setup --build`"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn completion_scripts_know_the_flags() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let ended = folder.run(&format!("completions {shell}"));
        assert_eq!(ended.code, 0, "{shell}: {}", ended.stderr);
        for word in ["max-timeouts", "best-available", "classify"] {
            assert!(ended.stdout.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = Folder::new();
    let mut child = folder
        .command(["completions", "zsh"])
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let ended = support::end_of(child);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn classify_prints_one_line_a_file() {
    let folder = Folder::new();
    let traceback = "Traceback (most recent call last):\n  File \"main.py\", line 3, in <module>\n    \
                     1 / 0\nZeroDivisionError: division by zero\n";
    let syntax = "  File \"main.py\", line 2\n    def\n       ^\nSyntaxError: invalid syntax\n";
    let asserted = "Traceback (most recent call last):\n  File \"t.py\", line 9, in <module>\n    \
                    assert f(1) == 2\nAssertionError\n";
    folder
        .file("a.err", traceback)
        .file("b.err", syntax)
        .file("c.err", "all is well\n");
    folder.file("d.err", asserted);
    let ended = folder.run_with("classify a.err b.err c.err -", traceback.as_bytes());
    assert_transcript!("classify", ended.transcript());
    let ended = folder.run("classify --kind asserts d.err");
    assert!(
        ended.stdout.contains("\"error_type\":\"wrong_answer\""),
        "{}",
        ended.stdout
    );
    let ended = folder.run("classify a.err missing.err");
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .starts_with("error: cannot read missing.err\n  caused by: No such file")
    );
}

#[test]
fn doctor_finds_this_host_fit_and_a_missing_interpreter() {
    let folder = Folder::new();
    let ended = folder.run("doctor");
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    for layer in [
        "kernel",
        "namespaces",
        "seccomp",
        "host files",
        "network",
        "privileges",
    ] {
        assert!(
            ended.stdout.contains(&format!("  {layer} ")),
            "{layer}: {}",
            ended.stdout
        );
    }
    let ended = folder.run("doctor --json --python /nowhere/python3");
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    let failed = |check: &serde_json::Value| check["status"] == "fail" && check["name"] == "python";
    assert!(
        report["checks"]
            .as_array()
            .expect("a list")
            .iter()
            .any(failed),
        "{report}"
    );
}

#[test]
fn bench_measures_each_way_and_says_what_it_leaves_out() {
    let folder = Folder::new();
    let ended = folder.run("bench --rounds 1 --runs 20 --only trivial --json");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let result: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(result["schema"], "codejury.bench/1");
    let rows = result["rows"].as_array().expect("rows");
    for way in ["subprocess", "fork", "warm", "warm_compiled", "cold"] {
        let row = rows
            .iter()
            .find(|row| row["way"] == way)
            .unwrap_or_else(|| panic!("{way}: {result}"));
        for figure in ["runs_per_s", "cpu_us_per_run"] {
            assert!(row[figure]["median"].as_f64() > Some(0.0), "{row}");
        }
    }
    let measured = rows.iter().any(|row| row["way"] == "wasm");
    let left_out = result["left_out"].as_array().expect("a list");
    let said = left_out.iter().any(|reason| {
        reason
            .as_str()
            .is_some_and(|text| text.starts_with("wasm: "))
    });
    assert!(measured != said, "{result}");

    let ended = folder.run("bench --python /nonexistent/python");
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    let ended = folder.run("bench --only tensorflow");
    assert_eq!(ended.code, 2, "{}", ended.stderr);
}

#[test]
fn run_passes_bytes_through_and_says_how_it_ended() {
    let folder = Folder::new();
    folder.file(
        "echo.py",
        "import sys\nprint(sys.argv[1:], sys.stdin.read())\nprint('talk', file=sys.stderr)\n",
    );
    let ended = folder.run_with("run echo.py --wall-time 7", b"some input");
    assert_transcript!("run_done", ended.transcript());
    let cases = [
        ("import sys; sys.exit(7)", "", "codejury: exit code 7 |"),
        ("import os; os.abort()", "", "codejury: killed by SIGABRT |"),
        (
            "import time; time.sleep(60)",
            "--wall-time 500ms",
            "codejury: over its wall time, 0.50 s |",
        ),
        (
            "while True: pass",
            "--cpu-time 0.5 --wall-time 20",
            "codejury: over its CPU time, 0.50 s |",
        ),
        (
            "while True: print('x' * 9999)",
            "--stdout 64KiB",
            "codejury: over its stdout, 64 KiB |",
        ),
        ("x = bytearray(1 << 30)", "--memory 64MB", "MemoryError"),
        ("import socket; socket.socket()", "", "PermissionError"),
    ];
    for (program, flags, expected) in cases {
        let ended = folder
            .file("prog.py", program)
            .run(&format!("run {flags} prog.py"));
        // Never the program's own exit code.
        assert_eq!(ended.code, 1, "{program}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(expected),
            "{program}: {}",
            ended.stderr
        );
    }
    folder.file(
        "net.py",
        "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0))\nprint('up')",
    );
    assert_eq!(folder.run("run --network loopback net.py").stdout, "up\n");
}

#[test]
fn run_json_is_the_whole_report() {
    let folder = Folder::new();
    folder.file(
        "bytes.py",
        "import sys\nsys.stdout.buffer.write(b'\\xff\\n')\nprint('é', file=sys.stderr)",
    );
    let ended = folder.run("run --json bytes.py");
    assert_transcript!("run_json", ended.transcript());
    let ended = folder
        .file("prog.py", "import os; os.kill(os.getpid(), 9)")
        .run("run --json prog.py");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (ended.code, &report["outcome"]),
        (1, &serde_json::json!({"kind": "signaled", "signal": 9}))
    );
    let ended = folder
        .file("prog.py", "input()")
        .run("run --json --wall-time 1 prog.py");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(
        report["stderr"]
            .as_str()
            .expect("text")
            .ends_with("EOFError: EOF when reading a line\n")
    );
}

#[test]
fn run_refuses_what_it_cannot_read() {
    let folder = Folder::new();
    folder.file("prog.py", "print(1)");
    for (line, message) in [
        (
            "run missing.py",
            "error: cannot read the program missing.py\n  caused by: No such file",
        ),
        (
            "run .",
            "error: cannot read the program .\n  caused by: Is a directory",
        ),
        (
            "run --python /nowhere/python3 prog.py",
            "error: python interpreter \"/nowhere/python3\" cannot be used: there is no such program\n  hint: ",
        ),
    ] {
        let ended = folder.run(line);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (2, ""),
            "{line}: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.starts_with(message),
            "{line}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_signal_ends_a_run_with_130() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let folder = Folder::new();
    folder.file(
        "sleep.py",
        "import time\nprint('up', flush=True)\ntime.sleep(60)",
    );
    for (stdin, signal) in [
        (Stdio::null(), Signal::SIGINT),
        (Stdio::null(), Signal::SIGTERM),
        (Stdio::piped(), Signal::SIGINT),
    ] {
        let mut command = folder.command(["run", "sleep.py"]);
        let child = command.stdin(stdin).spawn().expect("it starts");
        let pid = Pid::from_raw(child.id() as i32);
        // Its handler is there once SIGINT is caught.
        let status = format!("/proc/{pid}/status");
        support::wait_until("the handler is installed", || {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
            u64::from_str_radix(caught.unwrap_or("0"), 16).unwrap_or(0) & 0b10 != 0
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        kill(pid, signal).expect("it is still there");
        let ended = support::end_of(child);
        assert_eq!(ended.code, 130, "{signal}: {}", ended.stderr);
    }
}
