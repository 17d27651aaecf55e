//! Refuses what cannot be carried out as written, before anything is started.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use ::cell::protocol::MAIN_FILE;

use crate::{Isolation, Program, RunRequest, SandboxError, cells};

/// Checks a request that is to run under `isolation`.
///
/// # Errors
///
/// [`SandboxError::InvalidRequest`] names what is wrong.
pub fn validate(request: &RunRequest, isolation: Isolation) -> Result<(), SandboxError> {
    let invalid = |text: String| Err(SandboxError::InvalidRequest(text));
    let limits = &request.limits;
    let zero = [
        ("wall_time", limits.wall_time.is_zero()),
        ("cpu_time", limits.cpu_time.is_zero()),
        ("memory_bytes", limits.memory_bytes == 0),
        ("tasks", limits.tasks == 0),
        ("open_files", limits.open_files < 8),
        ("scratch_bytes", limits.scratch_bytes == 0),
        ("scratch_inodes", limits.scratch_inodes == 0),
    ];
    if let Some((name, _)) = zero.iter().find(|(_, bad)| *bad) {
        return invalid(format!("limit {name} is too small to run anything"));
    }
    let day = Duration::from_secs(24 * 3600);
    if limits.wall_time > day || limits.cpu_time > 1024 * day {
        return invalid("a time limit is longer than a day".to_owned());
    }
    let argv = match &request.program {
        Program::Python { args, .. } => args,
        Program::Command { argv } if argv.is_empty() => {
            return invalid("the command is empty".to_owned());
        }
        Program::Command { argv } => argv,
    };
    if argv.iter().any(|arg| arg.as_bytes().contains(&0)) {
        return invalid("an argument holds a NUL byte".to_owned());
    }
    for (name, value) in &request.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return invalid(format!("environment variable {name:?} is malformed"));
        }
    }
    for path in request
        .files
        .iter()
        .map(|f| &f.path)
        .chain(&request.collect)
    {
        if !cells::is_runs_own(path, isolation != Isolation::Restricted) {
            return invalid(format!(
                "file path {path:?} is not in the working directory or another folder of the run"
            ));
        }
    }
    // Sums of these with our own share must not wrap around.
    let sizes = [
        ("memory_bytes", limits.memory_bytes),
        ("scratch_bytes", limits.scratch_bytes),
        ("scratch_inodes", limits.scratch_inodes),
    ];
    if let Some((name, _)) = sizes.iter().find(|(_, size)| *size > 1 << 50) {
        return invalid(format!("limit {name} is more than any host has"));
    }
    for file in &request.files {
        let is_program = matches!(request.program, Program::Python { .. });
        if is_program && file.path.starts_with(MAIN_FILE) {
            return invalid(format!(
                "a file may not be called {MAIN_FILE}: that is the program"
            ));
        }
        if request
            .files
            .iter()
            .any(|other| other.path != file.path && other.path.starts_with(&file.path))
        {
            return invalid(format!("{:?} is both a file and a folder", file.path));
        }
    }
    Ok(())
}
