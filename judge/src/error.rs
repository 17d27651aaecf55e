//! Why judging ended without verdicts. A submission's failure is never one of these.

use std::io;
use std::path::PathBuf;

use executor::SandboxError;

/// Judging cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The sandbox cannot be used at all.
    #[error("the sandbox cannot run anything")]
    Sandbox(#[source] SandboxError),
    /// Runs keep failing for our own reasons.
    #[error("{failures} runs in a row failed for reasons of ours; the last: {last}")]
    HostBroken {
        /// How many, repeats not counted.
        failures: u32,
        /// What the last one said.
        last: String,
    },
    /// Isolated integrity was asked for, and this kind does not have it.
    #[error(
        "problem {problem_id:?} of kind `{kind}` shares a process with its tests; \
         `--integrity isolated` cannot be kept"
    )]
    NotIsolated {
        /// The problem.
        problem_id: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A problem without test cases: nothing could ever fail.
    #[error("problem {problem_id:?} has no test case")]
    NoTests {
        /// The problem.
        problem_id: String,
    },
    /// The cache folder cannot be used.
    #[error("the cache folder {path:?} cannot be used")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
