//! What happened to one run: the evidence, the pure function that reads it, and its answer.

use serde::Serialize;

/// A limit that a run can cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Wall-clock time.
    WallTime,
    /// CPU time of all processes of the run.
    CpuTime,
    /// Memory of the whole run.
    Memory,
    /// Bytes on standard output.
    Output,
}

/// What happened to one run, seen from outside. A fact; `judge` decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Ended by itself with this exit code.
    Exited {
        /// The exit status, 0 to 255.
        code: u8,
    },
    /// Ended by a signal that we did not send.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// Ended by us or by the kernel because it crossed this limit first.
    #[serde(rename = "limit")]
    LimitExceeded {
        /// Which limit.
        limit: LimitKind,
    },
    /// It took down two fresh cells while a control program ran well in a third.
    CellLost,
}
