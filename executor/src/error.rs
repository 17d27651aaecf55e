//! Our failures. A program's failure is never one of these.

use std::io;
use std::path::PathBuf;

/// The sandbox failed; nothing is known about the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The interpreter cannot be used.
    #[error("python interpreter {path:?} cannot be used: {reason}")]
    Interpreter {
        /// As the caller named it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The host does not give a layer that the caller asked for.
    #[error("this host cannot give the isolation layer `{layer}`: {reason}")]
    IsolationUnavailable {
        /// The layer's name, as `codejury doctor` prints it.
        layer: &'static str,
        /// What the kernel said.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// A request that cannot be carried out as written.
    #[error("invalid run request: {0}")]
    InvalidRequest(String),
    /// A cell could not be made.
    #[error("cannot start a cell: {step} failed")]
    CellSetup {
        /// The setup step.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The cell went away during the run, more often than we retry.
    #[error("the cell was lost during a run: {0}")]
    CellLost(String),
    /// A system call of the supervisor failed.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The run was cancelled by the caller.
    #[error("the run was cancelled")]
    Cancelled,
}

impl SandboxError {
    /// The message with those of its causes.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
