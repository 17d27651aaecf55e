//! `codejury-cell`: started by the executor, never by hand. The library's page tells the theory.

#[path = "protocol.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod protocol;

mod child;
mod exec;
mod proof;
mod root;
mod serve;
mod step;
#[allow(dead_code, reason = "shared with the zygote")]
mod sys;
mod watch;
mod zygote;

use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use protocol::{CGROUP_FD, CONTROL_FD, Hello, PAYLOAD_FD, SETUP_FD, Setup, Wire};
use step::{Step, step};
use sys::Errno;

fn main() {
    // A person who starts this by hand has no such descriptor.
    if sys::set_cloexec(CONTROL_FD).is_err() {
        eprintln!("codejury-cell is a part of codejury and is not started by hand");
        std::process::exit(2);
    }
    let control = sys::own(CONTROL_FD);
    let Err(failure) = live(&control);
    // The supervisor may be gone; then nobody is left to tell.
    let _ = sys::send(control.as_raw_fd(), &Hello::Failed(failure).encode(), None);
    std::process::exit(1);
}

/// Builds the cell, then serves runs until the supervisor closes the control socket.
fn live(control: &OwnedFd) -> Step<std::convert::Infallible> {
    let setup = step("reading the setup", read_setup())?;
    step(
        "keeping sockets to this process",
        sys::cloexec_from(CONTROL_FD),
    )?;
    // Under host memory pressure runs go first, and this process before the supervisor.
    step(
        "setting oom_score_adj",
        sys::write_file(Path::new("/proc/self/oom_score_adj"), b"1000"),
    )?;
    for fd in (CGROUP_FD..).take(setup.cgroups as usize) {
        step("joining the cgroup", sys::write_all(fd, b"0"))?;
        sys::close(fd);
    }
    // The terminal's Ctrl-C is the supervisor's business.
    step("starting a session", sys::setsid())?;
    let last_pid = if setup.namespaces {
        root::enter_namespaces(control, &setup)?;
        root::build(&setup)?
    } else {
        root::use_host(control, &setup)?;
        None
    };
    if let Some(zygote) = &setup.zygote {
        return zygote::become_zygote(&setup, zygote, last_pid);
    }
    serve::serve::<exec::Exec>(control, sys::own(PAYLOAD_FD), last_pid, setup)
}

fn read_setup() -> Result<Setup, Errno> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(sys::own(SETUP_FD));
    file.read_to_end(&mut bytes)
        .and_then(|_| file.rewind())
        .map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
    let _ = file.into_raw_fd(); // stays open: a zygote reads it again
    let (version, mut rest) = bytes.split_at_checked(4).ok_or(libc::EPROTO)?;
    if version != protocol::VERSION.to_le_bytes() {
        return Err(libc::EPROTO);
    }
    Setup::take(&mut rest).map_err(|_| libc::EPROTO)
}
