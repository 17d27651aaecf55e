//! Finds the real interpreter behind shims, venvs and conda prefixes, and what it needs to run.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::SandboxError;

/// A resolved Python interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The executable that is run inside the cell (in a venv: the venv's own link).
    pub executable: PathBuf,
    /// `CPython 3.11.2`, as verdicts and caches name it.
    pub version: String,
    /// Hash over the version, the build and the installed packages; part of cache keys.
    pub fingerprint: String,
    /// What an idle interpreter maps, in bytes; `RLIMIT_AS` is this plus the memory limit.
    pub address_space_bytes: u64,
    /// Folders and files that must be visible, besides the system's libraries.
    pub(crate) tree: Vec<PathBuf>,
}

/// What the interpreter says of itself.
#[derive(Deserialize)]
struct Answer {
    executable: PathBuf,
    implementation: String,
    version: String,
    build: String,
    prefix: PathBuf,
    base_prefix: PathBuf,
    base_executable: PathBuf,
    stdlib: Vec<PathBuf>,
    path: Vec<PathBuf>,
    packages: Vec<String>,
    address_space_kib: u64,
}

/// Runs in the interpreter itself: the only one who knows where its parts lie. Works from 3.6 on.
const QUESTION: &str = r#"
import json, os, platform, sys, sysconfig
size = 0
for line in open("/proc/self/status"):
    if line.startswith("VmPeak:"):
        size = int(line.split()[1])
packages = set()
for folder in sys.path:
    try:
        names = os.listdir(folder)
    except OSError:
        continue
    packages.update(n for n in names if n.endswith((".dist-info", ".egg-info")))
print(json.dumps({
    "executable": sys.executable,
    "implementation": platform.python_implementation(),
    "version": platform.python_version(),
    "build": sys.version,
    "prefix": sys.prefix,
    "base_prefix": sys.base_prefix,
    "base_executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "stdlib": [sysconfig.get_path(k) for k in ("stdlib", "platstdlib")],
    "path": [p for p in sys.path if p],
    "packages": sorted(packages),
    "address_space_kib": size,
}))
"#;

impl Interpreter {
    /// The file name under which this interpreter runs a program in a cell; tracebacks show it.
    pub fn script(&self) -> &'static str {
        // From 3.9 on, the script's path is made absolute.
        let minor = self
            .version
            .split('.')
            .nth(1)
            .and_then(|minor| minor.parse::<u32>().ok());
        match minor {
            Some(minor) if minor < 9 => "main.py",
            _ => "/work/main.py",
        }
    }

    /// The interpreter of a backend that brings its own: what messages, verdicts and caches call
    /// it. There is nothing of the host's to resolve.
    pub fn of_backend(executable: PathBuf, version: String, fingerprint: String) -> Self {
        Self {
            executable,
            version,
            fingerprint,
            address_space_bytes: 0,
            tree: Vec::new(),
        }
    }

    /// Resolves what the user named; `None` is `python3` of PATH.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be started, or is no CPython 3.6 or newer.
    pub fn resolve(named: Option<&Path>) -> Result<Self, SandboxError> {
        let named = named.unwrap_or(Path::new("python3"));
        // First as the user would start it: a shim needs the user's environment to find its target.
        let real = ask(named, named, true)?.executable;
        // Then the real one with the environment of a run, whose mappings are what is limited.
        let answer = ask(named, &real, false)?;
        if answer.implementation != "CPython" {
            return Err(unusable(
                named,
                format!(
                    "it is {}, and only CPython is supported",
                    answer.implementation
                ),
            ));
        }
        let mut hash = Sha256::new();
        for part in [&answer.version, &answer.build]
            .into_iter()
            .chain(&answer.packages)
        {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let fingerprint = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let in_venv = answer.prefix != answer.base_prefix;
        Ok(Self {
            tree: tree(&answer),
            // A venv is known by the path of its own link; elsewhere the link only costs a lookup.
            executable: if in_venv {
                answer.executable
            } else {
                answer.base_executable
            },
            version: format!("CPython {}", answer.version),
            fingerprint,
            address_space_bytes: answer.address_space_kib * 1024,
        })
    }
}

fn unusable(named: &Path, reason: String) -> SandboxError {
    SandboxError::Interpreter {
        path: named.to_owned(),
        reason,
    }
}

fn ask(named: &Path, executable: &Path, users_environment: bool) -> Result<Answer, SandboxError> {
    let mut command = Command::new(executable);
    command.args(["-I", "-c", QUESTION]).stdin(Stdio::null());
    if !users_environment {
        command.env_clear().envs(crate::cells::fixed_environment());
    }
    let output = command.output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => unusable(named, "there is no such program".to_owned()),
        _ => unusable(named, format!("it cannot be started: {e}")),
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text
            .lines()
            .rfind(|l| !l.trim().is_empty())
            .unwrap_or("no message");
        return Err(unusable(
            named,
            format!("it ended with {}: {last}", output.status),
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| unusable(named, format!("it did not answer like Python: {e}")))
}

/// Everything of this interpreter that a program may import or load.
fn tree(answer: &Answer) -> Vec<PathBuf> {
    let mut tree = BTreeSet::new();
    for prefix in [&answer.prefix, &answer.base_prefix] {
        if is_shared(prefix) {
            // /usr and /usr/local hold much besides Python: only its parts.
            tree.extend(libraries(&prefix.join("lib")));
        } else {
            tree.insert(prefix.clone());
        }
    }
    for part in answer
        .stdlib
        .iter()
        .chain(&answer.path)
        .chain([&answer.base_executable])
    {
        tree.insert(part.clone());
    }
    // Each link from the named executable to the real one must resolve inside, too.
    let mut link = answer.executable.clone();
    for _ in 0..8 {
        tree.insert(link.clone());
        let Ok(says) = std::fs::read_link(&link) else {
            break;
        };
        link = link.parent().unwrap_or(Path::new("/")).join(says);
    }
    tree.into_iter()
        .filter(|path| path.is_absolute() && path.exists())
        .collect()
}

fn is_shared(prefix: &Path) -> bool {
    ["/", "/usr", "/usr/local"]
        .iter()
        .any(|shared| prefix == Path::new(shared))
}

fn libraries(folder: &Path) -> Vec<PathBuf> {
    let is_libpython = |name: &OsStr| name.to_string_lossy().starts_with("libpython");
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(is_libpython))
        .collect()
}
