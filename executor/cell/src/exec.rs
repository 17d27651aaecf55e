//! The cold way to start a program: a process of its own image, by exec.

use std::ffi::{CString, OsStr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::child::{self, Arrived, Launch, Prepared, StepFn};
use crate::protocol::{MAIN_FILE, Payload};
use crate::sys::{self, Errno};

/// Every run is a new process image.
pub(crate) struct Exec;

impl Launch for Exec {
    const STEPS: &'static [(&'static str, StepFn)] = &[
        ("receiving the program", child::receive),
        ("writing main.py", write_main), // main.py belongs to the cell: before the id changes
        ("placing descriptors", child::place_descriptors),
        ("resetting signals", reset_signals),
        ("leaving the cell's session", child::leave_session), // no terminal, no signals to or from pid 1's group
        ("setting limits", set_limits),
        ("setting the cell's limits", set_cell_limits),
        ("dropping privileges", child::drop_privileges), // after everything that needed the cell's user
        ("writing input files", child::write_files),     // owned by the run, so it may change them
        ("restricting itself", child::restrict),
        ("closing descriptors", close_others),
        ("installing the filter", install_filters), // last: it denies calls that the steps above use
        ("starting the program", execute),
    ];
    const EXECS: bool = true;

    fn go(_: &Prepared, _: Arrived) -> ! {
        sys::exit_now(127) // not reached: the last step does not return well
    }
}

fn write_main(prepared: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    if !prepared.header.script {
        // A command's folder holds its own files only; its cell serves no other run.
        let _ = std::fs::remove_file(MAIN_FILE);
    }
    match arrived.payload.source.take() {
        Some(source) => {
            // Through a description of its own, gone at exec: the file must have no writer when
            // pid 1 takes its lease, and its offset is nobody else's.
            let own = sys::open(Path::new(MAIN_FILE), libc::O_WRONLY | libc::O_CREAT, 0o644)?;
            sys::write_all(own.as_raw_fd(), &source)
        }
        None => Ok(()),
    }
}

fn reset_signals(_: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    sys::reset_signals()
}

fn set_limits(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    child::set_run_limits(prepared.header, 0)
}

fn set_cell_limits(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    child::set_stack_for_exec()?;
    child::set_cell_limits(prepared.setup)
}

fn close_others(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    sys::cloexec_from(if arrived.payload.report { 4 } else { 3 })
}

fn install_filters(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    prepared
        .setup
        .filters_run
        .iter()
        .try_for_each(|filter| sys::install_filter(filter))
}

fn execute(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    let payload = &arrived.payload;
    let c = |s: &OsStr| CString::new(s.as_bytes()).map_err(|_| libc::EINVAL);
    let argv = payload
        .argv
        .iter()
        .map(|s| c(s))
        .collect::<Result<Vec<_>, _>>()?;
    let env = payload
        .env
        .iter()
        .map(|s| c(s))
        .collect::<Result<Vec<_>, _>>()?;
    let mut errno = libc::ENOENT;
    for candidate in candidates(payload) {
        let path = sys::cstring(&candidate)?;
        errno = sys::execute(&path, &argv, &env);
        if errno != libc::ENOENT && errno != libc::ENOTDIR {
            break;
        }
    }
    Err(errno)
}

/// Where the executable may lie: as named, or along the run's own PATH.
fn candidates(payload: &Payload) -> Vec<PathBuf> {
    let program = &payload.program;
    if program.components().count() != 1 || program.is_absolute() {
        return vec![program.clone()];
    }
    let path = payload
        .env
        .iter()
        .find_map(|e| e.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or_default();
    path.split(|b| *b == b':')
        .map(|folder| Path::new(OsStr::from_bytes(folder)).join(program))
        .collect()
}
