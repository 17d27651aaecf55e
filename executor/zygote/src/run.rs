//! One run, from the fork to its end: the warm counterpart of exec.

use std::os::fd::IntoRawFd;

use crate::child::{self, Arrived, Launch, Prepared, StepFn};
use crate::sys::{self, Errno};
use crate::{READY, ending};

/// Every run is a fork of this process.
pub(crate) struct Forked;

impl Launch for Forked {
    const STEPS: &'static [(&'static str, StepFn)] = &[
        ("adopting the interpreter", adopt_interpreter), // first: it gives locks back
        ("receiving the program", child::receive),
        ("writing main.py", write_main), // main.py belongs to the cell: before the id changes
        ("placing descriptors", child::place_descriptors),
        ("unblocking signals", unblock_signals),
        ("leaving the cell's session", child::leave_session),
        ("setting limits", set_limits),
        ("dropping privileges", child::drop_privileges),
        ("writing input files", child::write_files), // owned by the run, so it may change them
        ("restricting itself", child::restrict),
        ("becoming visible to itself", become_dumpable), // after the id change, which undoes it
        ("closing descriptors", close_others), // last: no step after it could tell of a failure
    ];
    const EXECS: bool = false;

    fn go(_: &Prepared, arrived: Arrived) -> ! {
        for fd in arrived.fds {
            let _ = fd.into_raw_fd(); // closed with the rest
        }
        ending::run_program(&arrived.payload)
    }
}

fn adopt_interpreter(_: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    READY
        .get()
        .map(|ready| ready.python.after_fork())
        .ok_or(libc::ENOENT)
}

fn write_main(prepared: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    let (Some(file), Some(source)) = (prepared.main_file, arrived.payload.source.take()) else {
        return Err(libc::EPROTO);
    };
    sys::write_at(file, &source)
}

fn unblock_signals(_: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    // Dispositions are those that Python has set; pid 1 only blocks.
    sys::unblock_signals()
}

fn set_limits(prepared: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    let extra_bytes = READY.get().map_or(0, |ready| ready.extra_bytes);
    child::set_run_limits(prepared.header, extra_bytes)
}

fn become_dumpable(_: &Prepared, _: &mut Arrived) -> Result<(), Errno> {
    // Else procfs hides the run's own children from it. Pid 1 stays as it is.
    sys::prctl(libc::PR_SET_DUMPABLE, 1).map(drop)
}

fn close_others(_: &Prepared, arrived: &mut Arrived) -> Result<(), Errno> {
    sys::close_from(if arrived.payload.report { 4 } else { 3 })
}
