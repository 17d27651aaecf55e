//! `codejury run`: one program in the sandbox.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use executor::{
    Captured, LimitKind, Limits, MIB, Outcome, PathRequest, Program, RunReport, RunRequest,
    SandboxConfig,
};
use judge::UsageRow;
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use crate::args::RunArgs;
use crate::backend;
use crate::exit::{ExitCode, Failure};
use crate::interrupt;
use crate::output::{self, Palette, multiline, say};
use crate::units::{show_duration, show_size};

/// Programs and inputs are held in memory. No real one comes near these.
const LARGEST_PROGRAM: u64 = 64 * MIB;
const LARGEST_STDIN: u64 = 1024 * MIB;

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mut config = SandboxConfig {
        slots: Some(1),
        ..args.sandbox.config()?
    };
    if config.path == PathRequest::Auto {
        // Warming an interpreter up for one program takes longer than starting it.
        config.path = PathRequest::Cold;
    }
    let request = RunRequest {
        program: Program::Python {
            source: source(&args.file)?.into(),
            args: args.args.clone(),
        },
        stdin: stdin()?.into(),
        limits: args.limit.overrides().resolve(),
        network: args.sandbox.network(),
        ..RunRequest::python(&b""[..])
    };
    let runner = backend::runner(&args.sandbox, config)?;
    let report = runner.run_until(&request, Some(&interrupt::switch()?))?;
    if args.json {
        output::print(to_json(&report) + "\n")?;
    } else {
        show(&report, &request.limits)?;
    }
    Ok(match report.outcome {
        Outcome::Exited { code: 0 } => ExitCode::Done,
        _ => ExitCode::CheckFailed,
    })
}

fn source(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || Failure::bad_input(format!("cannot read the program {}", path.display()));
    let mut source = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_PROGRAM + 1).read_to_end(&mut source))
        .with_context(cannot)?;
    if source.len() as u64 > LARGEST_PROGRAM {
        let most = show_size(LARGEST_PROGRAM);
        return Err(Failure::bad_input(format!("{} is larger than {most}", path.display())).into());
    }
    Ok(source)
}

fn stdin() -> anyhow::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut bytes = Vec::new();
    if !stdin.is_terminal() {
        let read = stdin.lock().take(LARGEST_STDIN + 1).read_to_end(&mut bytes);
        read.with_context(|| Failure::bad_input("cannot read standard input"))?;
    }
    if bytes.len() as u64 > LARGEST_STDIN {
        let most = show_size(LARGEST_STDIN);
        return Err(Failure::bad_input(format!("standard input is larger than {most}")).into());
    }
    Ok(bytes)
}

/// The program's bytes as they are, except on a terminal, which they could take over.
fn show(report: &RunReport, limits: &Limits) -> anyhow::Result<()> {
    let safe = |bytes: &[u8], terminal: bool| match terminal {
        true => multiline(&String::from_utf8_lossy(bytes))
            .into_owned()
            .into_bytes(),
        false => bytes.to_vec(),
    };
    let (stdout, stderr) = (&report.stdout.bytes, &report.stderr.bytes);
    let summary = Palette::of(&io::stderr()).dim(&summary(report, limits));
    output::print(safe(stdout, io::stdout().is_terminal()))?;
    say(safe(stderr, io::stderr().is_terminal()));
    let begun_line = stderr.last().is_some_and(|&last| last != b'\n');
    say(format!("{}{summary}\n", if begun_line { "\n" } else { "" }));
    Ok(())
}

fn summary(report: &RunReport, limits: &Limits) -> String {
    let usage = &report.usage;
    let path = match report.path {
        executor::Path::Cold => "cold",
        executor::Path::Warm => "warm",
    };
    let mut parts = vec![
        format!("codejury: {}", describe(report.outcome, limits)),
        format!("wall time {}", show_duration(usage.wall_time)),
        format!("CPU time {}", show_duration(usage.cpu_time())),
        format!("peak memory {}", show_size(usage.memory_peak_bytes)),
        format!("setup time {}", show_duration(usage.setup_time)),
        format!("{}, {path}", report.isolation.as_str()),
    ];
    for (name, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if captured.truncated {
            let kept = show_size(captured.bytes.len() as u64);
            parts.push(format!(
                "{name} cut: {kept} of {} kept",
                show_size(captured.bytes_total)
            ));
        }
    }
    parts.join(" | ")
}

fn describe(outcome: Outcome, limits: &Limits) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exit code {code}"),
        Outcome::Signaled { signal } => match Signal::try_from(signal) {
            Ok(name) => format!("killed by {name}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        Outcome::LimitExceeded { limit } => match limit {
            LimitKind::WallTime => {
                format!("over its wall time, {}", show_duration(limits.wall_time))
            }
            LimitKind::CpuTime => format!("over its CPU time, {}", show_duration(limits.cpu_time)),
            LimitKind::Memory => format!("over its memory, {}", show_size(limits.memory_bytes)),
            LimitKind::Output => format!("over its stdout, {}", show_size(limits.stdout_bytes)),
        },
        Outcome::CellLost => "it took the sandbox down, twice".to_owned(),
    }
}

/// The report as outside programs read it.
fn to_json(report: &RunReport) -> String {
    let mut row = Map::new();
    row.insert("outcome".into(), json!(report.outcome));
    for (name, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        let Captured {
            bytes,
            bytes_total,
            truncated,
        } = captured;
        match std::str::from_utf8(bytes) {
            Ok(text) => row.insert(name.into(), text.into()),
            Err(_) => row.insert(format!("{name}_b64"), BASE64.encode(bytes).into()),
        };
        row.insert(format!("{name}_bytes_total"), (*bytes_total).into());
        row.insert(format!("{name}_truncated"), (*truncated).into());
    }
    row.insert("usage".into(), json!(UsageRow::from(&report.usage)));
    row.insert("isolation".into(), json!(report.isolation));
    row.insert("backend".into(), report.backend().into());
    row.insert("path".into(), json!(report.path));
    if let Some(wasm) = &report.wasm {
        row.insert("wasm".into(), json!(wasm));
    }
    Value::Object(row).to_string()
}
