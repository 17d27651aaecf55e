//! `metrics.jsonl`, which is the truth, into the files and services that trackers read.
//!
//! TensorBoard's event files are written here. W&B and MLflow are filled by their own Python
//! packages, which a short script feeds: their formats are theirs to change.

mod python;
mod tensorboard;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use python::{Tracker, replay_with_python};
pub use tensorboard::write_events;

use crate::error::EvalError;

/// The numbers of one step, from all its datasets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepMetrics {
    /// The step; 0 for a baseline.
    pub step: u64,
    /// By `eval/<dataset>/<metric>`; what is unknown is left out.
    pub values: BTreeMap<String, f64>,
}

/// Reads a `metrics.jsonl`, in the order of steps: trackers drop steps that go backwards.
///
/// # Errors
///
/// The file cannot be read, or a line is none of it.
pub fn read_metrics(path: &Path) -> Result<Vec<StepMetrics>, EvalError> {
    let text = std::fs::read_to_string(path).map_err(EvalError::read(path))?;
    let mut steps: BTreeMap<u64, StepMetrics> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let bad = |reason: String| {
            EvalError::invalid(format!("{}, line {number}: {reason}", path.display()))
        };
        let row: Value = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let fields = row.as_object().ok_or_else(|| bad("no object".into()))?;
        let step = match fields.get("step") {
            Some(Value::Null) => 0,
            Some(step) => step.as_u64().ok_or_else(|| bad(format!("step {step}")))?,
            None => return Err(bad("no `step`".into())),
        };
        let metrics = steps.entry(step).or_default();
        metrics.step = step;
        for (name, value) in fields {
            if let (true, Some(value)) = (name.starts_with("eval/"), value.as_f64()) {
                // The step's own evaluation comes first; the final one adds datasets.
                metrics.values.entry(name.clone()).or_insert(value);
            }
        }
    }
    if steps.is_empty() {
        return Err(EvalError::NoRows {
            path: path.to_owned(),
        });
    }
    Ok(steps.into_values().collect())
}
