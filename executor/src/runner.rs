//! What the judge needs of a sandbox, whichever backend stands behind it.

use crate::{Cancel, Interpreter, Isolation, RunReport, RunRequest, Sandbox, SandboxError};

/// Runs programs. Shared between threads; how many runs really go on at once is its own affair.
pub trait Runner: Send + Sync {
    /// Runs one program and waits until it has ended and everything it started is gone, or until
    /// `cancel` is thrown.
    ///
    /// # Errors
    ///
    /// A [`SandboxError`] means *we* failed and nothing is known about the program;
    /// [`SandboxError::Cancelled`] that the caller ended it.
    fn run_until(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, SandboxError>;

    /// [`Runner::run_until`] that nobody cancels.
    ///
    /// # Errors
    ///
    /// A [`SandboxError`] means *we* failed and nothing is known about the program.
    fn run(&self, request: &RunRequest) -> Result<RunReport, SandboxError> {
        self.run_until(request, None)
    }

    /// The isolation every run gets.
    fn isolation(&self) -> Isolation;

    /// The backend's name in reports and cache keys: `native` or `wasm`.
    fn backend(&self) -> &'static str;

    /// Fuel that counts as one second of CPU time, where time is limited by fuel.
    fn fuel_per_second(&self) -> Option<u64> {
        None
    }

    /// The interpreter that runs submissions.
    fn interpreter(&self) -> &Interpreter;
}

impl Runner for Sandbox {
    fn run_until(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, SandboxError> {
        Self::run_until(self, request, cancel)
    }

    fn isolation(&self) -> Isolation {
        Self::isolation(self)
    }

    fn backend(&self) -> &'static str {
        "native"
    }

    fn interpreter(&self) -> &Interpreter {
        Self::interpreter(self)
    }
}
