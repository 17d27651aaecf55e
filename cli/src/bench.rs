//! `codejury bench`: what a run costs on this host, beside the same program without any sandbox.

mod measure;

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use executor::{PathRequest, Runner, Sandbox, SandboxConfig};
use serde::Serialize;

use crate::args::BenchArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::{self, Align, Cell, Palette, Table, say};
use measure::{Bare, Bench, Cost};

/// Name, and text; each prints what it reads.
const PROGRAMS: [(&str, &str); 3] = [
    ("trivial", "print(input())\n"),
    (
        "standard",
        "from typing import List, Optional\nimport math, re, random\nfrom collections import deque\n\
         from functools import lru_cache\nprint(input())\n",
    ),
    (
        "numpy",
        "import numpy as np\nassert np.arange(10).sum() == 45\nprint(input())\n",
    ),
];
/// One run of a fresh interpreter stands for this many others, so that all take a like time.
const SLOW: u32 = 20;

/// One line of the result.
#[derive(Debug, Serialize)]
struct Row {
    program: &'static str,
    way: Way,
    /// Runs in each round.
    runs: u32,
    runs_per_s: Spread,
    cpu_us_per_run: Spread,
    /// CPU of a bare subprocess over that of this way, in the same round.
    times_less_than_subprocess: Spread,
    /// CPU of this way over that of a bare fork, in the same round.
    ratio_to_fork: Spread,
}

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Subprocess,
    Fork,
    Warm,
    WarmCompiled,
    Cold,
    Wasm,
}

impl Way {
    fn text(self) -> &'static str {
        match self {
            Self::Subprocess => "bare subprocess.run, no sandbox",
            Self::Fork => "bare fork, no sandbox",
            Self::Warm => "sandboxed, warm",
            Self::WarmCompiled => "sandboxed, warm, compiled once",
            Self::Cold => "sandboxed, cold",
            Self::Wasm => "sandboxed, wasm",
        }
    }

    fn is_slow(self) -> bool {
        matches!(self, Self::Subprocess | Self::Cold)
    }
}

/// Median, least and most over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// `figures` are not empty.
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let (half, last) = (figures.len() / 2, figures.len() - 1);
        let median = if figures.len() % 2 == 1 {
            figures[half]
        } else {
            (figures[half - 1] + figures[half]) / 2.0
        };
        Self {
            median,
            min: figures[0],
            max: figures[last],
        }
    }

    fn ratio(self) -> String {
        format!("{:.2} ({:.2}–{:.2})", self.median, self.min, self.max)
    }
}

#[derive(Debug, Serialize)]
struct Measured {
    schema: &'static str,
    codejury: &'static str,
    kernel: String,
    processors: usize,
    python: String,
    isolation: &'static str,
    workers: usize,
    rounds: usize,
    rows: Vec<Row>,
    /// What could not be measured here, and why.
    left_out: Vec<String>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.map_or(processors, usize::from);
    let sandbox = |path| {
        Sandbox::new(SandboxConfig {
            python: args.python.clone(),
            path,
            slots: Some(workers),
            ..SandboxConfig::default()
        })
    };
    let cold = Arc::new(sandbox(PathRequest::Cold)?);
    let mut left_out = Vec::new();
    let mut ways = vec![Way::Subprocess, Way::Fork];
    let warm = match sandbox(PathRequest::Warm) {
        Ok(warm) => {
            ways.extend([Way::Warm, Way::WarmCompiled]);
            Some(Arc::new(warm))
        }
        Err(error) => {
            left_out.push(format!("warm: {error}"));
            None
        }
    };
    ways.push(Way::Cold);
    match crate::backend::wasm(wasm::Mode::Deterministic, None, Some(workers)) {
        Ok(_) => ways.push(Way::Wasm),
        Err(error) => left_out.push(format!("wasm: {error}")),
    }
    let interpreter = cold.interpreter().clone();
    let bench = Bench::new(interpreter.executable.clone(), workers)?;

    let mut rows = Vec::new();
    for (name, program) in PROGRAMS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        let probe = measure::request(program);
        if cold.run(&probe)?.stdout.bytes != measure::INPUT {
            left_out.push(format!(
                "{name}: {} cannot run it",
                interpreter.executable.display()
            ));
            continue;
        }
        // What wasm has no package for is measured on the native backend alone.
        let ways: Vec<Way> = ways
            .iter()
            .copied()
            .filter(|way| *way != Way::Wasm || name != "numpy")
            .collect();
        let mut rounds: Vec<Vec<Cost>> = Vec::new();
        for round in 0..args.rounds {
            say(format!("{name}: round {} of {}\n", round + 1, args.rounds));
            let mut costs = vec![Cost::default(); ways.len()];
            // Every other round in reverse, so that what drifts favours none.
            let mut order: Vec<usize> = (0..ways.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let way = ways[index];
                let runs = runs_of(way, args.runs);
                costs[index] = match (way, &warm) {
                    (Way::Subprocess, _) => bench.bare(Bare::Subprocess, program, runs)?,
                    (Way::Fork, _) => bench.bare(Bare::Fork, program, runs)?,
                    (Way::Warm, Some(warm)) => bench.native(warm, program, runs, false)?,
                    (Way::WarmCompiled, Some(warm)) => bench.native(warm, program, runs, true)?,
                    (Way::Cold, _) => bench.native(&cold, program, runs, false)?,
                    (Way::Wasm, _) => bench.whole(program, runs, &|| {
                        let made =
                            crate::backend::wasm(wasm::Mode::Deterministic, None, Some(workers))?;
                        Ok(Box::new(made) as Box<dyn Runner>)
                    })?,
                    (Way::Warm | Way::WarmCompiled, None) => {
                        unreachable!("not among the ways without a warm sandbox")
                    }
                };
            }
            rounds.push(costs);
        }
        rows.extend(ways.iter().enumerate().map(|(index, &way)| {
            let spread = |figure: &dyn Fn(&[Cost]) -> f64| {
                Spread::of(rounds.iter().map(|costs| figure(costs)).collect())
            };
            Row {
                program: name,
                way,
                runs: runs_of(way, args.runs),
                runs_per_s: spread(&|costs| costs[index].runs_per_s),
                cpu_us_per_run: spread(&|costs| costs[index].cpu_us_per_run),
                times_less_than_subprocess: spread(&|costs| {
                    costs[0].cpu_us_per_run / costs[index].cpu_us_per_run
                }),
                ratio_to_fork: spread(&|costs| {
                    costs[index].cpu_us_per_run / costs[1].cpu_us_per_run
                }),
            }
        }));
    }
    if rows.is_empty() {
        return Err(Failure::bad_input(left_out.join("; ")).into());
    }
    let uname = nix::sys::utsname::uname().context("cannot ask for the kernel's release")?;
    let result = Measured {
        schema: "codejury.bench/1",
        codejury: env!("CARGO_PKG_VERSION"),
        kernel: uname.release().to_string_lossy().into_owned(),
        processors,
        python: format!(
            "{} at {}",
            interpreter.version,
            interpreter.executable.display()
        ),
        isolation: cold.isolation().as_str(),
        workers,
        rounds: args.rounds,
        rows,
        left_out,
    };
    output::print(if args.json {
        serde_json::to_string_pretty(&result)? + "\n"
    } else {
        text(&result, Palette::of(&io::stdout()))
    })?;
    Ok(ExitCode::Done)
}

fn runs_of(way: Way, runs: u32) -> u32 {
    if way.is_slow() {
        (runs / SLOW).max(1)
    } else {
        runs
    }
}

fn text(result: &Measured, palette: Palette) -> String {
    let mut table = Table::new([
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ]);
    let head = [
        "program",
        "way",
        "runs/s",
        "CPU µs a run",
        "× less than subprocess",
        "× a bare fork",
    ];
    table.row(head.map(|title| Cell::painted(title, Palette::dim)));
    let mut last = "";
    for row in &result.rows {
        table.row([
            if row.program == last { "" } else { row.program }.into(),
            row.way.text().into(),
            format!("{:.0}", row.runs_per_s.median).into(),
            format!("{:.0}", row.cpu_us_per_run.median).into(),
            row.times_less_than_subprocess.ratio().into(),
            row.ratio_to_fork.ratio().into(),
        ]);
        last = row.program;
    }
    let mut text = format!(
        "{}, Linux {}, {} of {} processors, {}; {} rounds, medians (least–most)\n\n{}",
        output::inline(&result.python),
        output::inline(&result.kernel),
        result.workers,
        result.processors,
        result.isolation,
        result.rounds,
        table.render(palette),
    );
    for left_out in &result.left_out {
        text += &format!("\nnot measured: {}", output::inline(left_out));
    }
    if !result.left_out.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_medians_with_their_range() {
        let cases = [
            (vec![3.0], (3.0, 3.0, 3.0)),
            (vec![4.0, 1.0], (2.5, 1.0, 4.0)),
            (vec![9.0, 1.0, 2.0], (2.0, 1.0, 9.0)),
        ];
        for (figures, (median, min, max)) in cases {
            assert_eq!(Spread::of(figures), Spread { median, min, max });
        }
    }
}
