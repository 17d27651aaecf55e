//! The parts of a cold run: a cell's whole life, and a run in a cell that is there.

use criterion::{Criterion, criterion_group, criterion_main};
use executor::{Program, RunRequest, Sandbox, SandboxConfig};

fn spawn(criterion: &mut Criterion) {
    let config = |one_shot_cells| SandboxConfig {
        slots: Some(1),
        one_shot_cells,
        ..SandboxConfig::default()
    };
    let mut command = RunRequest::python(&b""[..]);
    command.program = Program::Command {
        argv: vec!["/bin/true".into()],
    };
    let reused = Sandbox::new(config(false)).expect("a sandbox");
    let alone = Sandbox::new(config(true)).expect("a sandbox");
    criterion.bench_function("run /bin/true in a reused cell", |b| {
        b.iter(|| reused.run(&command).expect("a run"));
    });
    criterion.bench_function("run /bin/true in a cell of its own", |b| {
        b.iter(|| alone.run(&command).expect("a run"));
    });
    let python = RunRequest::python(&b"print(1)"[..]);
    criterion.bench_function("run a Python program in a reused cell", |b| {
        b.iter(|| reused.run(&python).expect("a run"));
    });
}

criterion_group!(benches, spawn);
criterion_main!(benches);
