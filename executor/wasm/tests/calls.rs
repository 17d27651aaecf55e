//! The WASI calls under guests that hand them anything: whatever numbers, addresses and lengths a
//! call gets, the guest gets an errno or an end of its own, and the worker lives.
//!
//! The guest here reads records from standard input and makes the call that each names, through the
//! same linker as CPython. `CODEJURY_FUZZ_SECONDS` says how long; some hundred runs without it.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{InputFile, MIB, RunRequest, Runner as _};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use wasm::engine::{Mode, engine};
use wasm::{Bundle, WasmConfig, WasmSandbox};

/// Every call of preview1 with its parameters: `i` has 32 bits, `I` 64.
const CALLS: &[(&str, &str)] = &[
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("sched_yield", ""),
    ("random_get", "ii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Most parameters of any call, each in eight bytes of a record; the call's number is in eight more.
const PARAMETERS: usize = 9;
const RECORD: usize = 8 + 8 * PARAMETERS;
/// Where the guest puts a record; its data begins behind it.
const AT: usize = 256;
/// Of the guest's memory.
const PAGES: u32 = 2;

/// Paths, buffers and structures that well-formed calls can name, at known places.
const DATA: &[(usize, &str)] = &[
    (1024, "/tmp/a"),
    (1040, "b/../c"),
    (1056, "/work/given"),
    (1072, "/"),
    (1080, "../../.."),
    (1096, "/dev/urandom"),
    (1120, "/dev/stdout"),
    (1136, "/tmp/a/./b//c/"),
    (1160, "\\ff\\fe\\00x"),
];

fn guest() -> String {
    let mut imports = String::new();
    let mut arms = String::new();
    for (number, (name, parameters)) in CALLS.iter().enumerate() {
        let types: Vec<_> = parameters
            .chars()
            .map(|c| if c == 'i' { "i32" } else { "i64" })
            .collect();
        imports += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func $f{number} (param {}) (result i32)))\n",
            types.join(" ")
        );
        let arguments: String = types
            .iter()
            .enumerate()
            .map(|(i, of)| format!("({of}.load (i32.const {}))", AT + 8 + 8 * i))
            .collect();
        arms += &format!(
            "(if (i32.eq (i32.load (i32.const {AT})) (i32.const {number})) (then (drop (call $f{number} {arguments}))))\n"
        );
    }
    let data: String = DATA
        .iter()
        .map(|(at, text)| format!("(data (i32.const {at}) \"{text}\")\n"))
        .collect();
    // The records come from a descriptor of their own, which the calls may close too: then it ends.
    format!(
        "(module {imports}
        (memory (export \"memory\") {PAGES}) {data}
        (func (export \"run_quick\") (result i32)
          (loop $next
            (i32.store (i32.const 0) (i32.const {AT})) (i32.store (i32.const 4) (i32.const {RECORD}))
            (if (call $f20 (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return (i32.const 1))))
            (if (i32.ne (i32.load (i32.const 8)) (i32.const {RECORD})) (then (return (i32.const 0))))
            {arms}
            (br $next))
          (unreachable)))"
    )
}

/// A parameter: an address or number that means something, one at an edge, or anything.
fn parameter() -> impl Strategy<Value = u64> {
    let end = u64::from(PAGES) * 65536;
    prop_oneof![
        4 => 0u64..12,
        3 => prop::sample::select(DATA.iter().map(|&(at, _)| at as u64).collect::<Vec<_>>()),
        2 => 1000u64..4000,
        1 => (end - 70)..(end + 4),
        1 => prop::sample::select(vec![u64::MAX, 1 << 31, (1 << 32) - 1, (1 << 32) - 8, 1 << 63, i64::MAX as u64, 65536, 1 << 20]),
        1 => any::<u64>(),
    ]
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let call = 0..CALLS.len() as u64;
    let parameters = prop::collection::vec(parameter(), PARAMETERS);
    (call, parameters).prop_map(|(call, parameters)| {
        let words = std::iter::once(call).chain(parameters);
        words.flat_map(u64::to_le_bytes).collect()
    })
}

/// Opens a file that other records use as descriptor 4, then anything.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let path_open = CALLS.iter().position(|(name, _)| *name == "path_open");
    let open = [
        path_open.expect("it is there") as u64,
        3,
        1,
        1024,
        6,
        1,
        u64::MAX >> 34,
        u64::MAX >> 34,
        0,
        3000,
    ];
    let open: Vec<u8> = open.into_iter().flat_map(u64::to_le_bytes).collect();
    prop::collection::vec(record(), 1..60)
        .prop_map(move |records| [vec![open.clone()], records].concat().concat())
}

#[test]
fn no_call_breaks_a_worker_whatever_it_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = wat::parse_str(guest()).expect("the guest is well-formed");
    let compiled = engine(Mode::Deterministic)
        .and_then(|engine| engine.precompile_module(&module))
        .expect("the guest compiles");
    let path = folder.path().join("guest.cwasm");
    std::fs::write(&path, compiled).expect("the folder can be written");
    let sandbox = WasmSandbox::new(WasmConfig {
        bundle: Bundle {
            compiled: path,
            stdlib: std::path::PathBuf::new(),
            module_sha256: "test".to_owned(),
            python_version: "0".to_owned(),
        },
        mode: Mode::Deterministic,
        fuel_per_second: 1_000_000_000,
        slots: Some(1),
        worker: (
            env!("CARGO_BIN_EXE_codejury-wasm-worker").into(),
            Vec::new(),
        ),
    })
    .expect("a worker starts");
    let [worker] = sandbox.idle_workers()[..] else {
        panic!("one worker is idle");
    };
    let until = env::var("CODEJURY_FUZZ_SECONDS").map(|seconds| {
        Instant::now() + Duration::from_secs(seconds.parse().expect("a number of seconds"))
    });
    // Without a time the same scripts each time; with one, others each time.
    let mut runner = match until {
        Ok(_) => TestRunner::new(Config::default()),
        Err(_) => TestRunner::new_with_rng(
            Config::default(),
            TestRng::deterministic_rng(RngAlgorithm::ChaCha),
        ),
    };
    let (mut runs, mut ends) = (0u64, std::collections::BTreeMap::new());
    while until
        .as_ref()
        .map_or(runs < 400, |&until| Instant::now() < until)
    {
        let script = script().new_tree(&mut runner).expect("a script").current();
        let mut request = RunRequest::python(&b"unused"[..]);
        request.stdin = script.clone().into();
        request.report_pipe = runs.is_multiple_of(2);
        request.limits.cpu_time = Duration::from_millis(100);
        request.limits.memory_bytes = 16 * MIB;
        request.files = vec![InputFile {
            path: "given".into(),
            content: Arc::from(&b"some bytes"[..]),
        }];
        request.collect = vec!["given".into(), "/tmp/a".into()];
        let once = sandbox.run(&request);
        let again = sandbox.run(&request);
        let (once, again) = match (once, again) {
            (Ok(once), Ok(again)) => (once, again),
            (once, again) => panic!("{once:?}\n{again:?}\nscript: {script:?}"),
        };
        let fuel = |report: &executor::RunReport| report.wasm.as_ref().and_then(|wasm| wasm.fuel);
        assert_eq!(once.outcome, again.outcome, "script: {script:?}");
        assert_eq!(fuel(&once), fuel(&again), "script: {script:?}");
        assert_eq!(
            (&once.stdout, &once.collected),
            (&again.stdout, &again.collected)
        );
        *ends.entry(format!("{:?}", once.outcome)).or_insert(0u64) += 1;
        runs += 1;
    }
    println!("{runs} scripts, each twice: {ends:?}");
    // It is still the first one: nothing was repeated because a worker was lost.
    assert_eq!(sandbox.idle_workers(), [worker]);
}
