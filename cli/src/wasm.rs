//! `codejury wasm`: installs the interpreter of the wasm backend, says what is installed, and packs
//! it for other hosts.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use executor::{Check, Status};
use serde_json::json;
use wasm::setup::{Manifest, Parts};
use wasm::{Cache, Mode, SetupError, WASMTIME_VERSION, cache};

use crate::exit::ExitCode;
use crate::output::{self, Align, Palette, Table};

/// The wasm backend's interpreter: install it, look at it, pack it for other hosts
#[derive(Debug, Subcommand)]
pub(crate) enum WasmCommand {
    Setup(WasmSetupArgs),
    Status(WasmStatusArgs),
    Pack(WasmPackArgs),
}

/// Install the interpreter that the wasm backend runs programs on
///
/// Without --python and --build, compiles anew what is installed, or installs the file that came with
/// codejury (a wheel can carry one, in share/codejury beside its bin). It goes to CODEJURY_WASM_DIR, or
/// codejury/wasm in XDG_DATA_HOME (~/.local/share), a folder that must be yours alone.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  codejury wasm setup --build                  build it here: four minutes of two cores
  codejury wasm setup --python python.tar.zst  install a file that `codejury wasm pack` wrote
  codejury wasm setup                          install the file that came with codejury, or compile anew

A build needs bash, make, patch, a native Python of the same minor version (3.11) with pip, and
about 1 GiB of disk. Its inputs are pinned by hash; those that --sources lacks come from Debian's
source packages (apt-get) and from PyPI (pip). Nothing is fetched without --build.")]
pub(crate) struct WasmSetupArgs {
    /// Install this release file
    #[arg(long, value_name = "FILE", conflicts_with = "build")]
    pub(crate) python: Option<PathBuf>,

    /// Build it from pinned sources, and install it
    #[arg(long)]
    pub(crate) build: bool,

    /// Where a build's inputs lie, or are put
    #[arg(long, value_name = "DIR", requires = "build")]
    pub(crate) sources: Option<PathBuf>,

    /// Where to build, to be kept [default: a temporary folder]
    #[arg(long, value_name = "DIR", requires = "build")]
    pub(crate) work: Option<PathBuf>,
}

/// Say which interpreter the wasm backend has, and whether it is whole
///
/// The exit code is 3 if there is none that can be used.
#[derive(Debug, Args)]
pub(crate) struct WasmStatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write the installed interpreter into one file, for `codejury wasm setup --python FILE` elsewhere
#[derive(Debug, Args)]
pub(crate) struct WasmPackArgs {
    /// The file to write: a tar archive, compressed by zstd
    pub(crate) file: PathBuf,
}

pub(crate) fn run(command: &WasmCommand) -> anyhow::Result<ExitCode> {
    match command {
        WasmCommand::Setup(args) => setup(args),
        WasmCommand::Status(args) => status(args),
        WasmCommand::Pack(args) => pack(args),
    }
}

fn setup(args: &WasmSetupArgs) -> anyhow::Result<ExitCode> {
    let cache = Cache::of_user()?;
    let manifest = match (&args.python, args.build) {
        (Some(file), _) => install(&cache, &Parts::read(file)?)?,
        (None, true) => {
            let built = Parts::build(args.sources.as_deref(), args.work.as_deref())?;
            install(&cache, &built)?
        }
        (None, false) => match cache.recompile() {
            Err(error @ SetupError::NotInstalled(_)) => match cache::carried() {
                Some(file) => install(&cache, &Parts::read(&file)?)?,
                None => return Err(error.into()),
            },
            compiled => compiled?,
        },
    };
    output::say(format!(
        "CPython {} for the wasm backend is installed in {}\n",
        manifest.python_version,
        cache.folder().display()
    ));
    Ok(ExitCode::Done)
}

fn install(cache: &Cache, parts: &Parts) -> Result<Manifest, SetupError> {
    cache.install(parts)?;
    Ok(parts.manifest().clone())
}

fn pack(args: &WasmPackArgs) -> anyhow::Result<ExitCode> {
    let parts = Cache::of_user()?.parts()?;
    parts.write(&args.file)?;
    Ok(ExitCode::Done)
}

/// What is installed, each part checked.
struct Report {
    manifest: Manifest,
    /// Whether each mode is compiled.
    compiled: [(Mode, bool); 2],
}

fn report(cache: &Cache) -> Result<Report, SetupError> {
    let parts = cache.parts()?;
    let mut compiled = Mode::ALL.map(|mode| (mode, false));
    for (mode, is_compiled) in &mut compiled {
        *is_compiled = cache.compiled_for(*mode)?.is_some();
    }
    Ok(Report {
        manifest: parts.manifest().clone(),
        compiled,
    })
}

fn status(args: &WasmStatusArgs) -> anyhow::Result<ExitCode> {
    let cache = Cache::of_user()?;
    let report = match report(&cache) {
        Ok(report) => report,
        Err(error) if args.json => {
            let text = json!({
                "schema": "codejury.wasm-status/1",
                "usable": false,
                "folder": cache.folder(),
                "error": error.to_string(),
                "hint": error.hint(),
            });
            output::print(serde_json::to_string_pretty(&text)? + "\n")?;
            return Ok(ExitCode::HostCannot);
        }
        Err(error) => return Err(error).context("the wasm backend cannot be used"),
    };
    let manifest = &report.manifest;
    if args.json {
        let compiled: serde_json::Map<_, _> = report
            .compiled
            .iter()
            .map(|(mode, is)| (mode.as_str().to_owned(), (*is).into()))
            .collect();
        let text = json!({
            "schema": "codejury.wasm-status/1",
            "usable": true,
            "folder": cache.folder(),
            "wasmtime": WASMTIME_VERSION,
            "compiled": compiled,
            "manifest": manifest,
        });
        output::print(serde_json::to_string_pretty(&text)? + "\n")?;
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new([Align::Left; 2]);
    let folder = cache.folder().display().to_string();
    let mut row = |name: &str, text: &str| table.row([name.into(), text.into()]);
    row(
        "interpreter",
        &format!("CPython {}", manifest.python_version),
    );
    row("module", &manifest.module_sha256);
    row("library", &manifest.stdlib_sha256);
    row("folder", &folder);
    row("wasmtime", WASMTIME_VERSION);
    for (mode, is_compiled) in report.compiled {
        let text = match is_compiled {
            true => "compiled",
            false => "will be compiled when it is first used",
        };
        row(&format!("{} mode", mode.as_str()), text);
    }
    output::print(table.render(Palette::of(&io::stdout())))?;
    Ok(ExitCode::Done)
}

/// The name of the doctor's line about this backend.
pub(crate) const CHECK: &str = "wasm backend";

/// The doctor's line about this backend. That none is installed is no fault of the host's.
pub(crate) fn check() -> Check {
    let (status, detail, remedy) = match Cache::of_user().and_then(|cache| report(&cache)) {
        Ok(report) => {
            let (status, workers, remedy) = check_workers(&report);
            let version = &report.manifest.python_version;
            let detail = format!("CPython {version}, wasmtime {WASMTIME_VERSION}; {workers}");
            (status, detail, remedy)
        }
        Err(SetupError::NotInstalled(_)) => (
            Status::Caution,
            "not installed; the native backend does not need it".to_owned(),
            format!("`{}` installs it", cache::setup_command()),
        ),
        Err(error) => (Status::Caution, error.to_string(), error.hint()),
    };
    Check {
        name: CHECK,
        status,
        detail,
        remedy,
    }
}

/// What a worker says of itself, if one can be started without compiling for seconds.
fn check_workers(report: &Report) -> (Status, String, String) {
    if report.compiled.iter().any(|(_, is_compiled)| !is_compiled) {
        let remedy = "`codejury wasm setup` compiles it now".to_owned();
        return (
            Status::Pass,
            "compiled when it is first used".to_owned(),
            remedy,
        );
    }
    match crate::backend::wasm(wasm::Mode::Deterministic, None, Some(1)) {
        Ok(sandbox) if sandbox.is_confined() => {
            let text = "its workers are behind a filter of their own";
            (Status::Pass, text.to_owned(), String::new())
        }
        Ok(_) => (
            Status::Caution,
            "its workers have no filter of their own".to_owned(),
            "this host forbids seccomp filters, or this build has none for its processor: \
             WebAssembly alone holds the programs"
                .to_owned(),
        ),
        Err(error) => (
            Status::Caution,
            format!("{error:#}"),
            "`codejury wasm status` says more".to_owned(),
        ),
    }
}
