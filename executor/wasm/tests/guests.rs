//! The backend under guests made by hand: every row of the outcome map, and workers that are lost.
//! No interpreter is needed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{
    Cancel, Isolation, LimitKind, MIB, Outcome, RunReport, RunRequest, Runner, SandboxError,
};
use wasm::engine::{Mode, engine};
use wasm::{Bundle, WasmConfig, WasmSandbox};

/// What every guest imports, and a memory of two pages.
const HEAD: &str = r#"
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "hello\n")
  ;; One buffer: address and length.
  (func $buffer (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $len)))
  (func $print (param $fd i32) (param $at i32) (param $len i32)
    (call $buffer (local.get $at) (local.get $len))
    (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $sleep (param $ns i64)
    (i64.store (i32.const 100) (i64.const 7))
    (i32.store (i32.const 116) (i32.const 1))
    (i64.store (i32.const 124) (local.get $ns))
    (drop (call $poll (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 8))))
"#;

fn compiled(mode: Mode, body: &str, folder: &Path) -> std::path::PathBuf {
    let text = format!("(module {HEAD} {body})");
    let module = wat::parse_str(&text).expect("the test's guest is well-formed");
    let bytes = engine(mode)
        .and_then(|engine| engine.precompile_module(&module))
        .expect("the test's guest compiles");
    let path = folder.join("guest.cwasm");
    std::fs::write(&path, bytes).expect("the folder can be written");
    path
}

struct Guest {
    sandbox: WasmSandbox,
    _folder: tempfile::TempDir,
}

/// A sandbox whose interpreter is `body`, which must define `$run`.
fn guest_in(mode: Mode, body: &str) -> Guest {
    let folder = tempfile::tempdir().expect("a folder");
    let body = format!("{body} (export \"run_quick\" (func $run))");
    let config = WasmConfig {
        bundle: Bundle {
            compiled: compiled(mode, &body, folder.path()),
            image: None,
            stdlib: std::path::PathBuf::new(),
            module_sha256: "test".to_owned(),
            python_version: "0".to_owned(),
        },
        mode,
        fuel_per_second: 1_000_000_000,
        slots: Some(2),
        worker: (
            env!("CARGO_BIN_EXE_codejury-wasm-worker").into(),
            Vec::new(),
        ),
    };
    Guest {
        sandbox: WasmSandbox::new(config).expect("a worker starts"),
        _folder: folder,
    }
}

fn guest(body: &str) -> Guest {
    guest_in(Mode::Deterministic, body)
}

fn request() -> RunRequest {
    let mut request = RunRequest::python(&b"unused"[..]);
    request.limits.cpu_time = Duration::from_secs(1);
    request.limits.wall_time = Duration::from_secs(3);
    request.limits.memory_bytes = 16 * MIB;
    request
}

fn run(body: &str) -> RunReport {
    guest(body).sandbox.run(&request()).expect("a report")
}

fn limit(limit: LimitKind) -> Outcome {
    Outcome::LimitExceeded { limit }
}

const LOOP: &str = "(func $run (result i32) (loop $again (br $again)) (i32.const 0))";

#[test]
fn every_end_has_its_outcome() {
    let grow = |then: &str| {
        format!("(func $run (result i32) (drop (memory.grow (i32.const 1000))) (i32.const {then}))")
    };
    let cases: Vec<(&str, String, Outcome)> = vec![
        ("returns", "(func $run (result i32) (i32.const 7))".into(), Outcome::Exited { code: 7 }),
        (
            "exits, with a status that WASI calls reserved",
            "(func $run (result i32) (call $exit (i32.const 255)) (unreachable))".into(),
            Outcome::Exited { code: 255 },
        ),
        ("runs for ever", LOOP.into(), limit(LimitKind::CpuTime)),
        (
            "sleeps for ever",
            "(func $run (result i32) (call $sleep (i64.const -1)) (i32.const 0))".into(),
            limit(LimitKind::WallTime),
        ),
        (
            "sleeps again and again",
            "(func $run (result i32) (loop $again (call $sleep (i64.const 1000)) (br $again)) (i32.const 0))".into(),
            limit(LimitKind::CpuTime),
        ),
        (
            "prints for ever",
            "(func $run (result i32) (loop $again (call $print (i32.const 1) (i32.const 1024) (i32.const 65536)) (br $again)) (i32.const 0))".into(),
            limit(LimitKind::Output),
        ),
        (
            "complains for ever, which ends with the fuel",
            "(func $run (result i32) (loop $again (call $print (i32.const 2) (i32.const 1024) (i32.const 65536)) (br $again)) (i32.const 0))".into(),
            limit(LimitKind::CpuTime),
        ),
        ("is denied memory and fails", grow("1"), limit(LimitKind::Memory)),
        ("is denied memory and lives", grow("0"), Outcome::Exited { code: 0 }),
        (
            "overflows its stack",
            "(func $run (result i32) (call $run))".into(),
            Outcome::Signaled { signal: libc::SIGSEGV },
        ),
        (
            "touches what is not its own",
            "(func $run (result i32) (i32.load (i32.const -4)))".into(),
            Outcome::Signaled { signal: libc::SIGSEGV },
        ),
        (
            "aborts",
            "(func $run (result i32) (unreachable))".into(),
            Outcome::Signaled { signal: libc::SIGABRT },
        ),
    ];
    for (name, body, expected) in cases {
        let report = run(&body);
        assert_eq!(report.outcome, expected, "case: {name}");
        assert_eq!(report.isolation, Isolation::Wasm);
        let wasm = report.wasm.expect("wasm made it");
        assert_eq!(
            (&*wasm.module_sha256, &*wasm.wasmtime),
            ("test", wasm::WASMTIME_VERSION)
        );
    }
}

#[test]
fn a_trap_that_no_program_should_cause_is_ours() {
    let body = "(func $run (result i32) (i32.div_u (i32.const 1) (i32.const 0)))";
    let error = guest(body)
        .sandbox
        .run(&request())
        .expect_err("a failure of ours");
    assert!(matches!(error, SandboxError::CellLost(_)), "{error}");
}

#[test]
fn the_limits_are_in_fuel_and_in_virtual_time() {
    let busy = run(LOOP);
    let wasm = busy.wasm.expect("wasm made it");
    assert_eq!(
        (wasm.fuel, wasm.fuel_per_second),
        (Some(1_000_000_000), Some(1_000_000_000))
    );
    assert_eq!(busy.usage.cpu_time(), Duration::from_secs(1));

    let begun = Instant::now();
    let asleep = run("(func $run (result i32) (call $sleep (i64.const 2500000000)) (i32.const 0))");
    assert_eq!(asleep.outcome, Outcome::Exited { code: 0 });
    assert_eq!(asleep.usage.wall_time.as_millis(), 2500);
    // Nobody really waited; compiling and starting took what it took.
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn input_output_and_report_go_where_they_belong() {
    // Copies standard input to standard output, the greeting to standard error and the report.
    let body = "(func $run (result i32)
        (call $buffer (i32.const 2048) (i32.const 4096))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $print (i32.const 1) (i32.const 2048) (i32.load (i32.const 8)))
        (call $print (i32.const 2) (i32.const 1024) (i32.const 6))
        (call $print (i32.const 3) (i32.const 1024) (i32.const 5))
        (i32.const 0))";
    let guest = guest(body);
    let mut request = request();
    request.stdin = Arc::from(&b"some input"[..]);
    let report = guest.sandbox.run(&request).expect("a report");
    assert_eq!(report.stdout.bytes, b"some input");
    assert_eq!(
        (&report.stderr.bytes[..], &report.report[..]),
        (&b"hello\n"[..], &b""[..])
    );
    request.report_pipe = true;
    let report = guest.sandbox.run(&request).expect("a report");
    assert_eq!(report.report, b"hello");
}

#[test]
fn nothing_of_a_run_is_left_for_the_next() {
    // Exits with what stood in memory before it wrote there, and with how far its memory reached.
    let body = "(func $run (result i32)
        (local $was i32)
        (local.set $was (i32.add (i32.load8_u (i32.const 5000)) (i32.sub (memory.size) (i32.const 2))))
        (i32.store8 (i32.const 5000) (i32.const 9))
        (drop (memory.grow (i32.const 20)))
        (i32.store8 (i32.const 1000000) (i32.const 9))
        (local.get $was))";
    let guest = guest(body);
    for _ in 0..20 {
        let report = guest.sandbox.run(&request()).expect("a report");
        assert_eq!(report.outcome, Outcome::Exited { code: 0 });
    }
}

#[test]
fn the_random_bytes_of_a_run_are_always_the_same_unless_it_is_plain() {
    let body = "(func $run (result i32)
        (drop (call $random (i32.const 2048) (i32.const 64)))
        (call $print (i32.const 1) (i32.const 2048) (i32.const 64))
        (i32.const 0))";
    let bytes = |guest: &Guest| {
        guest
            .sandbox
            .run(&request())
            .expect("a report")
            .stdout
            .bytes
    };
    let (one, other) = (guest(body), guest(body));
    assert_eq!(bytes(&one), bytes(&one));
    assert_eq!(bytes(&one), bytes(&other));
    let plain = guest_in(Mode::Plain, body);
    assert_ne!(bytes(&plain), bytes(&plain));
}

#[test]
fn plain_mode_has_limits_by_the_real_clock() {
    let plain = guest_in(Mode::Plain, LOOP);
    let mut request = request();
    request.limits.cpu_time = Duration::from_millis(100);
    request.limits.wall_time = Duration::from_secs(60);
    let report = plain.sandbox.run(&request).expect("a report");
    assert_eq!(report.outcome, limit(LimitKind::CpuTime));
    assert_eq!(report.wasm.expect("wasm made it").fuel, None);

    let body = "(func $run (result i32) (call $sleep (i64.const -1)) (i32.const 0))";
    let plain = guest_in(Mode::Plain, body);
    request.limits.cpu_time = Duration::from_secs(60);
    request.limits.wall_time = Duration::from_millis(100);
    let report = plain.sandbox.run(&request).expect("a report");
    assert_eq!(report.outcome, limit(LimitKind::WallTime));
}

#[test]
fn a_run_is_cancelled_and_the_next_one_is_well() {
    let guest = guest(
        "(func $run (result i32) (i32.const 0) (loop $again (br_if $again (i32.eqz (i32.const 0)))))",
    );
    let cancel = Cancel::new().expect("a switch");
    let mut request = request();
    request.limits.cpu_time = Duration::from_secs(100_000);
    request.limits.wall_time = Duration::from_secs(80_000);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| guest.sandbox.run_until(&request, Some(&cancel)));
        std::thread::sleep(Duration::from_millis(100));
        cancel.cancel();
        let result = run.join().expect("no panic");
        assert!(matches!(result, Err(SandboxError::Cancelled)), "{result:?}");
    });
    request.limits.cpu_time = Duration::from_millis(10);
    let report = guest.sandbox.run(&request).expect("a report");
    assert_eq!(report.outcome, limit(LimitKind::CpuTime));
}

#[test]
fn a_lost_worker_costs_nobody_a_run() {
    let guest = guest("(func $run (result i32) (i32.const 3))");
    for _ in 0..5 {
        let [worker] = guest.sandbox.idle_workers()[..] else {
            panic!("one worker is idle");
        };
        let worker = nix::unistd::Pid::from_raw(worker as i32);
        nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).expect("it was there");
        let report = guest.sandbox.run(&request()).expect("a report");
        assert_eq!(report.outcome, Outcome::Exited { code: 3 });
    }
}

#[test]
fn what_cannot_be_loaded_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guest.cwasm");
    let start = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("the folder can be written");
        WasmSandbox::new(WasmConfig {
            bundle: Bundle {
                compiled: path.clone(),
                image: None,
                stdlib: std::path::PathBuf::new(),
                module_sha256: "test".to_owned(),
                python_version: "0".to_owned(),
            },
            mode: Mode::Deterministic,
            fuel_per_second: 1,
            slots: Some(1),
            worker: (
                env!("CARGO_BIN_EXE_codejury-wasm-worker").into(),
                Vec::new(),
            ),
        })
    };
    assert!(start(b"").is_err());
    assert!(start(b"not a module").is_err());
    let plain = compiled(Mode::Plain, LOOP, folder.path());
    let bytes = std::fs::read(plain).expect("it was written");
    assert!(start(&bytes).is_err(), "compiled for the other mode");
    assert!(start(&bytes[..bytes.len() / 2]).is_err(), "cut short");
}
