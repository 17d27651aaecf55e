//! W&B and MLflow, through their own packages.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::StepMetrics;
use crate::error::EvalError;

/// What the script says when the package is not there.
const NO_PACKAGE: i32 = 3;
const SCRIPT: &str = include_str!("replay.py");

/// A tracker with a Python package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracker {
    /// Weights & Biases, offline: `wandb sync` uploads it from a machine with network.
    Wandb,
    /// MLflow, into a local database.
    Mlflow,
}

impl Tracker {
    fn as_str(self) -> &'static str {
        match self {
            Self::Wandb => "wandb",
            Self::Mlflow => "mlflow",
        }
    }
}

/// Replays all steps into a new run of the tracker, kept in `folder`. Returns what names that run.
///
/// # Errors
///
/// The interpreter cannot be started, lacks the package, or the package fails.
pub fn replay_with_python(
    tracker: Tracker,
    steps: &[StepMetrics],
    folder: &Path,
    project: &str,
    run: &str,
    python: &Path,
) -> Result<String, EvalError> {
    let job = json!({
        "tracker": tracker.as_str(),
        "project": project,
        "run": run,
        "dir": folder,
        "steps": steps.iter().map(|metrics| json!({"step": metrics.step, "values": metrics.values})).collect::<Vec<_>>(),
    });
    let cannot = |error: std::io::Error| {
        EvalError::invalid(format!("cannot start {}: {error}", python.display()))
    };
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut input = child.stdin.take().expect("piped");
    // A script that ends early says why on standard error.
    let _ = input.write_all(job.to_string().as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(cannot)?;
    let name = tracker.as_str();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Some(NO_PACKAGE) => {
            Err(
                EvalError::invalid(format!("{} has no package `{name}`", python.display())).hint(
                    format!("--python names an interpreter in which `{name}` is installed"),
                ),
            )
        }
        _ => Err(EvalError::failed(format!(
            "`{name}` failed ({})",
            output.status
        ))),
    }
}
