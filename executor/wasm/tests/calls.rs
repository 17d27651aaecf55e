//! The WASI calls under guests that hand them anything: whatever numbers, addresses and lengths a
//! call gets, the guest gets an errno or an end of its own, and the worker lives.
//!
//! The guest (`fuzz/guest.rs`) reads records from standard input and makes the call that each names,
//! through the same linker as CPython. `scripts/fuzz-wasi` does the same guided by coverage.
//! `CODEJURY_FUZZ_SECONDS` says how long; some hundred runs without it.

#[path = "../fuzz/guest.rs"]
mod guest;

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{InputFile, MIB, RunRequest, Runner as _};
use guest::{CALLS, DATA, PAGES, PARAMETERS, STORE, guest};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use wasm::engine::{Mode, engine};
use wasm::{Bundle, WasmConfig, WasmSandbox};

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
    // Every third record builds the structures that calls read.
    let call = prop_oneof![2 => 0..CALLS.len() as u64, 1 => Just(STORE)];
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
            image: None,
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
