//! What happened to one program?
//!
//! A [`Sandbox`] runs untrusted programs in cells. Its answer is a [`RunReport`]: facts seen from
//! outside the program. What the facts mean for a problem is the `judge` crate's business.

mod capture;
mod cells;
mod cgroup;
mod doctor;
mod error;
mod host;
mod idle;
mod imports;
mod interpreter;
mod isolation;
mod limits;
mod outcome;
mod pipes;
mod request;
mod root_plan;
mod runner;
mod sandbox;
mod seccomp;
mod slots;
mod spares;
mod validate;

/// What a backend beside the native one shares with it, so that both mean the same.
pub mod backend {
    pub use crate::capture::Capture;
    pub use crate::cells::environment;
    pub use crate::outcome::{Evidence, classify};
    pub use crate::slots::{Slot, Slots};
    pub use crate::validate::validate;
}

pub use doctor::{Check, Status, doctor};
pub use error::SandboxError;
pub use imports::Imports;
pub use interpreter::Interpreter;
pub use isolation::{Isolation, IsolationRequest};
pub use limits::{Limits, MIB, Usage};
pub use outcome::{LimitKind, Outcome};
pub use request::{
    Captured, InputFile, Network, Path, PathRequest, Program, Resident, RunReport, RunRequest,
    WasmUsage,
};
pub use runner::Runner;
pub use sandbox::{Cancel, Sandbox, SandboxConfig};
