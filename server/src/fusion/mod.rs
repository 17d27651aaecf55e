//! The contract of SandboxFusion: what its clients send, and what they get.
//!
//! - `wire`: requests and answers, field by field
//! - `languages`: how each language's programs are run
//! - `run_code`: one program, perhaps compiled first
//! - `extraction`, `datasets`: `/submit` and the rows and prompts behind it
//! - `jupyter`, `jupyter_driver.py`: cells that share a namespace

pub(crate) mod datasets;
mod extraction;
mod jupyter;
mod languages;
mod paths;
mod run_code;
mod wire;

pub(crate) use jupyter::run_jupyter;
pub(crate) use languages::{Language, Languages, is_language};
pub(crate) use run_code::{For, in_full, run_code};
pub(crate) use wire::{RunCodeRequest, RunJupyterRequest, RunStatus};
