//! How a command ends: the one table of exit codes, and which error gets which.

use std::fmt;
use std::io;

use eval::EvalError;
use executor::SandboxError;
use judge::JudgeError;
use server::{ConfigError, ServeError};
use wasm::SetupError;

use crate::output::{Palette, inline};

/// What the caller of `codejury` learns from its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// Done, whatever the verdicts are.
    Done = 0,
    /// The program that `run` ran failed, or a check did not hold. Never that program's own code.
    CheckFailed = 1,
    /// Bad arguments or input, or the output folder is in use.
    BadInput = 2,
    /// The host, or this build, cannot give the isolation or backend asked for.
    HostCannot = 3,
    /// Our own failure: too many api_errors, a lost model server, a full disk.
    OurFailure = 4,
    /// Interrupted; results so far are kept.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// The table as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    the program run by `run` failed, or a check did not hold
  2    bad arguments or input, or the output folder is in use
  3    this host cannot give the isolation or backend asked for
  4    our own failure (too many api_errors, lost server, full disk)
  130  interrupted; results so far are kept";

/// An error that the command line finds itself, with what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Something the user has to change.
    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(ExitCode::BadInput, message)
    }

    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code an error stands for: that of the first link in its chain that we know.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    // A failure that was attached as context is no link of the chain that can be told by its type.
    error
        .downcast_ref::<Failure>()
        .map(|failure| failure.code)
        .or_else(|| error.chain().find_map(known_code))
        .unwrap_or(ExitCode::OurFailure)
}

fn known_code(link: &(dyn std::error::Error + 'static)) -> Option<ExitCode> {
    if let Some(failure) = link.downcast_ref::<Failure>() {
        return Some(failure.code);
    }
    if let Some(error) = link.downcast_ref::<SandboxError>() {
        return Some(match error {
            SandboxError::Interpreter { .. } | SandboxError::InvalidRequest(_) => {
                ExitCode::BadInput
            }
            SandboxError::IsolationUnavailable { .. } => ExitCode::HostCannot,
            SandboxError::Cancelled => ExitCode::Interrupted,
            _ => ExitCode::OurFailure,
        });
    }
    if let Some(error) = link.downcast_ref::<JudgeError>() {
        return match error {
            // Its source says more.
            JudgeError::Sandbox(_) => None,
            JudgeError::NotIsolated { .. } | JudgeError::NoTests { .. } => Some(ExitCode::BadInput),
            JudgeError::Cache { source, .. } if is_about_the_path(source) => {
                Some(ExitCode::BadInput)
            }
            _ => Some(ExitCode::OurFailure),
        };
    }
    if let Some(error) = link.downcast_ref::<ServeError>() {
        return match error {
            ServeError::Judge(_) => None,
            ServeError::Thread(_) => Some(ExitCode::OurFailure),
            _ => Some(ExitCode::BadInput),
        };
    }
    if link.is::<ConfigError>() {
        return Some(ExitCode::BadInput);
    }
    if let Some(error) = link.downcast_ref::<SetupError>() {
        return Some(match error {
            SetupError::NotInstalled(_) => ExitCode::HostCannot,
            SetupError::Build(_) | SetupError::Compile(_) => ExitCode::OurFailure,
            SetupError::Write { source, .. } if !is_about_the_path(source) => ExitCode::OurFailure,
            _ => ExitCode::BadInput,
        });
    }
    let code = match link.downcast_ref::<EvalError>()? {
        EvalError::Write { source, .. } if is_about_the_path(source) => ExitCode::BadInput,
        EvalError::Write { .. } | EvalError::DuplicateVerdict { .. } | EvalError::Failed { .. } => {
            ExitCode::OurFailure
        }
        EvalError::Interrupted => ExitCode::Interrupted,
        // If it says nothing itself, its source does.
        EvalError::Judge(error) => return known_code(error),
        _ => ExitCode::BadInput,
    };
    Some(code)
}

/// Whether a failed write means that the user named a place where nobody can write, as opposed to
/// a disk that is full or broken.
fn is_about_the_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn hint_of(error: &anyhow::Error) -> Option<String> {
    let attached = error.downcast_ref::<Failure>();
    if let Some(hint) = attached.and_then(|failure| failure.hint.clone()) {
        return Some(hint);
    }
    error.chain().find_map(|link| {
        if let Some(failure) = link.downcast_ref::<Failure>() {
            return failure.hint.clone();
        }
        if let Some(EvalError::Write { source, .. }) = link.downcast_ref::<EvalError>()
            && source.kind() == io::ErrorKind::StorageFull
        {
            return Some(
                "what was written before is kept; make room, then run the same command again"
                    .into(),
            );
        }
        if let Some(EvalError::Invalid { hint, .. } | EvalError::Failed { hint, .. }) =
            link.downcast_ref::<EvalError>()
        {
            return hint.clone();
        }
        if let Some(JudgeError::HostBroken { .. }) = link.downcast_ref::<JudgeError>() {
            return Some(
                "`codejury doctor` shows what this host gives; verdicts so far are kept".into(),
            );
        }
        if let Some(error) = link.downcast_ref::<SetupError>() {
            return Some(error.hint());
        }
        match link.downcast_ref::<ServeError>() {
            Some(ServeError::Listen { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse =>
            {
                return Some("another program listens there; --listen takes another port".into());
            }
            _ => {}
        }
        if link.is::<ConfigError>() {
            return Some("`codejury serve --print-config` shows every key".into());
        }
        match link.downcast_ref::<SandboxError>()? {
            SandboxError::IsolationUnavailable { remedy, .. } => {
                Some(format!("{remedy}; `codejury doctor` lists what is missing"))
            }
            SandboxError::Interpreter { .. } => {
                Some("name a CPython 3.8 or newer with --python PATH".to_owned())
            }
            SandboxError::CellSetup { .. } => {
                Some("`codejury doctor` shows what this host gives".to_owned())
            }
            _ => None,
        }
    })
}

/// The end of the log of a model server that failed.
fn log_of(error: &anyhow::Error) -> &[String] {
    error
        .chain()
        .find_map(|link| match link.downcast_ref::<EvalError>() {
            Some(EvalError::Failed { log, .. }) => Some(log.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The text of an error as people read it: what failed, why, what to do. Names and messages may
/// come from untrusted files, so control characters are escaped.
pub(crate) fn describe(error: &anyhow::Error, palette: Palette) -> String {
    let mut links = error
        .chain()
        .map(|link| inline(&link.to_string()).into_owned());
    let mut text = match (code_of(error), links.next()) {
        (ExitCode::Interrupted, _) => return palette.yellow("interrupted") + "\n",
        (_, first) => format!("{} {}\n", palette.red("error:"), first.unwrap_or_default()),
    };
    for link in links {
        text += &format!("  caused by: {link}\n");
    }
    for line in log_of(error) {
        text += &format!("  | {}\n", inline(line));
    }
    if let Some(hint) = hint_of(error) {
        text += &format!("  {} {}\n", palette.green("hint:"), inline(&hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code_and_reads_well() {
        let disk_full = || EvalError::Write {
            path: "out/run.json".into(),
            source: io::Error::from_raw_os_error(28),
        };
        let cases: [(anyhow::Error, ExitCode, &str); 7] = [
            (
                EvalError::Write {
                    path: "/out".into(),
                    source: io::Error::from_raw_os_error(13),
                }
                .into(),
                ExitCode::BadInput,
                "error: cannot write /out\n  caused by: Permission denied (os error 13)\n",
            ),
            (
                Failure::bad_input("no such thing")
                    .hint("name another")
                    .into(),
                ExitCode::BadInput,
                "error: no such thing\n  hint: name another\n",
            ),
            (
                disk_full().into(),
                ExitCode::OurFailure,
                "error: cannot write out/run.json\n  caused by: No space left on device (os error 28)\n  hint: what was written before is kept; make room, then run the same command again\n",
            ),
            (
                anyhow::Error::from(disk_full()).context("keeping verdicts"),
                ExitCode::OurFailure,
                "error: keeping verdicts\n  caused by: cannot write out/run.json\n  caused by: No space left on device (os error 28)\n  hint: what was written before is kept; make room, then run the same command again\n",
            ),
            (
                EvalError::NoRows {
                    path: "a\u{1b}[2Jb".into(),
                }
                .into(),
                ExitCode::BadInput,
                "error: a\\u{1b}[2Jb holds no rows\n",
            ),
            (
                SandboxError::IsolationUnavailable {
                    layer: "namespaces",
                    reason: "creating namespaces failed".into(),
                    remedy: "enable them".into(),
                }
                .into(),
                ExitCode::HostCannot,
                "error: this host cannot give the isolation layer `namespaces`: creating namespaces failed\n  hint: enable them; `codejury doctor` lists what is missing\n",
            ),
            (
                SandboxError::Cancelled.into(),
                ExitCode::Interrupted,
                "interrupted\n",
            ),
        ];
        for (error, code, text) in cases {
            assert_eq!(code_of(&error), code, "case: {text}");
            assert_eq!(describe(&error, Palette::plain()), text);
        }
    }
}
