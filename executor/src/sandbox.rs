//! The supervisor's side of a run.

use std::path::PathBuf;

use crate::{Isolation, IsolationRequest, RunReport, RunRequest, SandboxError};

/// How to build a [`Sandbox`].
#[derive(Clone, Debug, Default)]
pub struct SandboxConfig {
    /// The interpreter as the user names it (a path or a name on PATH, shims and venvs included);
    /// `None` takes `python3` of PATH.
    pub python: Option<PathBuf>,
    /// Which isolation is acceptable.
    pub isolation: IsolationRequest,
    /// Throw every cell away after its run instead of reusing the ones proven clean.
    pub one_shot_cells: bool,
}

/// Runs programs, each in a cell. Cheap to share between threads: each run uses one cell.
#[derive(Debug)]
pub struct Sandbox {}

impl Sandbox {
    /// Looks at the host and the interpreter; starts no program.
    ///
    /// # Errors
    ///
    /// The interpreter cannot be used, or the host cannot give the isolation asked for.
    pub fn new(_config: SandboxConfig) -> Result<Self, SandboxError> {
        Err(SandboxError::InvalidRequest("not built yet".into()))
    }

    /// The isolation every run of this sandbox gets.
    pub fn isolation(&self) -> Isolation {
        Isolation::Namespaces
    }

    /// The resolved interpreter.
    pub fn interpreter(&self) -> &crate::Interpreter {
        unreachable!()
    }

    /// Runs one program and waits until it has ended and everything it started is gone.
    ///
    /// Blocks for at most twice the wall limit plus ten seconds, whatever the program does. Setup
    /// is not charged to the program: see `usage.setup_time`.
    ///
    /// # Errors
    ///
    /// A [`SandboxError`] means *we* failed and nothing is known about the program. A crash, an
    /// endless loop or a memory blow-up is `Ok`, with its outcome.
    pub fn run(&self, _request: &RunRequest) -> Result<RunReport, SandboxError> {
        Err(SandboxError::InvalidRequest("not built yet".into()))
    }
}
