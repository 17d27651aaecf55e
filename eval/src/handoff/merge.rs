//! FSDP shards to a Hugging Face folder: verl's own merger does it, and the result is verified.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::verify::{Verified, verify};
use crate::checkpoint::has_fsdp_shards;
use crate::error::EvalError;

/// Merges the shards of `checkpoint` (a `global_step_N` or its `actor`) into `target`, with verl's
/// `model_merger` in the Python given, and checks what came out. Its output goes to standard error.
///
/// # Errors
///
/// There are no shards, that Python has no verl, or the merger fails.
pub fn merge(checkpoint: &Path, target: &Path, python: &Path) -> Result<Verified, EvalError> {
    let candidates = [checkpoint.to_owned(), checkpoint.join("actor")];
    let shards: &PathBuf = candidates
        .iter()
        .find(|folder| has_fsdp_shards(folder))
        .ok_or_else(|| {
            EvalError::invalid(format!(
                "{} holds no FSDP shards (model_world_size_W_rank_R.pt)",
                checkpoint.display()
            ))
        })?;
    if target.join("config.json").exists() {
        return Err(EvalError::invalid(format!(
            "{} holds a model already",
            target.display()
        )));
    }
    let cannot = |error: std::io::Error| {
        EvalError::invalid(format!("cannot start {}: {error}", python.display()))
            .hint("--python names an interpreter that has verl installed")
    };
    let has_verl = Command::new(python)
        .args(["-c", "import verl.model_merger"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(cannot)?;
    if !has_verl.success() {
        return Err(EvalError::invalid(format!(
            "{} cannot import verl.model_merger",
            python.display()
        ))
        .hint("--python names the interpreter of the training environment"));
    }
    let status = Command::new(python)
        .args([
            "-m",
            "verl.model_merger",
            "merge",
            "--backend",
            "fsdp",
            "--local_dir",
        ])
        .arg(shards)
        .arg("--target_dir")
        .arg(target)
        .stdin(Stdio::null())
        // Its talk belongs with ours.
        .stdout(std::io::stderr())
        .status()
        .map_err(cannot)?;
    if !status.success() {
        return Err(EvalError::failed(format!(
            "verl's model_merger failed ({status})"
        )));
    }
    verify(target)
}
