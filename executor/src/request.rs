//! What a caller asks for, and what it gets back.

use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Imports, Isolation, Limits, Outcome, Usage};

/// One program to run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// What to run.
    pub program: Program,
    /// Everything the program can read on standard input.
    pub stdin: Arc<[u8]>,
    /// The program compiled by the sandbox's interpreter and marshalled, with
    /// [`Interpreter::script`](crate::Interpreter::script) as its file name. Saves a warm run the
    /// compilation; a cold one compiles the source all the same.
    pub code: Option<Arc<[u8]>>,
    /// What its cells have loaded before they run it, if they are warm.
    pub resident: Option<Resident>,
    /// Files put into the working directory first; a request with files gets a cell of its own.
    pub files: Vec<InputFile>,
    /// Added to the fixed environment.
    pub env: Vec<(String, String)>,
    /// What the run may use.
    pub limits: Limits,
    /// What network it sees.
    pub network: Network,
    /// What a warmed interpreter has ready for this program, apart from time invisible to it; `None`
    /// takes what its text imports.
    pub imports: Option<Imports>,
    /// The texts that the program will run, where it is a harness that finds them in its input; empty
    /// for others. With them [`Runner`](crate::Runner)s choose a backend.
    pub sources: Vec<Arc<[u8]>>,
    /// Gives the program descriptor 3, a pipe whose bytes come back in [`RunReport::report`]. For
    /// harnesses of ours; what is written there can be forged by the program.
    pub report_pipe: bool,
    /// Files to read back after the run; paths as in [`InputFile`].
    pub collect: Vec<PathBuf>,
}

impl RunRequest {
    /// A Python program with default limits, no arguments, and nothing on standard input.
    pub fn python(source: impl Into<Arc<[u8]>>) -> Self {
        Self {
            program: Program::Python {
                source: source.into(),
                args: Vec::new(),
            },
            stdin: Arc::from(&b""[..]),
            code: None,
            resident: None,
            files: Vec::new(),
            env: Vec::new(),
            limits: Limits::default(),
            network: Network::None,
            imports: None,
            sources: Vec::new(),
            report_pipe: false,
            collect: Vec::new(),
        }
    }
}

/// A program of ours that runs again and again, each time with another input: a warmed interpreter
/// loads it once.
///
/// `code` is a module, compiled by the sandbox's interpreter and marshalled; running it leaves a
/// function `run` in its namespace, and does nothing else. A warm run calls `run()` in place of
/// running `main.py`, and finds its standard input without the first `stdin_bytes`. A cold one runs
/// `main.py`, which must come to the same.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The compiled module.
    pub code: Arc<[u8]>,
    /// How much of standard input is for `main.py` alone.
    pub stdin_bytes: usize,
}

impl PartialEq for Resident {
    fn eq(&self, other: &Self) -> bool {
        self.stdin_bytes == other.stdin_bytes
            && (Arc::ptr_eq(&self.code, &other.code) || self.code == other.code)
    }
}

impl Eq for Resident {}

impl Hash for Resident {
    /// Of the lengths alone: there are few, and this stands in the way of every run.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.code.len(), self.stdin_bytes).hash(state);
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub enum Program {
    /// Python source, run as `python main.py args…`.
    Python {
        /// Bytes of `main.py`.
        source: Arc<[u8]>,
        /// Arguments after the script's name.
        args: Vec<OsString>,
    },
    /// A command line; `argv[0]` is looked up on the cell's PATH.
    Command {
        /// The command and its arguments.
        argv: Vec<OsString>,
    },
}

/// A file placed into the run's own folders before the run.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Relative to the working directory, or absolute below `/tmp`, `/mnt` or `/dev/shm` (not at
    /// level `restricted`); no `..`.
    pub path: PathBuf,
    /// Its content.
    pub content: Arc<[u8]>,
}

/// What network a run sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// None: any internet socket raises `PermissionError`.
    #[default]
    None,
    /// A private loopback that no other run shares.
    Loopback,
}

/// Captured output: at most the limit is kept, everything is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The bytes kept. Standard error keeps its head and its tail.
    pub bytes: Vec<u8>,
    /// How many bytes the program wrote.
    pub bytes_total: u64,
    /// Whether bytes were dropped.
    pub truncated: bool,
}

/// Which way a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The interpreter was started for this run.
    Cold,
    /// Forked from a warmed interpreter.
    Warm,
}

/// Which way runs may be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathRequest {
    /// Warm where the host and the request allow it, else cold.
    #[default]
    Auto,
    /// Warm; a host that cannot is an error. A request that cannot be had warm runs cold.
    Warm,
    /// Always cold.
    Cold,
}

/// Everything known about one finished run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// What happened.
    pub outcome: Outcome,
    /// Standard output: its head, up to the limit.
    pub stdout: Captured,
    /// Standard error: head and tail.
    pub stderr: Captured,
    /// What came through the report pipe (at most 16 MiB), if one was asked for.
    pub report: Vec<u8>,
    /// The files asked for that exist and are regular, in the order of the request.
    pub collected: Vec<(PathBuf, Vec<u8>)>,
    /// What it used.
    pub usage: Usage,
    /// The isolation actually enforced.
    pub isolation: Isolation,
    /// How it was started.
    pub path: Path,
    /// What the run depends on if the wasm backend made it; `None` for others.
    pub wasm: Option<WasmUsage>,
}

/// What a run of the wasm backend used, and what its fuel is a function of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WasmUsage {
    /// Fuel used: the same on every machine. `None` in plain mode, which uses the real clock.
    pub fuel: Option<u64>,
    /// Fuel that counted as one second of CPU time.
    pub fuel_per_second: Option<u64>,
    /// The interpreter module.
    pub module_sha256: Arc<str>,
    /// The wasmtime version.
    pub wasmtime: Arc<str>,
    /// Modules that the program asked for and that this interpreter lacks.
    #[serde(skip)]
    pub missing: Vec<String>,
}

impl RunReport {
    /// The backend that made the run: `native` or `wasm`.
    pub fn backend(&self) -> &'static str {
        match self.wasm {
            Some(_) => "wasm",
            None => "native",
        }
    }
}
