// One program at a time, judged by its report alone. Included by `cold.rs` and `warm.rs`, which say
// on which path (`PATH`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use executor::{
    Cancel, InputFile, LimitKind, MIB, Network, Outcome, Program, RunReport, RunRequest, Sandbox,
    SandboxConfig, SandboxError,
};

fn sandbox() -> Sandbox {
    let config = SandboxConfig {
        path: PATH,
        ..SandboxConfig::default()
    };
    Sandbox::new(config).expect("this host can isolate (see `codejury doctor`)")
}

fn run(sandbox: &Sandbox, request: &RunRequest) -> RunReport {
    sandbox.run(request).expect("the sandbox itself works")
}

fn python(source: &str) -> RunRequest {
    let mut request = RunRequest::python(source.as_bytes());
    request.limits.wall_time = Duration::from_secs(20);
    request.limits.cpu_time = Duration::from_secs(20);
    request
}

const fn exited(code: u8) -> Outcome {
    Outcome::Exited { code }
}

const fn limit(limit: LimitKind) -> Outcome {
    Outcome::LimitExceeded { limit }
}

#[test]
fn outcomes_name_their_cause() {
    let sandbox = sandbox();
    let cases: &[(&str, &str, Outcome)] = &[
        ("a clean end", "print('hi')", exited(0)),
        ("an exception", "1/0", exited(1)),
        ("an exit code", "import sys; sys.exit(7)", exited(7)),
        (
            "an exit code past a byte",
            "import sys; sys.exit(256)",
            exited(0),
        ),
        (
            "a crash",
            "import ctypes; ctypes.string_at(0)",
            Outcome::Signaled { signal: 11 },
        ),
        (
            "abort",
            "import os; os.abort()",
            Outcome::Signaled { signal: 6 },
        ),
        (
            "its own SIGKILL",
            "import os; os.kill(os.getpid(), 9)",
            Outcome::Signaled { signal: 9 },
        ),
        (
            "sleep",
            "import time; time.sleep(60)",
            limit(LimitKind::WallTime),
        ),
        ("a loop", "while True: pass", limit(LimitKind::CpuTime)),
        (
            "a flood",
            "while True: print('x' * 65536)",
            limit(LimitKind::Output),
        ),
    ];
    for (name, source, expected) in cases {
        let mut request = python(source);
        request.limits.wall_time = Duration::from_secs(2);
        request.limits.cpu_time = Duration::from_secs(1);
        request.limits.stdout_bytes = MIB;
        let report = run(&sandbox, &request);
        assert_eq!(
            report.outcome,
            *expected,
            "case: {name}: {}",
            String::from_utf8_lossy(&report.stderr.bytes)
        );
        assert!(report.stdout.bytes.len() as u64 <= MIB, "case: {name}");
    }
}

#[test]
fn memory_is_an_exception_and_never_more_than_promised() {
    let sandbox = sandbox();
    let mut request = python("x = bytearray(300 << 20)\nprint(len(x))");
    request.limits.memory_bytes = 256 * MIB;
    let report = run(&sandbox, &request);
    assert_eq!(report.outcome, exited(1));
    assert!(
        report.stderr.bytes.ends_with(b"MemoryError\n"),
        "{:?}",
        String::from_utf8_lossy(&report.stderr.bytes)
    );
    request.limits.memory_bytes = 512 * MIB;
    assert_eq!(run(&sandbox, &request).outcome, exited(0));
}

#[test]
fn several_processes_share_one_memory_limit() {
    let sandbox = sandbox();
    let source = "
import os, time
for i in range(4):
    if os.fork() == 0:
        x = bytearray(b'x') * (100 << 20)
        time.sleep(30)
        os._exit(0)
time.sleep(30)
";
    let mut request = python(source);
    request.limits.memory_bytes = 200 * MIB;
    assert_eq!(run(&sandbox, &request).outcome, limit(LimitKind::Memory));
}

#[test]
fn stdin_of_any_size_arrives_and_may_stay_unread() {
    let sandbox = sandbox();
    let mut request =
        python("import sys; data = sys.stdin.buffer.read(); print(len(data), data[:3], data[-3:])");
    request.stdin = b"abc".repeat(11 << 20).into();
    let report = run(&sandbox, &request);
    assert_eq!(
        report.stdout.bytes,
        format!("{} b'abc' b'abc'\n", 33 << 20).as_bytes()
    );
    request.program = python("print('never looked')").program;
    assert_eq!(run(&sandbox, &request).stdout.bytes, b"never looked\n");
    request.program = python("import os; os.close(0); print('closed')").program;
    assert_eq!(run(&sandbox, &request).stdout.bytes, b"closed\n");
}

#[test]
fn large_sources_and_outputs_pass_whole() {
    let sandbox = sandbox();
    let source = format!("x = '{}'\nprint(x)", "y".repeat(3 << 20));
    let report = run(&sandbox, &python(&source));
    assert_eq!(
        (report.outcome, report.stdout.bytes_total),
        (exited(0), (3 << 20) + 1)
    );
    assert!(!report.stdout.truncated);
}

#[test]
fn stderr_keeps_head_and_tail_and_is_never_fatal() {
    let sandbox = sandbox();
    let report = run(
        &sandbox,
        &python("import sys\nsys.stderr.write('H' + 'x' * (4 << 20))\n1/0"),
    );
    assert_eq!(report.outcome, exited(1));
    assert!(report.stderr.truncated && report.stderr.bytes.len() == 128 << 10);
    assert!(report.stderr.bytes.starts_with(b"H"));
    assert!(
        report
            .stderr
            .bytes
            .ends_with(b"ZeroDivisionError: division by zero\n")
    );
}

#[test]
fn output_before_a_timeout_is_delivered() {
    let sandbox = sandbox();
    let mut request = python("import time\nprint('partial', flush=True)\ntime.sleep(60)");
    request.limits.wall_time = Duration::from_secs(1);
    let report = run(&sandbox, &request);
    assert_eq!(
        (report.outcome, &report.stdout.bytes[..]),
        (limit(LimitKind::WallTime), &b"partial\n"[..])
    );
}

#[test]
fn a_run_leaves_nothing_for_the_next() {
    let sandbox = sandbox();
    let plant = "
import os, socket, time
open('/tmp/planted', 'w').write('x'); open('/dev/shm/planted', 'w').write('x'); open('planted', 'w').write('x')
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
print('planted')
";
    let look = "
import os
left = [p for d in ('/tmp', '/dev/shm', '/mnt', '.') for p in os.listdir(d)]
others = [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]
print(left, others, os.getpid())
";
    for _ in 0..3 {
        assert_eq!(run(&sandbox, &python(plant)).stdout.bytes, b"planted\n");
        assert_eq!(
            run(&sandbox, &python(look)).stdout.bytes,
            b"['main.py'] [] 2\n"
        );
    }
}

#[test]
fn files_go_in_and_come_out_and_links_do_not() {
    let sandbox = sandbox();
    let mut request = python(
        "import os\ntext = open('in/a.txt').read()\nopen('out.txt', 'w').write(text[::-1])\nos.symlink('/etc/passwd', 'link.txt')\nos.mkfifo('fifo')\nos.chmod('out.txt', 0)",
    );
    request.files = vec![InputFile {
        path: "in/a.txt".into(),
        content: b"abc".to_vec().into(),
    }];
    request.collect = ["out.txt", "link.txt", "fifo", "missing", "in/a.txt"]
        .map(Into::into)
        .into();
    let report = run(&sandbox, &request);
    assert_eq!(
        report.outcome,
        exited(0),
        "{}",
        String::from_utf8_lossy(&report.stderr.bytes)
    );
    let expected = [("out.txt", "cba"), ("in/a.txt", "abc")];
    let expected: Vec<_> = expected
        .map(|(p, c)| (p.into(), c.as_bytes().to_vec()))
        .into();
    assert_eq!(report.collected, expected);
}

#[test]
fn the_report_pipe_is_descriptor_three_and_absent_otherwise() {
    let sandbox = sandbox();
    let mut request = python(
        "import os; os.write(3, b'told'); print(sorted(map(int, os.listdir('/proc/self/fd'))))",
    );
    request.report_pipe = true;
    let report = run(&sandbox, &request);
    assert_eq!(
        (&report.report[..], &report.stdout.bytes[..]),
        (&b"told"[..], &b"[0, 1, 2, 3, 4]\n"[..])
    );
    request.report_pipe = false;
    assert_eq!(run(&sandbox, &request).outcome, exited(1));
}

#[test]
fn network_is_off_unless_a_loopback_is_asked_for() {
    let sandbox = sandbox();
    let source = "
import socket
try:
    a = socket.create_server(('127.0.0.1', 0))
    b = socket.create_connection(a.getsockname(), timeout=5)
    a.accept()[0].sendall(b'hello')
    print(b.recv(5).decode())
except PermissionError:
    print('refused')
";
    let mut request = python(source);
    assert_eq!(run(&sandbox, &request).stdout.bytes, b"refused\n");
    request.network = Network::Loopback;
    assert_eq!(run(&sandbox, &request).stdout.bytes, b"hello\n");
}

#[test]
fn other_commands_run_too() {
    let sandbox = sandbox();
    let mut request = python("");
    request.program = Program::Command {
        argv: ["sh", "-c", "echo $0 $HOME; exit 3", "name"]
            .map(Into::into)
            .into(),
    };
    let report = run(&sandbox, &request);
    assert_eq!(
        (report.outcome, &report.stdout.bytes[..]),
        (exited(3), &b"name /work\n"[..])
    );
    request.program = Program::Command {
        argv: vec!["no-such-command".into()],
    };
    let error = sandbox.run(&request).expect_err("there is no such command");
    assert!(
        matches!(&error, SandboxError::InvalidRequest(text) if text.contains("no-such-command")),
        "{error}"
    );
}

#[test]
fn bad_requests_are_refused_before_anything_starts() {
    let sandbox = sandbox();
    let file = |path: &str| {
        vec![InputFile {
            path: path.into(),
            content: b"".to_vec().into(),
        }]
    };
    type Spoil = Box<dyn Fn(&mut RunRequest)>;
    let cases: Vec<(&str, Spoil)> = vec![
        (
            "no wall time",
            Box::new(|r| r.limits.wall_time = Duration::ZERO),
        ),
        ("no memory", Box::new(|r| r.limits.memory_bytes = 0)),
        (
            "a year",
            Box::new(|r| r.limits.wall_time = Duration::from_secs(365 * 86400)),
        ),
        (
            "an absolute file",
            Box::new(move |r| r.files = file("/etc/passwd")),
        ),
        (
            "a file above",
            Box::new(move |r| r.files = file("a/../../b")),
        ),
        (
            "a collected file above",
            Box::new(|r| r.collect = vec![Path::new("../x").into()]),
        ),
        (
            "NUL in an argument",
            Box::new(|r| {
                r.program = Program::Command {
                    argv: vec!["a\0b".into()],
                }
            }),
        ),
        (
            "an empty command",
            Box::new(|r| r.program = Program::Command { argv: vec![] }),
        ),
        (
            "a malformed variable",
            Box::new(|r| r.env = vec![("A=B".into(), "c".into())]),
        ),
    ];
    for (name, spoil) in cases {
        let mut request = python("print(1)");
        spoil(&mut request);
        assert!(
            matches!(sandbox.run(&request), Err(SandboxError::InvalidRequest(_))),
            "case: {name}"
        );
    }
}

#[test]
fn cancelling_ends_a_run_and_refuses_the_next() {
    let sandbox = sandbox();
    let cancel = Cancel::new().expect("an eventfd");
    let request = python("import time\ntime.sleep(600)");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| sandbox.run_until(&request, Some(&cancel)));
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel();
        assert!(matches!(
            run.join().expect("no panic"),
            Err(SandboxError::Cancelled)
        ));
    });
    assert!(matches!(
        sandbox.run_until(&request, Some(&cancel)),
        Err(SandboxError::Cancelled)
    ));
    assert_eq!(run(&sandbox, &python("print(1)")).stdout.bytes, b"1\n");
}

/// Also before it has fetched its program and its descriptors, whose other ends then stay where they are.
#[test]
fn cancelling_at_any_moment_returns() {
    let sandbox = Arc::new(sandbox());
    let request = python("print(1)");
    for step in 0..200 {
        let (done, returned) = std::sync::mpsc::channel();
        let cancel = Arc::new(Cancel::new().expect("an eventfd"));
        let run = {
            let (sandbox, request, cancel) = (sandbox.clone(), request.clone(), cancel.clone());
            move || {
                let result = sandbox.run_until(&request, Some(&cancel));
                done.send(result).expect("the test waits for it");
            }
        };
        std::thread::spawn(run);
        std::thread::sleep(Duration::from_micros(10 * step));
        cancel.cancel();
        match returned.recv_timeout(Duration::from_secs(60)) {
            Ok(Ok(report)) => assert_eq!(report.stdout.bytes, b"1\n", "step {step}"),
            Ok(Err(error)) => assert!(matches!(error, SandboxError::Cancelled), "step {step}: {error}"),
            Err(_) => panic!("step {step}: the run does not return"),
        }
    }
    assert_eq!(run(&sandbox, &request).stdout.bytes, b"1\n");
}

#[test]
fn many_threads_share_a_sandbox() {
    let sandbox = Sandbox::new(SandboxConfig {
        slots: Some(4),
        ..SandboxConfig::default()
    })
    .expect("a sandbox");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for i in 0..5 {
                    let mut request = python("print(int(input()) * 2)");
                    let n = thread * 100 + i;
                    request.stdin = n.to_string().into_bytes().into();
                    assert_eq!(
                        run(sandbox, &request).stdout.bytes,
                        format!("{}\n", n * 2).as_bytes()
                    );
                }
            });
        }
    });
}

#[test]
fn an_interpreter_that_is_none_is_named() {
    for (path, reason) in [
        ("/nonexistent/python", "no such program"),
        ("/bin/sh", "ended with"),
        ("/etc/passwd", "cannot be started"),
    ] {
        let config = SandboxConfig {
            python: Some(path.into()),
            ..SandboxConfig::default()
        };
        let error = Sandbox::new(config)
            .expect_err("not an interpreter")
            .to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
    }
}

/// The test binary runs this one again as a process of its own, to be killed.
#[test]
fn a_killed_supervisor_leaves_no_process() {
    const MARK: &str = "CODEJURY_TEST_SUPERVISOR";
    if std::env::var_os(MARK).is_some() {
        let mut request = python(
            "import os, time\nfor i in range(3):\n    if os.fork() == 0:\n        os.setsid()\n        break\ntime.sleep(600)",
        );
        request.limits.wall_time = Duration::from_secs(600);
        drop(sandbox().run(&request));
        return;
    }
    let me = std::env::current_exe().expect("own path");
    let mut child = std::process::Command::new(me)
        .args([
            "--exact",
            "a_killed_supervisor_leaves_no_process",
            "--nocapture",
        ])
        .env(MARK, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the test binary starts");
    let inside = wait_for(|| {
        let found = cell_processes_of(child.id());
        (found.len() >= 5).then_some(found) // pid 1 and four of the run
    });
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    wait_for(|| inside.iter().all(|pid| !alive(*pid)).then_some(()));
}

fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(value) = found() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited for 20 s");
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// All descendants of a process.
fn cell_processes_of(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat
                .rsplit(')')
                .next()?
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        found.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == found[next])
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        next += 1;
    }
    found.remove(0);
    found
}
