#![allow(missing_docs)]
use executor::{RunRequest, Runner};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "worker" {
        wasm::worker::main(std::env::args_os().skip(2));
    }
    let (wasm, stdlib) = (&a[1], &a[2]);
    let bytes = std::fs::read(wasm).unwrap();
    let compiled = format!("{wasm}.cwasm");
    let newer = |x: &str, y: &str| {
        std::fs::metadata(x).and_then(|m| m.modified()).ok()
            > std::fs::metadata(y).and_then(|m| m.modified()).ok()
    };
    if !newer(&compiled, wasm) {
        let e = wasm::engine::engine(wasm::Mode::Deterministic).unwrap();
        let t = Instant::now();
        std::fs::write(&compiled, e.precompile_module(&bytes).unwrap()).unwrap();
        eprintln!("compiled in {:?}", t.elapsed());
    }
    let sandbox = wasm::WasmSandbox::new(wasm::WasmConfig {
        bundle: wasm::Bundle {
            compiled: compiled.into(),
            stdlib: stdlib.into(),
            module_sha256: "0".into(),
            python_version: "3.11.2".into(),
        },
        mode: wasm::Mode::Deterministic,
        fuel_per_second: wasm::FUEL_PER_SECOND,
        slots: None,
        worker: (
            std::env::current_exe().unwrap().into(),
            vec!["worker".into()],
        ),
    })
    .unwrap();
    let stdin = std::env::var("STDIN").unwrap_or_default();
    for file in &a[3..] {
        let request = RunRequest {
            stdin: stdin.clone().into_bytes().into(),
            ..RunRequest::python(std::fs::read(file).unwrap())
        };
        let n: usize = std::env::var("N").map_or(1, |n| n.parse().unwrap());
        let mut times = vec![];
        for i in 0..n {
            let t = Instant::now();
            let r = sandbox.run(&request).unwrap();
            times.push(t.elapsed());
            if i == 0 {
                println!("== {file}: {:?} {:?}", r.outcome, (r.usage, r.wasm));
                println!("{}", String::from_utf8_lossy(&r.stdout.bytes));
                eprintln!("{}", String::from_utf8_lossy(&r.stderr.bytes));
            }
        }
        times.sort();
        println!("p50 {:?} p95 {:?}", times[n / 2], times[n * 95 / 100]);
    }
}
