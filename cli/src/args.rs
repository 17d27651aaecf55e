//! What can be typed. Words become values here; whether values go together is decided by
//! [`crate::config`].

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use eval::{ExtractRule, Format, TestSelection};
use judge::Compare;
use serde::Serialize;

use crate::eval_args::{
    CompareArgs, ConfigArgs, EvalArgs, GuardArgs, HandoffCommand, ManifestArgs, TrackCommand,
    WatchArgs,
};
use crate::wasm::WasmCommand;
use crate::{exit, units};

/// Judges programs that language models wrote, each run in a sandbox.
///
/// Give it a dataset and recorded completions; it runs every submission on every test case, says
/// what became of each (success, wrong_answer, syntax_error, runtime_error, timeout), and computes
/// the rates. Without arguments `codejury judge` judges a small suite that comes with it.
#[derive(Debug, Parser)]
#[command(
    name = "codejury",
    version,
    long_version = long_version(),
    after_help = "`codejury help COMMAND` says more.",
    after_long_help = long_help(),
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn long_version() -> &'static str {
    concat!(
        env!("CARGO_PKG_VERSION"),
        "\ntarget:   ",
        env!("CODEJURY_TARGET"),
        "\ncompiler: ",
        env!("CODEJURY_RUSTC"),
        "\nprofile:  ",
        env!("CODEJURY_PROFILE"),
    )
}

fn long_help() -> String {
    format!(
        "\
Examples:
  codejury doctor                      what this host can isolate, and what to do about the rest
  codejury judge                       the bundled suite: a first look, takes seconds
  codejury judge --dataset HumanEval.jsonl.gz --completions samples.jsonl
  codejury dataset check mbpp.jsonl    do the dataset's own solutions pass under these limits?
  codejury run prog.py < input.txt     one program in the sandbox

Durations: 2s, 500ms, 1.5m; a bare number is seconds.
Sizes: 512MiB, 2GiB, 64KiB; MB means MiB, a bare number is bytes.

{}",
        exit::TABLE
    )
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Judge(Box<JudgeArgs>),
    Run(Box<RunArgs>),
    #[command(subcommand)]
    Dataset(DatasetCommand),
    Doctor(DoctorArgs),
    Bench(BenchArgs),
    Classify(ClassifyArgs),
    Serve(Box<ServeArgs>),
    Completions(CompletionsArgs),
    Eval(Box<EvalArgs>),
    Watch(Box<WatchArgs>),
    Compare(Box<CompareArgs>),
    #[command(subcommand)]
    Handoff(HandoffCommand),
    #[command(subcommand)]
    Export(TrackCommand),
    Config(Box<ConfigArgs>),
    #[command(subcommand)]
    Wasm(WasmCommand),
    #[command(hide = true)]
    Guard(GuardArgs),
}

/// Judge recorded completions of a dataset's problems
///
/// Runs every completion on its problem's test cases and writes, for each dataset,
/// verdicts/<dataset>.jsonl (one row a verdict, written as it is reached), metrics.json,
/// summary.json and run.json. Ctrl-C keeps what is done; the same command then goes on from there.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury judge
  codejury judge --dataset HumanEval.jsonl.gz --completions samples.jsonl --out results/
  codejury judge --dataset mbpp.jsonl --numbers 11..210 --completions reference
  codejury judge --dataset problems.jsonl --completions c.jsonl --wall-time 10s --memory 512MiB
  codejury judge --dataset a.jsonl --dataset b.parquet --completions c.jsonl --json | jq .

Completions are JSON Lines: {\"problem_id\", \"sample\", \"completion\"} with a model's raw text,
{\"problem_id\", \"sample\", \"source\"} with a finished program, or human-eval's
{\"task_id\", \"completion\"}. Limits and comparison: a flag wins over the problem's row, which wins
over the built-in default.")]
pub(crate) struct JudgeArgs {
    /// A dataset file (JSON Lines, JSON or parquet; gzip or zstd), or the name of a bundled dataset;
    /// may be given several times
    #[arg(long, value_name = "NAME|FILE", num_args = 1.., default_value = "starter")]
    pub(crate) dataset: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) reading: ReadingArgs,

    /// A file of completions, or `reference` for the dataset's own solutions
    ///
    /// May be left out for the bundled dataset, which has recorded completions.
    #[arg(long, value_name = "FILE|reference")]
    pub(crate) completions: Option<PathBuf>,

    /// How the program is found in a completion's text
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = words::<ExtractRule>(["auto", "none", "chat", "completion"]))]
    pub(crate) extract: ExtractRule,

    /// Leave out problems without a completion, rather than refuse to start
    #[arg(long)]
    pub(crate) allow_missing: bool,

    /// Leave out completions for problems that the dataset does not have, rather than refuse to start
    #[arg(long)]
    pub(crate) allow_unknown: bool,

    /// Results folder [default: ./codejury-out/<dataset>]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Go on from the results in the folder; refuses those made with other settings (the default)
    #[arg(long, conflicts_with = "fresh")]
    pub(crate) resume: bool,

    /// Discard the results in the folder
    #[arg(long)]
    pub(crate) fresh: bool,

    #[command(flatten)]
    pub(crate) judging: JudgingArgs,

    /// Print one JSON event a line on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a dataset's files are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading the dataset")]
pub(crate) struct ReadingArgs {
    /// The format; auto tells it from the first row
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = words::<FormatChoice>(formats()))]
    pub(crate) format: FormatChoice,

    /// Which tests of a CodeContests or LiveCodeBench row are used
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = words::<TestSelection>(["all", "public", "private", "generated"]))]
    pub(crate) tests: TestSelection,

    /// Only the problems whose id ends in a number of this range, both ends included
    #[arg(long, value_name = "FIRST..LAST", value_parser = numbers)]
    pub(crate) numbers: Option<RangeInclusive<u64>>,

    /// Only so many problems, by the hash of their id: hash:500
    #[arg(long, value_name = "hash:N")]
    pub(crate) select: Option<eval::Selection>,

    /// Append MBPP's challenge_test_list to the asserts
    #[arg(long)]
    pub(crate) challenge_tests: bool,
}

/// How submissions are judged, whichever command asks.
#[derive(Debug, Args)]
pub(crate) struct JudgingArgs {
    /// How output is compared with the expected one [default: the dataset's, else tokens]
    ///
    /// exact, rstrip_nl, lines, tokens, tokens_ci, float(ABS,REL), codecontests, unordered_lines,
    /// compat:deepmind, compat:sandboxfusion, compat:livecodebench, compat:prime_code
    #[arg(long, value_name = "MODE", help_heading = "Judging")]
    pub(crate) compare: Option<Compare>,

    /// Which failing test case gives a submission its error type: the first in dataset order, or
    /// the worst
    #[arg(
        long,
        value_name = "HOW",
        default_value = "first",
        help_heading = "Judging"
    )]
    pub(crate) aggregate: AggregateChoice,

    /// After this many timeouts of a submission its other test cases are skipped; 0 runs them all
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Judging")]
    pub(crate) max_timeouts: u32,

    /// Whether tests of functions run apart from the candidate
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        help_heading = "Judging"
    )]
    pub(crate) integrity: IntegrityChoice,

    /// Which limits apply where neither flag nor row states one: the built-in ones, or those that
    /// the dataset's source states
    #[arg(
        long,
        value_name = "WHOSE",
        default_value = "default",
        help_heading = "Limits of a run"
    )]
    pub(crate) limits: LimitsChoice,

    #[command(flatten)]
    pub(crate) limit: LimitArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    /// How many runs go on at once [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096), help_heading = "Sandbox")]
    pub(crate) workers: Option<u16>,

    /// Whether cells proven clean are used again
    #[arg(
        long,
        value_name = "HOW",
        default_value = "reuse",
        help_heading = "Sandbox"
    )]
    pub(crate) cells: CellsChoice,

    /// Keep verdicts in this folder and take them from there
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "no_cache",
        help_heading = "Judging"
    )]
    pub(crate) cache: Option<PathBuf>,

    /// Judge everything anew, also what was judged already in this run
    #[arg(long, help_heading = "Judging")]
    pub(crate) no_cache: bool,
}

/// Limits of one run; what is not given is as the row says, else the default.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits of a run")]
pub(crate) struct LimitArgs {
    /// Wall time from program start [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) wall_time: Option<Duration>,

    /// CPU time of all its processes [default: the wall time]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) cpu_time: Option<Duration>,

    /// Memory on top of what the interpreter needs [default: 1024MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) memory: Option<u64>,

    /// Standard output; more ends the run [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::buffer)]
    pub(crate) stdout: Option<u64>,

    /// Standard error kept, half from its head, half from its tail [default: 128KiB]
    #[arg(long, value_name = "SIZE", value_parser = units::buffer)]
    pub(crate) stderr: Option<u64>,

    /// Processes and threads [default: 64]
    #[arg(long, value_name = "N", value_parser = count::<u32>(1, 32_768))]
    pub(crate) tasks: Option<u32>,

    /// Open files of a process [default: 256]
    #[arg(long, value_name = "N", value_parser = count::<u32>(8, 1 << 20))]
    pub(crate) open_files: Option<u32>,

    /// Largest file it may write [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) file_size: Option<u64>,

    /// Scratch space: working directory, /tmp, /dev/shm and /mnt together [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) scratch: Option<u64>,

    /// Files and folders in the scratch space [default: 10000]
    #[arg(long, value_name = "N", value_parser = count::<u64>(1, 1 << 30))]
    pub(crate) scratch_inodes: Option<u64>,
}

/// Where and how programs run.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct SandboxArgs {
    /// The interpreter: a path or a name on PATH; shims, venvs and conda prefixes included
    /// [default: python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// The isolation that is required; a host that cannot give it is an error
    #[arg(long, value_name = "LEVEL")]
    pub(crate) isolation: Option<IsolationChoice>,

    /// What runs programs
    #[arg(long, value_name = "WHICH")]
    pub(crate) backend: Option<BackendChoice>,

    /// How the wasm backend limits time
    #[arg(long, value_name = "HOW", default_value = "deterministic")]
    pub(crate) wasm_mode: WasmModeChoice,

    /// Fuel that counts as one second of CPU time on the wasm backend
    /// [default: 30000000000; for `eval` and `watch`, what the configuration says]
    #[arg(long, value_name = "N", value_parser = count::<u64>(1_000_000, 1 << 60))]
    pub(crate) wasm_fuel_per_second: Option<u64>,

    /// How programs start: forked from a warmed interpreter, or each in a new one
    #[arg(long, value_name = "WAY", default_value = "auto")]
    pub(crate) path: PathChoice,

    /// What network a program sees: none, or a loopback of its own
    /// [default: none; for `serve`, what its configuration says]
    #[arg(long, value_name = "WHAT")]
    pub(crate) network: Option<NetworkChoice>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AggregateChoice {
    #[default]
    First,
    Worst,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IntegrityChoice {
    #[default]
    Auto,
    Isolated,
    Shared,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LimitsChoice {
    #[default]
    Default,
    Source,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CellsChoice {
    #[default]
    Reuse,
    Once,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationChoice {
    /// All layers (the default)
    Namespaces,
    /// For hosts that forbid namespaces: seccomp, Landlock where the kernel has it, rlimits
    Restricted,
    /// The same as --backend wasm
    Wasm,
    /// The strongest that this host gives: namespaces, else wasm if it is installed, else restricted
    BestAvailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    /// This host's CPython (the default)
    Native,
    /// CPython compiled to WebAssembly (`codejury wasm setup` installs it): needs no namespaces
    Wasm,
    /// Wasm, and native for programs that need what wasm lacks
    Auto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WasmModeChoice {
    /// By fuel and a virtual clock: the same on every machine, at any load
    #[default]
    Deterministic,
    /// By the real clock: faster
    Plain,
}

impl From<WasmModeChoice> for wasm::Mode {
    fn from(choice: WasmModeChoice) -> Self {
        match choice {
            WasmModeChoice::Deterministic => Self::Deterministic,
            WasmModeChoice::Plain => Self::Plain,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathChoice {
    #[default]
    Auto,
    Warm,
    Cold,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkChoice {
    #[default]
    None,
    Loopback,
}

/// Run one Python program in the sandbox
///
/// Standard input is passed on (from a file or a pipe; a terminal gives none). Standard output and
/// standard error are the program's own bytes, followed by one line about the run on standard
/// error. The exit code is 0 if the program ended with 0, else 1.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury run prog.py < input.txt
  codejury run --wall-time 2s --memory 64MiB prog.py --flag-of-the-program
  echo 'print(6 * 7)' > x.py && codejury run --json x.py")]
pub(crate) struct RunArgs {
    /// The program
    pub(crate) file: PathBuf,

    /// Its arguments, options included
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,

    /// Print the report as JSON instead: outcome, both outputs, usage, isolation
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) limit: LimitArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
}

/// Look at datasets, convert them, and try their own solutions
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    List(ListArgs),
    Show(ShowArgs),
    Import(ImportArgs),
    Check(Box<CheckArgs>),
    Manifest(Box<ManifestArgs>),
}

/// List the bundled datasets, and those in the files given
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Dataset files
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) reading: ReadingArgs,

    /// Print JSON Lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a dataset holds, or one of its problems
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury dataset show starter
  codejury dataset show HumanEval.jsonl.gz HumanEval/0
  codejury dataset show mbpp.jsonl 11 --json")]
pub(crate) struct ShowArgs {
    /// A dataset file, or the name of a bundled dataset
    #[arg(value_name = "NAME|FILE")]
    pub(crate) dataset: PathBuf,

    /// A problem's id
    pub(crate) problem: Option<String>,

    #[command(flatten)]
    pub(crate) reading: ReadingArgs,

    /// Print native rows
    #[arg(long)]
    pub(crate) json: bool,
}

/// Convert a dataset to native rows (JSON Lines)
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury dataset import mbpp.jsonl --numbers 11..210 --name mbpp_reg --out mbpp_reg.jsonl
  codejury dataset import valid-*.parquet --name codecontests_valid --out valid.jsonl")]
pub(crate) struct ImportArgs {
    /// Its files, in order, or the name of a bundled dataset
    #[arg(value_name = "NAME|FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) reading: ReadingArgs,

    /// The dataset's name in results [default: from its rows or its file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Where the rows go
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Judge a dataset's own solutions and report those that fail
///
/// Tells whether the data can be read to its end, and whether limits and comparison are right for
/// it. The exit code is 1 if a solution fails.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A dataset file, or the name of a bundled dataset
    #[arg(value_name = "NAME|FILE")]
    pub(crate) dataset: PathBuf,

    #[command(flatten)]
    pub(crate) reading: ReadingArgs,

    #[command(flatten)]
    pub(crate) judging: JudgingArgs,

    /// Print one JSON event a line on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check what this host gives, layer by layer, and try a few escapes
///
/// The exit code is 1 if a layer that the default isolation needs is missing.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The interpreter to check with [default: python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure what a run costs on this host, beside the same program with no sandbox
///
/// Runs a few small programs in turns: as a bare subprocess, as a bare fork of a warmed interpreter,
/// and in the sandbox, warm, cold and on wasm. Prints runs a second, CPU time a run of everything that takes part, and ratios
/// within a round.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury bench
  codejury bench --workers 1 --rounds 9 --runs 2000 --only trivial
  codejury bench --python ./venv/bin/python --only numpy --json > bench.json

A bare subprocess and a cold run are made a twentieth as often as the others. On a machine with
other work the ratios still mean something, the times do not.")]
pub(crate) struct BenchArgs {
    /// The interpreter [default: python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// How many runs go on at once [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u16>::new().range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// How often each way is measured
    #[arg(long, value_name = "N", default_value = "5", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub(crate) rounds: usize,

    /// Runs a round
    #[arg(long, value_name = "N", default_value = "1000", value_parser = RangedU64ValueParser::<u32>::new().range(1..=10_000_000))]
    pub(crate) runs: u32,

    /// Only these programs
    #[arg(long, value_name = "PROGRAM", num_args = 1.., value_parser = PossibleValuesParser::new(["trivial", "standard", "numpy"]))]
    pub(crate) only: Vec<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Classify recorded standard error of Python programs
///
/// Prints one JSON line for each file: error_type, exception class and line. For logs of other
/// runners; our own verdicts never rest on what a program printed.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Files with a program's standard error; `-` is standard input
    #[arg(value_name = "FILE|-", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// How the programs were tested, which decides what a failed assertion means
    #[arg(long, value_name = "KIND", default_value = "program")]
    pub(crate) kind: KindChoice,

    /// The programs were compiled by a Python harness, so their syntax errors come with a traceback
    #[arg(long)]
    pub(crate) compiled_by_harness: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindChoice {
    /// By their output: an assertion is the program's own
    Program,
    /// By HumanEval's check(candidate)
    Check,
    /// By assert statements below them
    Asserts,
}

/// Serve the sandbox and the judge over HTTP
///
/// Answers SandboxFusion's contract (POST /run_code, /run_jupyter, /submit, …), so that its SDK and
/// verl work unchanged, and POST /v1/judge, which takes many submissions and streams verdicts. GET
/// /healthz, /readyz and /metrics (Prometheus). SIGTERM or Ctrl-C lets requests under way finish; a
/// second one ends at once. TLS is a proxy's business.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury serve
  codejury serve --listen 0.0.0.0:8080 --token-file /etc/codejury/token
  codejury serve --print-config > serve.toml; codejury serve --config serve.toml
  curl -s localhost:8080/run_code -H 'Content-Type: application/json' \\
       -d '{\"code\": \"print(1+1)\", \"language\": \"python\"}'")]
pub(crate) struct ServeArgs {
    /// Address and port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// A file whose first line is the bearer token that requests must carry
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// A configuration file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print a configuration file with every key, its default and what it means
    #[arg(long)]
    pub(crate) print_config: bool,

    /// Write {"url", "pid"} to this file once requests are answered
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// End when standard input is closed: a program that starts a server for itself holds the other
    /// end of a pipe, and the server ends with it, however that ends
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,

    /// What is logged on standard error: error, warn, info, debug, or a filter like
    /// server=debug,info
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    /// How many runs go on at once [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096), help_heading = "Sandbox")]
    pub(crate) slots: Option<u16>,

    /// Whether cells proven clean are used again
    #[arg(
        long,
        value_name = "HOW",
        default_value = "reuse",
        help_heading = "Sandbox"
    )]
    pub(crate) cells: CellsChoice,
}

/// Print a completion script for a shell
///
/// For example: codejury completions bash > /etc/bash_completion.d/codejury
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    pub(crate) shell: ShellChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellChoice {
    Bash,
    Zsh,
    Fish,
}

/// `auto`, or a format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatChoice(pub(crate) Option<Format>);

impl FromStr for FormatChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "auto" {
            Ok(Self(None))
        } else {
            name.parse().map(|format| Self(Some(format)))
        }
    }
}

fn formats() -> impl Iterator<Item = &'static str> {
    ["auto"].into_iter().chain(Format::ALL.map(Format::as_str))
}

/// One of some words that a library knows how to read. Listing them lets `--help` and the shell's
/// completion show them.
fn words<T>(words: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}

fn count<T: TryFrom<u64> + Clone + Send + Sync + 'static>(
    least: u64,
    most: u64,
) -> RangedU64ValueParser<T>
where
    T::Error: Send + Sync + std::error::Error,
{
    RangedU64ValueParser::new().range(least..=most)
}

/// `11..210`, both ends included.
fn numbers(text: &str) -> Result<RangeInclusive<u64>, String> {
    let expected = || "expected FIRST..LAST, for example 11..210".to_owned();
    let (first, last) = text.split_once("..").ok_or_else(expected)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| expected());
    let (first, last) = (number(first)?, number(last.trim_start_matches('='))?);
    if first > last {
        return Err(format!("{first} is larger than {last}"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ranges_of_numbers() {
        assert_eq!(numbers("11..210"), Ok(11..=210));
        assert_eq!(numbers("7..=7"), Ok(7..=7));
        for bad in ["", "11", "11..", "..210", "a..b", "1-2", "-1..2", "210..11"] {
            assert!(numbers(bad).is_err(), "{bad}");
        }
    }
}
