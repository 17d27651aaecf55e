//! Pid 1 becomes the interpreter that forks runs. The rest of the story is in the zygote's own crate.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::child;
use crate::protocol::{
    CONTROL_FD, LAST_PID_FD, MAIN_FILE, OOM_FD, PAYLOAD_FD, SETUP_FD, Setup, SetupFailure,
    ZYGOTE_FD, Zygote,
};
use crate::serve;
use crate::step::{Step, step};
use crate::sys::{self, Errno};

const CAP_SETPCAP: u32 = 8; // emptying the bounding set, after exec

/// Executes the interpreter, stopped at its program by the library that is preloaded.
pub(crate) fn become_zygote(
    setup: &Setup,
    zygote: &Zygote,
    last_pid: Option<OwnedFd>,
) -> Step<Infallible> {
    step(
        "making main.py",
        sys::open(Path::new(MAIN_FILE), libc::O_WRONLY | libc::O_CREAT, 0o644),
    )?;
    step("keeping descriptors", keep_descriptors(last_pid))?;
    step("resetting signals", sys::reset_signals())?;
    step("setting limits", child::set_stack_for_exec())?;
    let mut keep = serve::capabilities();
    keep.push(CAP_SETPCAP);
    step(
        "keeping capabilities",
        sys::set_capabilities_through_exec(&keep),
    )?;
    debug_assert!(setup.namespaces);
    Err(SetupFailure {
        step: format!("starting {}", zygote.program.display()),
        errno: execute(zygote),
    })
}

fn keep_descriptors(last_pid: Option<OwnedFd>) -> Result<(), Errno> {
    if let Some(last_pid) = last_pid {
        sys::dup2(last_pid.as_raw_fd(), LAST_PID_FD)?;
    }
    for fd in [CONTROL_FD, PAYLOAD_FD, SETUP_FD, ZYGOTE_FD, OOM_FD] {
        if sys::is_open(fd) {
            sys::clear_cloexec(fd)?;
        }
    }
    Ok(())
}

fn execute(zygote: &Zygote) -> Errno {
    let ours = [
        format!("LD_PRELOAD=/proc/self/fd/{ZYGOTE_FD}"),
        "LD_BIND_NOW=1".to_owned(),
    ];
    // Ours last: what is wiped from the end of the block leaves no hole in it.
    let env: Vec<OsString> = zygote
        .env
        .iter()
        .cloned()
        .chain(ours.map(Into::into))
        .collect();
    let strings = |list: &[OsString]| -> Vec<CString> {
        list.iter()
            .filter_map(|s| CString::new(s.as_bytes()).ok())
            .collect()
    };
    let (argv, env) = (strings(&zygote.argv), strings(&env));
    let Ok(program) = sys::cstring(&zygote.program) else {
        return libc::EINVAL;
    };
    sys::execute(&program, &argv, &env)
}
