//! Finds the real interpreter behind shims, venvs and conda prefixes, and what it needs to run.

use std::path::PathBuf;

/// A resolved Python interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The executable that is run inside the cell (in a venv: the venv's own link).
    pub executable: PathBuf,
    /// `CPython 3.11.2`, as verdicts and caches name it.
    pub version: String,
    /// Hash over the version, the executable and the installed packages; part of cache keys.
    pub fingerprint: String,
}
